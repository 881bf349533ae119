//! Adapters of Hugging Face PEFT: those that it made, read by us; and ours, written as it writes them.

use std::collections::BTreeMap;
use std::path::Path;

use dpt::adapter::{self, AdapterInfo, peft};
use dpt::artifact::tensors::Tensors;
use dpt::base::param::{Param, Type};
use dpt::base::value::{Params, Value};
use dpt_torch::model::t5::T5;
use dpt_torch::prompt::{self, Adapter, Init};
use serde_json::Value as Json;
use tch::{Device, Kind, Tensor};

use crate::golden;
use crate::parity::Parity;

const PEFT: &str = "Hugging Face PEFT";

/// The prompt of a PEFT adapter, through the files of an adapter of ours.
fn import(folder: &Path) -> Adapter {
    let read = peft::read(folder).unwrap();
    let dir = tempfile::tempdir().unwrap();
    adapter::write_whole(dir.path(), &AdapterInfo::imported(read.virtual_tokens, read.d_model), &read.values).unwrap();
    let info = adapter::read_info(&dir.path().join(adapter::INFO)).unwrap();
    Adapter::load(&info, &Tensors::open(&dir.path().join(adapter::TENSORS)).unwrap(), Device::Cpu).unwrap()
}

fn config(folder: &Path) -> Json {
    golden::json(&folder.join(peft::CONFIG))
}

/// The base model's folder, as the adapter names it from its own.
fn base(folder: &Path) -> std::path::PathBuf {
    folder.join(config(folder)["base_model_name_or_path"].as_str().expect("the adapter names its base model"))
}

#[test]
fn imported_prompts_give_the_logits_of_peft() {
    let Some(dir) = golden::dir("peft_interop") else { return };
    let mut parity = Parity::new("PEFT", "peft_import");
    let _guard = tch::no_grad_guard();
    for folder in golden::folders(&dir) {
        let case = golden::name(&folder);
        let t5 = T5::load(&golden::checkpoint(&base(&folder)), Device::Cpu, Kind::Float).unwrap();
        let io = golden::tensors(&folder.join("io.safetensors"));
        let prompt = import(&folder).prompt().unsqueeze(0);
        let (ids, mask, labels) = (&io["input_ids"], &io["attention_mask"], &io["labels"]);
        let (states, states_mask) = t5.encode(t5.text(ids, mask).with_prefix(&prompt));
        let logits = t5.decode(&states, &states_mask, &t5.shift_right(labels));
        parity.within("logits", PEFT, 1e-4, golden::difference(&logits, &io["logits"]), case);
        let loss = t5.loss(&states, &states_mask, labels).view([1]);
        parity.within("loss", PEFT, 1e-5, golden::difference(&loss, &io["loss"]), case);
        let greedy: Vec<Vec<i64>> = Vec::try_from(&io["greedy_ids"]).unwrap();
        for (ours, theirs) in t5.greedy(&states, &states_mask, greedy[0].len() - 1).iter().zip(&greedy) {
            let theirs = golden::generated(theirs, t5.config().eos_token_id);
            parity.same("greedy ids, rows", PEFT, ours.as_slice(), theirs, case);
        }
    }
}

/// `adapter.json` and `adapter.safetensors` in `to`, of the last tensors of a run of the reference.
fn of_reference(run: &Path, to: &Path) -> AdapterInfo {
    let tensors = golden::tensors(&run.join("tensors.safetensors"));
    let get = |name: &str| tensors.get(&format!("final.{name}")).map(Tensor::shallow_clone);
    let d_model = tensors["final.prompt"].size()[1];
    let rank_of = |a: &Tensor| Params::from([("rank".to_owned(), Value::Int(a.size()[1]))]);
    let (method, params, values): (_, _, Vec<_>) = match (get("prefix_first"), get("prefix_second"), get("prefix_full"))
    {
        (Some(a), Some(b), _) => ("dpt", rank_of(&a), vec![("factor_a", a), ("factor_b", b)]),
        (_, _, Some(p)) => ("prompt-tuning", Params::new(), vec![("prompt", p)]),
        _ => panic!("{} has no last prompt", run.display()),
    };
    let values: BTreeMap<_, _> = values.into_iter().map(|(name, t)| (name.to_owned(), t)).collect();
    let virtual_tokens = tensors["final.prompt"].size()[0];
    let forward = prompt::find(method).unwrap();
    let shape = forward.method().shape(virtual_tokens, d_model, &params).unwrap();
    let trained = Adapter::init(forward, shape, &Init::Given(&values), 0, Device::Cpu).unwrap();
    trained.save(&to.join(adapter::TENSORS)).unwrap();
    AdapterInfo { method: method.into(), params, ..AdapterInfo::imported(virtual_tokens as usize, d_model as usize) }
}

