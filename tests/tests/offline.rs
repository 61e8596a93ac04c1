//! The trainer's converter and the plugin are the same engine.

use std::path::Path;

use timbra_engine::controls::{RetuneControls, RetuneMode, Scale};
use timbra_engine::{Controls, offline};
use timbra_tests::host::{FORMATS, Job, Setup};
use timbra_tests::measure::{first_difference, rms};
use timbra_tests::voices::{self, Shows};
use timbra_tests::{bundles, singer};

/// Converts with the engine and bounces in every format, with the same settings.
fn check(voice: &Path, controls: Controls, settings: &[(&str, &str)]) {
    let vocal = singer::sing(44_100);
    let loaded = offline::load_voice(voice).expect("a voice");
    let converted =
        offline::convert(&loaded, &vocal, 44_100, &|_| controls, &mut |_| {}).expect("convert");
    assert_eq!(converted.len(), vocal.len());
    assert!(rms(&converted) > 1e-3, "silent");
    for format in FORMATS {
        let mut host = bundles::open_with_voice(format, voice);
        for (key, text) in settings {
            host.set_text(key, text).expect("set");
        }
        host.activate(Setup::offline(44_100, 480).mono())
            .expect("activate");
        let latency = host.latency_samples();
        let mut channel = vocal.clone();
        channel.resize(vocal.len() + latency, 0.0);
        let input = [channel];
        let job = Job::new(&input, &[480]);
        let bounced = host
            .render(&job)
            .expect("render")
            .swap_remove(0)
            .split_off(latency);
        let at = first_difference(&converted, &bounced, 0.0);
        assert_eq!(at, None, "{} differs from the converter", format.name());
    }
}

#[test]
fn offline_conversion_is_bit_identical_to_the_plugins_bounce() {
    let mut mix = Controls::default().speaker_mix;
    (mix[0], mix[1]) = (0.25, 0.75);
    let controls = Controls {
        pitch_semitones: -3.5,
        f0_smoothing_ms: 25.0,
        retune: RetuneControls {
            mode: RetuneMode::Scale,
            key: 9,
            scale: Scale::MelodicMinor,
            speed_ms: 20.0,
            humanise: 0.5,
            ..RetuneControls::default()
        },
        speaker_mix: mix,
        ..Controls::default()
    };
    let settings = [
        ("pitch", "-3.5"),
        ("mix_1", "25 %"),
        ("mix_2", "75 %"),
        ("f0_smoothing", "25 ms"),
        ("retune_mode", "Scale"),
        ("retune_key", "A"),
        ("retune_scale", "Melodic minor"),
        ("retune_speed", "20 ms"),
        ("retune_humanise", "50 %"),
    ];
    check(
        &bundles::root().join("models/trio.timbra"),
        controls,
        &settings,
    );
}

#[test]
fn voices_in_steps_convert_as_they_bounce() {
    let folder = bundles::folder().join("../test-voices");
    let shows = |shows| voices::control_as_level(&folder, shows);
    let auto_f0 = Controls {
        auto_f0: 1.0,
        ..Controls::default()
    };
    check(&shows(Shows::AutoF0), auto_f0, &[("auto_f0", "On")]);
    let noisy = Controls {
        noise_scale: 1.5,
        seed: 7,
        ..Controls::default()
    };
    let settings = [("noise_scale", "150 %"), ("seed", "7")];
    check(&shows(Shows::PriorNoise), noisy, &settings);
}
