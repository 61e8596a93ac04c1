//! A ramp of automation is heard as a ramp, though hosts hand it over in points.

use timbra_tests::bundles;
use timbra_tests::host::{Change, FORMATS, Host, Job, Setup};
use timbra_tests::measure::{rms, splatter_db};
use timbra_tests::voices::{self, Shows};

const RATE_HZ: usize = 48_000;
/// Distances of a host's points, and so its blocks: 333 and 1000 lie on no grid of ours.
const BLOCKS: [usize; 4] = [64, 333, 512, 1000];
const FROM: usize = 24_000;
const TO: usize = 72_000;
const TONE_HZ: f32 = 1_000.0;

/// A point at the beginning of every block, as hosts send them: `text_at(0)` before the ramp, `text_at(1)` after it.
fn points(
    host: &mut dyn Host,
    key: &str,
    block: usize,
    text_at: impl Fn(f64) -> String,
) -> Vec<Change> {
    let id = host.find(key).expect(key).id;
    (0..TO + block)
        .step_by(block)
        .map(|at_samples| Change {
            at_samples,
            id,
            value: host
                .value_of(id, &text_at(way(at_samples as f64)))
                .expect("value"),
        })
        .collect()
}

/// How far the ramp is at a sample, 0..1.
fn way(n: f64) -> f64 {
    ((n - FROM as f64) / (TO - FROM) as f64).clamp(0.0, 1.0)
}

fn render(host: &mut dyn Host, input: &[Vec<f32>], block: usize, changes: &[Change]) -> Vec<f32> {
    let blocks = [block];
    let job = Job {
        changes,
        ..Job::new(input, &blocks)
    };
    host.render(&job).expect("render").swap_remove(0)
}

fn tone(total: usize, sign: f32) -> Vec<f32> {
    let step = std::f64::consts::TAU * f64::from(TONE_HZ) / RATE_HZ as f64;
    (0..total)
        .map(|n| sign * 0.5 * (n as f64 * step).sin() as f32)
        .collect()
}

#[test]
fn a_ramp_of_gain_or_dry_wet_splatters_no_more_than_an_ideal_one() {
    let voice = voices::identity(&bundles::folder().join("../test-voices"), "ramps-identity");
    type Ramp = (&'static str, fn(f64) -> String, fn(f64) -> f64);
    let ramps: [Ramp; 2] = [
        (
            "output_gain",
            |way| format!("{} dB", 24.0 * way - 24.0),
            |way| 10f64.powf((24.0 * way - 24.0) / 20.0),
        ),
        // Left and right cancel, so that wet is silent.
        (
            "dry_wet",
            |way| format!("{} %", 90.0 * way),
            |way| 1.0 - 0.9 * way,
        ),
    ];
    for (key, text_at, gain_at) in ramps {
        for format in FORMATS {
            for block in BLOCKS {
                let mut host = bundles::open_with_voice(format, &voice);
                if key == "output_gain" {
                    host.set_text("dry_wet", "0 %").expect("set");
                }
                host.activate(Setup::offline(RATE_HZ as u32, 1024))
                    .expect("activate");
                let latency = host.latency_samples();
                let total = TO + latency;
                let input = [tone(total, 1.0), tone(total, -1.0)];
                let changes = points(host.as_mut(), key, block, text_at);
                let output = render(host.as_mut(), &input, block, &changes);
                // Away from the ends of the ramp, whose corners every ramp has.
                let inside = FROM + 2 * 1024..TO - 2 * 1024;
                let ideal: Vec<f32> = inside
                    .clone()
                    .map(|n| input[0][n] * gain_at(way(n as f64)) as f32)
                    .collect();
                let heard = &output[inside.start + latency..inside.end + latency];
                let difference: Vec<f32> = heard.iter().zip(&ideal).map(|(a, b)| a - b).collect();
                let off_db = 20.0 * (rms(&difference) / rms(&ideal)).log10();
                let splatter = splatter_db(heard, RATE_HZ as f32, TONE_HZ, 50.0);
                let reference = splatter_db(&ideal, RATE_HZ as f32, TONE_HZ, 50.0);
                let case = format!(
                    "{key} in {}, a point every {block}: {off_db:.0} dB off the ideal, splatter {splatter:.0} dB, \
                     of the ideal {reference:.0} dB",
                    format.name()
                );
                println!("{case}");
                assert!(off_db <= -60.0, "{case}");
                assert!(splatter <= -60.0, "{case}");
            }
        }
    }
}

#[test]
fn a_ramp_of_pitch_or_mix_has_no_stairs() {
    let folder = bundles::folder().join("../test-voices");
    type Ramp = (&'static str, Shows, fn(f64) -> String, fn(f32) -> f32);
    let ramps: [Ramp; 2] = [
        (
            "pitch",
            Shows::F0,
            |way| format!("{:.4} st", 12.0 * way),
            |khz| (khz / 0.2).log2(),
        ),
        (
            "mix_2",
            Shows::SpeakerMix,
            |way| format!("{:.4} %", 100.0 * way),
            |weight| weight,
        ),
    ];
    for (key, shows, text_at, heard_as) in ramps {
        let voice = voices::control_as_level(&folder, shows);
        for format in FORMATS {
            for block in BLOCKS {
                let mut host = bundles::open_with_voice(format, &voice);
                host.activate(Setup::offline(RATE_HZ as u32, 1024))
                    .expect("activate");
                let latency = host.latency_samples();
                let mut song = vec![0.0; TO + latency];
                for (n, sample) in song.iter_mut().enumerate() {
                    let phase = (n * 200 % RATE_HZ) as f32 / RATE_HZ as f32;
                    *sample = (1..=8)
                        .map(|h| 0.2 * (std::f32::consts::TAU * phase * h as f32).sin() / h as f32)
                        .sum();
                }
                let mut changes = points(host.as_mut(), key, block, text_at);
                if key == "mix_2" {
                    // The other speaker leaves as this one comes.
                    let other = |way| text_at(1.0 - way);
                    changes.extend(points(host.as_mut(), "mix_1", block, other));
                    changes.sort_by_key(|change| change.at_samples);
                }
                let output = render(host.as_mut(), &[song.clone(), song], block, &changes);
                // A value holds until the next point, so half a block is how late the stairs themselves are.
                let late = latency as f64 + block as f64 / 2.0;
                let worst = (FROM + 3072..TO - 3072)
                    .map(|n| {
                        f64::from(heard_as(output[n + latency])) - way((n + latency) as f64 - late)
                    })
                    .fold(0.0f64, |worst, off| worst.max(off.abs()));
                let stairs = block as f64 / (TO - FROM) as f64;
                let case = format!(
                    "{key} in {}, a point every {block}: {:.3} % of the ramp off, a stair is {:.3} %",
                    format.name(),
                    100.0 * worst,
                    100.0 * stairs
                );
                println!("{case}");
                assert!(worst <= 1e-3, "{case}");
            }
        }
    }
}
