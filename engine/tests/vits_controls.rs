//! Claims about the controls that voices of family `vits` have: auto-F0, noise scale, and those of F0 and level that
//! every voice has and that such a voice's long lag must not spoil.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use support::shown::{NOISE_SCALE, Shown, Shows, late_ms};
use timbra_engine::offline::Joined;
use timbra_engine::{Controls, LoadedVoice, StreamConfig, Tier};

const RATE_HZ: usize = 16_000;
const STEPS: [(usize, usize); 3] = [(1, 1), (4, 2), (16, 30)];

fn joined(voice: &Arc<LoadedVoice>) -> Joined {
    let config = StreamConfig {
        host_rate_hz: RATE_HZ as u32,
        max_block_samples: 256,
        channels: 1,
        tier: Tier::Studio,
    };
    Joined::new(voice, config).unwrap()
}

/// The output with the latency taken off, for controls that hold until the next.
fn play(voice: &Arc<LoadedVoice>, input: &[f32], controls: &[(usize, Controls)]) -> Vec<f32> {
    let mut joined = joined(voice);
    let latency = joined.port.latency_samples() as usize;
    let mut output = input.to_vec();
    output.resize(input.len() + latency, 0.0);
    let mut place = 0;
    while place < output.len() {
        let now = controls.iter().rposition(|c| c.0 <= place).unwrap();
        let until = controls.get(now + 1).map_or(usize::MAX, |next| next.0);
        let end = (place + 256).min(until).min(output.len());
        joined
            .process(&mut [&mut output[place..end]], &controls[now].1)
            .unwrap();
        place = end;
    }
    assert_eq!(joined.status().gaps, 0);
    output.split_off(latency)
}

fn shown(shows: Shows) -> Shown {
    Shown {
        shows,
        encoder_lookahead_frames: 3,
        frame_samples: 160,
        step: (4, 2),
        encoder_step: None,
        follows: false,
    }
}

fn set(change: impl Fn(&mut Controls)) -> Controls {
    let mut controls = Controls::default();
    change(&mut controls);
    controls
}

fn rms(samples: &[f32]) -> f32 {
    (samples.iter().map(|s| s * s).sum::<f32>() / samples.len() as f32).sqrt()
}

#[test]
fn a_step_of_auto_f0_or_noise_scale_is_heard_at_its_sample() {
    if !support::runtime_is_there() {
        return;
    }
    let input = support::song(RATE_HZ as u32, 2.5);
    for (shows, low, high, levels, within) in [
        (
            Shows::AutoF0,
            set(|_| {}),
            set(|c| c.auto_f0 = 1.0),
            [0.0, 1.0],
            1e-4,
        ),
        (
            Shows::PriorNoise,
            set(|c| c.noise_scale = 0.5),
            set(|c| c.noise_scale = 2.0),
            [0.5 * NOISE_SCALE, 2.0 * NOISE_SCALE],
            0.05,
        ),
    ] {
        for step in STEPS {
            for frame_samples in [160, 186] {
                let voice = Shown {
                    step,
                    frame_samples,
                    ..shown(shows)
                }
                .load("step");
                let mut worst_ms = 0.0f32;
                for at in (16_000..16_160).step_by(20) {
                    let output = play(&voice, &input, &[(0, low), (at, high)]);
                    let case = format!("{shows:?} in {step:?} of {frame_samples} at {at}");
                    for (place, level) in [(at - 800, levels[0]), (at + 800, levels[1])] {
                        let found = output[place];
                        assert!(
                            (found - level).abs() <= within * levels[1],
                            "{case}: {found}, not {level}"
                        );
                    }
                    let half = (levels[0] + levels[1]) / 2.0;
                    let late_ms = late_ms(&output, RATE_HZ, at, half, true);
                    worst_ms = worst_ms.max(late_ms.abs());
                    assert!(late_ms.abs() <= 1.0, "{case}: {late_ms} ms late");
                }
                println!("{shows:?} in {step:?} of {frame_samples}: within {worst_ms} ms");
            }
        }
    }
}

#[test]
fn the_voice_is_told_how_loud_the_input_is() {
    if !support::runtime_is_there() {
        return;
    }
    let voice = shown(Shows::Loudness).load("loudness");
    let input = support::song(RATE_HZ as u32, 1.0);
    let quieter: Vec<f32> = input.iter().map(|sample| sample * 0.1).collect();
    let plain = [(0, Controls::default())];
    let (loud, quiet) = (play(&voice, &input, &plain), play(&voice, &quieter, &plain));
    let middle = RATE_HZ / 4..RATE_HZ * 3 / 4;
    for place in middle.clone() {
        let fell = loud[place] - quiet[place];
        assert!((fell - 20.0).abs() < 0.1, "{fell} dB at {place}");
    }
    let mean = loud[middle.clone()].iter().sum::<f32>() / middle.len() as f32;
    let expected = 20.0 * rms(&input[middle]).log10();
    assert!((mean - expected).abs() < 2.0, "{mean} dBFS, not {expected}");
}

