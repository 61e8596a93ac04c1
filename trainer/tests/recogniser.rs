//! The recogniser that listens to renderings is the one its weights were trained in (`fixtures/recogniser.py` makes the
//! reference with Hugging Face's implementation), and tells what is said from how it is coloured.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use burn::backend::Flex;
use safetensors::tensor::{Dtype, TensorView, serialize};
use support::Folder;
use timbra_trainer::harmonic::words::{Listener, Words};
use timbra_trainer::import::npy;
use timbra_trainer::model::causal::{from_vec, to_vec};
use timbra_trainer::model::recogniser::Recogniser;
use timbra_trainer::model::vits::weights::{Start, WeightError, WeightSource, checked};

type B = Flex;

const LAYERS: usize = 2;
const CHANNELS: usize = 288;
const INNER: usize = 64;

/// The made-up weights of the reference.
struct MadeUp(BTreeMap<String, Vec<usize>>);

impl MadeUp {
    fn new() -> Self {
        let square = vec![CHANNELS; 2];
        let mut shapes = BTreeMap::from([
            ("conv1.weight".to_owned(), vec![CHANNELS, 1, 127]),
            ("conv2.weight".to_owned(), vec![2 * CHANNELS, CHANNELS, 7]),
            ("conv2.bias".to_owned(), vec![2 * CHANNELS]),
            ("conv3.weight".to_owned(), vec![CHANNELS, 2 * CHANNELS, 3]),
            ("conv3.bias".to_owned(), vec![CHANNELS]),
            ("groupnorm.weight".to_owned(), vec![CHANNELS]),
            ("groupnorm.bias".to_owned(), vec![CHANNELS]),
            ("layer_norm.weight".to_owned(), vec![CHANNELS]),
        ]);
        for layer in 0..LAYERS {
            for (part, shape) in [
                ("input_layernorm.weight", vec![CHANNELS]),
                ("post_attention_layernorm.weight", vec![CHANNELS]),
                ("self_attn.q_proj.weight", square.clone()),
                ("self_attn.k_proj.weight", square.clone()),
                ("self_attn.v_proj.weight", square.clone()),
                ("self_attn.o_proj.weight", square.clone()),
                ("mlp.fc1.weight", vec![INNER, CHANNELS]),
                ("mlp.fc1.bias", vec![INNER]),
                ("mlp.fc2.weight", vec![CHANNELS, INNER]),
                ("mlp.fc2.bias", vec![CHANNELS]),
            ] {
                shapes.insert(format!("layers.{layer}.{part}"), shape);
            }
        }
        Self(shapes)
    }
}

impl WeightSource for MadeUp {
    fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        _start: Start,
    ) -> Result<Vec<f32>, WeightError> {
        let n = self.0.keys().position(|known| known == name).unwrap();
        let norm = name.contains("norm") && name.ends_with("weight");
        let values = (0..shape.iter().product::<usize>()).map(|k| {
            let phase = 0.37 * (n + 1) as f64 + 0.011 * ((k + 1) * (n + 2)) as f64;
            (0.2 * phase.sin() + f64::from(u8::from(norm))) as f32
        });
        checked(name, &self.0[name], shape, values.collect())
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.0.get(name).cloned()
    }
}

#[test]
fn it_hears_what_the_reference_hears() {
    let recogniser = Recogniser::<B>::load(&mut MadeUp::new(), &Default::default()).unwrap();
    let audio: Vec<f32> = (0..4_000)
        .map(|n| {
            let (x, loud) = (f64::from(n), f64::from(1 + n / 700 % 3));
            (0.1 * (0.02 * x + 6e-5 * x * x).sin() * loud) as f32
        })
        .collect();
    let heard = recogniser.heard(from_vec(audio, [1, 4_000], &Default::default()));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/recogniser.npy");
    let expected = npy::open(&path).unwrap().to_f32().unwrap();
    assert_eq!(heard.len(), LAYERS);
    for (layer, expected) in heard.into_iter().zip(expected.chunks_exact(18)) {
        let [_, frames, channels] = layer.dims();
        assert_eq!((frames, channels), (9, CHANNELS));
        let found = to_vec(layer);
        for (frame, row) in expected.chunks_exact(3).enumerate() {
            for (expected, channel) in row.iter().zip([0, 41, 287]) {
                let found = found[frame * CHANNELS + channel];
                assert!(
                    (found - expected).abs() < 5e-4,
                    "frame {frame}, channel {channel}: {found}, expected {expected}"
                );
            }
        }
    }
}

#[test]
fn from_its_file_it_tells_what_is_said_from_how_loud_it_is() {
    let folder = Folder::new("recogniser-words");
    let path = folder.at("model.safetensors");
    let mut source = MadeUp::new();
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = (source.0.clone().into_iter())
        .map(|(name, shape)| {
            let values = source.tensor(&name, &shape, Start::Constant(0.0)).unwrap();
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            (format!("model.encoder.{name}"), shape, bytes.collect())
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (name.as_str(), view)
    });
    std::fs::write(&path, serialize(views, None).unwrap()).unwrap();

    let device = Default::default();
    let words = Words::<B>::new(Listener::Recogniser(&path), &device).unwrap();
    let song = support::song(48_000, 0.6);
    let backwards: Vec<f32> = song.iter().rev().copied().collect();
    let softer: Vec<f32> = song.iter().map(|sample| 0.8 * sample).collect();
    let distance = |rendered: &[f32], recorded: &[f32]| {
        let tensor = |audio: &[f32]| from_vec::<B, 2>(audio.to_vec(), [1, audio.len()], &device);
        to_vec(words.distance(tensor(rendered), tensor(recorded)))[0]
    };
    assert_eq!(distance(&song, &song), 0.0);
    let (softer, backwards) = (distance(&softer, &song), distance(&backwards, &song));
    assert!(
        softer > 0.0 && 3.0 * softer < backwards,
        "{softer} {backwards}"
    );
}

#[test]
fn what_is_none_is_refused_by_its_name() {
    let folder = Folder::new("recogniser-none");
    let path = folder.at("other.safetensors");
    let other =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hubert/encoder.safetensors");
    std::fs::copy(other, &path).unwrap();
    let refused = |path: &Path| {
        let error = Words::<B>::new(Listener::Recogniser(path), &Default::default()).unwrap_err();
        format!("{error:#}")
    };
    let error = refused(&path);
    for part in [
        "other.safetensors",
        "conv1.weight",
        "Moonshine",
        "recogniser.py",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(refused(&folder.at("missing.safetensors")).contains("missing.safetensors"));

    let mut smaller = MadeUp::new();
    smaller
        .0
        .insert("layers.1.mlp.fc2.bias".to_owned(), vec![7]);
    let error = Recogniser::<B>::load(&mut smaller, &Default::default()).unwrap_err();
    let error = format!("{error:#}");
    assert!(
        error.contains("layers.1.mlp.fc2.bias") && error.contains("[7]"),
        "{error}"
    );
}
