//! What a project keeps, and what becomes of states from other versions.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use nice_plug::params::internals::ParamPtr;
use nice_plug::plugin::{ParamValue, PluginState};
use nice_plug::prelude::Params;
use timbra::params::TimbraParams;
use timbra::state::{self, Size};
use timbra_voice::VoiceRef;

/// The state as a host saves it.
fn save(params: &TimbraParams) -> PluginState {
    let values = params
        .param_map()
        .into_iter()
        .map(|(id, pointer, _)| {
            // SAFETY: `params` is alive.
            let plain = unsafe { pointer.unmodulated_plain_value() };
            let value = match pointer {
                ParamPtr::FloatParam(_) => ParamValue::F32(plain),
                ParamPtr::IntParam(_) => ParamValue::I32(plain as i32),
                ParamPtr::BoolParam(_) => ParamValue::Bool(plain > 0.5),
                // SAFETY: as above.
                ParamPtr::EnumParam(p) => unsafe {
                    ParamValue::String((*p).unmodulated_plain_id().unwrap().to_owned())
                },
            };
            (id, value)
        })
        .collect();
    PluginState {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        params: values,
        fields: params.serialize_fields(),
    }
}

/// Loads a state as the framework does, from its JSON.
fn load(params: &TimbraParams, state: &PluginState) {
    let json = serde_json::to_string(state).unwrap();
    let mut state: PluginState = serde_json::from_str(&json).unwrap();
    state::filter(&mut state);
    params.deserialize_fields(&state.fields);
}

fn kathleen() -> VoiceRef {
    VoiceRef {
        name: "kathleen".into(),
        path: PathBuf::from("/songs/voices/kathleen.timbra"),
        sha256: "ab".repeat(32),
    }
}

#[test]
fn a_fresh_instance_wants_the_shipped_voice() {
    let params = TimbraParams::default();
    assert_eq!(params.voice.get().name, "trio");
    assert_eq!(params.voice.generation(), 0);
}

#[test]
fn voice_and_editor_survive_a_round_trip() {
    let saved = TimbraParams::default();
    saved.voice.ask_for(kathleen());
    let size = Size {
        width: 1200.0,
        height: 700.0,
        zoom: 1.5,
    };
    saved.editor.store(size);

    let loaded = TimbraParams::default();
    load(&loaded, &save(&saved));
    assert_eq!(loaded.voice.get(), kathleen());
    assert_eq!(loaded.editor.get(), size);
    assert_eq!(loaded.notice.get(), "");
    assert_eq!(save(&loaded).fields, save(&saved).fields);
}

#[test]
fn a_project_with_every_parameter_loads_whole() {
    let params = TimbraParams::default();
    let golden = include_str!("golden/state_32_parameters.json");
    let state: PluginState = serde_json::from_str(golden).unwrap();
    assert_eq!(state.params.len(), params.param_map().len());
    let mut filtered = state.clone();
    state::filter(&mut filtered);
    let values = |state: &PluginState| serde_json::to_value(&state.params).unwrap();
    assert_eq!(values(&filtered), values(&state), "nothing is touched");
    load(&params, &state);
    assert_eq!(params.notice.get(), "");
}

#[test]
fn what_an_older_project_did_not_have_is_at_its_default() {
    let mut state: PluginState =
        serde_json::from_str(include_str!("golden/state_0_1_0.json")).unwrap();
    assert_eq!(state.params.len(), 21);
    state.params.remove("tier");
    state::filter(&mut state);
    assert!(matches!(state.params["auto_f0"], ParamValue::Bool(false)));
    assert!(matches!(state.params["f0_smoothing"], ParamValue::F32(0.0)));
    assert!(matches!(state.params["noise_scale"], ParamValue::F32(1.0)));
    assert!(matches!(&state.params["tier"], ParamValue::String(id) if id == "live"));
    // What it had is as it was.
    assert!(matches!(state.params["pitch"], ParamValue::F32(3.25)));
    assert_eq!(state.fields["notice"], "\"\"");
}

#[test]
fn a_project_from_before_retuning_is_not_retuned() {
    let mut state: PluginState =
        serde_json::from_str(include_str!("golden/state_24_parameters.json")).unwrap();
    assert_eq!(state.params.len(), 24);
    state::filter(&mut state);
    assert_eq!(state.fields["notice"], "\"\"");
    assert!(matches!(&state.params["retune_mode"], ParamValue::String(id) if id == "off"));
    assert!(matches!(&state.params["retune_key"], ParamValue::String(id) if id == "c"));
    assert!(matches!(&state.params["retune_scale"], ParamValue::String(id) if id == "chromatic"));
    for (id, default) in [
        ("retune_speed", 30.0),
        ("retune_humanise", 0.0),
        ("retune_amount", 1.0),
        ("retune_reference", 440.0),
        // What it had is as it was.
        ("noise_scale", 0.5),
    ] {
        assert!(
            matches!(state.params[id], ParamValue::F32(value) if (value - default).abs() < 1e-4),
            "{id}: {:?}",
            state.params[id]
        );
    }
}

