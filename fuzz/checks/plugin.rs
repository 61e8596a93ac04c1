//! What holds for presets and saved states whatever they say. The fuzz targets run it, and the tests of the crate.
#![allow(dead_code, reason = "every target uses a part")]
#![allow(clippy::unwrap_used, reason = "a check fails by panicking")]

use nice_plug::params::InternalParamMut;
use nice_plug::params::internals::ParamPtr;
use nice_plug::plugin::{ParamValue, PluginState};
use nice_plug::prelude::Params;
use timbra::params::TimbraParams;
use timbra::presets::Preset;
use timbra::state;

/// Bytes as a preset file.
pub fn preset(bytes: &[u8]) {
    let Some(preset) = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| Preset::parse(text).ok())
    else {
        return;
    };
    let params = TimbraParams::default();
    match preset.values(&params) {
        Ok(values) => {
            for (pointer, normalized) in values {
                assert!((0.0..=1.0).contains(&normalized));
                // SAFETY: `params` owns the parameter and nothing else uses it.
                unsafe { pointer._internal_set_normalized_value(normalized) };
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    assert_playable(&params);
    // What is captured from it is a preset.
    let again = Preset::capture(&preset.name, &params);
    Preset::parse(&serde_json::to_string(&again).unwrap())
        .unwrap()
        .values(&params)
        .unwrap();
}

/// Bytes as the state a host gives back; it is applied in the order of the framework.
pub fn state(bytes: &[u8]) {
    let Ok(mut state) = serde_json::from_slice::<PluginState>(bytes) else {
        return;
    };
    let params = TimbraParams::default();
    state::filter(&mut state);
    let map = params.param_map();
    for (id, value) in &state.params {
        let (_, pointer, _) = map.iter().find(|(known, _, _)| known == id).unwrap();
        // SAFETY: `params` owns the parameter and nothing else uses it.
        unsafe {
            match (*pointer, value) {
                (ParamPtr::FloatParam(p), ParamValue::F32(v)) => {
                    (*p)._internal_set_plain_value(*v);
                }
                (ParamPtr::IntParam(p), ParamValue::I32(v)) => {
                    (*p)._internal_set_plain_value(*v);
                }
                (ParamPtr::BoolParam(p), ParamValue::Bool(v)) => {
                    (*p)._internal_set_plain_value(*v);
                }
                (ParamPtr::EnumParam(p), ParamValue::String(id)) => assert!((*p).set_from_id(id)),
                other => panic!("the filter let {id} through as {other:?}"),
            }
        }
    }
    params.deserialize_fields(&state.fields);
    assert_playable(&params);
    let size = params.editor.get();
    assert_eq!(size, size.sane());
    // What is saved now loads without a word.
    let mut again = PluginState {
        version: String::new(),
        params: Default::default(),
        fields: params.serialize_fields(),
    };
    state::filter(&mut again);
    assert_eq!(again.fields["notice"], "\"\"");
}

fn assert_playable(params: &TimbraParams) {
    let controls = params.controls();
    let within =
        |value: f32, low: f32, high: f32| assert!((low..=high).contains(&value), "{value}");
    within(controls.pitch_semitones, -24.0, 24.0);
    within(controls.formant_semitones, -12.0, 12.0);
    within(controls.gate_db, -100.0, 0.0);
    within(controls.output_gain_db, -60.0, 12.0);
    within(controls.articulation, -1.0, 1.0);
    for ratio in [
        controls.cluster_ratio,
        controls.loudness_match,
        controls.dry_wet,
    ] {
        within(ratio, 0.0, 1.0);
    }
    within(controls.auto_f0, 0.0, 1.0);
    within(controls.f0_smoothing_ms, 0.0, 100.0);
    within(controls.noise_scale, 0.0, 2.0);
    within(controls.retune.speed_ms, 0.0, 400.0);
    within(controls.retune.humanise, 0.0, 1.0);
    within(controls.retune.amount, 0.0, 1.0);
    within(controls.retune.reference_hz, 415.0, 466.0);
    assert!(controls.retune.key < 12);
    for weight in controls.speaker_mix {
        within(weight, 0.0, 1.0);
    }
    assert!(controls.seed <= 9999);
    for (_, pointer, _) in params.param_map() {
        // SAFETY: `params` owns the parameter and is borrowed.
        let text = unsafe {
            pointer.normalized_value_to_string(pointer.unmodulated_normalized_value(), true)
        };
        assert!(!text.is_empty());
    }
}
