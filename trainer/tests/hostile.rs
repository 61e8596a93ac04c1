//! Claims about recordings and timelines made to do harm: every seed of the fuzz targets, and every input that once
//! broke something, is read or refused in the ordinary way.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../fuzz/checks/seeds.rs"]
mod seeds;
#[path = "../../fuzz/checks/trainer.rs"]
mod trainer;

use timbra_trainer::commands::convert as timeline;
use timbra_trainer::data::audio::{self, SampleKind, write_wav};
use timbra_voice::identity::IdentityVoice;

#[test]
fn recordings_are_read_or_refused() {
    seeds::all("audio", trainer::audio);
}

#[test]
fn timelines_are_read_or_refused() {
    seeds::all("timeline", trainer::timeline);
}

#[test]
fn a_decoder_that_panics_costs_one_file() {
    // 65535 channels of 16 bits overflow the decoder's arithmetic, which debug builds check by panicking.
    let wav = std::fs::read(seeds::path("audio", "wav-wrong-22")).unwrap();
    let path = std::env::temp_dir().join(format!("timbra-panic-{}.wav", std::process::id()));
    std::fs::write(&path, wav).unwrap();
    let error = audio::read_audio(&path).unwrap_err().to_string();
    std::fs::remove_file(&path).unwrap();
    assert!(error.contains("timbra-panic"), "{error}");
}

#[test]
fn weights_whose_sum_is_beyond_single_precision_are_still_shares() {
    let (mut manifest, _) = IdentityVoice::default().parts();
    manifest.speakers.push(manifest.speakers[0].clone());
    manifest.speakers[1].name = "bela".to_owned();
    let mix = timeline::mix_of("anybody=3e38,bela=3e38", &manifest).unwrap();
    assert_eq!(mix[..3], [0.5, 0.5, 0.0]);
}

#[test]
#[ignore = "writes fuzz/seeds/audio (the WAV files of it) and fuzz/seeds/timeline again"]
fn write_seeds() {
    let path = std::env::temp_dir().join(format!("timbra-seed-{}.wav", std::process::id()));
    let tone: Vec<f32> = (0..160).map(|n| 0.5 * (n as f32 * 0.1).sin()).collect();
    let wav = |channels: &[&[f32]], kind| {
        write_wav(&path, 8_000, channels, kind).unwrap();
        std::fs::read(&path).unwrap()
    };
    for (name, kind) in [
        ("float", SampleKind::Float32),
        ("int24", SampleKind::Int24),
        ("int16", SampleKind::Int16),
    ] {
        seeds::write("audio", &format!("wav-{name}"), &wav(&[&tone], kind));
    }
    let stereo = wav(&[&tone, &tone], SampleKind::Int16);
    seeds::write("audio", "wav-stereo", &stereo);
    let mut holes = tone.clone();
    (holes[3], holes[40]) = (f32::NAN, f32::INFINITY);
    seeds::write(
        "audio",
        "wav-no-numbers",
        &wav(&[&holes], SampleKind::Float32),
    );
    seeds::write("audio", "wav-cut", &stereo[..stereo.len() - 99]);
    // Lengths of chunks and of the file that cannot be.
    for at in [4, 16, 22, 24, 32, 34] {
        let mut wrong = stereo.clone();
        wrong[at..at + 2].fill(0xff);
        seeds::write("audio", &format!("wav-wrong-{at}"), &wrong);
    }
    std::fs::remove_file(&path).unwrap();

    for (name, text) in [
        (
            "all-columns",
            "time_s,anybody,bela,pitch,formant,cluster-ratio,loudness-match,gain,dry-wet\n\
             # a comment\n0,1,0,0,0,0,0,0,1\n1.5,0.5,0.5,-12,3,1,1,-60,0\n",
        ),
        ("pitch", "time_s,pitch\n0,1\n\n0.01,2\r\n1e3,-3"),
        (
            "notes",
            "time_s,note,retune-ms,humanise,retune-amount,reference\n0,60,0,0,1,440\n1,0,400,1,0,415\n2,61.5,0,0,0,466\n",
        ),
        ("key", "time_s,key\n0,7\n"),
        ("wild-times", "time_s,gain\n-1.7e308,0\n1.7e308,12\n"),
        ("no-weights", "time_s,bela\n0,0\n"),
        ("backwards", "time_s,bela\n1,1\n0,1\n"),
        ("not-numbers", "time_s,pitch\nNaN,inf\n"),
        ("mix", "anybody=0.5,bela=2"),
        ("wild-mix", "anybody=3e38,bela=3e38"),
    ] {
        seeds::write("timeline", name, text.as_bytes());
    }
}
