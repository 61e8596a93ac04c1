//! Voices made for tests: graphs so simple that what they must do is known.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use timbra_voice::identity::IdentityVoice;
use timbra_voice::manifest::Manifest;
use timbra_voice::onnx_writer::{Dim, GraphBuilder};
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
