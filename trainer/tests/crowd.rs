//! A training on more speakers than a voice mixes, and the voice of a few of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::PathBuf;
use std::process::Output;

use burn::backend::Flex;
use support::{
    Folder, assert_fails, assert_succeeds, float_wav, runtime_is_there, said, song, trainer,
    write_encoder,
};
use timbra_trainer::harmonic::fit::load;
use timbra_trainer::model::harmonic::{HarmonicConfig, HarmonicVoice};
use timbra_trainer::model::harmonic_graph::Finish;
use timbra_voice::package::VoicePackage;

const SPEAKERS: usize = 9;

fn name(speaker: usize) -> String {
    format!("s{speaker}")
}

/// One recording each, the later speakers brighter.
fn recordings(folder: &Folder) -> PathBuf {
    for speaker in 0..SPEAKERS {
        let mut last = 0.0;
        let samples: Vec<f32> = song(48_000, 2.0)
            .iter()
            .map(|&sample| {
                let bright = sample - last;
                last = sample;
                sample + bright * speaker as f32
            })
            .collect();
        let path = folder.at(&format!("recordings/{}/take.wav", name(speaker)));
        float_wav(&path, 48_000, &[&samples]);
    }
    folder.at("recordings")
}

fn run(words: &[&str], folder: &Folder) -> Output {
    let words: Vec<PathBuf> = words
        .iter()
        .map(|word| match word.strip_prefix('@') {
            Some(file) => folder.at(file),
            None => PathBuf::from(word),
        })
        .collect();
    let words: Vec<_> = words.iter().map(|word| word.as_os_str()).collect();
    trainer(&words)
}

#[test]
fn a_voice_takes_the_speakers_asked_for_from_a_crowd_that_cannot_be_mixed() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("crowd");
    write_encoder(&folder.at("encoder.timbra"));
    recordings(&folder);

    // A voice of all of them is refused before anything is computed.
    let built = run(
        &[
            "build",
            "@recordings",
            "-o",
            "@all.timbra",
            "--encoder",
            "@encoder.timbra",
        ],
        &folder,
    );
    assert_fails(&built, 1, &["9 speakers", "at most 8", "--speakers"]);
    assert!(!folder.at("all.work/features").exists() && !folder.at("all.timbra").exists());

    let prepare = [
        "prepare",
        "@recordings",
        "--work",
        "@work",
        "--encoder",
        "@encoder.timbra",
        "--held-out",
        "0",
    ];
    let prepared = run(&prepare, &folder);
    assert_succeeds(&prepared);
    assert!(said(&prepared).contains("--speakers"), "nobody is told");
    assert_fails(
        &run(&["train", "--work", "@work", "--family", "vits"], &folder),
        1,
        &["9 speakers", "at most 8"],
    );
    let train = [
        "train", "--work", "@work", "--steps", "1", "--batch", "1", "--share", "s3=1",
    ];
    assert_succeeds(&run(&train, &folder));
    assert_succeeds(&run(
        &["cluster", "--work", "@work", "--clusters", "2"],
        &folder,
    ));

    let export = ["export", "--work", "@work", "-o", "@voice.timbra"];
    assert_fails(
        &run(&export, &folder),
        2,
        &["9 speakers", "at most 8", "--speakers"],
    );
    let with = |speakers: &'static str| [&export[..], &["--speakers", speakers]].concat();
    assert_fails(&run(&with("s1,nobody"), &folder), 2, &["nobody"]);
    assert_fails(&run(&with("s1,s1"), &folder), 2, &["s1", "twice"]);
    assert!(!folder.at("voice.timbra").exists());
    assert_succeeds(&run(&with("s6,s2"), &folder));
    let voice = VoicePackage::read(&folder.at("voice.timbra")).unwrap();
    let names: Vec<&str> = voice
        .manifest
        .speakers
        .iter()
        .map(|speaker| speaker.name.as_str())
        .collect();
    assert_eq!(names, ["s6", "s2"]);
    let tables = voice.clusters().unwrap().unwrap().tables;
    assert_eq!(tables.len(), 2);
    assert!(tables.iter().all(Option::is_some));

    // A package and what is mixed of it alone are the same voice; in another order the speakers would be each other.
    let mixed = run(
        &["mix", "@voice.timbra", "@voice.timbra", "-o", "@mixed"],
        &folder,
    );
    assert_succeeds(&mixed);
    let (sum, position) = load::<Flex>(&folder.at("mixed"), &Default::default()).unwrap();
    assert!(position.notes.starts_with("mixed: "), "{}", position.notes);
    assert_eq!(sum.export(Finish::default()).0, voice.synthesis_graph());
    std::fs::rename(folder.at("voice.timbra"), folder.at("one.timbra")).unwrap();
    assert_succeeds(&run(&with("s2,s6"), &folder));
    let swapped = run(
        &["mix", "@one.timbra", "@voice.timbra", "-o", "@swapped"],
        &folder,
    );
    assert_fails(&swapped, 1, &["voice.timbra", "s6, s2", "s2, s6"]);
    assert!(!folder.at("swapped").exists());
}

#[test]
fn speakers_that_are_kept_keep_their_embeddings_in_the_order_asked_for() {
    let config = HarmonicConfig {
        channels: 8,
        speaker_channels: 3,
        ..HarmonicConfig::standard(4, SPEAKERS)
    };
    let mut voice = HarmonicVoice::<Flex>::new(&config, &Default::default());
    let all = voice.speaker_embeddings();
    voice.keep_speakers(&[6, 2]);
    assert_eq!(
        voice.speaker_embeddings(),
        [&all[18..21], &all[6..9]].concat()
    );
}
