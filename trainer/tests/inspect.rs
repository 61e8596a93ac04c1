//! `trainer inspect` knows the files voices of so-vits-svc and RVC come with, and says what takes them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use support::{
    Folder, assert_fails, assert_succeeds, said, trainer, write_hubert, write_some_encoder,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// What is said of a path, which is known.
#[track_caller]
fn inspected(path: &Path, options: &[&str]) -> String {
    let mut arguments: Vec<OsString> = vec!["inspect".into(), path.into()];
    arguments.extend(options.iter().map(Into::into));
    let output = trainer(&arguments);
    assert_succeeds(&output);
    said(&output)
}

#[track_caller]
fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "\"{word}\" is not in:\n{text}");
    }
}

#[test]
fn an_imported_voice_says_where_its_encoder_has_to_be() {
    let folder = Folder::new("inspect-voice");
    let (path, encoder) = (folder.at("voice.timbra"), folder.at("encoder.timbra"));
    let voice = fixture("sovits_fork/G_3.pth");
    let import = |options: &[OsString]| {
        let mut arguments: Vec<OsString> = vec!["import".into(), voice.clone().into()];
        arguments.extend_from_slice(options);
        arguments.extend(["-o".into(), path.clone().into()]);
        assert_succeeds(&trainer(&arguments));
        inspected(&path, &[])
    };
    let need =
        "needs        the content encoder vec256l9 (12 channels), in an `encoders` folder beside";
    assert_says(&import(&[]), &["not embedded", need]);
    write_some_encoder(&encoder, 12);
    let text = import(&["--encoder".into(), encoder.clone().into()]);
    assert_says(&text, &["vec256l9: 12 channels", ", embedded"]);
    assert!(!text.contains("needs"), "{text}");
}

#[test]
fn clusters_and_indexes_are_described_with_the_option_that_takes_them() {
    for (name, words) in [
        (
            "beside/kmeans_10.pt",
            &[
                "clusters     speaker \"one\": 3 centres of 12 channels",
                "speaker \"three\": 5 centres of 12",
                "import VOICE --clusters",
            ][..],
        ),
        (
            "kmeans_single.pth",
            &["clusters     the only speaker: 5 centres of 8 channels"],
        ),
        (
            "beside/feature_and_index.pkl",
            &[
                "index        speaker 0: 40 vectors of 12 channels",
                "speaker 7: 47 vectors of 12",
                "import VOICE --retrieval",
            ],
        ),
        (
            "beside/added_IVF1_Flat_nprobe_1.index",
            &[
                "index        the only speaker: 40 vectors of 256 channels",
                "import VOICE --retrieval",
            ],
        ),
        (
            "total_fea.npy",
            &["index        the only speaker: 6 vectors of 4 channels"],
        ),
    ] {
        let text = inspected(&fixture(name), &[]);
        println!("{text}");
        assert_says(&text, words);
        assert!(!text.contains("recording"), "{text}");
    }
    // By what it begins with, whatever it is called.
    let folder = Folder::new("inspect-index");
    let renamed = folder.at("vectors.bin");
    std::fs::copy(fixture("beside/added_IVF1_Flat_nprobe_1.index"), &renamed).unwrap();
    assert_says(&inspected(&renamed, &[]), &["40 vectors of 256 channels"]);
}

#[test]
fn an_encoder_is_described_with_what_it_gives() {
    let path = fixture("beside/checkpoint_best_legacy_500.pt");
    let text = inspected(&path, &[]);
    println!("{text}");
    let words = [
        "HuBERT or ContentVec: 12 layers of 64 channels, projected to 32",
        "gives        vec768l12: trainer import",
        "--as vec768l12 -o encoders/vec768l12.timbra",
        "--as vec256l9 -o encoders/vec256l9.timbra",
    ];
    assert_says(&text, &words);

    // As Hugging Face keeps it: by the same tensors under another ending, and as tensors alone.
    let folder = Folder::new("inspect-encoder");
    let renamed = folder.at("pytorch_model.bin");
    std::fs::copy(&path, &renamed).unwrap();
    assert_says(&inspected(&renamed, &[]), &words[..2]);
    let tensors = folder.at("model.safetensors");
    write_hubert(&tensors, 12);
    let text = inspected(&tensors, &[]);
    let words = ["post_extract_proj.weight", "9 layers", "--as vec256l9"];
    assert_says(&text, &words);
    assert!(!text.contains("--as vec768l12"), "{text}");
}

#[test]
fn an_export_is_inspected_with_the_rate_or_configuration_it_lacks() {
    let path = fixture("sovits_fork/voice.onnx");
    let output = trainer(&["inspect".as_ref(), path.as_os_str()]);
    let words = ["the sampling rate", "--rate", "--config"];
    assert_fails(&output, 1, &words);

    let text = inspected(&path, &["--rate", "16000"]);
    let words = [
        "so-vits-svc 4, ONNX export",
        "16000 Hz, 80 samples",
        "--rate 16000 -o voice.timbra",
    ];
    assert_says(&text, &words);
    let config = fixture("sovits_fork/config.json");
    let text = inspected(&path, &["--config", config.to_str().unwrap()]);
    assert_says(
        &text,
        &["speaker      two (1)", "16000 Hz", "config.json -o"],
    );
    let text = inspected(&fixture("sovits_depthwise/G_0.pth"), &[]);
    assert_says(&text, &["depth-wise convolutions"]);
}

#[test]
fn other_files_of_torch_and_python_are_refused_with_what_is_known() {
    for (name, words) in [
        (
            "values_2.pkl",
            &["expected a voice", "kmeans_*.pt", "found", "choose"][..],
        ),
        ("beside/D_3.pth", &["discriminators", "choose the G_*.pth"]),
        ("hostile_system.pkl", &["program to be run", "os.system"]),
        ("hostile_system.pth", &["program to be run", "os.system"]),
        ("refused_HNSW.index", &["HNSW", "Flat"]),
    ] {
        let output = trainer(&["inspect".as_ref(), fixture(name).as_os_str()]);
        assert_fails(&output, 1, &[name, words[0]]);
        assert_fails(&output, 1, words);
    }
}
