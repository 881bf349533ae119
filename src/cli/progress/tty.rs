//! Draws progress on a terminal: a bar for the run, a line for each running node, and lasting lines above them. Draws
//! no bars in the first half second, so that a short run prints only its lasting lines.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Meter, SharedLines};
use crate::cli::render;
use crate::engine::event::{Event, HitNode, Sink};

const DELAY: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(100);
/// Progress that belongs to no node is shown for this long after its last update.
const STAYS: Duration = Duration::from_secs(1);
/// The maximum number of lines for running nodes.
const MOST: usize = 12;

/// The sink that draws bars. Dropping it clears them.
#[derive(Debug)]
pub struct TtySink {
    shared: Arc<Shared>,
    ticker: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    screen: MultiProgress,
    state: Mutex<State>,
    over: AtomicBool,
}

#[derive(Debug)]
struct State {
    began: Instant,
    nodes: usize,
    over: usize,
    running: Vec<Running>,
    /// Progress that belongs to no node, and the time of its last update.
    reading: Option<(Running, Instant)>,
    /// The bar of the run, once it is drawn.
    bar: Option<ProgressBar>,
    once: SharedLines,
}

#[derive(Debug)]
struct Running {
    node: String,
    began: Instant,
    meter: Meter,
    line: Option<ProgressBar>,
}

impl TtySink {
    /// Draws on stderr.
    pub fn new() -> Self {
        let state = State {
            began: Instant::now(),
            nodes: 0,
            over: 0,
            running: Vec::new(),
            reading: None,
            bar: None,
            once: SharedLines::default(),
        };
        let shared = Arc::new(Shared {
            screen: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)),
            state: Mutex::new(state),
            over: AtomicBool::new(false),
        });
        let theirs = shared.clone();
        let ticker = std::thread::spawn(move || {
            while !theirs.over.load(Ordering::Relaxed) {
                std::thread::park_timeout(TICK);
                theirs.draw();
            }
        });
        Self { shared, ticker: Some(ticker) }
    }
}

impl Default for TtySink {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TtySink {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(ticker) = self.ticker.take() {
            ticker.thread().unpark();
            // A panic in the ticker could only come from drawing. Ignore it.
            let _ = ticker.join();
        }
        // Ignore a terminal that cannot be written.
        let _ = self.shared.screen.clear();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self) {
        let now = Instant::now();
        let mut guard = self.state();
        let state = &mut *guard;
        if now.duration_since(state.began) < DELAY || state.nodes == 0 {
            return;
        }
        let bar = state.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("[{bar:30}] {pos}/{len} nodes  {msg}").expect("a template");
            let bar = ProgressBar::new(0).with_style(style.progress_chars("=> "));
            self.screen.add(bar)
        });
        bar.set_length(state.nodes as u64);
        bar.set_position(state.over as u64);
        bar.set_message(render::duration(now.duration_since(state.began)));
        if let Some((reading, told)) = &mut state.reading
            && now.duration_since(*told) >= STAYS
        {
            if let Some(line) = reading.line.take() {
                line.finish_and_clear();
                self.screen.remove(&line);
            }
            state.reading = None;
        }
        let reading = state.reading.iter_mut().map(|(reading, _)| reading);
        for running in reading.chain(state.running.iter_mut().take(MOST)) {
            let line = running.line.get_or_insert_with(|| {
                let style = ProgressStyle::with_template("  {prefix}  {wide_msg}").expect("a template");
                let line = ProgressBar::no_length().with_style(style).with_prefix(short(&running.node));
                self.screen.add(line)
            });
            let told = running.meter.line(now);
            let time = || render::duration(now.duration_since(running.began));
            line.set_message(if told.is_empty() { time() } else { told });
            line.tick();
        }
        bar.tick();
    }
}

/// Shortens the name of a node to leave room for its progress: `train[rte,dpt,42]`, at most 40 characters.
fn short(node: &str) -> String {
    const MOST: usize = 40;
    let value = |part: &str| part.split_once('=').map_or(part, |(_, value)| value).to_owned();
    let name = match node.strip_suffix(']').and_then(|node| node.split_once('[')) {
        Some((stage, axes)) => format!("{stage}[{}]", axes.split(',').map(value).collect::<Vec<_>>().join(",")),
        None => node.to_owned(),
    };
    match name.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name,
    }
}

impl Sink for TtySink {
    fn hit(&self, _: &HitNode) {
        self.shared.state().over += 1;
    }

    fn event(&self, event: &Event) {
        let mut state = self.shared.state();
        let now = Instant::now();
        match event {
            Event::RunStarted { nodes, .. } => (state.nodes, state.began) = (*nodes, now),
            Event::NodeStarted { node, .. } => {
                state.running.retain(|running| running.node != *node);
                state.running.push(Running { node: node.clone(), began: now, meter: Meter::new(), line: None });
            }
            Event::NodeProgress { node, update } => {
                if let Some(running) = state.running.iter_mut().find(|running| running.node == *node) {
                    running.meter.take(update, now);
                }
            }
            Event::RunProgress { update } => {
                let new = || Running { node: "dpt".to_owned(), began: now, meter: Meter::new(), line: None };
                let (reading, told) = state.reading.get_or_insert_with(|| (new(), now));
                reading.meter.take(update, now);
                *told = now;
            }
            Event::NodeDone { node, .. } | Event::NodeFailed { node, .. } | Event::NodeRetry { node, .. } => {
                if let Some(at) = state.running.iter().position(|running| running.node == *node)
                    && let Some(line) = state.running.remove(at).line
                {
                    line.finish_and_clear();
                    self.shared.screen.remove(&line);
                }
            }
            _ => (),
        }
        if matches!(event, Event::NodeDone { .. } | Event::NodeFailed { .. } | Event::NodeSkipped { .. }) {
            state.over += 1;
        }
        let said = state.once.lines(event);
        drop(state);
        if let Some(lines) = said {
            self.shared.screen.suspend(|| render::err(&format!("{lines}\n")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_are_shortened() {
        assert_eq!(short("train[task=rte,method=dpt,seed=42]"), "train[rte,dpt,42]");
        assert_eq!(short("report"), "report");
        let long = short(&format!("make[word={}]", "ä".repeat(60)));
        assert!(long.starts_with("make[ää") && long.ends_with('…') && long.chars().count() == 41, "{long}");
    }
}