#[test]
fn a_project_from_before_articulation_keeps_what_the_voice_does_by_itself() {
    let mut state: PluginState =
        serde_json::from_str(include_str!("golden/state_31_parameters.json")).unwrap();
    assert_eq!(state.params.len(), 31);
    state::filter(&mut state);
    assert_eq!(state.fields["notice"], "\"\"");
    assert!(matches!(state.params["articulation"], ParamValue::F32(0.0)));
    // What it had is as it was.
    assert!(matches!(state.params["noise_scale"], ParamValue::F32(0.5)));
}

#[test]
fn a_project_of_version_0_1_0_loads_whole() {
    let params = TimbraParams::default();
    let state: PluginState = serde_json::from_str(include_str!("golden/state_0_1_0.json")).unwrap();
    let mut filtered = state.clone();
    state::filter(&mut filtered);
    assert_eq!(filtered.params.len(), params.param_map().len());
    load(&params, &state);
    assert_eq!(params.notice.get(), "");
    assert_eq!(params.voice.get(), kathleen());
    assert_eq!(params.editor.get().zoom, 1.5);
}

#[test]
fn loading_a_state_counts_as_asking_for_a_voice() {
    let params = TimbraParams::default();
    let before = params.voice.generation();
    load(&params, &save(&TimbraParams::default()));
    assert_eq!(params.voice.generation(), before + 1);
}

#[test]
fn what_was_found_is_saved_unless_another_voice_was_asked_for() {
    let params = TimbraParams::default();
    params.voice.complete(params.voice.generation(), kathleen());
    assert_eq!(params.voice.get(), kathleen());
    let old = params.voice.generation();
    let other = VoiceRef {
        name: "other".into(),
        ..VoiceRef::default()
    };
    params.voice.ask_for(other.clone());
    params.voice.complete(old, kathleen());
    assert_eq!(params.voice.get(), other);
}

#[test]
fn a_state_of_a_newer_version_plays_and_says_what_is_missing() {
    let params = TimbraParams::default();
    let mut state = save(&params);
    state.version = "3.1.0".into();
    state
        .params
        .insert("vibrato_depth".into(), ParamValue::F32(0.5));
    state.params.insert(
        "cluster_method".into(),
        ParamValue::String("quantum".into()),
    );
    state
        .fields
        .insert("scale".into(), "{\"key\":\"A\"}".into());
    state.fields.insert(
        "voice".into(),
        serde_json::to_string(&serde_json::json!({
            "name": "kathleen", "path": "/songs/voices/kathleen.timbra", "sha256": "ab".repeat(32), "style": "breathy"
        }))
        .unwrap(),
    );
    load(&params, &state);
    assert_eq!(params.voice.get(), kathleen());
    let notice = params.notice.get();
    for said in ["3.1.0", "vibrato_depth", "scale", "cluster_method"] {
        assert!(notice.contains(said), "{said} in: {notice}");
    }
}

#[test]
fn a_state_without_fields_leaves_the_voice_alone() {
    let params = TimbraParams::default();
    params.voice.ask_for(kathleen());
    let mut state = save(&TimbraParams::default());
    state.fields.clear();
    state.version.clear();
    load(&params, &state);
    assert_eq!(params.voice.get(), kathleen());
}

#[test]
fn unreadable_entries_are_left_out_with_a_word() {
    let params = TimbraParams::default();
    let mut state = save(&params);
    state.fields.insert("voice".into(), "[1, 2]".into());
    state.fields.insert("editor".into(), "\"big\"".into());
    load(&params, &state);
    assert_eq!(params.voice.get().name, "trio");
    assert!(params.notice.get().contains("\"voice\""));
    assert!(params.notice.get().contains("\"editor\""));
}

#[test]
fn numbers_out_of_range_are_brought_into_it() {
    let mut state = save(&TimbraParams::default());
    state.params.insert("pitch".into(), ParamValue::F32(900.0));
    state.params.insert("seed".into(), ParamValue::I32(-5));
    state.params.insert("gate".into(), ParamValue::Bool(true));
    state::filter(&mut state);
    assert!(matches!(state.params["pitch"], ParamValue::F32(24.0)));
    assert!(matches!(state.params["seed"], ParamValue::I32(0)));
    assert!(!state.params.contains_key("gate"));
}

#[test]
fn values_in_range_are_not_touched_by_a_bit() {
    let mut state = save(&TimbraParams::default());
    let odd = 3.251_234_6_f32;
    state.params.insert("pitch".into(), ParamValue::F32(odd));
    state::filter(&mut state);
    match state.params["pitch"] {
        ParamValue::F32(kept) => assert_eq!(kept.to_bits(), odd.to_bits()),
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn a_wild_editor_size_is_brought_to_a_window() {
    let params = TimbraParams::default();
    params.editor.store(Size {
        width: f32::NAN,
        height: -3.0,
        zoom: 1e9,
    });
    let size = params.editor.get();
    assert!(size.width >= 800.0 && size.height >= 500.0 && size.zoom <= 3.0);
}
