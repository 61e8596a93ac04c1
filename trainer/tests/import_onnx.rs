//! ONNX exports of voices and RVC's training checkpoints sing as where they come from, and what is wrong with one is said.
//!
//! The references are made by `tests/golden/onnx_exports.py`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::backend::Flex;
use burn::tensor::Tensor;
use support::{Folder, said, trainer};
use timbra_trainer::commands::import::{self, Args, Content, Found, Kept, look};
use timbra_trainer::import::derived::{Extents, derive};
use timbra_trainer::import::weights::CheckpointWeights;
use timbra_trainer::import::{Settings, npy, read_state_dict};
use timbra_trainer::model::causal::{from_vec, to_vec};
use timbra_trainer::model::vits::eval::Compute;
use timbra_trainer::model::vits::prior::PriorInputs;
use timbra_trainer::model::vits::voice::{VitsVoice, VoiceInputs};
use timbra_voice::package::VoicePackage;

type B = Flex;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn array(name: &str) -> Vec<f32> {
    npy::open(&fixture(name)).unwrap().to_f32().unwrap()
}

/// What a voice sings without noise; content `[C, T]`.
fn sing(found: &Found, speaker: usize, content: &[f32], f0_hz: &[f32], voiced: &[f32]) -> Vec<f32> {
    let (spec, device) = (&found.spec, Default::default());
    let voice =
        VitsVoice::<B>::load(&mut CheckpointWeights(&found.weights), spec, &device).unwrap();
    let frames = f0_hz.len();
    let row = |values: &[f32]| from_vec::<B, 3>(values.to_vec(), [1, 1, frames], &device);
    let mut mix = vec![0.0; spec.speakers * frames];
    mix[speaker * frames..(speaker + 1) * frames].fill(1.0);
    let inputs = VoiceInputs {
        prior: PriorInputs {
            content: from_vec(
                content.to_vec(),
                [1, spec.content_channels, frames],
                &device,
            ),
            f0_hz: row(f0_hz),
            voiced: row(voiced),
            loudness: None,
        },
        speaker_mix: from_vec(mix, [1, spec.speakers, frames], &device),
        prior_noise: Tensor::zeros([1, spec.inter_channels, frames], &device),
        source_noise: Tensor::zeros([1, 1, frames * spec.hop_samples()], &device),
        auto_f0: None,
    };
    to_vec(voice.sing(&mut Compute::default(), &inputs).0)
}

fn relative(expected: &[f32], found: &[f32]) -> f64 {
    assert_eq!(expected.len(), found.len());
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let difference = square(&mut expected.iter().zip(found).map(|(a, b)| f64::from(a - b)));
    (difference / square(&mut expected.iter().map(|&a| f64::from(a)))).sqrt()
}

#[test]
fn rvc_exports_and_training_checkpoints_sing_as_where_they_come_from() {
    let f0_hz = array("rvc_onnx/f0_hz.npy");
    let voiced: Vec<f32> = f0_hz.iter().map(|&f0| f32::from(f0 > 0.0)).collect();
    let frames = f0_hz.len();
    let rows = array("rvc_onnx/content.npy");
    let content: Vec<f32> = (0..rows.len())
        .map(|n| rows[(n % frames) * 256 + n / frames])
        .collect();
    let config = fixture("rvc_onnx/config.json");
    // Half precision keeps 11 bits of every weight.
    let cases = [
        ("G_7.pth", None, 1e-4),
        ("G_7.pth", Some(&config), 1e-4),
        ("voice.onnx", None, 1e-4),
        ("voice.onnx", Some(&config), 1e-4),
        ("half.onnx", None, 1e-2),
    ];
    for (name, config, limit) in cases {
        let path = fixture("rvc_onnx").join(name);
        let found = look(&path, config.map(PathBuf::as_path), None).unwrap();
        assert_eq!(
            (found.spec.rate_hz, found.spec.hop_samples()),
            (40_000, 400)
        );
        assert_eq!(found.encoder, "vec256l9");
        assert!(
            found.kind.starts_with("RVC v1, with F0, "),
            "{}",
            found.kind
        );
        for speaker in 0..2 {
            let expected = array(&format!("rvc_onnx/audio_speaker{speaker}.npy"));
            let audio = sing(&found, speaker, &content, &f0_hz, &voiced);
            let error = relative(&expected, &audio);
            println!("{name} {} speaker {speaker}: {error:.2e}", config.is_some());
            assert!(error < limit, "{name} speaker {speaker}: {error}");
        }
    }
}

