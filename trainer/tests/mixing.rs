//! One voice from the checkpoints of several harmonic trainings.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::{Path, PathBuf};

use burn::backend::Flex;
use support::Folder;
use timbra_trainer::commands::mix;
use timbra_trainer::harmonic::fit::{VoiceFitConfig, VoicePosition, load};
use timbra_trainer::model::harmonic::{HarmonicConfig, HarmonicVoice};
use timbra_trainer::model::harmonic_graph::Finish;
use timbra_trainer::training::checkpoint::{Checkpoints, module_bytes};

/// A checkpoint of a voice that nobody trained.
fn checkpoint(folder: &Folder, name: &str, channels: usize, step: u64) -> PathBuf {
    let network = HarmonicConfig {
        channels,
        kernel: 3,
        dilations: vec![1, 2],
        content_channels: 8,
        speaker_channels: 4,
        speakers: 2,
    };
    let voice = HarmonicVoice::<Flex>::new(&network, &Default::default());
    let position = VoicePosition {
        step,
        seconds: 60.0,
        held_out: 0.7,
        similarity: 0.6,
        best_held_out: 0.7,
        config: VoiceFitConfig {
            network,
            ..VoiceFitConfig::standard(8, 2)
        },
        minutes: 5.0,
        backend: "flex".to_owned(),
        notes: String::new(),
    };
    let path = folder.at(name);
    Checkpoints::open(path.parent().unwrap())
        .unwrap()
        .write(
            name,
            &position,
            &[("model.bin", module_bytes(&voice).unwrap())],
        )
        .unwrap();
    path
}

fn mixed(parts: &[&Path], weights: &[f32], output: &Path) -> Result<(), String> {
    mix::run(&mix::Args {
        checkpoints: parts.iter().map(|path| path.to_path_buf()).collect(),
        weights: weights.to_vec(),
        linear: false,
        output: output.to_path_buf(),
    })
    .map_err(|error| format!("{error:#}"))
}

fn graph(folder: &Path) -> Vec<u8> {
    let (voice, _) = load::<Flex>(folder, &Default::default()).unwrap();
    voice.export(Finish::default()).0
}

#[test]
fn a_harmonic_voice_lies_between_its_checkpoints_and_says_which() {
    let folder = Folder::new("mixing");
    let one = checkpoint(&folder, "one", 16, 300);
    let other = checkpoint(&folder, "other", 16, 200);
    assert_ne!(graph(&one), graph(&other));

    let all_of_one = folder.at("all_of_one");
    mixed(&[&one, &other], &[2.0, 0.0], &all_of_one).unwrap();
    assert_eq!(graph(&all_of_one), graph(&one));

    let half = folder.at("half");
    mixed(&[&one, &other], &[], &half).unwrap();
    assert!(graph(&half) != graph(&one) && graph(&half) != graph(&other));
    let (_, position) = load::<Flex>(&half, &Default::default()).unwrap();
    assert_eq!((position.step, position.seconds), (300, 120.0));
    assert!(
        position.notes.starts_with("mixed: 0.5 · "),
        "{}",
        position.notes
    );
}

#[test]
fn checkpoints_of_other_sizes_are_refused_and_nothing_is_written() {
    let folder = Folder::new("mixing-refused");
    let one = checkpoint(&folder, "one", 16, 300);
    let wide = checkpoint(&folder, "wide", 24, 300);
    let output = folder.at("output");
    let error = mixed(&[&one, &wide], &[], &output).unwrap_err();
    assert!(error.contains("wide") && error.contains("24"), "{error}");
    let nowhere = folder.at("nowhere");
    let error = mixed(&[&one, &nowhere], &[], &output).unwrap_err();
    assert!(error.contains("nowhere"), "{error}");
    assert!(!output.exists());
}

#[test]
fn sizes_of_a_checkpoint_are_checked_before_a_network_is_made_of_them() {
    let folder = Folder::new("mixing-sizes");
    let path = checkpoint(&folder, "one", 16, 300);
    let file = path.join("position.json");
    let text = std::fs::read_to_string(&file).unwrap();
    for (before, after, what) in [
        ("\"channels\": 16", "\"channels\": 4000000000", "channels"),
        ("\"kernel\": 3", "\"kernel\": 0", "kernel"),
        ("\"speakers\": 2", "\"speakers\": 99999999", "speakers"),
    ] {
        let (bare, broken) = (text.replace(": ", ":"), after.replace(": ", ":"));
        let changed = bare.replacen(&before.replace(": ", ":"), &broken, 1);
        assert_ne!(bare, changed, "{before} is not in {text}");
        std::fs::write(&file, changed).unwrap();
        let error = load::<Flex>(&path, &Default::default()).unwrap_err();
        let error = format!("{error:#}");
        assert!(
            error.contains("position.json") && error.contains(what) && error.contains("expected"),
            "{error}"
        );
    }
}
