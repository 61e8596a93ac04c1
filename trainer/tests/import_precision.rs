//! Voices in half precision, as they come and as they are kept, sing nearly as they do in float32.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use burn::backend::Flex;
use support::torch_file::write_checkpoint;
use support::{Folder, Remembering, relative_error, runtime_is_there, song, write_some_encoder};
use timbra_engine::offline::convert;
use timbra_engine::{Controls, LoadedVoice};
use timbra_trainer::commands::import::{self, Args, Kept};
use timbra_trainer::import::sovits_config;
use timbra_trainer::model::vits::voice::VitsVoice;
use timbra_voice::package::VoicePackage;

/// How far half precision, 11 significant bits of every weight, may be heard: 40 dB below the voice.
const HALF: f32 = 1e-2;
/// How far 8 bits on CPUs may be heard: as far.
const EIGHT_BITS: f32 = 1e-2;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// A folder with a content encoder of 12 channels, which the small voices hear.
fn stage(test: &str) -> Folder {
    let folder = Folder::new(test);
    write_some_encoder(&folder.at("encoders/encoder.timbra"), 12);
    folder
}

fn import(folder: &Folder, output: &str, args: &Args) -> PathBuf {
    let output = folder.at(output);
    import::run(&Args {
        output: output.clone(),
        ..args.clone()
    })
    .unwrap();
    output
}

/// What the second speaker of a package sings, always from the same noise.
fn sing(path: &Path) -> Vec<f32> {
    let voice = LoadedVoice::load(path, &[]).unwrap();
    let controls = Controls {
        speaker_mix: std::array::from_fn(|n| f32::from(n == 1)),
        ..Controls::default()
    };
    convert(
        &voice,
        &song(48_000, 1.5),
        48_000,
        &|_| controls,
        &mut |_| {},
    )
    .unwrap()
}

/// How far apart two packages sing.
fn apart(whole: &Path, half: &Path) -> f32 {
    let (whole, half) = (sing(whole), sing(half));
    assert!(whole.iter().any(|sample| sample.abs() > 1e-3));
    relative_error(&whole, &half)
}

#[test]
fn a_half_checkpoint_of_sovits_sings_nearly_as_the_whole_one() {
    if !runtime_is_there() {
        return;
    }
    let folder = stage("half");
    let voice = |name: &str| Args {
        precision: Kept::F32,
        ..Args::new(fixture(name), PathBuf::new())
    };
    let whole = import(&folder, "whole.timbra", &voice("sovits_fork/G_3.pth"));
    let half = Args {
        config: Some(fixture("sovits_fork/config.json")),
        ..voice("beside/G_3_release_half.pth")
    };
    let half = import(&folder, "half.timbra", &half);
    let error = apart(&whole, &half);
    println!("half checkpoint: {error:.2e}");
    assert!(error > 0.0 && error < HALF, "{error}");
}

/// A voice as the small one and wide enough that weights are most of its file.
fn write_wide_voice(folder: &Folder) -> PathBuf {
    let mut config = fs::read_to_string(fixture("sovits_fork/config.json")).unwrap();
    for (from, to) in [
        ("\"inter_channels\": 8", "\"inter_channels\": 32"),
        ("\"hidden_channels\": 8", "\"hidden_channels\": 64"),
        ("\"filter_channels\": 16", "\"filter_channels\": 128"),
        (
            "\"upsample_initial_channel\": 32",
            "\"upsample_initial_channel\": 128",
        ),
    ] {
        assert!(config.contains(from), "{from}");
        config = config.replace(from, to);
    }
    let beside = folder.at("config.json");
    fs::write(&beside, config).unwrap();
    let spec = sovits_config::read(&beside).unwrap().spec;
    let mut weights = Remembering::new(6);
    VitsVoice::<Flex>::load(&mut weights, &spec, &Default::default()).unwrap();
    let path = folder.at("G_3.pth");
    write_checkpoint(&path, &weights);
    path
}

#[test]
fn a_voice_kept_in_half_precision_is_half_as_large_and_sings_nearly_the_same() {
    if !runtime_is_there() {
        return;
    }
    let folder = stage("f16");
    let args = Args::new(write_wide_voice(&folder), PathBuf::new());
    let kept = |precision, name: &str| {
        let args = Args {
            precision,
            ..args.clone()
        };
        import(&folder, name, &args)
    };
    let (whole, half) = (
        kept(Kept::F32, "whole.timbra"),
        kept(Kept::F16, "half.timbra"),
    );
    let bytes = |path: &Path| path.metadata().unwrap().len() as f64;
    let share = bytes(&half) / bytes(&whole);
    let error = apart(&whole, &half);
    println!("kept in f16: {share:.2} of the file, {error:.2e}");
    assert!(share < 0.6, "{share}");
    assert!(error > 0.0 && error < HALF, "{error}");

    // Unless it is said, the file is as it was trained, and what differs is how a CPU plays it.
    let played = import(&folder, "played.timbra", &args);
    let graph = |path: &Path| VoicePackage::read(path).unwrap().synthesis_graph().to_vec();
    assert!(graph(&played) == graph(&whole));
    let error = apart(&whole, &played);
    println!("played in 8 bits: {error:.2e}");
    assert!(error > 0.0 && error < EIGHT_BITS, "{error}");
}
