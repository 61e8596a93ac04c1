//! Claims about conversion of whole clips.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use timbra_engine::Controls;
use timbra_engine::offline;

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
