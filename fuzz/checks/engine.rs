//! What holds for manifests and graphs whatever they say. The fuzz targets run it, and the tests of the crate.
#![allow(dead_code, reason = "every target uses a part")]
#![allow(clippy::unwrap_used, reason = "a check fails by panicking")]

#[path = "folder.rs"]
mod folder;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use timbra_engine::onnx::{Graph, GraphShape, GraphStream, Slot};
use timbra_engine::{LatencyPlan, Tier, VoiceTiming};
use timbra_voice::identity::IdentityVoice;
use timbra_voice::manifest::{Manifest, StateTensor};
use timbra_voice::package::{self, EncoderPackage, Form, VoicePackage};
use timbra_voice::tables::{self, Table};

/// The voice whose manifest and graphs are changed: both graphs carry state, and there are tables.
pub fn original() -> (Manifest, BTreeMap<String, Vec<u8>>) {
    let voice = IdentityVoice {
        lookahead_frames: 2,
        delay_samples: 40,
        ..IdentityVoice::default()
    };
    let (mut manifest, mut files) = voice.parts();
    let table = Table {
        rows: 1,
        channels: 160,
        data: vec![0.5; 160],
    };
    let tables = tables::write(&BTreeMap::from([("anybody".to_owned(), table)])).unwrap();
    files.insert("clusters.safetensors".to_owned(), tables);
    manifest.clusters = Some("clusters.safetensors".to_owned());
    (manifest, files)
}

/// Bytes as the manifest beside files that fit the original's.
pub fn manifest(bytes: &[u8]) {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    let folder = PLACE.get_or_init(|| {
        let folder = folder::folder("manifest");
        let (manifest, files) = original();
        package::write_voice(&folder.join("voice"), &manifest, &files, Form::Folder).unwrap();
        std::fs::create_dir_all(folder.join("encoder")).unwrap();
        std::fs::write(folder.join("encoder/content.onnx"), &files["content.onnx"]).unwrap();
        folder
    });
    std::fs::write(folder.join("voice/voice.json"), bytes).unwrap();
    std::fs::write(folder.join("encoder/encoder.json"), bytes).unwrap();
    let read = package::read_manifest(&folder.join("voice"));
    if let Ok((manifest, _)) = &read {
        let timing = VoiceTiming::of(manifest);
        for (tier, host_rate_hz) in [(Tier::Live, 44_100), (Tier::Render, 192_000)] {
            let plan = LatencyPlan::new(&timing, tier, host_rate_hz, 8192).unwrap();
            assert!(plan.latency_samples < 5 * host_rate_hz + 8192);
            assert!(plan.chain_delay_samples <= plan.latency_samples);
            assert!(plan.tail_samples < 31 * host_rate_hz);
        }
    }
    match VoicePackage::read(&folder.join("voice")) {
        Ok(package) => {
            assert_eq!(package.manifest, read.unwrap().0);
            assert!(!package.synthesis_graph().is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match EncoderPackage::read(&folder.join("encoder")) {
        Ok(package) => assert!(!package.graph().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Bytes as a graph of a voice: the synthesis when they name one, the content encoder otherwise.
pub fn graph(bytes: &[u8]) {
    let names = |name: &str| {
        bytes
            .windows(name.len())
            .any(|window| window == name.as_bytes())
    };
    let state = |name: &str, samples: usize| {
        let state = StateTensor {
            name: name.to_owned(),
            shape: vec![1, samples],
        };
        names(name).then_some(state).into_iter().collect()
    };
    let shape = if names("synthesis") {
        let inputs = [
            ("content", vec![1, 1, 160]),
            ("f0_hz", vec![1, 1]),
            ("loudness", vec![1, 1]),
            ("speaker_mix", vec![1, 1, 2]),
            ("noise", vec![1, 160]),
        ];
        GraphShape {
            owner: "voice".to_owned(),
            file: "synthesis.onnx".to_owned(),
            inputs: inputs
                .iter()
                .filter(|(name, _)| names(name))
                .map(|(name, shape)| Slot::new(name, shape))
                .collect(),
            output: Slot::new("audio", &[1, 160]),
            states: state("tail", 40),
        }
    } else {
        GraphShape {
            owner: "encoder".to_owned(),
            file: "content.onnx".to_owned(),
            inputs: vec![Slot::new("audio", &[1, 160])],
            output: Slot::new("content", &[1, 1, 160]),
            states: state("history", 320),
        }
    };
    if let Ok(graph) = Graph::load(shape, bytes) {
        let mut stream = GraphStream::new(&graph).unwrap();
        for index in 0..graph.shape().inputs.len() {
            stream.input(index).fill(f32::MAX);
        }
        // A hop may fail; it must not do more.
        let _ = stream.run();
        stream.reset().unwrap();
    }
}

/// Whether graphs can run here.
pub fn runtime() -> Arc<str> {
    match timbra_engine::onnx::ensure_runtime() {
        Ok(()) => "".into(),
        Err(error) => error.to_string().into(),
    }
}
