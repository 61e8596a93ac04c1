//! Jumps, loops and bypass while something loud is playing.

use std::path::{Path, PathBuf};

use timbra_tests::host::{Change, FORMATS, Format, Host, Job, Mode, Setup};
use timbra_tests::measure::{first_difference, rms, steepest};
use timbra_tests::{bundles, singer, voices};

const RATE_HZ: usize = 48_000;
const BLOCK: usize = 512;
/// What was heard goes to zero, and what comes comes from there, in 2 ms.
const JUMP_FADE: f32 = 0.002 * RATE_HZ as f32;
/// The bypass comes and goes in 5 ms.
const BYPASS_FADE: f32 = 0.005 * RATE_HZ as f32;
const AMPLITUDE: f32 = 0.5;
const TONE_HZ: f32 = 220.0;
/// The tone's own steepest step.
const SLOPE: f32 = AMPLITUDE * std::f32::consts::TAU * TONE_HZ / RATE_HZ as f32;

/// A tone that begins `phase` cycles after a zero.
fn tone(total: usize, phase: f32) -> Vec<f32> {
    (0..total)
        .map(|n| {
            let cycles = (n as f64 * f64::from(TONE_HZ) / RATE_HZ as f64).fract() as f32;
            AMPLITUDE * (std::f32::consts::TAU * (cycles + phase)).sin()
        })
        .collect()
}

fn identity() -> PathBuf {
    voices::identity(&bundles::folder().join("../test-voices"), "clicks-identity")
}

/// Plays in "real time", which is when a jump must not click; `None` is the shipped voice.
fn live(format: Format, voice: Option<&Path>, dry_wet: &str) -> Box<dyn Host> {
    let mut host = voice.map_or_else(
        || bundles::open(format),
        |voice| bundles::open_with_voice(format, voice),
    );
    host.set_text("dry_wet", dry_wet).expect("set");
    let setup = Setup::offline(RATE_HZ as u32, BLOCK).mode(Mode::Realtime);
    host.activate(setup).expect("activate");
    host
}

fn play(host: &mut dyn Host, input: &[f32]) -> Vec<f32> {
    let input = vec![input.to_vec(); 2];
    host.render(&Job::new(&input, &[BLOCK]))
        .expect("render")
        .swap_remove(0)
}

#[test]
fn a_jump_with_a_reset_never_clicks() {
    // The next part begins on its loudest sample.
    let (before, after) = (tone(24_000, 0.0), tone(24_000, 0.25));
    let identity = identity();
    for format in FORMATS {
        for dry_wet in ["0 %", "50 %", "100 %"] {
            let mut host = live(format, Some(&identity), dry_wet);
            for jump in 0..4 {
                // Each time something else was heard last.
                let mut heard = play(host.as_mut(), &before[..20_000 + 37 * jump]);
                assert!(rms(&heard[12_000..]) > 0.3, "nothing to jump away from");
                heard.drain(..12_000);
                host.reset().expect("reset");
                heard.extend(play(host.as_mut(), &after));
                let step = steepest(&heard);
                let most = 1.2 * (SLOPE + AMPLITUDE / JUMP_FADE);
                let case = format!(
                    "{} at {dry_wet}, jump {jump}: {step:.4}, bound {most:.4}",
                    format.name()
                );
                println!("{case}");
                assert!(step <= most, "{case}");
                host.reset().expect("reset");
            }
        }
    }
}

#[test]
fn a_loop_without_a_reset_adds_nothing_to_the_step_of_the_input() {
    // Hosts that loop without telling hand over a signal with a step in it.
    let (before, after) = (tone(24_000, 0.0), tone(24_000, 0.25));
    let song = [&before[..], &after, &before, &after].concat();
    let own = steepest(&song);
    let identity = identity();
    for format in FORMATS {
        for (dry_wet, share) in [("0 %", 1.0), ("100 %", 1.1)] {
            let mut host = live(format, Some(&identity), dry_wet);
            let step = steepest(&play(host.as_mut(), &song)[12_000..]);
            let case = format!(
                "{} at {dry_wet}: {step:.4}, the input's {own:.4}",
                format.name()
            );
            println!("{case}");
            assert!(step <= share * own, "{case}");
        }
    }
}

