//! One converted voice, and the channels of the input it is mixed with.

use std::collections::VecDeque;

use timbra_dsp::level::db_to_linear;
use timbra_engine::Controls;
use timbra_engine::controls::GRID_SAMPLES;

/// Mixes the wet signal with each channel of the input, the way the plugin does: linear, in time.
///
/// The engine converts one channel. It is asked for the bare voice, and level
/// and dry signal of every channel are added here.
#[derive(Debug)]
pub struct ChannelMixer {
    dry: Vec<VecDeque<f32>>,
    position: u64,
    output: Vec<Vec<f32>>,
}

impl ChannelMixer {
    /// A mixer at the start of a recording.
    #[must_use]
    pub fn new(channels: usize) -> Self {
        Self {
            dry: vec![VecDeque::new(); channels],
            position: 0,
            output: vec![Vec::new(); channels],
        }
    }

    /// What the engine is asked for instead of `controls`.
    #[must_use]
    pub fn bare(controls: Controls) -> Controls {
        Controls {
            dry_wet: 1.0,
            output_gain_db: 0.0,
            ..controls
        }
    }

    /// Keeps input until its wet counterpart comes.
    pub fn push_dry(&mut self, channels: &[Vec<f32>]) {
        for (queue, channel) in self.dry.iter_mut().zip(channels) {
            queue.extend(channel);
        }
    }

    /// The output for the next wet samples; `at` gives the controls at a position.
    pub fn mix(&mut self, wet: &[f32], at: &dyn Fn(u64) -> Controls) -> &[Vec<f32>] {
        for channel in &mut self.output {
            channel.clear();
        }
        let mut rest = wet;
        while !rest.is_empty() {
            // From one point of the controls' grid to the next, on a straight line.
            let into = self.position % GRID_SAMPLES;
            let count = rest.len().min((GRID_SAMPLES - into) as usize);
            let from = at(self.position - into);
            let to = at(self.position - into + GRID_SAMPLES);
            let (from_gain, to_gain) = (
                db_to_linear(from.output_gain_db),
                db_to_linear(to.output_gain_db),
            );
            for (offset, &wet) in rest[..count].iter().enumerate() {
                let share = (into as usize + offset) as f32 / GRID_SAMPLES as f32;
                let gain = from_gain + (to_gain - from_gain) * share;
                let wetness = from.dry_wet + (to.dry_wet - from.dry_wet) * share;
                for (queue, channel) in self.dry.iter_mut().zip(&mut self.output) {
                    let dry = queue.pop_front().unwrap_or(0.0);
                    channel.push(gain * (wetness * wet + (1.0 - wetness) * dry));
                }
            }
            self.position += count as u64;
            rest = &rest[count..];
        }
        &self.output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_keeps_its_own_dry_signal() {
        let mut mixer = ChannelMixer::new(2);
        let controls = Controls {
            dry_wet: 0.25,
            output_gain_db: -6.020_6,
            ..Controls::default()
        };
        mixer.push_dry(&[vec![1.0; 100], vec![0.0; 100]]);
        for wet in [&[0.4; 30][..], &[0.4; 70][..]] {
            let output = mixer.mix(wet, &|_| controls);
            assert!(
                output[0]
                    .iter()
                    .all(|&s| (s - 0.5 * (0.1 + 0.75)).abs() < 1e-5)
            );
            assert!(output[1].iter().all(|&s| (s - 0.5 * 0.1).abs() < 1e-5));
        }
    }

    #[test]
    fn the_mix_follows_its_controls_sample_by_sample() {
        let mut mixer = ChannelMixer::new(1);
        let at = |position: u64| Controls {
            dry_wet: position as f32 / 1280.0,
            ..Controls::default()
        };
        mixer.push_dry(&[vec![0.0; 1000]]);
        let output = mixer.mix(&[1.0; 1000], &at);
        for (index, &sample) in output[0].iter().enumerate() {
            assert!((sample - index as f32 / 1280.0).abs() < 1e-5);
        }
    }
}
