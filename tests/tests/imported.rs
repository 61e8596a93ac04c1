//! A voice of so-vits-svc in the built plugin, in the studio tier: every control it has, and the same as the converter.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../trainer/tests/support/small_voice.rs"]
mod small_voice;

use timbra_engine::{ClusterMethod, Controls, offline};
use timbra_tests::host::{FORMATS, Format, Job, Setup};
use timbra_tests::measure::{first_difference, rms};
use timbra_tests::{bundles, singer};

const RATE_HZ: u32 = 44_100;

/// What is turned, for the converter and for the plugin.
type Turned<'a> = (&'a str, Controls, &'a [(&'a str, &'a str)]);

/// What the plugin makes of a song.
fn bounced(format: Format, voice: &std::path::Path, settings: &[(&str, &str)]) -> Vec<f32> {
    let song = singer::sing(RATE_HZ);
    let song = &song[..2 * RATE_HZ as usize];
    let mut host = bundles::open_with_voice(format, voice);
    host.set_text("tier", "Studio").expect("tier");
    for (key, text) in settings {
        host.set_text(key, text).expect("set");
    }
    host.activate(Setup::offline(RATE_HZ, 480).mono())
        .expect("activate");
    let latency = host.latency_samples();
    let mut channel = song.to_vec();
    channel.resize(song.len() + latency, 0.0);
    let input = [channel];
    let mut output = host.render(&Job::new(&input, &[480])).expect("render");
    output.swap_remove(0).split_off(latency)
}

#[test]
fn every_control_reaches_it_in_the_plugin_as_in_the_converter() {
    let folder = bundles::folder().join("../test-voices/imported");
    std::fs::create_dir_all(&folder).expect("folder");
    let voice = small_voice::imported(&folder);
    let loaded = offline::load_voice(&voice).expect("a voice");
    let song = singer::sing(RATE_HZ);
    let song = &song[..2 * RATE_HZ as usize];
    let own = Controls::default();
    let mut mix = own.speaker_mix;
    (mix[0], mix[1]) = (0.5, 0.5);
    let cases: [Turned<'_>; 8] = [
        ("nothing", own, &[]),
        (
            "cluster ratio",
            Controls {
                cluster_ratio: 0.5,
                ..own
            },
            &[("cluster_ratio", "50 %")],
        ),
        (
            "retrieval",
            Controls {
                cluster_ratio: 0.5,
                cluster_method: ClusterMethod::Retrieval,
                ..own
            },
            &[("cluster_ratio", "50 %"), ("cluster_method", "Retrieval")],
        ),
        (
            "speaker mix",
            Controls {
                speaker_mix: mix,
                ..own
            },
            &[("mix_1", "50 %"), ("mix_2", "50 %")],
        ),
        (
            "auto-F0",
            Controls {
                auto_f0: 1.0,
                ..own
            },
            &[("auto_f0", "On")],
        ),
        (
            "noise scale",
            Controls {
                noise_scale: 0.25,
                ..own
            },
            &[("noise_scale", "25 %")],
        ),
        (
            "loudness envelope",
            Controls {
                loudness_match: 1.0,
                ..own
            },
            &[("loudness_match", "100 %")],
        ),
        (
            "F0 mean filter",
            Controls {
                f0_smoothing_ms: 50.0,
                ..own
            },
            &[("f0_smoothing", "50 ms")],
        ),
    ];
    let mut sounds: Vec<(&str, Vec<f32>)> = Vec::new();
    for (name, controls, settings) in cases {
        let converted = offline::convert(&loaded, song, RATE_HZ, &|_| controls, &mut |_| {});
        let converted = converted.expect("convert");
        assert!(rms(&converted) > 1e-4, "{name}: silent");
        for format in FORMATS {
            let heard = bounced(format, &voice, settings);
            let at = first_difference(&converted, &heard, 0.0);
            assert_eq!(
                at,
                None,
                "{name} in {} is not the converter's",
                format.name()
            );
        }
        for (other, before) in &sounds {
            assert!(converted != *before, "{name} sounds as {other}");
        }
        sounds.push((name, converted));
    }
}
