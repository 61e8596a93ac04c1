//! Stress that can take minutes or hours: each section plays, disturbs, measures, and says whether what must hold held.
//!
//! `cargo xtask soak` runs them all and prints the table; the claims in `tests/soak.rs` run them for seconds.

mod instances;
mod overload;
mod real_time;
mod render;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use instances::{churn, crowd_in_real_time, many_instances};
pub use overload::{crashes, slow_voice_in_real_time, stalls};
pub use real_time::real_time;
pub use render::rendering_with_a_slow_voice;

use crate::bundles;
use crate::host::{Format, Host, Mode, Setup};
use crate::state::State;

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// What came out.
    pub measured: String,
    /// What it must be.
    pub bound: String,
    /// Whether it is.
    pub holds: bool,
}

impl Row {
    fn new(
        what: impl Into<String>,
        measured: String,
        bound: impl Into<String>,
        holds: bool,
    ) -> Self {
        Self {
            what: what.into(),
            measured,
            bound: bound.into(),
            holds,
        }
    }
}

/// Longest a voice may take to load on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Rate at which the identity voice is transparent to the bit: that of its content.
const EXACT_RATE_HZ: u32 = 16_000;

fn test_voices() -> PathBuf {
    bundles::folder().join("../test-voices")
}

/// An instance with a voice at [`EXACT_RATE_HZ`] in mono, ready to play.
fn ready(
    format: Format,
    voice: &std::path::Path,
    block: usize,
    mode: Mode,
    tier: &str,
) -> Box<dyn Host> {
    let mut host = bundles::open_with_voice(format, voice);
    host.set_text("tier", tier).expect("tier");
    host.activate(Setup::offline(EXACT_RATE_HZ, block).mono().mode(mode))
        .expect("activate");
    // What would be saved has the hash of the wanted voice once it is loaded.
    let began = Instant::now();
    let loaded = |host: &mut dyn Host| {
        let saved = State::parse(&host.save().expect("save")).expect("ours");
        let voice: serde_json::Value = saved.field("voice").expect("voice");
        voice["sha256"].as_str().map(str::len) == Some(64)
    };
    host.idle(Duration::from_millis(100)).expect("idle");
    while !loaded(host.as_mut()) {
        assert!(began.elapsed() < PATIENCE, "the voice was not loaded");
        host.idle(Duration::from_millis(50)).expect("idle");
    }
    host
}

/// Something like a voice, never silent and nowhere like itself.
fn song(samples: usize) -> Vec<f32> {
    (0..samples)
        .map(|n| {
            let time_s = n as f32 / EXACT_RATE_HZ as f32;
            let hum = (time_s * 220.0 * std::f32::consts::TAU).sin();
            0.2 * hum + 0.1 * timbra_dsp::noise::uniform(5, n as u64)
        })
        .collect()
}

/// How an output that should be the input, later by the latency, compares with it.
#[derive(Debug, Default)]
struct Alignment {
    /// Samples that are the input's, to the bit, on time.
    right: usize,
    /// Samples of silence in their place.
    filled: usize,
    /// Longest run of anything else: more than a fade would be sound at the wrong time.
    longest_other: usize,
    /// Positions at which right sound begins again after something else.
    returns: Vec<usize>,
}

fn align(output: &[f32], input: &[f32], latency: usize) -> Alignment {
    let mut found = Alignment::default();
    let mut other = 0;
    let mut run_of_right = 0;
    for at in latency..output.len() {
        if output[at] == input[at - latency] {
            found.right += 1;
            run_of_right += 1;
            // A fade crosses the right value now and then; sound that is back stays.
            if run_of_right == 32 {
                found.returns.push(at - 31);
                other = 0;
            }
            continue;
        }
        if run_of_right >= 32 || output[at] == 0.0 {
            other = 0;
        }
        run_of_right = 0;
        if output[at] == 0.0 {
            found.filled += 1;
        } else {
            other += 1;
            found.longest_other = found.longest_other.max(other);
        }
    }
    found
}

/// Longest fade around a gap: a hop that is faded in, the mixer's own 5 ms, the release of what was heard last.
const LONGEST_FADE_SAMPLES: usize = EXACT_RATE_HZ as usize * 20 / 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_by_one_sample_is_seen() {
        let input = song(4000);
        let mut output = vec![0.0; 100];
        output.extend(&input[..3900]);
        let exact = align(&output, &input, 100);
        assert_eq!(
            (exact.right, exact.longest_other, exact.returns.len()),
            (3900, 0, 1)
        );
        let shifted = align(&output, &input, 101);
        assert!(shifted.longest_other > 3000, "{shifted:?}");
        output[1000..2000].fill(0.0);
        let gap = align(&output, &input, 100);
        assert_eq!((gap.filled, gap.longest_other), (1000, 0));
        assert_eq!(gap.returns, [100, 2000]);
    }
}
