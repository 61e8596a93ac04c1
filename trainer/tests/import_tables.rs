//! Cluster centres and indexes given to `trainer import` are in the package, each with the speaker it was made of.
//!
//! The tables are made by `fixtures/make.py` (`beside`), their values by a formula.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use support::{Folder, assert_fails, assert_succeeds, said, trainer};
use timbra_voice::package::VoicePackage;
use timbra_voice::tables::Table;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// Runs `trainer import` with options of which some are files.
fn import(checkpoint: &Path, output: &Path, options: &[(&str, &Path)]) -> Output {
    let mut arguments = vec!["import".into(), checkpoint.as_os_str().to_owned()];
    for (option, value) in options {
        arguments.extend([option.into(), value.as_os_str().to_owned()]);
    }
    arguments.extend(["-o".into(), output.as_os_str().to_owned()]);
    trainer(&arguments)
}

/// Asserts that a table is the one of `number`.
#[track_caller]
fn assert_is(table: Option<&Table>, number: usize, rows: usize, channels: usize) {
    let table = table.expect("a table");
    assert_eq!((table.rows, table.channels), (rows, channels));
    for row in 0..rows {
        for channel in 0..channels {
            let expected = number as f32 + row as f32 / 8.0 + channel as f32 / 1024.0;
            let found = table.row(row)[channel];
            assert_eq!(found, expected, "row {row}, channel {channel}");
        }
    }
}

#[track_caller]
fn assert_says(output: &Output, words: &[&str]) {
    let text = said(output);
    for word in words {
        assert!(text.contains(word), "\"{word}\" is not in:\n{text}");
    }
}

#[test]
fn every_speaker_has_its_own_tables_and_strangers_are_told() {
    let folder = Folder::new("tables");
    let path = folder.at("voice.timbra");
    let (kmeans, index) = (
        fixture("beside/kmeans_10.pt"),
        fixture("beside/feature_and_index.pkl"),
    );
    let voice = fixture("sovits_fork/G_3.pth");
    let tables = [("--clusters", &*kmeans), ("--retrieval", &*index)];
    let output = import(&voice, &path, &tables);
    assert_succeeds(&output);
    assert_says(
        &output,
        &[
            "kmeans_10.pt: speaker \"three\" is not in the voice, which has one (0), two (1); left out",
            "feature_and_index.pkl: speaker 7 is not in the voice",
        ],
    );
    let package = VoicePackage::read(&path).unwrap();
    let clusters = package.clusters().unwrap().unwrap().tables;
    assert_eq!(clusters.len(), 2);
    assert_is(clusters[0].as_ref(), 1, 3, 12);
    assert_is(clusters[1].as_ref(), 2, 4, 12);
    let retrieval = package.retrieval().unwrap().unwrap().tables;
    assert_eq!(retrieval.len(), 2);
    assert_is(retrieval[0].as_ref(), 10, 40, 12);
    assert_is(retrieval[1].as_ref(), 11, 41, 12);

    // Of the speakers that are left out nothing is said, they were not asked for.
    let one = [tables[0], tables[1], ("--speakers", Path::new("two"))];
    let output = import(&voice, &path, &one);
    assert_succeeds(&output);
    assert!(
        !said(&output).contains("speaker \"one\""),
        "{}",
        said(&output)
    );
    let package = VoicePackage::read(&path).unwrap();
    let clusters = package.clusters().unwrap().unwrap().tables;
    assert_eq!(clusters.len(), 1);
    assert_is(clusters[0].as_ref(), 2, 4, 12);
    let retrieval = package.retrieval().unwrap().unwrap().tables;
    assert_is(retrieval[0].as_ref(), 11, 41, 12);
}