#[test]
fn each_control_changes_what_it_should_and_nothing_else() {
    if !support::runtime_is_there() {
        return;
    }
    let input = support::song(RATE_HZ as u32, 1.0);
    let changes = [
        (Shows::AutoF0, set(|c| c.auto_f0 = 1.0)),
        (Shows::PriorNoise, set(|c| c.noise_scale = 0.25)),
        (Shows::F0, set(|c| c.f0_smoothing_ms = 50.0)),
    ];
    for (shows, _) in changes {
        let voice = shown(shows).load("only");
        let plain = play(&voice, &input, &[(0, Controls::default())]);
        for (meant, controls) in changes {
            let turned = play(&voice, &input, &[(0, controls)]);
            assert_eq!(plain != turned, meant == shows, "{meant:?} in {shows:?}");
        }
    }
    // Voices without these inputs, that take a frame at a time, hear nothing of them.
    let path = support::folder("only").join("steered.timbra");
    let inputs = [
        "content",
        "f0_hz",
        "loudness",
        "speaker_mix",
        "formant_semitones",
        "noise",
    ];
    support::write_with_synthesis(&path, &inputs, support::steered_graph(2), |manifest| {
        manifest.speakers.push(manifest.speakers[0].clone());
        manifest.speakers[1].name = "second".to_owned();
    });
    let voice = LoadedVoice::load(&path, &[]).unwrap();
    let plain = play(&voice, &input, &[(0, Controls::default())]);
    let turned = play(
        &voice,
        &input,
        &[(
            0,
            set(|c| {
                c.auto_f0 = 1.0;
                c.noise_scale = 0.0;
            }),
        )],
    );
    support::assert_same(&turned, &plain, "a voice without a prior");
}

/// A tone of overtones that rises by an octave a second, twice.
fn glide(seconds: usize) -> Vec<f32> {
    let mut phase = 0.0f64;
    (0..seconds * RATE_HZ)
        .map(|n| {
            let octaves = (n % RATE_HZ) as f64 / RATE_HZ as f64;
            phase += 200.0 * octaves.exp2() / RATE_HZ as f64;
            let tone: f64 = (1..6)
                .map(|k| (phase * std::f64::consts::TAU * f64::from(k)).sin() / f64::from(k))
                .sum();
            (0.1 * tone) as f32
        })
        .collect()
}

#[test]
fn smoothed_f0_is_late_by_half_the_span_where_nothing_is_known_ahead_and_else_not_at_all() {
    if !support::runtime_is_there() {
        return;
    }
    let input = glide(2);
    // F0 itself looks three frames ahead; what an encoder sees beyond that is known to the mean.
    for (encoder_lookahead_frames, known_frames) in [(3, 0.0f32), (5, 2.0), (8, 5.0)] {
        let voice = Shown {
            encoder_lookahead_frames,
            ..shown(Shows::F0)
        }
        .load("late");
        let latency = joined(&voice).port.latency_samples();
        let contour = |span_ms: f32| {
            let controls = set(|c| c.f0_smoothing_ms = span_ms);
            play(&voice, &input, &[(0, controls)])
        };
        let plain = contour(0.0);
        for span_ms in [20.0, 60.0, 100.0] {
            let found = contour(span_ms);
            let octaves: Vec<f32> = (RATE_HZ + 4_000..2 * RATE_HZ - 4_000)
                .map(|n| (plain[n] / found[n]).log2())
                .collect();
            // An octave a second.
            let late_ms = 1e3 * octaves.iter().sum::<f32>() / octaves.len() as f32;
            let span_frames = span_ms / 10.0;
            let ahead_frames = known_frames.min(span_frames / 2.0);
            let wanted_ms = 10.0 * (span_frames / 2.0 - ahead_frames);
            println!(
                "{span_ms} ms, {known_frames} frames known ahead: {late_ms:.2} ms late (wanted {wanted_ms})"
            );
            assert!(
                (late_ms - wanted_ms).abs() < 0.5,
                "{span_ms} ms, {known_frames} known: {late_ms}, not {wanted_ms}"
            );
        }
        assert_eq!(joined(&voice).port.latency_samples(), latency);
    }
}

#[test]
fn before_anything_is_voiced_f0_is_that_of_the_speaker() {
    if !support::runtime_is_there() {
        return;
    }
    // Half a second of breath, then a glide from its beginning on.
    let mut breath = vec![0.0; RATE_HZ / 2];
    timbra_dsp::noise::fill(1, 0, &mut breath);
    breath.iter_mut().for_each(|sample| *sample *= 0.02);
    let input = [breath, glide(1)].concat();
    let voice = shown(Shows::F0).load("resting");
    let median_khz = voice.manifest().speakers[0].f0_median_hz * 1e-3;
    let found = play(&voice, &input, &[(0, Controls::default())]);
    let (resting, sung) = (
        &found[1_600..RATE_HZ / 2 - 1_600],
        &found[RATE_HZ / 2 + 1_600..],
    );
    assert!(
        resting.iter().all(|&khz| (khz - median_khz).abs() < 1e-3),
        "{:?}",
        &resting[..3]
    );
    assert!(
        sung.iter().any(|&khz| (khz - median_khz).abs() > 0.02),
        "what is sung is sung"
    );
}

