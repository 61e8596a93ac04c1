//! The check of graphs neither panics nor takes long, whatever has become of a graph. `TIMBRA_ROUNDS` sets how often.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::{Duration, Instant};

use burn::backend::Flex;
use timbra_trainer::import::sovits_config;
use timbra_trainer::model::hubert::{Hubert, HubertSpec};
use timbra_trainer::model::vits::voice::VitsVoice;
use timbra_trainer::model::vits::weights::RandomStart;
use timbra_trainer::random::Random;
use timbra_voice::manifest::StateTensor;
use timbra_voice::onnx_check::{Known, check};
use timbra_voice::onnx_precision::{Precision, in_precision};

const LONGEST: Duration = Duration::from_secs(1);

#[test]
fn a_changed_graph_is_checked_or_refused_at_once() {
    let config =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sovits_fork/config.json");
    let spec = sovits_config::read(&config).unwrap().spec;
    let mut start = RandomStart(Random::new(9, 9));
    let device = Default::default();
    let voice = VitsVoice::<Flex>::load(&mut start, &spec, &device).unwrap();
    let voice = voice.export_streaming(&spec);
    let hubert_spec = HubertSpec {
        front_channels: 8,
        channels: 16,
        filter: 24,
        heads: 2,
        layers: 2,
        position_taps: 8,
        position_groups: 2,
        projection: None,
    };
    let hubert = Hubert::<Flex>::load(&mut start, &hubert_spec, &device).unwrap();
    let (content, content_spec) = hubert.export_streaming(&hubert_spec);
    let wide_spec = HubertSpec {
        channels: 128,
        filter: 160,
        layers: 1,
        ..hubert_spec
    };
    let wide = Hubert::<Flex>::load(&mut start, &wide_spec, &device).unwrap();
    let (wide, wide_graph) = wide.export_streaming(&wide_spec);
    let eight_bits = in_precision(&wide, Precision::Int8).unwrap();
    let half = in_precision(&wide, Precision::F16).unwrap();
    let frames = 4;
    let inputs = [
        ("content", vec![1, frames, spec.content_channels], None),
        ("speaker_mix", vec![1, frames, spec.speakers], None),
        ("prior_noise", vec![1, frames, spec.inter_channels], None),
        ("noise", vec![1, frames * spec.hop_samples()], None),
        ("f0_hz", vec![1, frames], None),
        ("voiced", vec![1, frames], None),
        ("auto_f0", vec![1, frames], None),
        ("audio", vec![1, frames * 320], None),
        ("lookahead_frames", vec![1, 1], Some(2)),
    ];
    let rounds: u64 = std::env::var("TIMBRA_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(300);
    for (name, bytes, states) in [
        ("voice", voice.bytes, voice.spec.states),
        ("encoder", content, content_spec.states),
        ("encoder in 8 bits", eight_bits, wide_graph.states.clone()),
        ("encoder in half precision", half, wide_graph.states),
    ] {
        let known = known(&inputs, &states);
        check(&bytes, &known, frames as u64).expect("as it is written");
        let mut refused = 0;
        for round in 0..rounds {
            let mut random = Random::new(17, round);
            let mut changed = bytes.clone();
            for _ in 0..=random.below(4) {
                let place = random.below(changed.len());
                changed[place] = random.next_u64() as u8;
            }
            if random.chance(0.1) {
                changed.truncate(random.below(changed.len()));
            }
            let began = Instant::now();
            refused += u64::from(check(&changed, &known, frames as u64).is_err());
            let taken = began.elapsed();
            assert!(taken < LONGEST, "{name}, round {round}: {taken:?}");
        }
        println!("{name}: {refused} of {rounds} refused");
        assert!(refused > rounds / 20, "{name}: {refused} refused");
    }
}

fn known<'a>(
    inputs: &'a [(&str, Vec<usize>, Option<i64>)],
    states: &'a [StateTensor],
) -> Vec<Known<'a>> {
    let inputs = inputs.iter().map(|(name, shape, fixed)| Known {
        name,
        shape,
        fixed: *fixed,
    });
    let states = states.iter().map(|state| Known {
        name: &state.name,
        shape: &state.shape,
        fixed: None,
    });
    inputs.chain(states).collect()
}
