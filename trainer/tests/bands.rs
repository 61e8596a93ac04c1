//! What an encoder gives beside what it has learned: levels of broad bands that say what changes, and not what stays.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use burn::backend::Flex;
use support::Folder;
use timbra_engine::onnx::{NamedTensor, evaluate};
use timbra_trainer::commands::widen;
use timbra_trainer::harmonic::words::{Listener, Words};
use timbra_trainer::model::bands::BANDS;
use timbra_trainer::model::content::{ContentConfig, ContentEncoder};
use timbra_trainer::random::Random;
use timbra_voice::identity::IdentityVoice;
use timbra_voice::manifest::{CpuWeights, EncoderManifest, EncoderSpec, StateTensor};
use timbra_voice::package::{EncoderPackage, Form, sha256_hex, write_encoder};

const HOP_SAMPLES: usize = 160;
const LEARNED: usize = 8;
/// Frames of the sounds: the means have settled after two thirds of them.
const FRAMES: usize = 600;
/// Frames that a colour lasts.
const TURN_FRAMES: usize = 10;

fn config(lookahead_frames: usize) -> ContentConfig {
    ContentConfig {
        channels: 16,
        kernel: 5,
        dilations: vec![1, 4],
        content_channels: LEARNED,
        lookahead_frames,
    }
}

/// What a graph gives of `audio`, `[T, C]`, in steps of so many hops.
fn content(graph: &[u8], states: &[StateTensor], audio: &[f32], hops: usize) -> Vec<f32> {
    let mut states: Vec<NamedTensor> = states
        .iter()
        .map(|state| NamedTensor {
            name: state.name.clone(),
            shape: state.shape.clone(),
            data: vec![0.0; state.shape.iter().product()],
        })
        .collect();
    let mut all = Vec::new();
    for step in audio.chunks(hops * HOP_SAMPLES) {
        let mut inputs = states.clone();
        inputs.push(NamedTensor {
            name: "audio".to_owned(),
            shape: vec![1, step.len()],
            data: step.to_vec(),
        });
        let mut results = evaluate(graph, &inputs).unwrap();
        for state in &mut states {
            let next = format!("{}_next", state.name);
            let place = results.iter().position(|r| r.name == next).unwrap();
            state.data = results.swap_remove(place).data;
        }
        let place = results.iter().position(|r| r.name == "content").unwrap();
        all.extend(results.swap_remove(place).data);
    }
    all
}

/// Noise that is bright and dark in turn.
fn turns() -> Vec<f32> {
    let mut random = Random::new(9, 0);
    let mut last = 0.0;
    (0..FRAMES * HOP_SAMPLES)
        .map(|i| {
            let noise = 0.1 * random.normal();
            let dark = i / HOP_SAMPLES / TURN_FRAMES % 2 == 1;
            let heard = noise + if dark { 0.9 } else { -0.9 } * last;
            last = noise;
            heard
        })
        .collect()
}

/// What another microphone would make of it: 20 dB from the lowest to the highest.
fn brighter(audio: &[f32]) -> Vec<f32> {
    let mut last = 0.0;
    audio
        .iter()
        .map(|&sample| {
            let heard = sample - 0.8 * last;
            last = sample;
            heard
        })
        .collect()
}

/// The levels alone, `[frames][BANDS]`.
fn levels(audio: &[f32]) -> Vec<Vec<f32>> {
    let encoder = ContentEncoder::<Flex>::new(&config(0), 4, &Default::default());
    let (graph, spec) = encoder.export(Some(0));
    content(&graph, &spec.states, audio, 100)
        .chunks(LEARNED + BANDS)
        .map(|frame| frame[LEARNED..].to_vec())
        .collect()
}

/// The mean distance of two sounds' levels over `frames`.
fn apart(a: &[Vec<f32>], b: &[Vec<f32>], frames: std::ops::Range<usize>) -> f32 {
    let count = (frames.len() * BANDS) as f32;
    let distances = a[frames.clone()]
        .iter()
        .flatten()
        .zip(b[frames].iter().flatten());
    distances.map(|(a, b)| (a - b).abs()).sum::<f32>() / count
}

#[test]
fn levels_follow_what_is_said_and_neither_loudness_nor_microphone() {
    if !support::runtime_is_there() {
        return;
    }
    let audio = turns();
    let heard = levels(&audio);
    let settled = 400..FRAMES;
    // Frames of the two colours, a turn apart, in the middle of their turns.
    let of = |dark: usize| -> Vec<f32> {
        (0..BANDS)
            .map(|band| {
                let frames = (20..29).map(|turn| (2 * turn + dark) * TURN_FRAMES + 5);
                frames.map(|frame| heard[frame][band]).sum::<f32>() / 9.0
            })
            .collect()
    };
    let (bright, dark) = (of(0), of(1));
    assert!(bright[0] < dark[0] - 0.3, "{bright:?} {dark:?}");
    // Levels are against all bands together, which the highest, the broadest, makes most of where it is loud.
    let highest = BANDS - 1;
    assert!(
        bright[highest] > dark[highest] + 0.15,
        "{bright:?} {dark:?}"
    );
    let louder: Vec<f32> = audio.iter().map(|sample| 4.0 * sample).collect();
    let distance = apart(&levels(&louder), &heard, settled.clone());
    assert!(distance < 0.02, "louder: {distance}");
    let other = levels(&brighter(&audio));
    let (first, later) = (apart(&other, &heard, 0..4), apart(&other, &heard, settled));
    // Not all of it: what the other microphone makes louder counts more in the means.
    assert!(
        first > 0.1 && later < first / 3.0,
        "another microphone: {first}, then {later}"
    );
}

