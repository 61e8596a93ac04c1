//! A training that begins with somebody else's weights takes what fits and names what does not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use burn::backend::Flex;
use safetensors::tensor::{Dtype, TensorView};
use support::Remembering;
use timbra_trainer::import::StateDict;
use timbra_trainer::import::safetensors_file::SafetensorsFile;
use timbra_trainer::model::vits::weights::{Start, WeightSource as _};
use timbra_trainer::vits::config::{CriticSpec, Size, VoiceShape, spec};
use timbra_trainer::vits::critics::Critics;
use timbra_trainer::vits::network::VitsNetwork;
use timbra_trainer::vits::start::{Taken, WarmStart};

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn state_dict(name: &str, tensors: &Tensors) -> StateDict {
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            (name, shape, bytes.collect())
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, (*shape).clone(), bytes);
        (*name, view.unwrap())
    });
    let file = format!("timbra-{name}-{}.safetensors", std::process::id());
    let path = std::env::temp_dir().join(file);
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    let tensors = SafetensorsFile::open(&path).unwrap().state_dict().unwrap();
    std::fs::remove_file(&path).unwrap();
    tensors
}

/// What a source gives each tensor of a load that asks for what `wanted` has.
fn given(source: &mut WarmStart<'_>, wanted: &Tensors) -> Tensors {
    wanted
        .iter()
        .map(|(name, (shape, _))| {
            let values = source.tensor(name, shape, Start::Normal(1.0)).unwrap();
            (name.clone(), (shape.clone(), values))
        })
        .collect()
}

#[test]
fn what_fits_is_taken_and_what_does_not_is_named() {
    let device = Default::default();
    let spec = |speakers| {
        let shape = VoiceShape {
            content_channels: 12,
            speakers,
            rate_hz: 16_000,
            loudness: false,
            auto_f0: true,
        };
        spec(Size::Tiny, shape).unwrap()
    };
    // A base of three speakers, of which one tensor is lost.
    let mut base = Remembering::new(1);
    VitsNetwork::<Flex>::load(&mut base, &spec(3), &device).unwrap();
    let lost = "pre.bias";
    base.1.remove(lost).expect("it is there");
    let base = state_dict("start", &base.1);

    let mut wanted = Remembering::new(2);
    VitsNetwork::<Flex>::load(&mut wanted, &spec(2), &device).unwrap();
    let mut source = WarmStart::new(&base, 5);
    VitsNetwork::<Flex>::load(&mut source, &spec(2), &device).unwrap();
    let taken = source.taken.clone();
    assert_eq!(taken.taken, wanted.1.len() - 2);
    assert_eq!(taken.missing, [lost]);
    let [(name, expected, found)] = &taken.mismatched[..] else {
        panic!("{:?}", taken.mismatched)
    };
    let told = taken.lines("G_0.pth").join("\n");
    let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
    for word in [
        "G_0.pth",
        "1 of another shape",
        "1 not there",
        name,
        lost,
        &expected,
        &found,
    ] {
        assert!(told.contains(word), "{word} in: {told}");
    }

    // What was taken are the base's numbers; the rest is drawn.
    let mut source = WarmStart::new(&base, 5);
    for (tensor, (_, values)) in given(&mut source, &wanted.1) {
        if tensor != *lost && tensor != *name {
            let own = base.get(&tensor).unwrap().to_f32().unwrap();
            assert!(own == values, "{tensor} is not the base's");
        }
    }
}

#[test]
fn critics_begin_with_those_of_a_base() {
    let device = Default::default();
    let critics = CriticSpec {
        periods: vec![2, 3],
        most_channels: 16,
    };
    let mut base = Remembering::new(1);
    Critics::<Flex>::load(&mut base, &critics, &device).unwrap();
    let tensors = state_dict("critics", &base.1);
    let mut source = WarmStart::new(&tensors, 5);
    Critics::<Flex>::load(&mut source, &critics, &device).unwrap();
    let all = Taken {
        taken: base.1.len(),
        ..Taken::default()
    };
    assert_eq!(source.taken, all);
}
