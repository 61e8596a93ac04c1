//! A MIDI key is sung at its sample plus the reported latency.

use timbra_tests::bundles;
use timbra_tests::host::{Change, FORMATS, Format, Job, Note, Setup};
use timbra_tests::measure::crossing;
use timbra_tests::voices::{self, Shows};

const RATE_HZ: usize = 48_000;
const BLOCKS: [usize; 5] = [1, 64, 333, 1024, 8192];
const SUNG_HZ: usize = 200;
/// The first key, and the way to the next. Both lie differently to frames (480) and blocks each time.
const FIRST: usize = 24_011;
const APART: usize = 4_091;
/// Keys that go down or up in turn, and the key that is sung from there on: the one pressed last of those that are down.
const TURN: [(u8, bool, Option<u8>); 4] = [
    (64, true, Some(64)),
    (52, true, Some(52)),
    (52, false, Some(64)),
    (64, false, None),
];
const STEPS: usize = 16;

fn hz(key: Option<u8>) -> f32 {
    key.map_or(SUNG_HZ as f32, |key| {
        440.0 * ((f32::from(key) - 69.0) / 12.0).exp2()
    })
}

/// A few harmonics of [`SUNG_HZ`].
fn tone(total: usize) -> Vec<f32> {
    let sample = |n: usize| -> f32 {
        let phase = (n * SUNG_HZ % RATE_HZ) as f32 / RATE_HZ as f32;
        (1..=8)
            .map(|h| (std::f32::consts::TAU * phase * h as f32).sin() / h as f32)
            .sum()
    };
    (0..total).map(|n| 0.2 * sample(n)).collect()
}

/// By how many milliseconds each key is sung too late.
fn errors_ms(format: Format, block: usize) -> Vec<f64> {
    let folder = bundles::folder().join("../test-voices");
    let voice = voices::control_as_level(&folder, Shows::F0);
    let mut host = bundles::open_with_voice(format, &voice);
    host.set_text("retune_mode", "MIDI").expect("set");
    host.set_text("retune_speed", "0 ms").expect("set");
    host.activate(Setup::offline(RATE_HZ as u32, block))
        .expect("activate");
    let latency = host.latency_samples();
    let notes: Vec<Note> = (0..STEPS)
        .map(|step| Note {
            at_samples: FIRST + step * APART,
            key: TURN[step % 4].0,
            on: TURN[step % 4].1,
        })
        .collect();
    // The framework cuts blocks at these, with a key, after it, and before the next.
    let id = host.find("formant").expect("formant").id;
    let values = ["0", "+1"].map(|text| host.value_of(id, text).expect(text));
    let changes: Vec<Change> = notes
        .iter()
        .enumerate()
        .map(|(step, note)| Change {
            at_samples: note.at_samples + step % 3 * 200,
            id,
            value: values[step % 2],
        })
        .collect();
    let total = FIRST + STEPS * APART + latency;
    let input = vec![tone(total); 2];
    let blocks = [block];
    let job = Job {
        changes: &changes,
        notes: &notes,
        ..Job::new(&input, &blocks)
    };
    let output = host.render(&job).expect("render").swap_remove(0);
    let margin = APART / 2;
    notes
        .iter()
        .enumerate()
        .map(|(step, note)| {
            let before = step.checked_sub(1).and_then(|before| TURN[before % 4].2);
            let levels = [before, TURN[step % 4].2].map(|key| hz(key) / 1000.0);
            let due = note.at_samples + latency;
            let around = &output[due - margin..due + margin];
            let case = format!(
                "{}, blocks of {block}, step {step}: {note:?}",
                format.name()
            );
            for (sample, level) in [around[0], around[2 * margin - 1]].iter().zip(levels) {
                let cents = 1200.0 * (sample / level).log2();
                assert!(cents.abs() < 5.0, "{case}: {cents} cents off {level} kHz");
            }
            let half = (levels[0] * levels[1]).sqrt();
            let at = crossing(around, half).unwrap_or_else(|| panic!("{case}: no step"));
            (at - margin as f64) * 1e3 / RATE_HZ as f64
        })
        .collect()
}

fn check(format: Format) {
    for block in BLOCKS {
        let errors = errors_ms(format, block);
        let (low, high) = errors.iter().fold((f64::MAX, f64::MIN), |(low, high), &e| {
            (low.min(e), high.max(e))
        });
        let case = format!(
            "keys in {} with blocks of {block}: {low:+.2} to {high:+.2} ms",
            format.name()
        );
        println!("{case}");
        assert!(low >= -1.0 && high <= 1.0, "{case}");
    }
}

#[test]
fn a_key_is_sung_within_1_ms_of_its_sample_plus_latency_in_clap() {
    check(Format::Clap);
}

#[test]
fn a_key_is_sung_within_1_ms_of_its_sample_plus_latency_in_vst3() {
    check(Format::Vst3);
}

#[test]
fn keys_are_not_heard_unless_retuning_listens_to_them() {
    let voice = voices::control_as_level(&bundles::folder().join("../test-voices"), Shows::F0);
    let input = vec![tone(RATE_HZ); 2];
    let notes: Vec<Note> = (0..20)
        .map(|n| Note {
            at_samples: n * 2_003,
            key: 40 + n as u8,
            on: n % 3 != 2,
        })
        .collect();
    for format in FORMATS {
        for mode in ["Off", "Scale"] {
            let render = |notes: &[Note]| {
                let mut host = bundles::open_with_voice(format, &voice);
                host.set_text("retune_mode", mode).expect("set");
                host.activate(Setup::offline(RATE_HZ as u32, 512))
                    .expect("activate");
                let job = Job {
                    notes,
                    ..Job::new(&input, &[512])
                };
                host.render(&job).expect("render").swap_remove(0)
            };
            assert!(
                render(&notes) == render(&[]),
                "{}: {mode} hears keys",
                format.name()
            );
        }
    }
}
