//! A training so small that tests can take its steps.

use std::sync::Arc;

use super::batch::BatchMaker;
use super::config::{Size, VitsFitConfig, VoiceShape, spec};
use crate::training::clips::VoiceClip;

/// One speaker at 16 kHz, a clip a step, with critics from `critics_from` on.
pub fn config(critics_from: u64) -> VitsFitConfig {
    let shape = VoiceShape {
        content_channels: 4,
        speakers: 1,
        rate_hz: 16_000,
        loudness: true,
        auto_f0: true,
    };
    VitsFitConfig {
        batch: 1,
        critics_from,
        ..VitsFitConfig::standard(Size::Tiny, spec(Size::Tiny, shape).unwrap())
    }
}

/// Batches of two seconds of a tone.
pub fn maker(config: &VitsFitConfig) -> BatchMaker {
    let frames = 200;
    let clip = VoiceClip {
        speaker: 0,
        name: "a clip".to_owned(),
        contents: vec![(0..frames * 4).map(|n| (n as f32).sin()).collect()],
        f0_hz: vec![200.0; frames],
        loudness_db: vec![-20.0; frames],
        audio: (0..frames * 160)
            .map(|n| 0.1 * (n as f32 * 0.08).sin())
            .collect(),
        held_out: false,
    };
    BatchMaker::new(Arc::new(vec![clip]), config).unwrap()
}
