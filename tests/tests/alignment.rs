//! A step of a control is heard at its sample plus the reported latency.

use std::path::PathBuf;

use timbra_tests::bundles;
use timbra_tests::host::{Change, Format, Host, Job, Setup};
use timbra_tests::measure::crossing;
use timbra_tests::voices::{self, Shows};

const RATE_HZ: usize = 48_000;
const BLOCKS: [usize; 5] = [1, 64, 333, 1024, 8192];
/// The first step, and the way to the next. Both lie differently to frames (480), control grid (64) and blocks each time.
const FIRST: usize = 24_011;
const APART: usize = 4_091;
const STEPS: usize = 16;

/// A control that goes to and fro, and what it does to a level.
struct Claim {
    key: &'static str,
    ends: [&'static str; 2],
    levels: [f32; 2],
    voice: PathBuf,
    /// Left and right cancel, so that wet is silent.
    opposite: bool,
    settings: &'static [(&'static str, &'static str)],
    /// How near a level must come to what it should be, as a share of the way.
    within: f32,
}

fn claims() -> [Claim; 7] {
    let folder = bundles::folder().join("../test-voices");
    let shows = |shows| voices::control_as_level(&folder, shows);
    let identity = voices::identity(&folder, "alignment-identity");
    let claim = |key, ends, levels, voice| Claim {
        key,
        ends,
        levels,
        voice,
        opposite: false,
        settings: &[],
        within: 0.02,
    };
    [
        claim("pitch", ["0", "+7"], [0.2, 0.2997], shows(Shows::F0)),
        claim(
            "mix_2",
            ["0 %", "100 %"],
            [0.0, 0.5],
            shows(Shows::SpeakerMix),
        ),
        claim(
            "cluster_ratio",
            ["0 %", "100 %"],
            [0.0, 0.5],
            shows(Shows::ClusterRatio),
        ),
        claim("auto_f0", ["Off", "On"], [0.0, 0.5], shows(Shows::AutoF0)),
        Claim {
            within: 0.05,
            ..claim(
                "noise_scale",
                ["0 %", "100 %"],
                [0.0, 0.5],
                shows(Shows::PriorNoise),
            )
        },
        Claim {
            opposite: true,
            ..claim("dry_wet", ["0 %", "100 %"], [0.5, 0.0], identity.clone())
        },
        Claim {
            opposite: true,
            settings: &[("dry_wet", "0 %")],
            ..claim("output_gain", ["0 dB", "-6.02 dB"], [0.5, 0.25], identity)
        },
    ]
}

/// 200 Hz and a few harmonics: its mean over a frame is zero.
fn tone(total: usize) -> Vec<f32> {
    let sample = |n: usize| -> f32 {
        let phase = (n * 200 % RATE_HZ) as f32 / RATE_HZ as f32;
        (1..=8)
            .map(|h| (std::f32::consts::TAU * phase * h as f32).sin() / h as f32)
            .sum()
    };
    (0..total).map(|n| 0.2 * sample(n)).collect()
}

/// By how many milliseconds each step is heard too late.
fn errors_ms(host: &mut dyn Host, claim: &Claim, block: usize) -> Vec<f64> {
    for (key, text) in claim.settings.iter().chain([&(claim.key, claim.ends[0])]) {
        host.set_text(key, text).expect("set");
    }
    host.activate(Setup::offline(RATE_HZ as u32, block))
        .expect("activate");
    let latency = host.latency_samples();
    let id = host.find(claim.key).expect(claim.key).id;
    let values = claim.ends.map(|text| host.value_of(id, text).expect(text));
    let changes: Vec<Change> = (0..STEPS)
        .map(|step| Change {
            at_samples: FIRST + step * APART,
            id,
            value: values[(step + 1) % 2],
        })
        .collect();
    let total = FIRST + STEPS * APART + latency;
    let input = if claim.opposite {
        vec![vec![0.5; total], vec![-0.5; total]]
    } else {
        vec![tone(total); 2]
    };
    let blocks = [block];
    let job = Job {
        changes: &changes,
        ..Job::new(&input, &blocks)
    };
    let output = host.render(&job).expect("render").swap_remove(0);
    host.deactivate();
    // Half way on the scale that is heard: semitones for F0.
    let [low, high] = claim.levels;
    let half = if claim.key == "pitch" {
        (low * high).sqrt()
    } else {
        (low + high) / 2.0
    };
    let margin = APART / 2;
    changes
        .iter()
        .enumerate()
        .map(|(step, change)| {
            let due = change.at_samples + latency;
            let around = &output[due - margin..due + margin];
            let case = format!("{} of {} samples, step {step}", claim.key, block);
            for (sample, end) in [(around[0], step), (around[2 * margin - 1], step + 1)] {
                let level = claim.levels[end % 2];
                assert!(
                    (sample - level).abs() < claim.within * (high - low).abs(),
                    "{case}: {sample}, not {level}"
                );
            }
            let at = crossing(around, half).unwrap_or_else(|| panic!("{case}: no step"));
            (at - margin as f64) * 1e3 / RATE_HZ as f64
        })
        .collect()
}

fn check(format: Format) {
    for claim in claims() {
        for block in BLOCKS {
            let mut host = bundles::open_with_voice(format, &claim.voice);
            let errors = errors_ms(host.as_mut(), &claim, block);
            let (low, high) = errors.iter().fold((f64::MAX, f64::MIN), |(low, high), &e| {
                (low.min(e), high.max(e))
            });
            let case = format!(
                "{} in {} with blocks of {block}: {low:+.2} to {high:+.2} ms",
                claim.key,
                format.name()
            );
            println!("{case}");
            assert!(low >= -1.0 && high <= 1.0, "{case}");
        }
    }
}

#[test]
fn a_step_of_any_control_is_heard_within_1_ms_of_its_sample_plus_latency_in_clap() {
    check(Format::Clap);
}

#[test]
fn a_step_of_any_control_is_heard_within_1_ms_of_its_sample_plus_latency_in_vst3() {
    check(Format::Vst3);
}
