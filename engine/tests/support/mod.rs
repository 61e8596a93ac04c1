//! Voices made for tests.
#![allow(dead_code, reason = "every test binary uses a part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use timbra_engine::LoadedVoice;
use timbra_voice::identity::IdentityVoice;
use timbra_voice::package::Form;

/// Where ONNX Runtime is on a machine that has it in no bundle.
const RUNTIME: &str = "ORT_DYLIB_PATH";

/// Whether the tests that run graphs can run. On a laptop without ONNX Runtime they are skipped, in CI they fail.
pub fn runtime_is_there() -> bool {
    match timbra_engine::onnx::ensure_runtime() {
        Ok(()) => true,
        Err(error) if std::env::var_os("CI").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("SKIPPED: {error} (the tests look at {RUNTIME})");
            false
        }
    }
}

/// A folder of this test's own, empty.
pub fn folder(test: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("timbra-engine-{}-{test}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Writes and loads an identity voice.
pub fn identity(test: &str, lookahead_frames: usize, delay_samples: usize) -> Arc<LoadedVoice> {
    let path = folder(test).join("identity.timbra");
    write_identity(&path, lookahead_frames, delay_samples);
    LoadedVoice::load(&path, &[]).unwrap()
}

/// Writes an identity voice.
pub fn write_identity(path: &Path, lookahead_frames: usize, delay_samples: usize) -> String {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    IdentityVoice { name, lookahead_frames, delay_samples }.write(path, Form::File).unwrap()
}

/// Something like a voice: a gliding tone with overtones and breath, −20 dBFS or so.
pub fn song(rate_hz: u32, seconds: f32) -> Vec<f32> {
    let total = (rate_hz as f32 * seconds) as usize;
    let mut phase = 0.0f64;
    let mut breath = vec![0.0; total];
    timbra_dsp::noise::fill(7, 0, &mut breath);
    (0..total)
        .map(|index| {
            let time_s = index as f64 / f64::from(rate_hz);
            let f0_hz = 220.0 + 60.0 * (time_s * 1.7).sin();
            phase += f0_hz / f64::from(rate_hz);
            let tone: f64 = (1..6).map(|k| (phase * std::f64::consts::TAU * f64::from(k)).sin() / f64::from(k)).sum();
            (0.1 * tone) as f32 + 0.005 * breath[index]
        })
        .collect()
}
