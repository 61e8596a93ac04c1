//! Every kind of bad input gives a clear error or the right result.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use support::{
    Folder, assert_fails, assert_succeeds, byte_wav, float_wav, read_wav, relative_error,
    runtime_is_there, song, synthesis_graph, trainer, wav_bytes, write_encoder, write_voice,
    write_voice_folder,
};

fn convert(input: &Path, output: &Path, voice: &Path, more: &[&str]) -> Output {
    let mut arguments = vec![
        "convert".into(),
        input.as_os_str().to_owned(),
        "-o".into(),
        output.as_os_str().to_owned(),
        "--voice".into(),
        voice.as_os_str().to_owned(),
    ];
    arguments.extend(more.iter().map(std::ffi::OsString::from));
    trainer(&arguments)
}

fn voice(folder: &Folder) -> std::path::PathBuf {
    let path = folder.at("voice.timbra");
    write_voice(&path, |_, _| {});
    path
}

#[test]
fn an_empty_file_is_named_as_empty() {
    let folder = Folder::new("empty");
    let (input, output) = (folder.at("empty.wav"), folder.at("out.wav"));
    fs::write(&input, b"").unwrap();
    assert_fails(
        &convert(&input, &output, &voice(&folder), &[]),
        1,
        &["empty.wav", "empty", "no bytes"],
    );
    // A header with no samples is as empty.
    fs::write(&input, wav_bytes(1, 16, 1, 48_000, &[])).unwrap();
    assert_fails(
        &convert(&input, &output, &voice(&folder), &[]),
        1,
        &["empty.wav", "empty", "header"],
    );
    assert!(!output.exists());
}

#[test]
fn what_is_no_audio_is_told_apart_from_broken_audio() {
    let folder = Folder::new("no-audio");
    let (input, output) = (folder.at("text.wav"), folder.at("out.wav"));
    fs::write(&input, b"This is a text about a song.\n".repeat(100)).unwrap();
    let outcome = convert(&input, &output, &voice(&folder), &[]);
    assert_fails(
        &outcome,
        1,
        &["text.wav", "expected WAV, FLAC, OGG", "This is"],
    );
    assert_fails(
        &convert(&folder.at("gone.wav"), &output, &voice(&folder), &[]),
        1,
        &["gone.wav", "cannot read"],
    );
    assert!(!output.exists());
}

#[test]
fn eight_bit_and_float_wav_give_the_same_song() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("kinds");
    let voice = voice(&folder);
    let samples = song(16_000, 1.5);
    let (bytes, floats) = (folder.at("bytes.wav"), folder.at("floats.wav"));
    byte_wav(&bytes, 16_000, &samples);
    float_wav(&floats, 16_000, &[&samples]);
    for (input, tolerance) in [(bytes, 0.05), (floats, 1e-4)] {
        let output = input.with_extension("out.wav");
        assert_succeeds(&convert(&input, &output, &voice, &[]));
        let (rate_hz, channels) = read_wav(&output);
        assert_eq!(
            (rate_hz, channels.len(), channels[0].len()),
            (16_000, 1, samples.len())
        );
        let error = relative_error(&samples, &channels[0]);
        assert!(error < tolerance, "{}: {error}", input.display());
    }
}

#[test]
fn nan_is_refused_with_its_place_and_can_be_silenced() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("nan");
    let (input, output) = (folder.at("nan.wav"), folder.at("out.wav"));
    let mut left = song(16_000, 1.0);
    let right = left.clone();
    left[8_000] = f32::NAN;
    left[8_001] = f32::INFINITY;
    float_wav(&input, 16_000, &[&right, &left]);
    let outcome = convert(&input, &output, &voice(&folder), &[]);
    assert_fails(
        &outcome,
        1,
        &[
            "nan.wav",
            "sample 8000 of channel 2",
            "0.5000 s",
            "NaN",
            "--replace-nan",
        ],
    );
    assert!(!output.exists());
    assert_succeeds(&convert(
        &input,
        &output,
        &voice(&folder),
        &["--replace-nan"],
    ));
    let (_, channels) = read_wav(&output);
    assert!(channels.iter().flatten().all(|sample| sample.is_finite()));
    assert_eq!((channels.len(), channels[0].len()), (2, 16_000));
}

