//! Claims about conversion of whole clips.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use timbra_engine::{Controls, LoadedVoice, offline};
use timbra_voice::onnx_writer::GraphBuilder;

#[test]
fn identity_voice_gives_back_the_input_at_16_khz() {
    if !support::runtime_is_there() {
        return;
    }
    for (lookahead_frames, delay_samples) in [(0, 0), (3, 0), (4, 80), (2, 37)] {
        let voice = support::identity(
            &format!("same-{lookahead_frames}-{delay_samples}"),
            lookahead_frames,
            delay_samples,
        );
        let input = support::song(16_000, 1.0);
        let output = offline::convert(
            &voice,
            &input,
            16_000,
            &|_| Controls::default(),
            &mut |_| {},
        )
        .unwrap();
        assert_eq!(output.len(), input.len());
        let worst = input
            .iter()
            .zip(&output)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert_eq!(
            worst, 0.0,
            "look-ahead {lookahead_frames}, delay {delay_samples}"
        );
    }
}

/// The input four times as loud, from a voice that says or does not say that its level is the input's.
fn four_times_as_loud(input: &[f32], follows_level: bool) -> Vec<f32> {
    let mut graph = GraphBuilder::new("loud");
    graph.input("content", &[1.into(), "T".into(), 160.into()]);
    graph.output("audio", &[1.into(), "samples".into()]);
    let line = graph.i64s(&[1, -1]);
    let four = graph.f32s(&[1], &[4.0]);
    let flat = graph.op("Reshape", &["content", &line], vec![]);
    graph.node("Mul", &[&flat, &four], &["audio"], vec![]);
    let path = support::folder("loud").join("loud.timbra");
    support::write_with_synthesis(&path, &["content"], graph.finish(), |manifest| {
        manifest.follows_level = follows_level;
    });
    let voice = LoadedVoice::load(&path, &[]).unwrap();
    offline::convert(&voice, input, 16_000, &|_| Controls::default(), &mut |_| {}).unwrap()
}

#[test]
fn a_voice_that_follows_the_level_stays_within_three_decibels_of_the_input() {
    if !support::runtime_is_there() {
        return;
    }
    let peak = |audio: &[f32]| audio.iter().fold(0.0f32, |peak, s| s.abs().max(peak));
    // Loud, and after a second thirty decibels below that.
    let mut input = support::song(16_000, 2.0);
    for sample in &mut input[16_000..] {
        *sample *= 0.03;
    }
    let free = four_times_as_loud(&input, false);
    let bound = four_times_as_loud(&input, true);
    for part in [0..16_000, 16_000 + 6_400..32_000] {
        let sung = peak(&input[part.clone()]);
        assert!(peak(&free[part.clone()]) > 3.9 * sung, "{part:?}");
        let over_db = 20.0 * (peak(&bound[part.clone()]) / sung).log10();
        assert!((1.0..3.0).contains(&over_db), "{part:?}: {over_db} dB");
    }
    // What does not rise above the input's peak is not touched: here the samples near zero.
    let sung = peak(&input[..16_000]);
    let quiet = (0..16_000).filter(|&i| free[i].abs() < 0.5 * sung);
    assert!(quiet.clone().count() > 1_000);
    assert!(quiet.into_iter().all(|i| free[i] == bound[i]));
}
