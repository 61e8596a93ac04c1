//! The controls of a stream along its input.

use std::collections::VecDeque;

use crate::controls::{ControlFrame, Controls};

/// The controls along the input, as far as they are known and needed. Each holds until the next.
#[derive(Debug, Default)]
pub(crate) struct ControlTrack {
    frames: VecDeque<ControlFrame>,
}

impl ControlTrack {
    pub fn push(&mut self, frame: ControlFrame) {
        self.frames.push_back(frame);
    }

    pub fn clear(&mut self) {
        self.frames.clear();
    }

    /// Forgets what is not needed for this position and later ones.
    pub fn forget_before(&mut self, position: f64) {
        while self
            .frames
            .get(1)
            .is_some_and(|next| next.position as f64 <= position)
        {
            self.frames.pop_front();
        }
    }

    /// The numbers' means over `reach` samples on either side of a position, the switches as they are there, and the
    /// mix normalised over the `speakers` there are; forgets what lies before.
    pub fn around(&mut self, position: f64, reach: f64, speakers: usize) -> Controls {
        self.forget_before(position - reach);
        let normalised = |controls: Controls| Controls {
            speaker_mix: controls.normalised_mix(speakers),
            ..controls
        };
        let first = self.frames.front().map(|frame| frame.controls);
        let first = normalised(first.unwrap_or_default());
        let (mut mean, mut held) = (first, first);
        let begin = position - reach;
        for (index, frame) in self.frames.iter().enumerate().skip(1) {
            let from = frame.position as f64;
            if from >= position + reach {
                break;
            }
            if from <= position {
                held = frame.controls;
            }
            let next = self.frames.get(index + 1);
            let to = next.map_or(f64::INFINITY, |next| next.position as f64);
            let to = to.min(position + reach);
            // Over everything up to its own end, it holds for this share.
            mean = mean.towards(
                &normalised(frame.controls),
                ((to - from) / (to - begin)) as f32,
            );
        }
        mean.with_switches_of(&held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pitches(pitches: &[(u64, f32)]) -> ControlTrack {
        let mut track = ControlTrack::default();
        for &(position, pitch_semitones) in pitches {
            track.push(ControlFrame {
                position,
                controls: Controls {
                    pitch_semitones,
                    auto_pitch: pitch_semitones > 5.0,
                    ..Controls::default()
                },
            });
        }
        track
    }

    #[test]
    fn a_step_counts_by_its_share_of_the_time_around_a_frame() {
        for (step, share) in [
            (400, 1.0),
            (520, 1.0),
            (760, 0.75),
            (1000, 0.5),
            (1480, 0.0),
        ] {
            let around = pitches(&[(0, 0.0), (step, 10.0)]).around(1000.0, 480.0, 1);
            assert!(
                (around.pitch_semitones - 10.0 * share).abs() < 1e-5,
                "at {step}"
            );
            assert_eq!(around.auto_pitch, step <= 1000);
        }
        let twice = pitches(&[(0, 0.0), (900, 8.0), (1100, 2.0)]).around(1000.0, 400.0, 1);
        assert!((twice.pitch_semitones - (200.0 * 8.0 + 300.0 * 2.0) / 800.0).abs() < 1e-5);
    }

    #[test]
    fn half_of_a_step_lies_where_it_is_whatever_the_frames() {
        let hop = 480.0;
        for step in 4000..4480u64 {
            let at = |frame: f64| {
                let controls = pitches(&[(0, 0.0), (step, 1.0)]).around(frame * hop, hop, 1);
                f64::from(controls.pitch_semitones)
            };
            let after = (0..20).find(|&k| at(f64::from(k)) >= 0.5).unwrap_or(0);
            let (low, high) = (at(f64::from(after) - 1.0), at(f64::from(after)));
            let heard = hop * (f64::from(after) - 1.0 + (0.5 - low) / (high - low));
            assert!((heard - step as f64).abs() < 0.01, "{step}: {heard}");
        }
    }
}
