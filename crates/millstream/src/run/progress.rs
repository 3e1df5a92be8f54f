//! What a person at a terminal sees: a bar for the replay, one for the filling batch, one for the training. When stderr is no
//! terminal the events are plain lines and there are no bars.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use millstream_base::status::{Snapshot, Status};

/// Bars are redrawn so often.
const DRAW_EVERY: Duration = Duration::from_millis(100);

pub struct Progress {
    bars: MultiProgress,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// `None` when stderr is no terminal.
    pub fn on_terminal() -> Option<MultiProgress> {
        std::io::stderr().is_terminal().then(MultiProgress::new)
    }

    pub fn start(bars: MultiProgress, status: Arc<Status>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, drawn) = (stop.clone(), bars.clone());
        let thread = std::thread::spawn(move || draw(&drawn, &status, &flag));
        Self { bars, stop, thread: Some(thread) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // A terminal that is gone has nothing to clear.
        let _ = self.bars.clear();
    }
}

fn draw(bars: &MultiProgress, status: &Status, stop: &AtomicBool) {
    let style =
        |template: &str| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let rows = "{prefix:<10} {bar:30} {human_pos}/{human_len} rows  {percent}%  {per_sec}  {eta} left";
    let replay = bars.add(ProgressBar::new(0).with_prefix("replay").with_style(style(rows)));
    let filling = bars.add(ProgressBar::new(0).with_style(style("{prefix:<10} {bar:30} {human_pos}/{human_len} rows")));
    let training =
        bars.add(ProgressBar::new_spinner().with_prefix("train").with_style(style("{prefix:<10} {spinner} {msg}")));
    while !stop.load(Ordering::Relaxed) {
        show(&status.snapshot(), &replay, &filling, &training);
        std::thread::sleep(DRAW_EVERY);
    }
}

fn show(now: &Snapshot, replay: &ProgressBar, filling: &ProgressBar, training: &ProgressBar) {
    if let Some(total) = now.source.rows_total {
        replay.set_length(total);
        replay.set_position(now.source.rows_sent);
    }
    if now.source.ended || matches!(now.state.as_str(), "done" | "failed" | "stopping") {
        replay.finish_and_clear();
        filling.finish_and_clear();
    } else if let Some(expected) = now.batch.rows_expected {
        filling.set_prefix(format!("batch {}", now.batch.batch));
        filling.set_length(expected);
        filling.set_position(now.batch.rows);
    }
    let names = now.training.iter().map(|training| {
        let progress = training.progress.as_ref().map_or_else(String::new, |progress| format!(" ({progress})"));
        format!("{} on {}{progress}", training.model, span(&training.batches))
    });
    let names: Vec<String> = names.collect();
    training.set_message(names.join(", "));
    training.tick();
}

/// `batch 3`, `batches 1–3`, `batches 1, 4`.
fn span(batches: &[u32]) -> String {
    match batches {
        [] => "nothing".to_owned(),
        [one] => format!("batch {one}"),
        [first, .., last] if *last as usize - *first as usize + 1 == batches.len() => format!("batches {first}–{last}"),
        several => format!("batches {}", several.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stay_until_the_source_has_ended() {
        let bars = [ProgressBar::hidden(), ProgressBar::hidden(), ProgressBar::hidden()];
        let mut now = Snapshot { state: "starting".to_owned(), ..Snapshot::default() };
        show(&now, &bars[0], &bars[1], &bars[2]);
        assert!(!bars[0].is_finished() && !bars[1].is_finished());
        now.source.ended = true;
        show(&now, &bars[0], &bars[1], &bars[2]);
        assert!(bars[0].is_finished() && bars[1].is_finished());
    }

    #[test]
    fn batches_are_named_shortly() {
        assert_eq!(span(&[3]), "batch 3");
        assert_eq!(span(&[1, 2, 3]), "batches 1–3");
        assert_eq!(span(&[1, 4]), "batches 1, 4");
    }
}
