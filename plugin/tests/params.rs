//! The parameters as hosts and saved projects know them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use nice_plug::params::internals::ParamPtr;
use nice_plug::prelude::{ClapPlugin, ParamFlags, Params, Vst3Plugin};
use timbra::Timbra;
use timbra::params::TimbraParams;
use timbra_engine::controls::{RetuneMode, Scale};

/// Id, group, default as text. Frozen: a change here breaks saved projects and automation.
const GOLDEN: [(&str, &str, &str); 32] = [
    ("tier", "", "Live"),
    ("pitch", "", "0.00 st"),
    ("formant", "", "0.00 st"),
    ("cluster_ratio", "", "0.0 %"),
    ("cluster_method", "", "K-means"),
    ("mix_1", "Speakers", "100.0 %"),
    ("mix_2", "Speakers", "0.0 %"),
    ("mix_3", "Speakers", "0.0 %"),
    ("mix_4", "Speakers", "0.0 %"),
    ("mix_5", "Speakers", "0.0 %"),
    ("mix_6", "Speakers", "0.0 %"),
    ("mix_7", "Speakers", "0.0 %"),
    ("mix_8", "Speakers", "0.0 %"),
    ("auto_pitch", "", "Off"),
    ("loudness_match", "", "0.0 %"),
    ("gate", "", "-100.0 dB"),
    ("dry_wet", "", "100.0 %"),
    ("output_gain", "", "0.0 dB"),
    ("seed", "", "0"),
    ("fallback", "", "Silence"),
    ("bypass", "", "Off"),
    ("auto_f0", "", "Off"),
    ("f0_smoothing", "", "0.0 ms"),
    ("noise_scale", "", "100.0 %"),
    ("retune_mode", "Retune", "Off"),
    ("retune_key", "Retune", "C"),
    ("retune_scale", "Retune", "Chromatic"),
    ("retune_speed", "Retune", "30.0 ms"),
    ("retune_humanise", "Retune", "0.0 %"),
    ("retune_amount", "Retune", "100.0 %"),
    ("retune_reference", "Retune", "440.0 Hz"),
    ("articulation", "", "0.0 %"),
];

/// Text of a parameter at a normalised value, unit included.
fn text(pointer: ParamPtr, normalized: f32) -> String {
    // SAFETY: every caller keeps the parameters alive.
    unsafe { pointer.normalized_value_to_string(normalized, true) }
}

fn value(pointer: ParamPtr, text: &str) -> Option<f32> {
    // SAFETY: as above.
    unsafe { pointer.string_to_normalized_value(text) }
}

#[test]
fn ids_groups_and_defaults_are_frozen() {
    let params = TimbraParams::default();
    let found: Vec<_> = params
        .param_map()
        .into_iter()
        .map(|(id, pointer, group)| {
            // SAFETY: `params` is alive.
            let default = unsafe { pointer.default_normalized_value() };
            (id, group, text(pointer, default))
        })
        .collect();
    let golden: Vec<_> = GOLDEN
        .iter()
        .map(|(id, group, text)| (id.to_string(), group.to_string(), text.to_string()))
        .collect();
    assert_eq!(found, golden);
}

#[test]
fn plugin_ids_are_frozen() {
    assert_eq!(Timbra::CLAP_ID, "audio.timbra.timbra");
    assert_eq!(&Timbra::VST3_CLASS_ID, b"TimbraVoiceConv1");
}

#[test]
fn everything_but_the_tier_is_automatable() {
    let params = TimbraParams::default();
    for (id, pointer, _) in params.param_map() {
        // SAFETY: `params` is alive.
        let flags = unsafe { pointer.flags() };
        assert_eq!(
            flags.contains(ParamFlags::NON_AUTOMATABLE),
            id == "tier",
            "{id}"
        );
        assert_eq!(flags.contains(ParamFlags::BYPASS), id == "bypass", "{id}");
    }
}

#[test]
fn every_text_reads_back_as_the_same_text() {
    let params = TimbraParams::default();
    for (id, pointer, _) in params.param_map() {
        for step in 0..=1000 {
            let shown = text(pointer, step as f32 / 1000.0);
            let read = value(pointer, &shown).unwrap_or_else(|| panic!("{id}: \"{shown}\""));
            assert_eq!(text(pointer, read), shown, "{id}");
        }
    }
}

#[test]
fn units_may_be_left_out() {
    let params = TimbraParams::default();
    for (id, pointer, _) in params.param_map() {
        for step in 0..=20 {
            let shown = text(pointer, step as f32 / 20.0);
            let Some(number) = shown
                .strip_suffix(" st")
                .or_else(|| shown.strip_suffix(" %"))
                .or_else(|| shown.strip_suffix(" dB"))
                .or_else(|| shown.strip_suffix(" ms"))
                .or_else(|| shown.strip_suffix(" Hz"))
            else {
                continue;
            };
            assert_eq!(
                value(pointer, number),
                value(pointer, &shown),
                "{id}: {shown}"
            );
        }
    }
}

#[test]
fn nonsense_is_refused_instead_of_guessed() {
    let params = TimbraParams::default();
    for (id, pointer, _) in params.param_map() {
        for nonsense in ["", "loud", "nan", "12 parsecs"] {
            assert_eq!(value(pointer, nonsense), None, "{id}: \"{nonsense}\"");
        }
    }
}

#[test]
fn pitch_resolves_cents() {
    let params = TimbraParams::default();
    let map = params.param_map();
    let (_, pitch, _) = map.iter().find(|(id, _, _)| id == "pitch").unwrap();
    for cents in [-2400, -1201, -1, 1, 37, 325, 2400] {
        let normalized = value(*pitch, &format!("{cents} ct")).unwrap();
        // SAFETY: `params` is alive.
        let semitones = unsafe { pitch.preview_plain(normalized) };
        assert!(
            (semitones - cents as f32 / 100.0).abs() < 1e-4,
            "{cents} ct"
        );
    }
}

#[test]
fn controls_carry_what_the_parameters_say() {
    let params = TimbraParams::default();
    assert_eq!(params.controls(), timbra_engine::Controls::default());
    let map = params.param_map();
    for (id, shown) in [
        ("auto_f0", "On"),
        ("f0_smoothing", "30 ms"),
        ("noise_scale", "175 %"),
        ("retune_mode", "MIDI"),
        ("retune_key", "F#"),
        ("retune_scale", "Harmonic minor"),
        ("retune_speed", "12.5 ms"),
        ("retune_humanise", "75 %"),
        ("retune_amount", "50 %"),
        ("retune_reference", "442 Hz"),
    ] {
        let (_, pointer, _) = map.iter().find(|(known, _, _)| known == id).unwrap();
        // SAFETY: `params` is alive.
        unsafe { pointer._internal_set_normalized_value(value(*pointer, shown).unwrap()) };
    }
    let controls = params.controls();
    assert_eq!(controls.auto_f0, 1.0);
    assert!((controls.f0_smoothing_ms - 30.0).abs() < 1e-4);
    assert!((controls.noise_scale - 1.75).abs() < 1e-5);
    let retune = controls.retune;
    assert_eq!(retune.mode, RetuneMode::Midi);
    assert_eq!((retune.key, retune.scale), (6, Scale::HarmonicMinor));
    for (found, set) in [
        (retune.speed_ms, 12.5),
        (retune.humanise, 0.75),
        (retune.amount, 0.5),
        (retune.reference_hz, 442.0),
    ] {
        assert!((found - set).abs() < 1e-3, "{found}, not {set}");
    }
}
