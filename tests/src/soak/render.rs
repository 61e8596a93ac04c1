//! Rendering faster than real time with a voice that is slower than real time.

use std::time::Instant;

use super::{EXACT_RATE_HZ, Row, align, ready, song, test_voices};
use crate::host::{FORMATS, Job, Mode};
use crate::voices;

/// Renders `seconds` of audio through a voice with a load of 3, in both formats, in hosts that say "real time" and in
/// hosts that say "offline". No sample may be missing.
///
/// # Panics
/// When the plugin cannot be loaded or refuses to play.
#[must_use]
pub fn rendering_with_a_slow_voice(seconds: f64) -> Vec<Row> {
    let voice = voices::slow(&test_voices(), "soak-load-3", 30.0);
    let mut rows = Vec::new();
    for format in FORMATS {
        for mode in [Mode::Realtime, Mode::Offline] {
            let block = 512;
            let mut host = ready(format, &voice, block, mode, "Live");
            let latency = host.latency_samples();
            let input = vec![song((seconds * f64::from(EXACT_RATE_HZ)) as usize)];
            let began = Instant::now();
            let output = host.render(&Job::new(&input, &[block])).expect("render");
            let load = began.elapsed().as_secs_f64() / seconds;
            let found = align(&output[0], &input[0], latency);
            let missing = output[0].len() - latency - found.right;
            let says = if mode == Mode::Offline {
                "offline"
            } else {
                "real time"
            };
            rows.push(Row::new(
                format!(
                    "{} says {says}, {seconds:.0} s through a voice of load 3: samples missing",
                    format.name()
                ),
                format!("{missing} (took {load:.1} times real time)"),
                "0, and a load above 1.5",
                missing == 0 && load > 1.5,
            ));
        }
    }
    rows
}