#[test]
fn ten_milliseconds_are_converted_and_less_is_refused() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("short");
    let (input, output) = (folder.at("short.wav"), folder.at("out.wav"));
    for (rate_hz, samples) in [(16_000, 160), (44_100, 441), (48_000, 481)] {
        float_wav(&input, rate_hz, &[&song(rate_hz, 1.0)[..samples]]);
        assert_succeeds(&convert(&input, &output, &voice(&folder), &[]));
        assert_eq!(read_wav(&output).1[0].len(), samples);
    }
    float_wav(&input, 48_000, &[&song(48_000, 1.0)[..400]]);
    fs::remove_file(&output).unwrap();
    let outcome = convert(&input, &output, &voice(&folder), &[]);
    assert_fails(&outcome, 1, &["short.wav", "8.33 ms", "at least 10 ms"]);
    assert!(!output.exists());
}

#[test]
fn a_silent_side_neither_halves_the_voice_nor_moves_it() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("one-side");
    let (input, output) = (folder.at("stereo.wav"), folder.at("out.wav"));
    let left = song(16_000, 1.0);
    // Not quite silent: the crosstalk of a cable.
    let right: Vec<f32> = left.iter().map(|sample| sample * 1e-3).collect();
    float_wav(&input, 16_000, &[&left, &right]);
    assert_succeeds(&convert(&input, &output, &voice(&folder), &[]));
    let (_, channels) = read_wav(&output);
    for channel in &channels {
        let error = relative_error(&left, channel);
        assert!(error < 1e-3, "{error}");
    }
    // Dry, each side stays what it was.
    assert_succeeds(&convert(
        &input,
        &output,
        &voice(&folder),
        &["--dry-wet", "0"],
    ));
    let (_, channels) = read_wav(&output);
    assert_eq!(channels, vec![left, right]);
}

#[test]
fn wrong_speaker_names_are_wrong_arguments_and_the_right_ones_are_listed() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("speakers");
    let (input, output) = (folder.at("in.wav"), folder.at("out.wav"));
    float_wav(&input, 16_000, &[&song(16_000, 0.5)]);
    for (option, value, words) in [
        (
            "--speaker",
            "somebody",
            &["no speaker \"somebody\"", "anybody, nobody"][..],
        ),
        (
            "--mix",
            "anybody=0.5,else=0.5",
            &["no speaker \"else\"", "anybody, nobody"],
        ),
        (
            "--mix",
            "anybody=much",
            &["\"much\" is no weight of anybody"],
        ),
        ("--mix", "anybody=-1", &["\"-1\" is no weight"]),
        ("--mix", "anybody=0,nobody=0", &["all 0"]),
        ("--mix", "anybody=1,anybody=1", &["twice"]),
    ] {
        assert_fails(
            &convert(&input, &output, &voice(&folder), &[option, value]),
            2,
            words,
        );
    }
    assert_eq!(
        convert(
            &input,
            &output,
            &voice(&folder),
            &["--speaker", "anybody", "--mix", "nobody=1"]
        )
        .status
        .code(),
        Some(2)
    );
    assert!(!output.exists());
    assert_succeeds(&convert(
        &input,
        &output,
        &voice(&folder),
        &["--mix", "Anybody=1,nobody=3"],
    ));
}

#[test]
fn controls_out_of_range_are_wrong_arguments() {
    let folder = Folder::new("ranges");
    let (input, output) = (folder.at("in.wav"), folder.at("out.wav"));
    float_wav(&input, 16_000, &[&song(16_000, 0.5)]);
    for (option, value) in [
        ("--pitch", "25"),
        ("--pitch", "NaN"),
        ("--formant", "-13"),
        ("--cluster-ratio", "1.5"),
        ("--gain", "13"),
        ("--dry-wet", "-0.1"),
    ] {
        assert_fails(
            &convert(&input, &output, &voice(&folder), &[option, value]),
            2,
            &[option, "expected"],
        );
    }
    assert!(!output.exists());
}

