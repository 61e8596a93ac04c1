//! What `trainer import` says of files that are no voice: the file, which part of it, what was expected, what was found and what to
//! do. Nothing is written.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Folder, assert_fails, said, trainer};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// Imports a file, which is refused with these words.
#[track_caller]
fn assert_refused(checkpoint: &Path, folder: &Folder, words: &[&str]) {
    let output = folder.at("voice.timbra");
    let run = trainer(&[
        "import".as_ref(),
        checkpoint.as_os_str(),
        "-o".as_ref(),
        output.as_os_str(),
    ]);
    assert_fails(&run, 1, words);
    let name = checkpoint.file_name().unwrap().to_string_lossy();
    assert!(said(&run).contains(&*name), "{}", said(&run));
    assert!(!output.exists(), "something was written");
}

/// `bytes` with a piece in place of another as long, wherever it is.
fn changed(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let places: Vec<usize> = (0..=bytes.len() - from.len())
        .filter(|&n| bytes[n..].starts_with(from))
        .collect();
    assert!(!places.is_empty(), "{}", String::from_utf8_lossy(from));
    for place in places {
        bytes[place..place + to.len()].copy_from_slice(to);
    }
    bytes
}

#[test]
fn a_cut_or_incomplete_sovits_checkpoint_is_told_by_part_and_remedy() {
    let folder = Folder::new("refused-sovits");
    let whole = fs::read(fixture("sovits_fork/G_3.pth")).unwrap();
    let config = fs::read_to_string(fixture("sovits_fork/config.json")).unwrap();
    let (checkpoint, beside) = (folder.at("G_3.pth"), folder.at("config.json"));
    fs::write(&beside, &config).unwrap();

    fs::write(&checkpoint, &whole[..whole.len() / 2]).unwrap();
    let words = [
        "the archive should be a whole zip, found",
        "cut short: copy or download it again",
    ];
    assert_refused(&checkpoint, &folder, &words);

    let without = changed(&whole, b"enc_p.proj.bias", b"enc_p.proj.bios");
    fs::write(&checkpoint, without).unwrap();
    let words = [
        "the tensor \"enc_p.proj.bias\"",
        "expected one of shape [16]",
        "found none of that name",
        "give a whole checkpoint",
    ];
    assert_refused(&checkpoint, &folder, &words);

    fs::write(&checkpoint, &whole).unwrap();
    let other = config.replace("\"hidden_channels\": 8", "\"hidden_channels\": 16");
    fs::write(&beside, other).unwrap();
    let words = [
        "the tensor \"pre.weight\"",
        "expected shape [16, 12, 5]",
        "found [8, 12, 5]",
        "give the checkpoint with the settings it was trained with",
    ];
    assert_refused(&checkpoint, &folder, &words);
}

#[test]
fn a_discriminator_is_told_from_its_generator() {
    let folder = Folder::new("refused-critic");
    let words = [
        "the tensor \"enc_p.f0_emb.weight\"",
        "expected the generator of a so-vits-svc",
        "found 2 other tensors, the first \"discriminators.0.convs.0.bias\"",
        "choose the G_*.pth",
    ];
    assert_refused(&fixture("beside/D_3.pth"), &folder, &words);
}

#[test]
fn settings_inside_an_rvc_voice_are_told_with_a_remedy_of_their_own() {
    let folder = Folder::new("refused-rvc");
    let remedy = "give the .pth from RVC's weights folder as RVC wrote it";
    let words = [
        "config: expected a list of 18 entries",
        "found 6 entries",
        remedy,
    ];
    assert_refused(&fixture("rvc_legacy.pth"), &folder, &words);

    let whole = fs::read(fixture("rvc_v1_32k/voice.pth")).unwrap();
    let (checkpoint, version) = (folder.at("ann.pth"), b"\x02\0\0\0v1");
    fs::write(&checkpoint, changed(&whole, version, b"\x02\0\0\0v9")).unwrap();
    let words = ["version: expected v1 or v2", "found v9", remedy];
    assert_refused(&checkpoint, &folder, &words);

    // It says that it hears content of 768 channels, and is made for 256.
    fs::write(&checkpoint, changed(&whole, version, b"\x02\0\0\0v2")).unwrap();
    let words = [
        "the tensor \"enc_p.emb_phone.weight\"",
        "expected shape [8, 768]",
        "found [8, 256]",
        "give the checkpoint with the settings it was trained with",
    ];
    assert_refused(&checkpoint, &folder, &words);

    fs::write(&checkpoint, &whole[..whole.len() - 100]).unwrap();
    let words = ["the archive should be a whole zip", "download it again"];
    assert_refused(&checkpoint, &folder, &words);
}
