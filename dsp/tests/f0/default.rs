//! The default is what voices were trained with.

use super::signals::{SOURCES, track_with, voice};
use std::f64::consts::TAU;
use timbra_dsp::Lookahead::Long;
use timbra_dsp::f0::{F0Config, F0Tracker};
use timbra_dsp::noise;

/// F0 in Hz and periodicity of every fourth frame, printed by the tracker as it was before there was a choice.
const FRAMES: [(f32, f32); 26] = [
    (0.0, 0.49602622),
    (101.125336, 0.9007756),
    (104.53389, 0.9399846),
    (107.18598, 0.927117),
    (119.522575, 0.8899697),
    (134.75996, 0.91635895),
    (140.6688, 0.94868743),
    (143.68239, 0.9457335),
    (157.67975, 0.9141608),
    (178.38783, 0.9192578),
    (189.358, 0.9437506),
    (193.42871, 0.93102205),
    (207.5996, 0.9079392),
    (236.90996, 0.93793213),
    (255.18858, 0.956513),
    (259.44656, 0.9578586),
    (276.19418, 0.95306087),
    (313.12454, 0.94283974),
    (339.8878, 0.9364922),
    (349.43915, 0.9163938),
    (367.6436, 0.86482847),
    (414.8274, 0.66663146),
    (452.88217, 0.504999),
    (0.0, 0.40865833),
    (0.0, 0.27290997),
    (0.0, 0.2213541),
];

#[test]
fn the_default_is_what_it_was() {
    // A voice that glides and trembles into breath, from below its noise and back.
    let (mut signal, _) = voice(1.2, SOURCES[1], 21, |time_s| {
        90.0 * (2.6 * time_s + 0.06 * (TAU * 6.0 * time_s).sin()).exp2()
    });
    let mut breath = vec![0.0; signal.len()];
    noise::fill(22, 0, &mut breath);
    for (n, (sample, breath)) in signal.iter_mut().zip(&breath).enumerate() {
        let along = n as f32 / 19_200.0;
        *sample = *sample * (along * std::f32::consts::PI).sin() + 0.05 * along * breath;
    }
    let frames = track_with(&mut F0Tracker::new(F0Config::default()), Long, &signal);
    let found: Vec<(f32, f32)> = frames
        .iter()
        .step_by(4)
        .take(FRAMES.len())
        .map(|frame| (frame.f0_hz, frame.periodicity))
        .collect();
    assert_eq!(found.len(), FRAMES.len());
    for (index, (found, expected)) in found.into_iter().zip(FRAMES).enumerate() {
        // Other processors round otherwise.
        let close = (found.0 - expected.0).abs() <= 2e-5 * expected.0
            && (found.1 - expected.1).abs() < 1e-4;
        assert!(close, "frame {}: {found:?}, not {expected:?}", 4 * index);
    }
}
