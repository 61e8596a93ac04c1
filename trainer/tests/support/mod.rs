//! Recordings, voices and runs of the program for tests.
#![allow(dead_code, reason = "every test binary uses a part")]

pub mod torch_file;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use burn::backend::Flex;
use safetensors::tensor::{Dtype, TensorView};
use timbra_trainer::model::hubert::{Hubert, HubertSpec};
use timbra_trainer::model::vits::weights::{RandomStart, Start, WeightError, WeightSource};
use timbra_trainer::random::Random;
use timbra_voice::identity::IdentityVoice;
use timbra_voice::manifest::Manifest;
use timbra_voice::onnx_writer::GraphBuilder;
use timbra_voice::package::{self, Form};

/// Whether the tests that run graphs can run. On a laptop without ONNX Runtime they are skipped, in CI they fail.
pub fn runtime_is_there() -> bool {
    match timbra_engine::onnx::ensure_runtime() {
        Ok(()) => true,
        Err(error) if std::env::var_os("CI").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("SKIPPED: {error} (the tests look at ORT_DYLIB_PATH)");
            false
        }
    }
}

/// A folder of this test's own, empty; removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(test: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("timbra-trainer-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn at(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the program; arguments are paths or words.
pub fn trainer<A: AsRef<std::ffi::OsStr>>(arguments: &[A]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trainer"))
        .args(arguments)
        .output()
        .unwrap()
}

