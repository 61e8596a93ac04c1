//! The loudness a voice of so-vits-svc 4.1 is sung with is the one it was trained with.
//!
//! There it is the root mean square of the input at 44.1 kHz over a frame of 512 samples, centred on the frame. Ours is
//! a smoother window at 16 kHz, read every 10 ms and between on straight lines. `TIMBRA_DATA` names a folder of
//! recordings to compare them on, or it lies in `../shared/data`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::{Path, PathBuf};

use support::song;
use timbra_dsp::CONTENT_HOP_SAMPLES;
use timbra_dsp::f0::{F0Config, F0Tracker};
use timbra_dsp::loudness::LoudnessMeter;
use timbra_dsp::resample::resample_all;
use timbra_trainer::data::audio::read_audio;

const RATE_HZ: u32 = 44_100;
const HOP_SAMPLES: usize = 512;
/// Added to a mean square: silence reads −100 dB.
const FLOOR: f64 = 1e-10;
/// Singing low and high, trained and not, and speech.
const RECORDINGS: [&str; 7] = [
    "singing/pjs_m01/pjs001_song.flac",
    "singing/vocadito_s01/vocadito_1.flac",
    "singing/dcs_quartetB_S1/DCS_QB_T04_S1_DYN.flac",
    "singing/berklee_m01/malevoice_aa_A2.mp3",
    "singing/berklee_f01/femalevoice_aa_A5.mp3",
    "speech/kathleen_f01/arctic_a0011_1592748364.flac",
    "speech/davidbain_m/xmas.flac",
];

fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("TIMBRA_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    folder.is_dir().then_some(folder)
}

/// What so-vits-svc gives its voices, in dB: one number per 512 samples.
fn theirs_db(samples: &[f32]) -> Vec<f32> {
    let half = HOP_SAMPLES / 2;
    let power = |n: i64| {
        // Mirrored at both ends.
        let last = samples.len() as i64 - 1;
        let n = if n > last { 2 * last - n } else { n.abs() };
        f64::from(samples[n as usize]).powi(2)
    };
    (0..samples.len() / HOP_SAMPLES)
        .map(|k| {
            let first = (k * HOP_SAMPLES) as i64 - half as i64;
            let mean =
                (first..first + HOP_SAMPLES as i64).map(power).sum::<f64>() / HOP_SAMPLES as f64;
            (10.0 * (mean + FLOOR).log10()) as f32
        })
        .collect()
}

/// What the engine gives them at the same times, and whether they are voiced.
fn ours_db(samples: &[f32], rate_hz: u32, frames: usize) -> Vec<(f32, bool)> {
    let signal = resample_all(samples, rate_hz, 16_000).unwrap();
    let (mut meter, mut tracker) = (LoudnessMeter::new(), F0Tracker::new(F0Config::default()));
    let (mut levels, mut voiced) = (Vec::new(), Vec::new());
    let silence = vec![0.0; 6 * CONTENT_HOP_SAMPLES];
    let whole: Vec<f32> = signal.into_iter().chain(silence).collect();
    for hop in whole.chunks_exact(CONTENT_HOP_SAMPLES) {
        let hop = hop.try_into().unwrap();
        levels.extend(meter.push(hop));
        voiced.extend(tracker.push(hop).map(|frame| frame.f0_hz > 0.0));
    }
    (0..frames)
        .map(|k| {
            let at = k as f64 * 100.0 * HOP_SAMPLES as f64 / f64::from(RATE_HZ);
            let (whole, share) = (at as usize, (at % 1.0) as f32);
            let level = levels[whole] * (1.0 - share) + levels[whole + 1] * share;
            (level, voiced[whole] && voiced[whole + 1])
        })
        .collect()
}

/// Median and 95th percentile of the difference on voiced frames, in dB.
fn compare(name: &str, samples: &[f32], rate_hz: u32, all: &mut Vec<f32>) -> (f32, f32) {
    let theirs = theirs_db(&resample_all(samples, rate_hz, RATE_HZ).unwrap());
    // The last frames look over the end.
    let frames = theirs.len() - 3;
    let mut differences: Vec<f32> = ours_db(samples, rate_hz, frames)
        .iter()
        .zip(&theirs)
        .filter(|((_, voiced), _)| *voiced)
        .map(|((ours, _), theirs)| (ours - theirs).abs())
        .collect();
    all.extend(&differences);
    spread(name, &mut differences)
}

fn spread(name: &str, differences: &mut [f32]) -> (f32, f32) {
    assert!(differences.len() > 50, "{name}: {}", differences.len());
    differences.sort_by(f32::total_cmp);
    let median = differences[differences.len() / 2];
    let most = differences[differences.len() * 95 / 100];
    println!(
        "{name}: {} voiced frames, median {median:.3} dB, 95 % within {most:.3} dB",
        differences.len()
    );
    (median, most)
}

#[test]
fn loudness_is_what_imported_voices_were_trained_with_to_half_a_decibel() {
    let mut all = Vec::new();
    let sung = song(48_000, 6.0);
    let (median, _) = compare("synthetic", &sung, 48_000, &mut Vec::new());
    assert!(median < 0.5, "{median} dB");
    let Some(folder) = data() else {
        println!("only a synthetic song: TIMBRA_DATA names no recordings");
        return;
    };
    for name in RECORDINGS {
        let path = folder.join(name);
        let audio = read_audio(&path).unwrap();
        let mono = audio.to_mono();
        let most = mono.len().min(30 * audio.rate_hz as usize);
        let (median, _) = compare(name, &mono[..most], audio.rate_hz, &mut all);
        assert!(median < 0.5, "{name}: {median} dB");
    }
    let (median, most) = spread("all", &mut all);
    assert!(median < 0.5 && most < 2.0, "{median} dB, {most} dB");
}
