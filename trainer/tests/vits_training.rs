//! Training a small VITS voice: it goes on exactly after an interruption, takes a base, and its checkpoints become voices,
//! smaller files and mixtures.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use burn::backend::Flex;
use support::{
    Folder, assert_fails, assert_succeeds, float_wav, read_wav, runtime_is_there, song, trainer,
    write_encoder,
};
use timbra_trainer::model::causal::value;
use timbra_trainer::vits::checkpoints::load;
use timbra_voice::manifest::Family;
use timbra_voice::package::VoicePackage;

fn prepared(folder: &Folder) -> PathBuf {
    let encoder = folder.at("encoder.timbra");
    write_encoder(&encoder);
    for (speaker, level) in [("anna", 1.0), ("bela", 0.5)] {
        for take in 0..3 {
            let samples: Vec<f32> = song(16_000, 2.0 + f64::from(take))
                .iter()
                .map(|sample| sample * level)
                .collect();
            float_wav(
                &folder.at(&format!("recordings/{speaker}/{take}.wav")),
                16_000,
                &[&samples],
            );
        }
    }
    let work = folder.at("work");
    assert_succeeds(&trainer(&[
        "prepare".as_ref(),
        folder.at("recordings").as_os_str(),
        "--work".as_ref(),
        work.as_os_str(),
        "--encoder".as_ref(),
        encoder.as_os_str(),
        "--rate".as_ref(),
        "16000".as_ref(),
        "--held-out".as_ref(),
        "0.3".as_ref(),
    ]));
    work
}