#[test]
fn a_voice_with_a_wrong_hash_is_refused() {
    let folder = Folder::new("hash");
    let (input, output, voice) = (folder.at("in.wav"), folder.at("out.wav"), voice(&folder));
    float_wav(&input, 16_000, &[&song(16_000, 0.5)]);
    // A bit of the graph, which is stored as it is.
    let mut bytes = fs::read(&voice).unwrap();
    let graph = synthesis_graph();
    let start = bytes
        .windows(graph.len())
        .position(|window| window == graph)
        .unwrap();
    bytes[start + graph.len() / 2] ^= 1;
    fs::write(&voice, &bytes).unwrap();
    let outcome = convert(&input, &output, &voice, &[]);
    assert_fails(&outcome, 1, &["voice.timbra", "synthesis.onnx"]);
    assert!(!output.exists());
    assert_fails(
        &trainer(&["inspect".as_ref(), voice.as_os_str()]),
        1,
        &["synthesis.onnx"],
    );

    // In a folder there is no checksum of a zip beside the manifest's hash.
    let voice = folder.at("folder-voice");
    write_voice_folder(&voice);
    let mut bytes = fs::read(voice.join("synthesis.onnx")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(voice.join("synthesis.onnx"), &bytes).unwrap();
    let outcome = convert(&input, &output, &voice, &[]);
    assert_fails(
        &outcome,
        1,
        &["folder-voice", "synthesis.onnx", "SHA-256", "found"],
    );
    assert!(!output.exists());
}

#[test]
fn a_missing_encoder_is_named_with_its_hash_and_found_when_it_is_there() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("encoder");
    let (input, output, path) = (
        folder.at("in.wav"),
        folder.at("out.wav"),
        folder.at("voice.timbra"),
    );
    float_wav(&input, 16_000, &[&song(16_000, 0.5)]);
    let mut sha256 = String::new();
    write_voice(&path, |manifest, files| {
        files.remove(&manifest.encoder.graph.file);
        sha256.clone_from(&manifest.encoder.sha256);
    });
    let outcome = convert(&input, &output, &path, &[]);
    assert_fails(&outcome, 1, &["identity-2", &sha256, "encoders"]);
    assert!(!output.exists());
    write_encoder(&folder.at("encoders/identity.timbra"));
    assert_succeeds(&convert(&input, &output, &path, &[]));
}

#[test]
fn a_voice_cut_in_half_is_refused_wherever_it_is_cut() {
    let folder = Folder::new("half");
    let (input, output, voice) = (folder.at("in.wav"), folder.at("out.wav"), voice(&folder));
    float_wav(&input, 16_000, &[&song(16_000, 0.5)]);
    let whole = fs::read(&voice).unwrap();
    for part in [0, 1, 3, whole.len() / 2, whole.len() - 1] {
        fs::write(&voice, &whole[..part]).unwrap();
        let outcome = convert(&input, &output, &voice, &[]);
        assert_fails(&outcome, 1, &["voice.timbra", "not a voice package"]);
    }
    assert!(!output.exists());
}

#[test]
fn a_recording_cut_in_half_is_used_up_to_the_cut() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("cut-wav");
    let (input, output) = (folder.at("in.wav"), folder.at("out.wav"));
    float_wav(&input, 16_000, &[&song(16_000, 2.0)]);
    let whole = fs::read(&input).unwrap();
    fs::write(&input, &whole[..44 + 16_000 * 4 + 3]).unwrap();
    let outcome = convert(&input, &output, &voice(&folder), &[]);
    assert_succeeds(&outcome);
    assert!(
        support::said(&outcome).contains("cut off"),
        "{}",
        support::said(&outcome)
    );
    assert_eq!(read_wav(&output).1[0].len(), 16_000);
}

#[test]
fn an_output_that_cannot_be_written_leaves_nothing_behind() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("output");
    let input = folder.at("in.wav");
    float_wav(&input, 16_000, &[&song(16_000, 0.5)]);
    let blocked = folder.at("a-file");
    fs::write(&blocked, b"here").unwrap();
    let outcome = convert(&input, &blocked.join("out.wav"), &voice(&folder), &[]);
    assert_fails(&outcome, 1, &["a-file"]);
    assert_eq!(fs::read(&blocked).unwrap(), b"here");
}