#[test]
fn every_file_of_a_voice_has_one_description() {
    let look = |name: &str, config: Option<&str>| {
        let config = config.map(fixture);
        look(&fixture(name), config.as_deref(), None).unwrap().spec
    };
    let config = Some("rvc_onnx/config.json");
    let trained = look("rvc_onnx/G_7.pth", None);
    assert_eq!(trained, look("rvc_onnx/G_7.pth", config));
    assert_eq!(trained, look("rvc_onnx/voice.onnx", config));
    assert_eq!(trained, look("rvc_onnx/half.onnx", config));
    // so-vits-svc: the export is without the decoder of F0.
    let mut trained = look("sovits_fork/G_3.pth", None);
    trained.auto_f0 = false;
    assert_eq!(
        trained,
        look("sovits_fork/voice.onnx", Some("sovits_fork/config.json"))
    );
}

#[test]
fn sovits_exports_sing_as_their_checkpoint() {
    let path = fixture("sovits_fork/voice.onnx");
    let content = array("sovits_fork/content.npy");
    let f0_hz = array("sovits_fork/f0_hz.npy");
    let voiced = array("sovits_fork/voiced.npy");
    let config = fixture("sovits_fork/config.json");
    let checkpoint = look(&fixture("sovits_fork/G_3.pth"), None, None).unwrap();
    for (config, rate_hz) in [(Some(config.as_path()), None), (None, Some(16_000))] {
        let found = look(&path, config, rate_hz).unwrap();
        assert_eq!(found.kind, "so-vits-svc 4, ONNX export");
        let names: Vec<&str> = found
            .speakers
            .iter()
            .map(|(_, name)| name.as_str())
            .collect();
        match config {
            Some(_) => assert_eq!(names, ["one", "two"]),
            None => assert_eq!(names, ["speaker-0", "speaker-1"]),
        }
        for speaker in 0..2 {
            let audio = sing(&found, speaker, &content, &f0_hz, &voiced);
            let own = sing(&checkpoint, speaker, &content, &f0_hz, &voiced);
            let reference = array(&format!("sovits_fork/audio_speaker{speaker}.npy"));
            let errors = [relative(&own, &audio), relative(&reference, &audio)];
            println!("speaker {speaker}: {errors:?} from the checkpoint and the reference");
            assert!(errors[0] < 1e-5 && errors[1] < 1e-4, "{errors:?}");
        }
    }
}

fn args(checkpoint: PathBuf, output: PathBuf) -> Args {
    Args {
        content: Content::Vec256l9,
        precision: Kept::F32,
        ..Args::new(checkpoint, output)
    }
}

#[test]
fn exports_and_training_checkpoints_become_packages() {
    let folder = Folder::new("onnx-packages");
    for (name, kind) in [
        ("rvc_onnx/G_7.pth", "RVC v1, with F0, training checkpoint"),
        ("rvc_onnx/voice.onnx", "RVC v1, with F0, ONNX export"),
    ] {
        let output = folder.at("voice.timbra");
        import::run(&args(fixture(name), output.clone())).unwrap();
        let manifest = VoicePackage::read(&output).unwrap().manifest;
        assert_eq!(manifest.model_rate_hz, 40_000);
        assert_eq!(manifest.speakers.len(), 1);
        assert!(
            manifest.training.trainer.starts_with(kind),
            "{}",
            manifest.training.trainer
        );
        let shown = trainer(&["inspect".into(), fixture(name).into_os_string()]);
        let text = said(&shown);
        assert!(shown.status.success() && text.contains(kind), "{text}");
        for part in ["40000 Hz, 400 samples", "vec256l9"] {
            assert!(text.contains(part), "{part} in: {text}");
        }
    }
}

