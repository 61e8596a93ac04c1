//! What hosts store about parameters, and what users read and type.

use timbra_tests::bundles;
use timbra_tests::host::{FORMATS, parameter_id};

/// Ids that projects have saved; never change one.
const FROZEN: [&str; 32] = [
    "tier",
    "pitch",
    "formant",
    "cluster_ratio",
    "cluster_method",
    "mix_1",
    "mix_2",
    "mix_3",
    "mix_4",
    "mix_5",
    "mix_6",
    "mix_7",
    "mix_8",
    "auto_pitch",
    "loudness_match",
    "gate",
    "dry_wet",
    "output_gain",
    "seed",
    "fallback",
    "bypass",
    "auto_f0",
    "f0_smoothing",
    "noise_scale",
    "retune_mode",
    "retune_key",
    "retune_scale",
    "retune_speed",
    "retune_humanise",
    "retune_amount",
    "retune_reference",
    "articulation",
];

#[test]
fn parameter_ids_are_frozen_and_equal_in_both_formats() {
    for format in FORMATS {
        let host = bundles::open(format);
        let mut found: Vec<u32> = host.parameters().iter().map(|p| p.id).collect();
        let mut frozen: Vec<u32> = FROZEN.iter().map(|key| parameter_id(key)).collect();
        found.sort_unstable();
        frozen.sort_unstable();
        assert_eq!(found, frozen, "{}", format.name());
    }
}

#[test]
fn everything_that_changes_sound_is_automatable() {
    for format in FORMATS {
        let host = bundles::open(format);
        for parameter in host.parameters() {
            // A change of the tier changes the latency, which is a restart.
            let restart = parameter.id == parameter_id("tier");
            assert_eq!(
                parameter.automatable,
                !restart,
                "{}: {}",
                format.name(),
                parameter.name
            );
        }
        assert!(
            host.find("bypass").expect("bypass").bypass,
            "{}",
            format.name()
        );
    }
}

#[test]
fn every_text_reads_back_as_itself() {
    for format in FORMATS {
        let mut host = bundles::open(format);
        for parameter in host.parameters().to_vec() {
            let count = if parameter.steps == 0 {
                200
            } else {
                parameter.steps.min(500)
            };
            for step in 0..=count {
                let mut value = f64::from(step) / f64::from(count);
                if parameter.steps > 0 {
                    let steps = f64::from(parameter.steps);
                    value = (value * steps).round() / steps;
                }
                let text = host.text_of(parameter.id, value).expect("text");
                let read = host.value_of(parameter.id, &text).expect("value");
                let again = host.text_of(parameter.id, read).expect("text");
                assert_eq!(
                    text,
                    again,
                    "{}: {} at {value}",
                    format.name(),
                    parameter.name
                );
                let tolerance = if parameter.steps == 0 { 2e-3 } else { 1e-6 };
                assert!(
                    (read - value).abs() <= tolerance,
                    "{}: {} reads {text:?} as {read}, wrote {value}",
                    format.name(),
                    parameter.name
                );
            }
        }
    }
}

#[test]
fn cents_are_resolved_by_the_pitch_parameter() {
    for format in FORMATS {
        let mut host = bundles::open(format);
        let pitch = host.find("pitch").expect("pitch");
        for text in ["+0.01 st", "-11.99 st", "+24.00 st", "-24.00 st"] {
            let value = host.value_of(pitch.id, text).expect("value");
            host.set(pitch.id, value).expect("set");
            let now = host.value(pitch.id).expect("value");
            // VST3 hosts add the unit themselves.
            let shown = host.text_of(pitch.id, now).expect("text");
            assert_eq!(
                shown.trim_end_matches(" st"),
                text.trim_end_matches(" st"),
                "{}",
                format.name()
            );
        }
    }
}

#[test]
fn nonsense_is_not_read_as_a_value() {
    for format in FORMATS {
        let mut host = bundles::open(format);
        for key in ["pitch", "dry_wet", "output_gain", "seed", "bypass"] {
            let parameter = host.find(key).expect(key);
            for text in ["", "loud", "nan", "--1"] {
                let read = host.value_of(parameter.id, text);
                assert!(
                    read.is_err(),
                    "{}: {key} reads {text:?} as {read:?}",
                    format.name()
                );
            }
        }
    }
}

#[test]
fn defaults_are_what_a_fresh_instance_has() {
    for format in FORMATS {
        let mut host = bundles::open(format);
        for parameter in host.parameters().to_vec() {
            let value = host.value(parameter.id).expect("value");
            let difference = (value - parameter.default).abs();
            assert!(difference < 1e-6, "{}: {}", format.name(), parameter.name);
        }
    }
}
