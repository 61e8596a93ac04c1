//! `trainer encoder` from labelled clips to a package that voices are prepared with.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use support::{
    Folder, assert_fails, assert_succeeds, float_wav, runtime_is_there, said, song, trainer,
    wav_bytes,
};
use timbra_voice::manifest::CpuWeights;
use timbra_voice::package::EncoderPackage;

const RATE_HZ: u32 = 16_000;
const CLIPS: usize = 8;

/// Clips of a tone and noise in turn, labelled so.
fn corpus(folder: &Folder) {
    let tone = song(RATE_HZ, 3.0);
    for clip in 0..CLIPS {
        let path = folder.at(&format!("corpus/two/someone/{clip}.wav"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut labels = String::new();
        for second in 0..3 {
            let phone = if second % 2 == 0 { "a" } else { "s" };
            let units = |seconds: usize| seconds * 10_000_000;
            labels += &format!("{} {} {phone}\n", units(second), units(second + 1));
        }
        fs::write(path.with_extension("lab"), labels).unwrap();
        let samples = tone.iter().enumerate().map(|(index, tone)| {
            let noise = timbra_dsp::noise::uniform(clip as u64, index as u64) * 0.1;
            let is_tone = (index / RATE_HZ as usize).is_multiple_of(2);
            ((if is_tone { *tone } else { noise }) * 32_000.0) as i16
        });
        let data: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
        fs::write(&path, wav_bytes(1, 16, 1, RATE_HZ, &data)).unwrap();
    }
}

/// `trainer encoder` in the folder's work folder.
fn encoder(folder: &Folder, package: &str, more: &[&str]) -> Output {
    let (work, package) = (folder.at("work"), folder.at(package));
    let mut arguments = vec!["encoder", "--work", work.to_str().unwrap()];
    arguments.extend(["-o", package.to_str().unwrap(), "--id", "two"]);
    arguments.extend(more);
    trainer(&arguments)
}

fn train(folder: &Folder, package: &str, more: &[&str]) -> EncoderPackage {
    assert_succeeds(&encoder(folder, package, more));
    EncoderPackage::read(&folder.at(package)).unwrap()
}

fn prepare(folder: &Folder, encoder: &Path) -> Output {
    let (recordings, work) = (folder.at("recordings"), folder.at("voice.work"));
    trainer(&[
        "prepare",
        recordings.to_str().unwrap(),
        "--work",
        work.to_str().unwrap(),
        "--encoder",
        encoder.to_str().unwrap(),
    ])
}

#[test]
fn an_encoder_is_early_and_played_in_8_bits_unless_told_otherwise() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("encoder-verb");
    corpus(&folder);
    let clips = folder.at("corpus");
    let short = ["--steps", "2", "--batch", "2"];
    let usual = train(
        &folder,
        "usual.timbra",
        &[&[clips.to_str().unwrap()], &short[..]].concat(),
    );
    let spec = &usual.manifest.encoder;
    assert_eq!(spec.lookahead_samples, 160);
    assert_eq!(spec.graph.cpu_weights, Some(CpuWeights::Int8));

    // Written once more from its checkpoint: the same encoder, so the same voices find it.
    let whole = train(&folder, "whole.timbra", &["--whole-weights"]);
    assert_eq!(whole.manifest.encoder.graph.cpu_weights, None);
    assert_eq!(whole.manifest.encoder.sha256, spec.sha256);

    let take = folder.at("recordings/someone/take.wav");
    float_wav(&take, 48_000, &[&song(48_000, 2.0)]);
    let prepared = prepare(&folder, &folder.at("usual.timbra"));
    assert_succeeds(&prepared);
    assert!(said(&prepared).contains("someone"), "{}", said(&prepared));
}

#[test]
fn a_clip_of_another_rate_and_a_label_without_a_phone_are_named() {
    let folder = Folder::new("encoder-wrong");
    corpus(&folder);
    let clips = folder.at("corpus");
    let refused = || encoder(&folder, "never.timbra", &[clips.to_str().unwrap()]);
    let clip = folder.at("corpus/two/someone/3.wav");
    let sound = fs::read(&clip).unwrap();
    fs::write(&clip, wav_bytes(1, 16, 1, 44_100, &sound[44..])).unwrap();
    assert_fails(&refused(), 1, &["3.wav", "16 kHz", "44100"]);

    fs::write(&clip, sound).unwrap();
    fs::write(clip.with_extension("lab"), "0 10000000\n").unwrap();
    assert_fails(&refused(), 1, &["3.lab", "line 1", "0 10000000"]);
    assert!(!folder.at("never.timbra").exists());
}