#[test]
fn an_index_without_a_speaker_is_of_the_one_there_is() {
    let folder = Folder::new("tables-rvc");
    let path = folder.at("voice.timbra");
    let index = fixture("beside/added_IVF1_Flat_nprobe_1.index");
    let voice = fixture("rvc_v1_32k/voice.pth");
    assert_succeeds(&import(&voice, &path, &[("--retrieval", &index)]));
    let package = VoicePackage::read(&path).unwrap();
    let retrieval = package.retrieval().unwrap().unwrap().tables;
    assert_eq!(retrieval.len(), 1);
    assert_is(retrieval[0].as_ref(), 20, 40, 256);
    assert!(package.clusters().unwrap().is_none());
    assert_eq!(package.manifest.retrieval_unvoiced, 0.33, "as RVC protects");
}

#[test]
fn consonants_are_protected_as_rvc_does_or_as_it_is_said() {
    let folder = Folder::new("tables-protect");
    let path = folder.at("voice.timbra");
    let imported = |voice: &str, protect: Option<&str>| {
        let index = fixture("beside/added_IVF1_Flat_nprobe_1.index");
        let mut options = vec![];
        if voice.starts_with("rvc_v1_32k") {
            options.push(("--retrieval", index.as_path()));
        }
        options.extend(protect.map(|share| ("--protect", Path::new(share))));
        import(&fixture(voice), &path, &options)
    };
    for (voice, protect, share) in [
        ("rvc_v1_32k/voice.pth", Some("0.1"), 0.1),
        ("rvc_v1_32k/voice.pth", Some("0.5"), 1.0),
        ("rvc_v1_40k_no_f0/voice.pth", None, 1.0),
        ("sovits_fork/G_3.pth", None, 1.0),
    ] {
        assert_succeeds(&imported(voice, protect));
        let found = VoicePackage::read(&path)
            .unwrap()
            .manifest
            .retrieval_unvoiced;
        assert_eq!(found, share, "{voice} {protect:?}");
    }
    let refused = imported("rvc_v1_32k/voice.pth", Some("0.7"));
    assert!(!refused.status.success());
    assert_says(&refused, &["--protect is 0.7; expected 0 to 0.5"]);
}

#[test]
fn tables_of_another_voice_are_refused_or_told() {
    let folder = Folder::new("tables-other");
    let path = folder.at("voice.timbra");
    let kmeans = fixture("beside/kmeans_10.pt");
    let voice = fixture("sovits_fork/G_3.pth");
    let config = fs::read_to_string(fixture("sovits_fork/config.json")).unwrap();
    let renamed = folder.at("config.json");

    let changed = config.replace("\"two\"", "\"zoe\"");
    assert_ne!(changed, config);
    fs::write(&renamed, &changed).unwrap();
    let options = [("--clusters", &*kmeans), ("--config", &*renamed)];
    let output = import(&voice, &path, &options);
    assert_succeeds(&output);
    assert_says(
        &output,
        &["speaker \"two\" is not in the voice", "nothing for zoe"],
    );
    let tables = VoicePackage::read(&path).unwrap().clusters().unwrap();
    let tables = tables.unwrap().tables;
    assert_is(tables[0].as_ref(), 1, 3, 12);
    assert!(tables[1].is_none());
    fs::remove_file(&path).unwrap();

    fs::write(&renamed, changed.replace("\"one\"", "\"ann\"")).unwrap();
    let words = [
        "kmeans_10.pt",
        "expected a table for ann (0), zoe (1)",
        "found one for speaker \"one\", speaker \"two\", speaker \"three\"",
        "give the file that was made with this voice",
    ];
    assert_fails(&import(&voice, &path, &options), 1, &words);

    let other = fixture("rvc_v1_32k/voice.pth");
    let words = [
        "kmeans_10.pt",
        "speaker \"one\"",
        "expected 256 channels",
        "found 12",
        "give the file that was made with this voice",
    ];
    let output = import(&other, &path, &[("--clusters", &kmeans)]);
    assert_fails(&output, 1, &words);
    assert!(!path.exists());
}