/// What a run said, for messages.
pub fn said(output: &Output) -> String {
    format!(
        "code {:?}\n{}{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Asserts that a run failed with `code` and said all of `words`, on one line starting with `error:`.
#[track_caller]
pub fn assert_fails(output: &Output, code: i32, words: &[&str]) {
    let all = said(output);
    assert_eq!(output.status.code(), Some(code), "{all}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let errors: Vec<&str> = stderr
        .lines()
        .filter(|line| line.starts_with("error:"))
        .collect();
    assert_eq!(errors.len(), 1, "one error, printed once:\n{all}");
    for word in words {
        assert!(stderr.contains(word), "\"{word}\" is not in:\n{all}");
    }
    assert!(!stderr.contains("panicked"), "{all}");
}

#[track_caller]
pub fn assert_succeeds(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
}

/// Root mean square of the difference over that of `a`, without the first and last tenth.
pub fn relative_error(a: &[f32], b: &[f32]) -> f32 {
    let inner = a.len() / 10..a.len() * 9 / 10;
    let (mut error, mut energy) = (0.0_f64, 0.0_f64);
    for (a, b) in a[inner.clone()].iter().zip(&b[inner]) {
        error += f64::from(a - b) * f64::from(a - b);
        energy += f64::from(*a) * f64::from(*a);
    }
    (error / energy).sqrt() as f32
}

/// Something like singing: a gliding tone with overtones and pauses, −20 dBFS or so.
pub fn song(rate_hz: u32, seconds: f64) -> Vec<f32> {
    let mut phase = 0.0_f64;
    (0..(f64::from(rate_hz) * seconds) as usize)
        .map(|index| {
            let time_s = index as f64 / f64::from(rate_hz);
            let f0_hz = 220.0 + 60.0 * (time_s * 1.7).sin();
            phase += f0_hz / f64::from(rate_hz);
            let tone: f64 = (1..6)
                .map(|k| (phase * std::f64::consts::TAU * f64::from(k)).sin() / f64::from(k))
                .sum();
            let sounding = if time_s % 4.0 < 3.2 { 1.0 } else { 1e-4 };
            (0.1 * tone * sounding) as f32
        })
        .collect()
}

/// A WAV as bytes: `tag` 1 is integer, 3 is float.
pub fn wav_bytes(tag: u16, bits: u16, channels: u16, rate_hz: u32, data: &[u8]) -> Vec<u8> {
    let align = channels * bits / 8;
    let mut bytes = Vec::with_capacity(data.len() + 44);
    bytes.extend(b"RIFF");
    bytes.extend((data.len() as u32 + 36).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16_u32.to_le_bytes());
    bytes.extend(tag.to_le_bytes());
    bytes.extend(channels.to_le_bytes());
    bytes.extend(rate_hz.to_le_bytes());
    bytes.extend((rate_hz * u32::from(align)).to_le_bytes());
    bytes.extend(align.to_le_bytes());
    bytes.extend(bits.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

/// Interleaves channels as 32-bit floats.
pub fn float_wav(path: &Path, rate_hz: u32, channels: &[&[f32]]) {
    let data: Vec<u8> = (0..channels[0].len())
        .flat_map(|index| {
            channels
                .iter()
                .flat_map(move |channel| channel[index].to_le_bytes())
        })
        .collect();
    fs::write(
        path,
        wav_bytes(3, 32, channels.len() as u16, rate_hz, &data),
    )
    .unwrap();
}

/// One channel in 8 bits.
pub fn byte_wav(path: &Path, rate_hz: u32, samples: &[f32]) {
    let data: Vec<u8> = samples
        .iter()
        .map(|sample| (sample * 127.0 + 128.0).round() as u8)
        .collect();
    fs::write(path, wav_bytes(1, 8, 1, rate_hz, &data)).unwrap();
}

/// The channels and rate of a WAV.
pub fn read_wav(path: &Path) -> (u32, Vec<Vec<f32>>) {
    let mut reader = hound::WavReader::open(path).unwrap();
    let spec = reader.spec();
    let samples: Vec<f32> = match spec.sample_format {
        hound::SampleFormat::Float => reader.samples::<f32>().map(Result::unwrap).collect(),
        hound::SampleFormat::Int => {
            let scale = 0.5_f32.powi(i32::from(spec.bits_per_sample) - 1);
            reader
                .samples::<i32>()
                .map(|sample| sample.unwrap() as f32 * scale)
                .collect()
        }
    };
    let count = usize::from(spec.channels);
    let channels = (0..count)
        .map(|channel| {
            samples
                .iter()
                .skip(channel)
                .step_by(count)
                .copied()
                .collect()
        })
        .collect();
    (spec.sample_rate, channels)
}

/// The identity voice with the speakers `anybody` and `nobody`, changed by `change` and written.
pub fn write_voice(
    path: &Path,
    change: impl FnOnce(&mut Manifest, &mut BTreeMap<String, Vec<u8>>),
) {
    let (mut manifest, mut files) = identity().parts();
    let mut second = manifest.speakers[0].clone();
    second.name = "nobody".to_owned();
    manifest.speakers.push(second);
    change(&mut manifest, &mut files);
    package::write_voice(path, &manifest, &files, Form::File).unwrap();
}

/// The identity voice as a folder.
pub fn write_voice_folder(path: &Path) {
    let (manifest, files) = identity().parts();
    package::write_voice(path, &manifest, &files, Form::Folder).unwrap();
}

/// The graph inside of [`write_voice`]'s package.
pub fn synthesis_graph() -> Vec<u8> {
    identity().synthesis_graph()
}

/// The identity voice's encoder on its own.
pub fn write_encoder(path: &Path) {
    let (encoder, files) = identity().encoder_parts();
    package::write_encoder(path, &encoder, &files, Form::File).unwrap();
}

/// An encoder package by name and width; what it gives does not matter.
pub fn write_some_encoder(path: &Path, channels: usize) {
    let (mut encoder, mut files) = IdentityVoice::default().encoder_parts();
    let mut graph = GraphBuilder::new("content");
    graph.input("audio", &[1.into(), "samples".into()]);
    graph.output("content", &[1.into(), "T".into(), channels.into()]);
    let frames = graph.i64s(&[1, -1, 160]);
    let frames = graph.op("Reshape", &["audio", &frames], vec![]);
    let weights: Vec<f32> = (0..160 * channels)
        .map(|n| timbra_dsp::noise::uniform(3, n as u64))
        .collect();
    let weights = graph.f32s(&[160, channels], &weights);
    graph.node("MatMul", &[&frames, &weights], &["content"], vec![]);
    let bytes = graph.finish();
    encoder.encoder.id = if channels == 768 {
        "vec768l12"
    } else {
        "vec256l9"
    }
    .to_owned();
    encoder.encoder.channels = channels;
    encoder.encoder.sha256 = package::sha256_hex(&bytes);
    files.insert("content.onnx".to_owned(), bytes);
    package::write_encoder(path, &encoder, &files, Form::File).unwrap();
}

fn identity() -> IdentityVoice {
    IdentityVoice {
        name: "identity".to_owned(),
        lookahead_frames: 2,
        delay_samples: 80,
        step: None,
    }
}

/// Random weights that are remembered by name.
pub struct Remembering(RandomStart, pub BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl Remembering {
    pub fn new(seed: u64) -> Self {
        Self(RandomStart(Random::new(seed, seed)), BTreeMap::new())
    }
}

impl WeightSource for Remembering {
    fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        start: Start,
    ) -> Result<Vec<f32>, WeightError> {
        let values = self.0.tensor(name, shape, start)?;
        self.1
            .insert(name.to_owned(), (shape.to_vec(), values.clone()));
        Ok(values)
    }

    fn shape(&self, _name: &str) -> Option<Vec<usize>> {
        None
    }
}

/// A small HuBERT whose content is as wide as the small voice wants it, in a safetensors file.
pub fn write_hubert(path: &Path, content_channels: usize) {
    let spec = HubertSpec {
        front_channels: 16,
        channels: 64,
        filter: 96,
        heads: 1,
        layers: 9,
        position_taps: 16,
        position_groups: 4,
        projection: Some(content_channels),
    };
    let mut weights = Remembering::new(4);
    Hubert::<Flex>::load(&mut weights, &spec, &Default::default()).unwrap();
    let bytes: BTreeMap<String, Vec<u8>> = weights
        .1
        .iter()
        .map(|(name, (_, values))| {
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            (name.clone(), bytes)
        })
        .collect();
    let views = weights.1.iter().map(|(name, (shape, _))| {
        let view = TensorView::new(Dtype::F32, shape.clone(), &bytes[name]).unwrap();
        (name.clone(), view)
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}