/// Each run's last prompt, exported and imported; and where PEFT's adapter was made of the same run, that one, and its
/// config.
#[test]
fn trained_prompts_are_written_as_peft_has_them() {
    let (Some(runs), Some(adapters)) = (golden::dir("dpt_train"), golden::dir("peft_interop")) else { return };
    let mut parity = Parity::new("PEFT", "peft_export");
    for run in golden::folders(&runs) {
        let dir = tempfile::tempdir().unwrap();
        let info = of_reference(&run, dir.path());
        let prompt = adapter::prompt(&info, &Tensors::open(&dir.path().join(adapter::TENSORS)).unwrap()).unwrap();
        let out = dir.path().join("peft");
        std::fs::create_dir(&out).unwrap();
        // `X-product-Y` is made of the run `X-Y`.
        let name = golden::name(&run);
        let theirs = golden::folders(&adapters).into_iter().find(|theirs| {
            golden::name(theirs).contains("-product-") && golden::name(theirs).replace("-product-", "-") == name
        });
        let model = theirs.as_ref().map(|theirs| golden::json(&base(theirs).join("config.json")));
        let base_model = peft::BaseModel {
            name: theirs.as_ref().and_then(|t| Some(config(t)["base_model_name_or_path"].as_str()?.to_owned())),
            layers: model.as_ref().and_then(|m| m["num_layers"].as_i64()),
            heads: model.as_ref().and_then(|m| m["num_heads"].as_i64()),
            revision: None,
        };
        peft::write(&out, &prompt, &base_model).unwrap();
        let ours = import(&out).prompt();
        let last = &golden::tensors(&run.join("tensors.safetensors"))["final.prompt"];
        // Numbers of 10 and more: one unit in the last place of a float32 is above 1e-6 there.
        let part = |theirs: &Tensor| golden::difference(&ours, theirs) / golden::largest(theirs).max(1.0);
        let what = "exported prompt, part of the largest";
        parity.within(what, "the reference's last prompt", 1e-6, part(last), name);
        if let Some(theirs) = theirs {
            let case = golden::name(&theirs);
            parity.within(what, PEFT, 1e-6, part(&import(&theirs).prompt()), case);
            let (mut ours, mut config) = (config(&out), config(&theirs));
            for config in [&mut ours, &mut config] {
                config.as_object_mut().unwrap().remove("peft_version");
            }
            parity.same("adapter_config.json", PEFT, &ours, &config, case);
        }
    }
}

/// What `dpt` exports without libtorch is the prompt that training used, for every method.
#[test]
fn a_prompt_without_libtorch_is_the_same_prompt() {
    for forward in prompt::METHODS {
        let method = forward.method();
        let value = |param: &Param| match param.ty {
            Type::Int(..) => Some(Value::Int(2)),
            _ => param.default.value(),
        };
        let params: Params = method.params.iter().filter_map(|p| Some((p.name.to_owned(), value(p)?))).collect();
        let shape = method.shape(7, 10, &params).unwrap();
        let table = Tensor::arange(64 * 10, (Kind::Float, Device::Cpu)).view([64, 10]).sin();
        let init = Init::Reference { scale: None, table: Some(&table) };
        let trained = Adapter::init(*forward, shape, &init, 3, Device::Cpu).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(adapter::TENSORS);
        trained.save(&path).unwrap();
        let info = AdapterInfo { method: method.name.into(), params, ..AdapterInfo::imported(7, 10) };
        let ours = adapter::folded(&info, &Tensors::open(&path).unwrap()).unwrap();
        assert_eq!(ours.is_some(), method.prompt.is_some(), "{}", method.name);
        if let Some(ours) = ours {
            let ours = Tensor::from_slice(&ours.to_f32()).view([7, 10]);
            assert!(golden::difference(&ours, &trained.prompt()) < 1e-6, "{}", method.name);
        }
    }
}