/// Levels over `window` samples in dB.
fn levels_db(signal: &[f32], window: usize) -> Vec<f32> {
    signal
        .chunks_exact(window)
        .map(|piece| 20.0 * (rms(piece) + 1e-6).log10())
        .collect()
}

#[test]
fn matched_loudness_follows_the_input_without_the_lag_of_the_voice() {
    if !support::runtime_is_there() {
        return;
    }
    // Louder and softer by 12 dB, 1.3 times a second.
    let input: Vec<f32> = support::song(RATE_HZ as u32, 6.0)
        .iter()
        .enumerate()
        .map(|(n, sample)| {
            let time_s = n as f32 / RATE_HZ as f32;
            sample * 10.0f32.powf(0.3 * (time_s * 1.3 * std::f32::consts::TAU).sin())
        })
        .collect();
    for step in STEPS {
        let voice = Shown {
            step,
            ..shown(Shows::SourceNoise)
        }
        .load("envelope");
        let sung = levels_db(&input, 160);
        let spread = |amount: f32, lag_frames: usize| {
            let output = play(&voice, &input, &[(0, set(|c| c.loudness_match = amount))]);
            let heard = levels_db(&output, 160);
            let differences: Vec<f32> = (100..sung.len() - 10)
                .map(|k| heard[k + lag_frames] - sung[k])
                .collect();
            let mean = differences.iter().sum::<f32>() / differences.len() as f32;
            let square = differences.iter().map(|d| (d - mean).powi(2)).sum::<f32>();
            (mean, (square / differences.len() as f32).sqrt())
        };
        let (_, free_db) = spread(0.0, 0);
        let lags: Vec<f32> = (0..10).map(|lag| spread(1.0, lag).1).collect();
        let best = (0..10)
            .min_by(|&a, &b| lags[a].total_cmp(&lags[b]))
            .unwrap();
        println!("{step:?}: {free_db:.2} dB apart without, best at {best} frames: {lags:?}");
        assert!(best <= 5, "{step:?}: {best} frames late");
        assert!(lags[best] < 0.25 * free_db, "{step:?}: {lags:?}");
        let (mean_db, _) = spread(1.0, best);
        assert!(mean_db.abs() < 0.5, "{step:?}: {mean_db} dB");
    }
}

#[test]
fn matched_loudness_is_what_an_envelope_of_whole_seconds_asks_for() {
    // so-vits-svc's loudness envelope x and RVC's volume envelope multiply by (RMS of the input / RMS of the output)^(1−x),
    // both over a second. Ours is 1 − x and follows faster; over a second it must come to the same.
    if !support::runtime_is_there() {
        return;
    }
    let input: Vec<f32> = support::song(RATE_HZ as u32, 8.0)
        .iter()
        .enumerate()
        .map(|(n, sample)| sample * [1.0, 0.3, 0.6, 0.1][(n / (2 * RATE_HZ)) % 4])
        .collect();
    let voice = shown(Shows::SourceNoise).load("seconds");
    let of = |amount: f32| {
        let output = play(&voice, &input, &[(0, set(|c| c.loudness_match = amount))]);
        levels_db(&output, RATE_HZ)
    };
    let (sung, own) = (levels_db(&input, RATE_HZ), of(0.0));
    for amount in [0.25, 0.5, 1.0] {
        for (second, &found) in of(amount).iter().enumerate() {
            // The seconds in which the level changes, and the first, have both levels inside.
            if second % 2 == 0 {
                continue;
            }
            let wanted = own[second] + amount * (sung[second] - own[second]);
            assert!(
                (found - wanted).abs() < 0.7,
                "{amount}, second {second}: {found} dB, not {wanted}"
            );
        }
    }
}

#[test]
fn matched_loudness_never_lifts_silence() {
    if !support::runtime_is_there() {
        return;
    }
    // Sung, then nothing but a breath far below what is measured, then sung again.
    let mut input = support::song(RATE_HZ as u32, 6.0);
    for (n, sample) in input.iter_mut().enumerate() {
        if (2 * RATE_HZ..4 * RATE_HZ).contains(&n) {
            *sample *= 1e-4;
        }
    }
    let voice = shown(Shows::SourceNoise).load("silence");
    let own = play(&voice, &input, &[(0, Controls::default())]);
    let matched = play(&voice, &input, &[(0, set(|c| c.loudness_match = 1.0))]);
    assert!(matched.iter().all(|sample| sample.is_finite()));
    let gains: Vec<f32> = levels_db(&matched, 160)
        .iter()
        .zip(levels_db(&own, 160))
        .map(|(matched, own)| matched - own)
        .collect();
    let held = &gains[210..395];
    let spread = held
        .iter()
        .fold(0.0f32, |most, g| most.max((g - held[0]).abs()));
    assert!(spread < 0.1, "the gain moves by {spread} dB in silence");
    assert!(gains.iter().all(|&g| (-24.5..=18.5).contains(&g)));
}
