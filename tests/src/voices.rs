//! Voices made for tests: graphs so simple that what they must do is known.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use timbra_voice::manifest::{
    EncoderSpec, FORMAT_VERSION, Family, GraphSpec, Manifest, Speaker, TrainingSummary,
};
use timbra_voice::onnx_writer::{Dim, GraphBuilder};
use timbra_voice::package::{Form, sha256_hex, write_voice};

const CONTENT_RATE_HZ: u32 = 16_000;
const HOP_SAMPLES: usize = 160;

/// A voice whose content is the audio itself and whose synthesis plays it back:
/// the wet path becomes a resampled copy of the input, delayed by nothing but
/// the latency. The file is called `NAME.timbra`.
///
/// # Panics
/// When the package cannot be written.
pub fn identity(folder: &Path, name: &str) -> PathBuf {
    let mut content = GraphBuilder::new("identity_content");
    content.input("audio", &[Dim::from(1), Dim::from("samples")]);
    let shape = content.i64s(&[1, -1, HOP_SAMPLES as i64]);
    content.node("Reshape", &["audio", &shape], &["content"], vec![]);
    content.output(
        "content",
        &[Dim::from(1), Dim::from("frames"), Dim::from(HOP_SAMPLES)],
    );
    let mut synthesis = GraphBuilder::new("identity_synthesis");
    let frames = [Dim::from(1), Dim::from("frames"), Dim::from(HOP_SAMPLES)];
    synthesis.input("content", &frames);
    let flat = synthesis.i64s(&[1, -1]);
    synthesis.node("Reshape", &["content", &flat], &["audio"], vec![]);
    synthesis.output("audio", &[Dim::from(1), Dim::from("samples")]);
    write(
        folder,
        name,
        &content.finish(),
        &synthesis.finish(),
        &["content"],
    )
}

/// A voice that sounds a constant F0-steered level: its audio is the F0 input
/// in kilohertz, held over the hop. It makes pitch automation visible sample by
/// sample: a shift by s semitones multiplies the output by 2^(s/12).
///
/// # Panics
/// When the package cannot be written.
pub fn f0_as_level(folder: &Path, name: &str) -> PathBuf {
    let mut content = GraphBuilder::new("f0_content");
    content.input("audio", &[Dim::from(1), Dim::from("samples")]);
    let shape = content.i64s(&[1, -1, HOP_SAMPLES as i64]);
    content.node("Reshape", &["audio", &shape], &["content"], vec![]);
    content.output(
        "content",
        &[Dim::from(1), Dim::from("frames"), Dim::from(HOP_SAMPLES)],
    );
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
    write(
        folder,
        name,
        &content.finish(),
        &synthesis.finish(),
        &["content", "f0_hz"],
    )
}

fn write(folder: &Path, name: &str, content: &[u8], synthesis: &[u8], inputs: &[&str]) -> PathBuf {
    let graph = |file: &str, inputs: &[&str], output: &str| GraphSpec {
        file: file.to_owned(),
        inputs: inputs.iter().map(|&i| i.to_owned()).collect(),
        outputs: vec![output.to_owned()],
        states: Vec::new(),
    };
    let manifest = Manifest {
        format_version: FORMAT_VERSION,
        name: name.to_owned(),
        family: Family::Harmonic,
        speakers: vec![Speaker {
            name: "nobody".to_owned(),
            languages: Vec::new(),
            licence: "CC0-1.0".to_owned(),
            attribution: String::new(),
            consent: "no person is heard".to_owned(),
            f0_median_hz: 220.0,
            f0_low_hz: 110.0,
            f0_high_hz: 440.0,
            loudness_median_db: -20.0,
        }],
        licence: "CC0-1.0".to_owned(),
        attribution: Vec::new(),
        model_rate_hz: CONTENT_RATE_HZ,
        hop_samples: HOP_SAMPLES,
        delay_samples: 0,
        receptive_field_frames: 0,
        f0_min_hz: 50.0,
        f0_max_hz: 1400.0,
        encoder: EncoderSpec {
            id: "test-identity".to_owned(),
            sha256: sha256_hex(content),
            rate_hz: CONTENT_RATE_HZ,
            hop_samples: HOP_SAMPLES,
            channels: HOP_SAMPLES,
            lookahead_samples: 0,
            graph: graph("content.onnx", &["audio"], "content"),
        },
        synthesis: graph("synthesis.onnx", inputs, "audio"),
        clusters: None,
        retrieval: None,
        files: BTreeMap::new(),
        training: TrainingSummary::default(),
        certificate: None,
    };
    let files = BTreeMap::from([
        ("content.onnx".to_owned(), content.to_vec()),
        ("synthesis.onnx".to_owned(), synthesis.to_vec()),
    ]);
    // Tests are threads of one process and may ask for the same file.
    static WRITING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    std::fs::create_dir_all(folder).expect("folder for test voices");
    let path = folder.join(format!("{name}.timbra"));
    write_voice(&path, &manifest, &files, Form::File).expect("write a test voice");
    path
}
