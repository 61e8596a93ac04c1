//! What holds for recordings and timelines whatever is in them. The fuzz targets run it, and the tests of the crate.
#![allow(dead_code, reason = "every target uses a part")]
#![allow(clippy::unwrap_used, reason = "a check fails by panicking")]

#[path = "folder.rs"]
mod folder;

use timbra_engine::Controls;
use timbra_voice::identity::IdentityVoice;

use crate::audio::{NonFinite, ReadOptions, header_duration_s, read_audio_with, scan};
use crate::timeline::{Timeline, mix_of};

/// Bytes as a recording of any format; its name does not say which.
pub fn audio(bytes: &[u8]) {
    let path = folder::folder("audio").join("recording");
    std::fs::write(&path, bytes).unwrap();
    assert!((0.0..=1e6).contains(&header_duration_s(&path)));
    let lenient = ReadOptions {
        non_finite: NonFinite::Silence,
        min_ms: 0,
    };
    for options in [ReadOptions::default(), lenient] {
        let scanned = scan(&path, options);
        let audio = match read_audio_with(&path, options) {
            Ok(audio) => audio,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        let scanned = scanned.unwrap();
        assert_eq!(scanned.rate_hz, audio.rate_hz);
        assert_eq!(scanned.samples, audio.samples() as u64);
        assert!(
            !audio.channels.is_empty() && audio.samples() > 0 && audio.duration_s().is_finite()
        );
        for channel in &audio.channels {
            assert_eq!(channel.len(), audio.samples());
            assert!(channel.iter().all(|sample| sample.is_finite()));
        }
        assert_eq!(audio.to_mono().len(), audio.samples());
    }
}

/// Bytes as the timeline of a conversion, and as a mix in words.
pub fn timeline(bytes: &[u8]) {
    let path = folder::folder("timeline").join("timeline.csv");
    std::fs::write(&path, bytes).unwrap();
    let (mut manifest, _) = IdentityVoice::default().parts();
    manifest.speakers.push(manifest.speakers[0].clone());
    manifest.speakers[1].name = "bela".to_owned();
    if let Ok(timeline) = Timeline::read(&path, &manifest, Controls::default()) {
        for time_s in [-1.0, 0.0, 0.015, 1.0, 1e6, f64::MAX] {
            let controls = timeline.at(time_s);
            // Straight lines may pass their ends by a rounding.
            let within = |value: f32, low: f32, high: f32| {
                assert!((low - 1e-4..=high + 1e-4).contains(&value), "{controls:?}");
            };
            within(controls.pitch_semitones, -24.0, 24.0);
            within(controls.formant_semitones, -12.0, 12.0);
            within(controls.output_gain_db, -60.0, 12.0);
            within(controls.articulation, -1.0, 1.0);
            within(controls.f0_smoothing_ms, 0.0, 100.0);
            within(controls.noise_scale, 0.0, 2.0);
            within(controls.retune.speed_ms, 0.0, 400.0);
            within(controls.retune.reference_hz, 415.0, 466.0);
            assert!(controls.retune.key < 12);
            let ratios = [
                controls.retune.humanise,
                controls.retune.amount,
                controls.auto_f0,
                controls.cluster_ratio,
                controls.loudness_match,
                controls.dry_wet,
            ];
            for ratio in ratios.into_iter().chain(controls.speaker_mix) {
                within(ratio, 0.0, 1.0);
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(mix) = mix_of(text, &manifest)
    {
        assert!(
            mix.iter().all(|weight| (0.0..=1.0).contains(weight)),
            "{mix:?}"
        );
        assert!((mix.iter().sum::<f32>() - 1.0).abs() < 1e-3, "{mix:?}");
    }
}
