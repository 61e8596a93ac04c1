//! Claims about presets and states made to do harm: every seed of the fuzz targets, and every input that once broke
//! something, is applied or refused in the ordinary way.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../fuzz/checks/plugin.rs"]
mod plugin;
#[path = "../../fuzz/checks/seeds.rs"]
mod seeds;

#[cfg(unix)]
use std::path::Path;

use nice_plug::params::internals::ParamPtr;
use nice_plug::plugin::{ParamValue, PluginState};
use nice_plug::prelude::Params;
use timbra::params::TimbraParams;
use timbra::presets;

#[test]
fn presets_are_applied_or_refused() {
    seeds::all("preset", plugin::preset);
}

#[test]
fn states_are_applied() {
    seeds::all("state", plugin::state);
}

#[test]
#[cfg(unix)]
fn a_preset_that_is_a_device_is_refused_unopened() {
    let error = presets::Preset::read(Path::new("/dev/zero")).unwrap_err();
    assert!(error.to_string().contains("not a file"), "{error}");
}

#[test]
#[ignore = "writes fuzz/seeds/preset and fuzz/seeds/state again"]
fn write_seeds() {
    for preset in presets::factory() {
        let name = preset.name.replace(' ', "-").to_lowercase();
        seeds::write("preset", &name, &serde_json::to_vec(&preset).unwrap());
    }
    let params = TimbraParams::default();
    let all = presets::Preset::capture("All", &params);
    seeds::write("preset", "all", &serde_json::to_vec(&all).unwrap());
    for (name, pitch) in [
        ("words", "\u{2212}3,5 cents"),
        ("too-high", "1e38"),
        ("long", &"9".repeat(400)),
        ("nothing", ""),
    ] {
        let mut preset = all.clone();
        preset.params.insert("pitch".to_owned(), pitch.to_owned());
        preset.params.insert("seed".to_owned(), pitch.to_owned());
        preset.params.insert("tier".to_owned(), pitch.to_owned());
        seeds::write("preset", name, &serde_json::to_vec(&preset).unwrap());
    }

    let saved = |change: fn(&mut PluginState)| {
        let values = params.param_map().into_iter().map(|(id, pointer, _)| {
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
        });
        let mut state = PluginState {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            params: values.collect(),
            fields: params.serialize_fields(),
        };
        change(&mut state);
        serde_json::to_vec(&state).unwrap()
    };
    seeds::write("state", "fresh", &saved(|_| {}));
    seeds::write(
        "state",
        "version-0-1-0",
        include_bytes!("golden/state_0_1_0.json"),
    );
    seeds::write(
        "state",
        "wrong-types",
        &saved(|state| {
            for value in state.params.values_mut() {
                *value = ParamValue::I32(i32::MIN);
            }
        }),
    );
    seeds::write(
        "state",
        "out-of-range",
        &saved(|state| {
            for (value, wild) in state
                .params
                .values_mut()
                .zip([f32::MAX, f32::MIN].iter().cycle())
            {
                *value = ParamValue::F32(*wild);
            }
            state
                .params
                .insert("seed".to_owned(), ParamValue::I32(i32::MAX));
            state
                .params
                .insert("unknown".to_owned(), ParamValue::Bool(true));
        }),
    );
    seeds::write(
        "state",
        "wild-fields",
        &saved(|state| {
            for (name, json) in [
                ("editor", r#"{"width":1e39,"height":-1e38,"zoom":0}"#),
                (
                    "voice",
                    r#"{"name":"x","path":"../../../etc/passwd","sha256":"zz"}"#,
                ),
                ("notice", "[]"),
                ("unknown", "{"),
            ] {
                state.fields.insert(name.to_owned(), json.to_owned());
            }
        }),
    );
}
