//! `trainer adjust` changes what a voice does by itself, or nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::ffi::OsString;
use std::path::Path;

use support::{Folder, assert_fails, assert_succeeds, said, trainer};
use timbra_voice::identity::IdentityVoice;
use timbra_voice::package::{self, Form, VoicePackage};

fn adjust(voice: &Path, options: &[&str]) -> std::process::Output {
    let mut arguments: Vec<OsString> = vec!["adjust".into(), voice.into()];
    arguments.extend(options.iter().map(Into::into));
    trainer(&arguments)
}

/// An identity voice of two speakers.
fn duet(path: &Path) {
    let (mut manifest, files) = IdentityVoice::default().parts();
    manifest.speakers[0].name = "anna".to_owned();
    let mut other = manifest.speakers[0].clone();
    other.name = "bela".to_owned();
    manifest.speakers.push(other);
    package::write_voice(path, &manifest, &files, Form::File).unwrap();
}

#[test]
fn one_speaker_or_all_keep_more_and_inspect_says_so() {
    let folder = Folder::new("adjust");
    let path = folder.at("duet.timbra");
    duet(&path);
    let shares = || {
        let package = VoicePackage::read(&path).unwrap();
        let speakers = package.manifest.speakers.iter();
        speakers
            .map(|speaker| speaker.articulation)
            .collect::<Vec<f32>>()
    };
    assert_eq!(shares(), [0.0, 0.0]);
    assert_succeeds(&adjust(&path, &["--articulation", "0.25"]));
    assert_eq!(shares(), [0.25, 0.25]);
    assert_succeeds(&adjust(&path, &["--articulation", "bela=1"]));
    assert_eq!(shares(), [0.25, 1.0]);
    let output = trainer(&["inspect".into(), OsString::from(&path)]);
    assert_succeeds(&output);
    for words in ["keeps 25 % of the input's articulation", "keeps 100 %"] {
        assert!(said(&output).contains(words), "{}", said(&output));
    }
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_changed() {
    let folder = Folder::new("adjust-refused");
    let path = folder.at("duet.timbra");
    duet(&path);
    let before = std::fs::read(&path).unwrap();
    // 2 is a wrong argument, 1 a voice that would not be one.
    let cases: [(i32, &[&str], &[&str]); 6] = [
        (2, &[], &["nothing to change", "--articulation"]),
        (
            2,
            &["--articulation", "carl=0.5"],
            &["\"carl\"", "anna, bela"],
        ),
        (2, &["--articulation", "1.5"], &["1.5", "0 to 1"]),
        (2, &["--articulation", "anna=NaN"], &["anna=NaN", "0 to 1"]),
        (2, &["--retrieval-ratio", "2"], &["2", "0 to 1"]),
        (
            1,
            &["--retrieval-ratio", "0.5"],
            &["retrieval_ratio", "no retrieval table"],
        ),
    ];
    for (code, options, words) in cases {
        let output = adjust(&path, options);
        assert_fails(&output, code, words);
        assert_eq!(std::fs::read(&path).unwrap(), before, "{options:?}");
    }
}