#[test]
fn the_shipped_voice_does_not_click_at_jumps_and_loops() {
    let song = singer::sing(RATE_HZ as u32);
    // From the middle of one held note into another.
    let (before, after) = (&song[130_000..154_000], &song[230_000..254_000]);
    for format in FORMATS {
        for reset in [true, false] {
            let mut host = live(format, None, "100 %");
            let steady = steepest(&play(host.as_mut(), &song[110_000..270_000])[12_000..]);
            host.reset().expect("reset");
            let mut heard = play(host.as_mut(), before);
            assert!(rms(&heard[12_000..]) > 0.01, "nothing to jump away from");
            for part in [after, before, after] {
                if reset {
                    host.reset().expect("reset");
                }
                heard.extend(play(host.as_mut(), part));
            }
            let step = steepest(&heard[12_000..]);
            let case = format!(
                "{}, reset {reset}: {step:.4}, in the steady song {steady:.4}",
                format.name()
            );
            println!("{case}");
            assert!(step <= 1.2 * steady, "{case}");
        }
    }
}

#[test]
fn bypass_comes_and_goes_without_a_click_and_is_the_aligned_input() {
    let song = singer::sing(RATE_HZ as u32)[..4 * RATE_HZ].to_vec();
    let (on, off) = (60_011, 120_037);
    for format in FORMATS {
        let play = |toggle: bool| {
            let mut host = bundles::open(format);
            host.set_text("output_gain", "+3 dB").expect("set");
            host.activate(Setup::offline(RATE_HZ as u32, BLOCK))
                .expect("activate");
            let bypass = host
                .parameters()
                .iter()
                .find(|p| p.bypass)
                .expect("a bypass")
                .id;
            let changes = [(on, 1.0), (off, 0.0)].map(|(at_samples, value)| Change {
                at_samples,
                id: bypass,
                value,
            });
            let input = vec![song.clone(), song.iter().map(|s| -0.5 * s).collect()];
            let job = Job {
                changes: if toggle { &changes } else { &[] },
                ..Job::new(&input, &[BLOCK])
            };
            let latency = host.latency_samples();
            (host.render(&job).expect("render"), input, latency)
        };
        let (plain, ..) = play(false);
        let (heard, input, latency) = play(true);
        let fade = BYPASS_FADE as usize + 1;
        for ((heard, plain), input) in heard.iter().zip(&plain).zip(&input) {
            let (start, end) = (on + latency, off + latency);
            let same = |a: &[f32], b: &[f32]| first_difference(a, b, 0.0);
            let case = format.name();
            assert_eq!(
                same(&heard[..start], &plain[..start]),
                None,
                "{case}: before the bypass"
            );
            assert_eq!(
                same(&heard[start + fade..end], &input[on + fade..off]),
                None,
                "{case}: not the delayed input"
            );
            assert_eq!(
                same(&heard[end + fade..], &plain[end + fade..]),
                None,
                "{case}: after it"
            );
            for from in [start, end] {
                let around = from - 2..from + fade + 2;
                let dry = &input[around.start - latency..around.end - latency];
                let wet = &plain[around.clone()];
                let gap = wet
                    .iter()
                    .zip(dry)
                    .map(|(w, d)| (w - d).abs())
                    .fold(0.0, f32::max);
                let most = steepest(wet).max(steepest(dry)) + 1.01 * gap / BYPASS_FADE;
                let step = steepest(&heard[around]);
                println!("{case}: {step:.4}, bound {most:.4}");
                assert!(step <= most, "{case}: a step of {step}, bound {most}");
            }
        }
    }
}
