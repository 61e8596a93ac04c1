//! Progress of work on audio: how far, how fast against real time, how long still.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Without a terminal a line goes to the log this often.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// A bar counted in seconds of audio; may be shared between threads.
#[derive(Debug)]
pub struct AudioProgress {
    bar: ProgressBar,
    what: String,
    total_s: f64,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    done_s: f64,
    logged: Instant,
}

impl AudioProgress {
    /// Starts a bar over `total_s` seconds of audio; `what` is the verb shown.
    #[must_use]
    pub fn new(what: &str, total_s: f64) -> Self {
        let bar = ProgressBar::new(milliseconds(total_s));
        let style = ProgressStyle::with_template(
            "{prefix} {bar:32} {percent:>3} %  {elapsed_precise}, {eta} left, {msg}",
        );
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.set_prefix(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(250));
        Self {
            bar,
            what: what.to_owned(),
            total_s,
            started: Instant::now(),
            state: Mutex::new(State {
                done_s: 0.0,
                logged: Instant::now(),
            }),
        }
    }

    /// Counts further seconds of audio as done; `now` names what is worked on.
    pub fn add(&self, audio_s: f64, now: &str) {
        // A panic of another thread leaves two numbers behind, both still usable.
        let mut state = match self.state.lock() {
            Ok(state) => state,
            Err(poisoned) => poisoned.into_inner(),
        };
        state.done_s += audio_s;
        let speed = state.done_s / self.started.elapsed().as_secs_f64().max(1e-3);
        self.bar.set_position(milliseconds(state.done_s));
        self.bar
            .set_message(format!("{speed:.1} × real time  {now}"));
        if self.bar.is_hidden() && state.logged.elapsed() > LOG_EVERY {
            state.logged = Instant::now();
            let left_s = (self.total_s - state.done_s).max(0.0) / speed.max(1e-6);
            tracing::info!(
                "{}: {:.0} of {:.0} s of audio, {speed:.1} × real time, {left_s:.0} s left",
                self.what,
                state.done_s,
                self.total_s
            );
        }
    }

    /// Prints a line above the bar, or plainly where there is none.
    pub fn say(&self, line: &str) {
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    /// Removes the bar; returns seconds of audio per second of time.
    pub fn finish(&self) -> f64 {
        self.bar.finish_and_clear();
        let done_s = match self.state.lock() {
            Ok(state) => state.done_s,
            Err(poisoned) => poisoned.into_inner().done_s,
        };
        done_s / self.started.elapsed().as_secs_f64().max(1e-3)
    }
}

fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1e3).max(0.0) as u64
}