#[test]
fn levels_are_of_the_frames_that_the_content_describes() {
    if !support::runtime_is_there() {
        return;
    }
    const LATE: usize = 3;
    let encoder = ContentEncoder::<Flex>::new(&config(LATE), 4, &Default::default());
    let audio = &turns()[..100 * HOP_SAMPLES];
    let of = |late_frames| {
        let (graph, spec) = encoder.export(Some(late_frames));
        content(&graph, &spec.states, audio, 100)
    };
    let (now, late) = (of(0), of(LATE));
    let width = LEARNED + BANDS;
    for frame in LATE..100 {
        let (there, then) = (frame * width, (frame - LATE) * width);
        assert_eq!(late[there..there + LEARNED], now[there..there + LEARNED]);
        assert_eq!(
            late[there + LEARNED..there + width],
            now[then + LEARNED..then + width]
        );
    }
}

/// An encoder of the shipped sizes that has learned nothing.
fn write_narrow(path: &Path) {
    let config = ContentConfig {
        lookahead_frames: 0,
        ..ContentConfig::default()
    };
    let (graph, mut spec) =
        ContentEncoder::<Flex>::new(&config, 4, &Default::default()).export(None);
    spec.cpu_weights = Some(CpuWeights::Int8);
    let (like, _) = IdentityVoice::default().encoder_parts();
    let manifest = EncoderManifest {
        encoder: EncoderSpec {
            id: "narrow".to_owned(),
            sha256: sha256_hex(&graph),
            channels: config.content_channels,
            lookahead_samples: config.lookahead_samples(),
            graph: spec.clone(),
            ..like.encoder
        },
        files: BTreeMap::new(),
        ..like
    };
    let files = BTreeMap::from([(spec.file, graph)]);
    write_encoder(path, &manifest, &files, Form::File).unwrap();
}

#[test]
fn an_encoder_is_widened_once_and_what_it_learned_stays() {
    if !support::runtime_is_there() {
        return;
    }
    let folder = Folder::new("bands-widen");
    let narrow_path = folder.at("narrow.timbra");
    write_narrow(&narrow_path);
    let widen = |from: &Path, name: &str| {
        let output = folder.at(name);
        let args = widen::Args {
            encoder: from.to_path_buf(),
            output: output.clone(),
            id: "wider".to_owned(),
        };
        widen::run(&args).map(|()| output)
    };
    let wide = widen(&narrow_path, "wide.timbra").unwrap();
    let (narrow, wider) = (
        EncoderPackage::read(&narrow_path).unwrap(),
        EncoderPackage::read(&wide).unwrap(),
    );
    let (old, new) = (&narrow.manifest.encoder, &wider.manifest.encoder);
    assert_eq!(
        (new.channels, new.band_channels),
        (old.channels + BANDS, BANDS)
    );
    assert_eq!(new.graph.cpu_weights, old.graph.cpu_weights);
    assert_eq!(new.sha256, sha256_hex(wider.graph()));
    let audio = &turns()[..40 * HOP_SAMPLES];
    let learned = content(narrow.graph(), &old.graph.states, audio, 40);
    let both = content(wider.graph(), &new.graph.states, audio, 40);
    let hop_by_hop = content(wider.graph(), &new.graph.states, audio, 1);
    for (frame, learned) in learned.chunks(old.channels).enumerate() {
        assert_eq!(&both[frame * new.channels..][..old.channels], learned);
    }
    for (a, b) in both.iter().zip(&hop_by_hop) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
    // A training whose words the encoder listens to hears what was learned.
    Words::<Flex>::new(Listener::Encoder(&wide), &Default::default()).unwrap();
    let error = widen(&wide, "twice.timbra").unwrap_err().to_string();
    assert!(
        error
            .contains("wide.timbra: expected an encoder without levels of bands, found one with 8"),
        "{error}"
    );
    let foreign = folder.at("identity.timbra");
    support::write_encoder(&foreign);
    let error = widen(&foreign, "foreign.timbra").unwrap_err().to_string();
    assert!(
        error.contains("identity.timbra: expected an encoder of `trainer encoder`"),
        "{error}"
    );
    assert!(!folder.at("twice.timbra").exists() && !folder.at("foreign.timbra").exists());
}

#[test]
fn more_bands_than_channels_are_refused() {
    let folder = Folder::new("bands-count");
    let path = folder.at("some.timbra");
    support::write_encoder(&path);
    let package = EncoderPackage::read(&path).unwrap();
    let mut manifest = package.manifest.clone();
    manifest.encoder.band_channels = manifest.encoder.channels;
    let files = [(
        manifest.encoder.graph.file.clone(),
        package.graph().to_vec(),
    )];
    manifest.files.clear();
    let error = write_encoder(&path, &manifest, &files.into(), Form::File)
        .map_err(anyhow::Error::from)
        .and_then(|_| Ok(EncoderPackage::read(&path)?));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("encoder.band_channels"), "{error}");
}