/// A second work folder on the same clips.
fn beside(work: &Path, name: &str) -> PathBuf {
    let other = work.with_file_name(name);
    copy(&work.join("features"), &other.join("features"));
    other
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn train(work: &Path, steps: &str, more: &[&str]) -> std::process::Output {
    let mut args = vec![
        "train",
        "--work",
        work.to_str().unwrap(),
        "--family",
        "vits",
    ];
    args.extend([
        "--steps",
        steps,
        "--batch",
        "2",
        "--save-every",
        "2",
        "--critics-from",
        "1",
    ]);
    args.extend(["--auto-f0", "--pitch-augmentation", "1"]);
    args.extend(more);
    let args: Vec<&std::ffi::OsStr> = args.iter().map(|arg| arg.as_ref()).collect();
    trainer(&args)
}

fn run(args: &[&str]) -> std::process::Output {
    let args: Vec<&std::ffi::OsStr> = args.iter().map(|arg| arg.as_ref()).collect();
    trainer(&args)
}

fn rows(work: &Path) -> Vec<String> {
    let text = fs::read_to_string(work.join("training/figures.csv")).unwrap();
    text.lines().skip(1).map(str::to_owned).collect()
}

/// A voice is heard through the engine.
fn sings(folder: &Folder, voice: &Path) {
    let (source, sung) = (folder.at("source.wav"), folder.at("sung.wav"));
    float_wav(&source, 16_000, &[&song(16_000, 1.5)]);
    assert_succeeds(&run(&[
        "convert",
        source.to_str().unwrap(),
        "--voice",
        voice.to_str().unwrap(),
        "-o",
        sung.to_str().unwrap(),
    ]));
    let (_, sung) = read_wav(&sung);
    let power = sung[0].iter().map(|s| s * s).sum::<f32>() / sung[0].len() as f32;
    assert!(power.is_finite() && power > 0.0, "the voice is silent");
}

#[test]
fn a_training_goes_on_as_if_nothing_had_been_and_becomes_a_voice() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("vits-training");
    let work = prepared(&folder);
    let broken = beside(&work, "broken");

    assert_succeeds(&train(&work, "4", &[]));
    let whole = rows(&work);
    assert_eq!(whole.len(), 2);
    // The schedule depends on the steps in all: a run that is cut short has the same ones.
    let cut = beside(&work, "cut");
    assert_succeeds(&train(&broken, "4", &[]));
    fs::remove_dir_all(broken.join("training/checkpoints/step-4")).unwrap();
    fs::remove_file(broken.join("training/figures.csv")).unwrap();
    assert_succeeds(&train(&broken, "4", &[]));
    assert_eq!(
        rows(&broken),
        whole[1..],
        "the second half differs after an interruption"
    );
    assert_ne!(whole[0].split(',').nth(1), whole[1].split(',').nth(1));
    // What it began with may be gone when it goes on.
    assert_succeeds(&train(&broken, "4", &["--base", "gone.pth"]));
    for figure in whole.iter().flat_map(|row| row.split(',')) {
        assert!(figure.parse::<f64>().unwrap().is_finite(), "{whole:?}");
    }
    assert!(work.join("training/figures.png").exists());
    let samples = work.join("training/samples/step-4");
    assert_eq!(
        fs::read_dir(samples).unwrap().count(),
        4,
        "two clips as sound and picture"
    );

    // A voice that sings through the engine.
    let voice = folder.at("voice.timbra");
    assert_succeeds(&run(&[
        "export",
        "--work",
        work.to_str().unwrap(),
        "-o",
        voice.to_str().unwrap(),
    ]));
    let manifest = VoicePackage::read(&voice).unwrap().manifest;
    assert_eq!(
        (manifest.family, manifest.speakers.len()),
        (Family::Vits, 2)
    );
    assert_eq!(manifest.model_rate_hz, 16_000);
    sings(&folder, &voice);

    // Smaller, and mixed with another of the same shape.
    assert_succeeds(&train(&cut, "2", &["--seed", "9"]));
    let best = |work: &Path| work.join("training/checkpoints/best");
    let (small, mixed) = (folder.at("small"), folder.at("mixed"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let out = run(&["compress", &text(&best(&work)), "-o", &text(&small)]);
    assert_succeeds(&out);
    let bytes = |path: PathBuf| fs::metadata(path).unwrap().len();
    assert!(bytes(small.join("voice.half.bin")) * 19 < bytes(best(&work).join("voice.bin")) * 10);
    assert_succeeds(&run(&[
        "mix",
        &text(&small),
        &text(&best(&cut)),
        "--weights",
        "3,1",
        "-o",
        &text(&mixed),
    ]));
    assert_succeeds(&run(&[
        "export",
        "--work",
        &text(&work),
        "--checkpoint",
        &text(&mixed),
        "-o",
        &text(&folder.at("mixed.timbra")),
    ]));
    let notes = VoicePackage::read(&folder.at("mixed.timbra"))
        .unwrap()
        .manifest
        .training
        .notes;
    assert!(notes.contains("0.75"), "{notes}");
    sings(&folder, &folder.at("mixed.timbra"));

    // Beyond one of them, away from the other.
    let beyond = folder.at("beyond");
    let mix = |weights: &str, more: &[&str]| {
        let (small, other) = (text(&small), text(&best(&cut)));
        let mut args = vec!["mix", &small, &other, "--weights", weights, "-o"];
        let output = text(&beyond);
        args.push(&output);
        args.extend(more);
        run(&args)
    };
    assert_fails(&mix("1.5,-0.5", &[]), 2, &["--linear"]);
    assert_succeeds(&mix("1.5,-0.5", &["--linear"]));
    let weight = |folder: &Path| {
        let (voice, _) = load::<Flex>(folder, &Default::default()).unwrap();
        value(
            &voice
                .speakers
                .val()
                .narrow(0, 0, 1)
                .narrow(1, 0, 1)
                .reshape([1]),
        )
    };
    let (own, other) = (weight(&small), weight(&best(&cut)));
    assert!((weight(&beyond) - (1.5 * own - 0.5 * other)).abs() < 1e-4);
    assert!((weight(&mixed) - (0.75 * own + 0.25 * other)).abs() < 1e-4);

    // A voice that has learned another encoder's content is no relative.
    let position = beyond.join("position.json");
    let before = fs::read_to_string(&position).unwrap();
    let sha256 = "encoder_sha256\": \"";
    let place = before.find(sha256).unwrap() + sha256.len();
    let strange = format!(
        "{}{}{}",
        &before[..place],
        "0".repeat(64),
        &before[place + 64..]
    );
    fs::write(&position, strange).unwrap();
    let out = run(&[
        "mix",
        &text(&small),
        &text(&beyond),
        "-o",
        &text(&folder.at("x")),
    ]);
    assert_fails(&out, 1, &["beyond", "another encoder", "prepare and train"]);
}

#[test]
fn what_does_not_fit_is_refused_with_a_remedy() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("vits-refused");
    let work = prepared(&folder);
    let refused = |out: &std::process::Output, words: &[&str]| assert_fails(out, 1, words);
    let out = train(&work, "1", &["--keep", "0"]);
    refused(&out, &["--keep"]);
    let out = train(&work, "1", &["--size", "published"]);
    refused(&out, &["44100", "16000", "prepare again"]);
    let none = folder.at("none.pth");
    let out = train(&work, "1", &["--base", none.to_str().unwrap()]);
    refused(&out, &["none.pth"]);
    // A checkpoint of something else has no tensor that fits.
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rvc_legacy.pth");
    let out = train(&work, "1", &["--base", base.to_str().unwrap()]);
    refused(&out, &["rvc_legacy.pth", "--size"]);
    let out = run(&[
        "compress",
        folder.at("nothing").to_str().unwrap(),
        "-o",
        "x",
    ]);
    refused(&out, &["position.json"]);
}
