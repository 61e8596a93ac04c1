//! A small voice of so-vits-svc, imported, with an encoder that was never trained: everything of such a voice but its sound.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use timbra_trainer::commands::import::{self, Args, Content};
use timbra_voice::identity::IdentityVoice;
use timbra_voice::onnx_writer::{Attr, GraphBuilder};
use timbra_voice::package::{self, Form, VoicePackage, sha256_hex};
use timbra_voice::tables::{self, Table};

/// Content channels of the small voice.
const CHANNELS: usize = 12;

/// An encoder that gives numbers that follow the audio, as wide as the small voice wants them.
fn write_small_encoder(path: &Path) {
    let (mut manifest, mut files) = IdentityVoice {
        lookahead_frames: 5,
        ..Default::default()
    }
    .encoder_parts();
    let encoder = &mut manifest.encoder;
    let samples = 5 * 160;
    let mut graph = GraphBuilder::new("content");
    graph.input("audio", &[1.into(), "samples".into()]);
    graph.input("history", &[1.into(), samples.into()]);
    graph.output("content", &[1.into(), "T".into(), CHANNELS.into()]);
    graph.output("history_next", &[1.into(), samples.into()]);
    let axis = vec![Attr::Int("axis", 1)];
    let joined = graph.op("Concat", &["history", "audio"], axis);
    let (start, cut) = (graph.i64s(&[0]), graph.i64s(&[-(samples as i64)]));
    let (end, along) = (graph.i64s(&[i64::MAX]), graph.i64s(&[1]));
    graph.node(
        "Slice",
        &[&joined, &cut, &end, &along],
        &["history_next"],
        vec![],
    );
    let late = graph.op("Slice", &[&joined, &start, &cut, &along], vec![]);
    let shape = graph.i64s(&[1, -1, 160]);
    let frames = graph.op("Reshape", &[&late, &shape], vec![]);
    let weights: Vec<f32> = (0..160 * CHANNELS as u64)
        .map(|n| timbra_dsp::noise::uniform(3, n))
        .collect();
    let weights = graph.f32s(&[160, CHANNELS], &weights);
    graph.node("MatMul", &[&frames, &weights], &["content"], vec![]);
    let bytes = graph.finish();
    encoder.id = "vec256l9".to_owned();
    encoder.channels = CHANNELS;
    encoder.sha256 = sha256_hex(&bytes);
    files.insert(encoder.graph.file.clone(), bytes);
    package::write_encoder(path, &manifest, &files, Form::File).unwrap();
}

/// The small voice of so-vits-svc with both kinds of tables, in `folder`.
pub fn imported(folder: &Path) -> PathBuf {
    let encoder = folder.join("encoder.timbra");
    write_small_encoder(&encoder);
    let bare = folder.join("bare.timbra");
    let checkpoint =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../trainer/tests/fixtures/sovits_fork/G_3.pth");
    import::run(&Args {
        content: Content::Vec256l9,
        encoder: Some(encoder),
        ..Args::new(checkpoint, bare.clone())
    })
    .unwrap();
    let package = VoicePackage::read(&bare).unwrap();
    let mut manifest = package.manifest.clone();
    let mut files: BTreeMap<String, Vec<u8>> = manifest
        .files
        .keys()
        .map(|name| (name.clone(), package.file(name).unwrap().to_vec()))
        .collect();
    for (name, seed) in [("clusters", 1), ("retrieval", 2)] {
        let of_each: BTreeMap<String, Table> = manifest
            .speakers
            .iter()
            .map(|speaker| {
                let rows = 16;
                let data = (0..rows * CHANNELS)
                    .map(|n| timbra_dsp::noise::uniform(seed, n as u64))
                    .collect();
                let table = Table {
                    rows,
                    channels: CHANNELS,
                    data,
                };
                (speaker.name.clone(), table)
            })
            .collect();
        let file = format!("{name}.safetensors");
        files.insert(file.clone(), tables::write(&of_each).unwrap());
        if name == "clusters" {
            manifest.clusters = Some(file);
        } else {
            manifest.retrieval = Some(file);
        }
    }
    let path = folder.join("voice.timbra");
    package::write_voice(&path, &manifest, &files, Form::File).unwrap();
    path
}