#[test]
fn an_input_is_not_overwritten_and_other_formats_are_not_pretended() {
    let folder = Folder::new("overwrite");
    let input = folder.at("in.wav");
    float_wav(&input, 16_000, &[&song(16_000, 0.5)]);
    let before = fs::read(&input).unwrap();
    assert_fails(
        &convert(&input, &input, &voice(&folder), &[]),
        2,
        &["in.wav is the input"],
    );
    assert_eq!(fs::read(&input).unwrap(), before);
    assert_fails(
        &convert(&input, &folder.at("out.mp3"), &voice(&folder), &[]),
        2,
        &["out.mp3", "only .wav"],
    );
}

#[test]
fn an_encoder_that_is_not_there_or_is_a_voice_is_named() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("no-encoder");
    let recording = folder.at("recordings/anna/a.wav");
    float_wav(&recording, 16_000, &[&song(16_000, 0.5)]);
    let prepare = |encoder: &Path| {
        let (recordings, work) = (folder.at("recordings"), folder.at("work"));
        trainer(&[
            "prepare".as_ref(),
            recordings.as_os_str(),
            "--work".as_ref(),
            work.as_os_str(),
            "--encoder".as_ref(),
            encoder.as_os_str(),
        ])
    };
    assert_fails(
        &prepare(&folder.at("gone.timbra")),
        1,
        &["content encoder", "gone.timbra"],
    );
    assert_fails(
        &prepare(&voice(&folder)),
        1,
        &["content encoder", "voice.timbra", "encoder.json"],
    );
}

#[test]
fn a_missing_runtime_is_explained() {
    let mut doctor = std::process::Command::new(env!("CARGO_BIN_EXE_trainer"));
    let output = doctor
        .arg("doctor")
        .env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")
        .output()
        .unwrap();
    if output.status.success() {
        eprintln!("SKIPPED: ONNX Runtime lies beside the program here");
        return;
    }
    let all = support::said(&output);
    assert_eq!(output.status.code(), Some(1), "{all}");
    for word in [
        "MISSING",
        "/nowhere/libonnxruntime.so",
        "set ORT_DYLIB_PATH",
    ] {
        assert!(all.contains(word), "{word}: {all}");
    }
}

#[test]
fn recordings_without_a_speaker_folder_are_explained() {
    let folder = Folder::new("layout");
    let work = folder.at("work");
    let empty = folder.at("none/readme.txt");
    fs::write(&empty, b"nothing").unwrap();
    let prepare = |recordings: &Path| {
        trainer(&[
            "prepare".as_ref(),
            recordings.as_os_str(),
            "--work".as_ref(),
            work.as_os_str(),
        ])
    };
    assert_fails(
        &prepare(empty.parent().unwrap()),
        1,
        &["no recordings in", "named after speakers"],
    );
    let (loose, below) = (folder.at("mixed/loose.wav"), folder.at("mixed/anna/a.wav"));
    float_wav(&loose, 16_000, &[&song(16_000, 0.5)]);
    float_wav(&below, 16_000, &[&song(16_000, 0.5)]);
    assert_fails(
        &prepare(loose.parent().unwrap()),
        1,
        &["loose.wav", "folder of its speaker"],
    );
    // More than a training takes; nothing of them is read before that is known.
    for speaker in 0..1001 {
        let path = folder.at(&format!("many/s{speaker}/a.wav"));
        fs::write(&path, b"").unwrap();
    }
    assert_fails(
        &prepare(&folder.at("many")),
        1,
        &["1001 speakers", "at most 1000"],
    );
    for twin in ["Anna", "anna"] {
        float_wav(
            &folder.at(&format!("twins/{twin}/a.wav")),
            16_000,
            &[&song(16_000, 0.2)],
        );
    }
    assert_fails(
        &prepare(&folder.at("twins")),
        1,
        &["speaker name \"anna\"", "rename"],
    );
}
