//! `trainer build` from recordings to a voice, interrupted on the way.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{
    Folder, assert_succeeds, float_wav, read_wav, runtime_is_there, said, song, trainer,
    write_encoder,
};
use timbra_voice::package::VoicePackage;

/// Long enough on any machine for a step of the build to end.
const PATIENCE: Duration = Duration::from_secs(300);

fn build_command(recordings: &Path, voice: &Path, encoder: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command
        .arg("build")
        .arg(recordings)
        .arg("-o")
        .arg(voice)
        .arg("--encoder")
        .arg(encoder)
        .args(more)
        .args(["--", "--steps", "2", "--batch", "1"]);
    command
}

#[test]
fn a_build_killed_again_and_again_ends_with_a_voice_that_sings() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("build");
    let (voice, encoder, recordings) = (
        folder.at("out/voice"),
        folder.at("encoder.timbra"),
        folder.at("recordings"),
    );
    write_encoder(&encoder);
    for (speaker, seconds) in [("anna", 22.0), ("bela", 4.0)] {
        for take in 0..2 {
            let samples: Vec<f32> = song(48_000, seconds)
                .iter()
                .map(|sample| sample * (1.0 - 0.3 * take as f32))
                .collect();
            float_wav(
                &folder.at(&format!("recordings/{speaker}/{take}.wav")),
                48_000,
                &[&samples],
            );
        }
    }
    let work = folder.at("out/voice.work");
    // Killed when each of these has appeared: while cutting, preparing, training and making tables.
    for milestone in [
        "clips/anna",
        "features/anna",
        "training",
        "clusters.safetensors",
    ] {
        let mut child = build_command(&recordings, &voice, &encoder, &[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while !work.join(milestone).exists() && child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < PATIENCE, "{milestone} never came");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let output = build_command(&recordings, &voice, &encoder, &[])
        .output()
        .unwrap();
    assert_succeeds(&output);
    let path = voice.with_extension("timbra");
    let package = VoicePackage::read(&path).unwrap();
    let speakers: Vec<&str> = package
        .manifest
        .speakers
        .iter()
        .map(|speaker| speaker.name.as_str())
        .collect();
    assert_eq!(speakers, ["anna", "bela"]);
    assert!(package.clusters().unwrap().is_some() && package.retrieval().unwrap().is_some());
    assert!(package.manifest.certificate.is_some());
    assert!(
        std::fs::read(work.join("training/figures.png"))
            .unwrap()
            .starts_with(b"\x89PNG")
    );
    assert!(
        std::fs::read_to_string(work.join("log.txt"))
            .unwrap()
            .contains("step evaluate")
    );

    let (input, out) = (folder.at("in.wav"), folder.at("out.wav"));
    float_wav(&input, 44_100, &[&song(44_100, 1.0)]);
    let output = trainer(&[
        "convert".as_ref(),
        input.as_os_str(),
        "-o".as_ref(),
        out.as_os_str(),
        "--voice".as_ref(),
        path.as_os_str(),
        "--mix".as_ref(),
        "anna=0.5,bela=0.5".as_ref(),
    ]);
    assert_succeeds(&output);
    let (rate_hz, channels) = read_wav(&out);
    assert_eq!(
        (rate_hz, channels[0].len()),
        (44_100, 44_100),
        "{}",
        said(&output)
    );
    let energy: f32 = channels[0].iter().map(|sample| sample * sample).sum();
    assert!(energy.is_finite() && energy > 0.0);

    // A take that is taken away is not learned from any more; nothing held out is nothing measured, and no error.
    let clips_of = |take: &str| {
        let clips = std::fs::read_dir(work.join("clips/anna"))
            .unwrap()
            .flatten();
        clips
            .filter(|clip| clip.file_name().to_string_lossy().starts_with(take))
            .count()
    };
    assert!(clips_of("0") > 0 && clips_of("1") > 0);
    std::fs::remove_file(recordings.join("anna/1.wav")).unwrap();
    let output = build_command(&recordings, &voice, &encoder, &["--held-out", "0"])
        .output()
        .unwrap();
    assert_succeeds(&output);
    assert!(
        said(&output).contains("no clip is held out"),
        "{}",
        said(&output)
    );
    assert!(clips_of("0") > 0 && clips_of("1") == 0);
    let package = VoicePackage::read(&path).unwrap();
    assert!(package.manifest.certificate.is_none());
}