/// What `import` says of a file, which it has to refuse.
fn refusal(args: &Args) -> String {
    let error = format!("{:#}", import::run(args).expect_err("it is no voice"));
    assert!(!args.output.exists(), "something was written: {error}");
    let name = args.checkpoint.file_name().unwrap().to_string_lossy();
    assert!(
        error.contains(&*name) || args.config.is_some(),
        "{name} in: {error}"
    );
    error
}

fn assert_says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{part} in: {error}");
    }
}

/// `bytes` with a name in place of another as long.
fn renamed(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let places: Vec<usize> = (0..bytes.len() - from.len())
        .filter(|&n| bytes[n..].starts_with(from.as_bytes()))
        .collect();
    assert!(!places.is_empty(), "{from}");
    for place in places {
        bytes[place..place + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

#[test]
fn what_is_wrong_with_an_export_is_said() {
    let folder = Folder::new("onnx-refused");
    let whole = fs::read(fixture("rvc_onnx/voice.onnx")).unwrap();
    let path = folder.at("voice.onnx");
    let standard = args(path.clone(), folder.at("voice.timbra"));
    let of = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        refusal(&standard)
    };
    for length in (0..whole.len() - 100).step_by(whole.len() / 40) {
        of(&whole[..length]);
    }
    assert_says(
        &of(&whole[..whole.len() / 2]),
        &["whole messages of ONNX", "cut short", "again"],
    );
    assert_says(&of(b"<!DOCTYPE html>"), &["an ONNX model", "web page"]);
    assert_says(
        &of(&renamed(&whole, "enc_p.proj.bias", "enc_p.proj.bios")),
        &["so-vits-svc 4 or RVC", "\"phone\"", "\"pitchf\"", "Choose"],
    );
    assert_says(
        &of(&renamed(&whole, "emb_g.weight", "emb_x.weight")),
        &["\"emb_g.weight\" is not in the file", "Choose"],
    );
    assert_says(
        &of(&renamed(
            &whole,
            "enc_p.emb_pitch.weight",
            "enc_p.emb_patch.weight",
        )),
        &["\"enc_p.emb_pitch.weight\"", "[256, 4]"],
    );

    // No published hop, and nothing that says the rate.
    let unknown = args(fixture("sovits_fork/voice.onnx"), folder.at("voice.timbra"));
    assert_says(
        &refusal(&unknown),
        &["the sampling rate", "80 samples", "--rate", "--config"],
    );
    let said = Args {
        rate_hz: Some(16_000),
        ..unknown.clone()
    };
    import::run(&said).expect("with its rate it is a voice");
    fs::remove_file(&said.output).unwrap();

    // A configuration of another voice.
    let config = fs::read_to_string(fixture("rvc_onnx/config.json")).unwrap();
    for (from, to, parts) in [
        (
            "\"n_heads\": 2",
            "\"n_heads\": 4",
            &["model.n_heads", "expected 2", "found 4"][..],
        ),
        (
            "40000",
            "0",
            &["data.sampling_rate", "1 to 192000", "found 0"],
        ),
        ("{", "[", &["the whole file", "JSON"]),
    ] {
        let changed = config.replacen(from, to, 1);
        assert_ne!(changed, config);
        fs::write(folder.at("config.json"), changed).unwrap();
        for name in ["rvc_onnx/voice.onnx", "rvc_onnx/G_7.pth"] {
            let error = refusal(&Args {
                config: Some(folder.at("config.json")),
                ..args(fixture(name), folder.at("voice.timbra"))
            });
            assert_says(&error, parts);
            assert_says(&error, &["config.json"]);
        }
    }
    // What a checkpoint says itself goes before --rate, and is not changed silently.
    let error = refusal(&Args {
        rate_hz: Some(22_050),
        ..args(fixture("sovits_fork/G_3.pth"), folder.at("voice.timbra"))
    });
    assert_says(&error, &["--rate is 22050", "16000 Hz"]);
}

/// A field of protobuf: a number, or bytes with their length.
fn number(field: u64, value: u64) -> Vec<u8> {
    let mut bytes = vec![(field << 3) as u8];
    let mut rest = value;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

fn field(field: u64, value: &[u8]) -> Vec<u8> {
    let mut bytes = number(field, value.len() as u64);
    bytes[0] |= 2;
    bytes.extend(value);
    bytes
}

#[test]
fn constants_that_lie_are_refused() {
    let folder = Folder::new("onnx-constants");
    let path = folder.at("voice.onnx");
    let standard = args(path.clone(), folder.at("voice.timbra"));
    let name = field(8, b"enc_p.proj.bias");
    let of = |graph: Vec<Vec<u8>>| {
        let model = [number(1, 8), field(7, &graph.concat())].concat();
        fs::write(&path, model).unwrap();
        refusal(&standard)
    };
    let tensor = |parts: &[Vec<u8>]| field(5, &[name.clone(), parts.concat()].concat());

    let elsewhere = tensor(&[number(1, 4), number(2, 1), number(14, 1)]);
    assert_says(
        &of(vec![elsewhere]),
        &["enc_p.proj.bias", "another file", "save_as_external_data"],
    );
    let entry = field(
        13,
        &[field(1, b"location"), field(2, b"/etc/passwd")].concat(),
    );
    let elsewhere = tensor(&[number(1, 4), number(2, 1), entry]);
    assert_says(&of(vec![elsewhere]), &["enc_p.proj.bias", "another file"]);
    for shape in [vec![u64::MAX], vec![1 << 62, 4], vec![5], vec![0]] {
        let extents: Vec<Vec<u8>> = shape.iter().map(|&extent| number(1, extent)).collect();
        let tensor = tensor(&[extents.concat(), number(2, 1), field(9, &[0; 16])]);
        assert_says(
            &of(vec![tensor]),
            &["enc_p.proj.bias", "numbers that fill", "16 bytes"],
        );
    }
    let twice = tensor(&[number(1, 4), number(2, 1), field(9, &[0; 16])]);
    assert_says(
        &of(vec![twice.clone(), twice]),
        &["enc_p.proj.bias", "twice"],
    );
    let strange = tensor(&[number(1, 4), number(2, 99), field(9, &[0; 16])]);
    assert_says(&of(vec![strange]), &["element type", "99", "float16"]);
    let quantised = field(1, &field(4, b"ConvInteger"));
    assert_says(&of(vec![quantised]), &["quantised", "before"]);
}

#[test]
fn upsampling_that_no_published_voice_has_asks_for_the_configuration() {
    let path = fixture("rvc_onnx/G_7.pth");
    let mut weights = read_state_dict(&path).unwrap();
    let nothing = BTreeMap::new();
    let extents = Extents {
        strides: &nothing,
        dilations: &nothing,
    };
    let known = derive(&path, &weights, extents, &Settings::default(), None).unwrap();
    assert_eq!(known.decoder.rates, [10, 10, 2, 2]);
    let other = weights["dec.ups.2.weight_v"].clone();
    weights.insert("dec.ups.1.weight_v".to_owned(), other);
    let error = derive(&path, &weights, extents, &Settings::default(), None).unwrap_err();
    assert_says(
        &error.to_string(),
        &["G_7.pth", "upsampling rates", "[16, 4, 4, 4]", "--config"],
    );
}
