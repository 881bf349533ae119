//! The stage `pretrain`: trains a small backbone on synthetic lessons.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use crate::artifact::{json as json_file, table};
use crate::base::diag::{Class, Diag};
use crate::base::fs;
use crate::data::synth;
use crate::data::synth::skills::{Skill, lessons};
use crate::data::task;
use crate::data::tokenizer::Tokenizer;
use crate::learn::pretrain::{Course, PretrainOptions, Pretraining};
use crate::learn::run::{drive, resume};
use crate::model::config::{FeedForwardKind, T5Config};
use crate::model::{device, tensors};
use crate::stages::training::checkpoint::Checkpoint;
use crate::stages::training::curves::{RateType, curves};
use crate::stages::training::watch::Watch;
use dpt::stages::ctx::{Ctx, Input, Outcome};
use dpt::stages::stage::StageResult;

#[derive(Deserialize)]
struct Settings {
    name: String,
    d_model: i64,
    d_kv: i64,
    d_ff: i64,
    num_heads: i64,
    num_layers: i64,
    steps: u64,
    batch_size: usize,
    learning_rate: f64,
    warmup_steps: u64,
    weight_decay: f64,
    max_grad_norm: f64,
    clean: f64,
    seed: i64,
    checkpoint_every: u64,
}

impl Settings {
    fn config(&self, vocab_size: usize) -> T5Config {
        T5Config {
            d_model: self.d_model,
            d_kv: self.d_kv,
            d_ff: self.d_ff,
            num_heads: self.num_heads,
            num_layers: self.num_layers,
            vocab_size: vocab_size as i64,
            feed_forward_proj: FeedForwardKind::GatedGelu,
            tie_word_embeddings: false,
            dropout_rate: 0.0,
            ..T5Config::default()
        }
    }

    fn options(&self, signs: [i64; 5]) -> PretrainOptions {
        PretrainOptions {
            steps: self.steps,
            batch_size: self.batch_size,
            learning_rate: self.learning_rate,
            warmup_steps: self.warmup_steps,
            weight_decay: self.weight_decay,
            max_grad_norm: self.max_grad_norm,
            clean: self.clean,
            signs,
            seed: self.seed,
        }
    }
}

/// Runs the stage, which writes a checkpoint in Hugging Face's layout.
///
/// # Errors
/// Rows that are not in the form of their task, a loss that is not finite, files that cannot be read or written.
pub fn run(ctx: &Ctx) -> StageResult {
    let settings: Settings = ctx.params()?;
    let device = device::parse(&ctx.job.device)?;
    device::set_threads(ctx.job.threads);
    let input = ctx.input("data")?;
    let tokenizer = Tokenizer::load(&input.files)?;
    let (tasks, courses) = courses(input, &tokenizer)?;
    let config = settings.config(tokenizer.vocab_size());

    let mut signs = [0; 5];
    for skill in Skill::ALL {
        signs[skill as usize] = skill.sign(&tokenizer)?;
    }

    let mut run = Pretraining::new(config.clone(), &courses, settings.options(signs), device)?;
    let numerics = device::numerics(device);
    let checkpoint = Checkpoint::new(ctx, "pretraining.safetensors", &numerics);
    let snapshot = checkpoint.snapshot(ctx)?;
    let watch = Watch::new(ctx, &checkpoint, "pretraining", settings.steps, 0);
    resume(&mut run, snapshot, &watch)?;
    drive(&mut run, settings.checkpoint_every, &watch)?;

    tensors::write(&ctx.out("model.safetensors"), &run.weights())?;
    fs::write_atomic(&ctx.out("config.json"), config.to_json().as_bytes())?;
    fs::write_atomic(&ctx.out("tokenizer.json"), &fs::read(input.file("tokenizer.json")?)?)?;
    json_file::write(&ctx.out("backbone.json"), &json!({ "name": settings.name, "origin": "pretrained-here" }))?;
    table::write(&ctx.out("curves.parquet"), &curves(run.curves(), RateType::Float32))?;
    let last = &run.curves()[run.curves().len().saturating_sub(100)..];
    let loss = last.iter().map(|row| f64::from(row.loss)).sum::<f64>() / last.len().max(1) as f64;
    let skills: Vec<_> = Skill::ALL.iter().map(|s| json!({ "name": s.name(), "sign": signs[*s as usize] })).collect();
    let counts: BTreeMap<_, _> = tasks.iter().zip(courses.iter().map(|course| course.lessons.len())).collect();
    json_file::write(
        &ctx.out("pretrain.json"),
        &json!({
            "name": settings.name, "parameters": config.parameters(), "steps": settings.steps,
            "examples_seen": settings.steps * settings.batch_size as u64, "examples": counts, "skills": skills,
            "loss": loss,
        }),
    )?;
    Ok(Outcome {
        metrics: [("loss".to_owned(), loss), ("parameters".to_owned(), config.parameters() as f64)].into(),
        numerics,
        ..Outcome::default()
    })
}

/// A course for each task that the input has rows of, and the tasks' names.
fn courses(input: &Input, tokenizer: &Tokenizer) -> Result<(Vec<&'static str>, Vec<Course>), Diag> {
    let (mut names, mut courses) = (Vec::new(), Vec::new());
    for synth in synth::TASKS {
        let file = format!("{}/pretrain.jsonl", synth.folder);
        if let Some(path) = input.files.get(&file) {
            let lessons = lessons(task::find(synth.name)?, &fs::read_to_string(path)?, &file, tokenizer)?;
            names.push(synth.name);
            courses.push(Course { share: synth.share, lessons });
        }
    }
    if courses.is_empty() {
        return Err(Diag::error(Class::Stage, format!("`{}` has no rows to pretrain on", input.node))
            .help("set `pretrain_rows` of the `generate` stage"));
    }
    Ok((names, courses))
}
