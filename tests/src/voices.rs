//! Voices made for tests: graphs so simple that what they must do is known.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use timbra_voice::identity::IdentityVoice;
use timbra_voice::manifest::Manifest;
use timbra_voice::onnx_writer::{Attr, Dim, GraphBuilder};
use timbra_voice::package::{Form, write_voice};

const HOP_SAMPLES: usize = 160;

/// A voice whose content is the audio itself and whose synthesis plays it back:
/// the wet path becomes a resampled copy of the input, delayed by nothing but
/// the latency. The file is called `NAME.timbra`.
///
/// # Panics
/// When the package cannot be written.
pub fn identity(folder: &Path, name: &str) -> PathBuf {
    let (manifest, files) = parts(name);
    write(folder, &manifest, &files)
}

/// A voice that sounds a constant F0-steered level: its audio is the F0 input
/// in kilohertz, held over the hop. It makes pitch automation visible sample by
/// sample: a shift by s semitones multiplies the output by 2^(s/12).
///
/// # Panics
/// When the package cannot be written.
pub fn f0_as_level(folder: &Path, name: &str) -> PathBuf {
    let mut synthesis = GraphBuilder::new("f0_synthesis");
    synthesis.input(
        "content",
        &[Dim::from(1), Dim::from("frames"), Dim::from(HOP_SAMPLES)],
    );
    synthesis.input("f0_hz", &[Dim::from(1), Dim::from("frames")]);
    let scale = synthesis.f32s(&[1], &[0.001]);
    let level = synthesis.op("Mul", &["f0_hz", &scale], vec![]);
    let column = synthesis.i64s(&[1, -1, 1]);
    let level = synthesis.op("Reshape", &[&level, &column], vec![]);
    // The content takes part so that the graph uses all its inputs; it adds nothing.
    let zero = synthesis.f32s(&[1], &[0.0]);
    let silent = synthesis.op("Mul", &["content", &zero], vec![]);
    let held = synthesis.op("Add", &[&silent, &level], vec![]);
    let flat = synthesis.i64s(&[1, -1]);
    synthesis.node("Reshape", &[&held, &flat], &["audio"], vec![]);
    synthesis.output("audio", &[Dim::from(1), Dim::from("samples")]);
    let (mut manifest, mut files) = parts(name);
    manifest.synthesis.inputs.push("f0_hz".to_owned());
    files.insert(manifest.synthesis.file.clone(), synthesis.finish());
    write(folder, &manifest, &files)
}

/// The [`identity`] voice, doing about `milliseconds` of idle work per frame of 10 ms on this machine: with 30 its
/// load is 3.
///
/// # Panics
/// When the package cannot be written.
pub fn slow(folder: &Path, name: &str, milliseconds: f64) -> PathBuf {
    // Work of about a millisecond on a core of 2020; how long it takes here is measured with one such voice.
    let trial = write_slow(folder, &format!("{name}-trial"), 10);
    let took_ms = frame_ms(&trial);
    let empty_ms = frame_ms(&write_slow(folder, &format!("{name}-empty"), 0));
    let units = ((milliseconds - empty_ms) / ((took_ms - empty_ms) / 10.0)).max(1.0);
    write_slow(folder, name, units.round() as usize)
}

/// Milliseconds one frame takes.
fn frame_ms(voice: &Path) -> f64 {
    let voice = timbra_engine::offline::load_voice(voice).expect("a voice of ours");
    let silent_hum = vec![0.01; 48_000 / 2];
    let began = std::time::Instant::now();
    let controls = |_| timbra_engine::Controls::default();
    timbra_engine::offline::convert(&voice, &silent_hum, 48_000, &controls, &mut |_| {})
        .expect("a voice of ours runs");
    began.elapsed().as_secs_f64() * 1e3 / 50.0
}

fn write_slow(folder: &Path, name: &str, units: usize) -> PathBuf {
    let mut synthesis = GraphBuilder::new("slow_synthesis");
    synthesis.input(
        "content",
        &[Dim::from(1), Dim::from("frames"), Dim::from(HOP_SAMPLES)],
    );
    let flat = synthesis.i64s(&[1, -1]);
    let flat = synthesis.op("Reshape", &["content", &flat], vec![]);
    let largest = |synthesis: &mut GraphBuilder, of: &str| {
        let all = vec![Attr::Ints("axes", vec![0, 1]), Attr::Int("keepdims", 1)];
        synthesis.op("ReduceMax", &[of], all)
    };
    let seed = largest(&mut synthesis, &flat);
    let wide = synthesis.i64s(&[1, 1 + 30_000 * units as i64]);
    let mut work = synthesis.op("Expand", &[&seed, &wide], vec![]);
    for _ in 0..3 {
        work = synthesis.op("Sin", &[&work], vec![]);
    }
    let work = largest(&mut synthesis, &work);
    // It takes part so that it is done; it adds nothing.
    let zero = synthesis.f32s(&[1], &[0.0]);
    let nothing = synthesis.op("Mul", &[&work, &zero], vec![]);
    synthesis.node("Add", &[&flat, &nothing], &["audio"], vec![]);
    synthesis.output("audio", &[Dim::from(1), Dim::from("samples")]);
    let (manifest, mut files) = parts(name);
    files.insert(manifest.synthesis.file.clone(), synthesis.finish());
    write(folder, &manifest, &files)
}

fn parts(name: &str) -> (Manifest, BTreeMap<String, Vec<u8>>) {
    IdentityVoice {
        name: name.to_owned(),
        ..IdentityVoice::default()
    }
    .parts()
}

fn write(folder: &Path, manifest: &Manifest, files: &BTreeMap<String, Vec<u8>>) -> PathBuf {
    // Tests are threads of one process and may ask for the same file.
    static WRITING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    std::fs::create_dir_all(folder).expect("folder for test voices");
    let path = folder.join(format!("{}.timbra", manifest.name));
    write_voice(&path, manifest, files, Form::File).expect("write a test voice");
    path
}
