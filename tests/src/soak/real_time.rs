//! The audio thread in true real time.

use std::time::Duration;

use super::Row;
use crate::bundles;
use crate::host::{Calls, Format, Job, Mode, Pace, Setup};
use crate::singer;

const RATE_HZ: u32 = 48_000;
const BLOCK: usize = 256;

/// Plays the shipped voice for `seconds` in blocks of 256 at 48 kHz and times every call.
///
/// # Panics
/// When the plugin cannot be loaded or refuses to play.
#[must_use]
pub fn real_time(seconds: f64) -> Vec<Row> {
    let mut host = bundles::open(Format::Clap);
    host.activate(Setup::offline(RATE_HZ, BLOCK).mode(Mode::Realtime))
        .expect("activate");
    host.idle(Duration::from_millis(300)).expect("idle");
    let song = singer::sing(RATE_HZ);
    let total = (seconds * f64::from(RATE_HZ)) as usize;
    let channel: Vec<f32> = song.iter().copied().cycle().take(total).collect();
    let input = vec![channel; 2];
    let calls = Calls::default();
    let job = Job {
        pace: Pace::RealTime,
        calls: Some(&calls),
        ..Job::new(&input, &[BLOCK])
    };
    host.render(&job).expect("render");
    let calls = calls.take();
    let period_ms = BLOCK as f64 * 1e3 / f64::from(RATE_HZ);
    let mut took_ms: Vec<f64> = calls
        .iter()
        .map(|call| call.took.as_secs_f64() * 1e3)
        .collect();
    took_ms.sort_by(f64::total_cmp);
    let at = |share: f64| took_ms[((took_ms.len() - 1) as f64 * share).round() as usize];
    let waits: u64 = calls.iter().map(|call| call.waits).sum();
    vec![
        Row::new(
            format!(
                "real time, {} calls of {BLOCK} samples: waits inside",
                calls.len()
            ),
            waits.to_string(),
            "0",
            waits == 0,
        ),
        Row::new(
            "time in a call: median, p99, p99.99, longest",
            format!(
                "{:.3}, {:.3}, {:.3}, {:.3} ms",
                at(0.5),
                at(0.99),
                at(0.9999),
                at(1.0)
            ),
            format!(
                "median below a tenth of the block ({:.3} ms)",
                period_ms / 10.0
            ),
            at(0.5) < period_ms / 10.0,
        ),
    ]
}
