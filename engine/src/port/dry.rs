//! The dry signal and the controls, kept until they are heard.

use std::collections::VecDeque;

use timbra_dsp::delay::DelayLine;
use timbra_dsp::level::db_to_linear;

use super::StreamConfig;
use super::lane::{Lane, Sampler};
use crate::controls::{Controls, Fallback, GRID_SAMPLES};

/// What the mixer needs of the controls at one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct MixControls {
    pub dry_wet: f32,
    pub gain: f32,
    pub bypass: bool,
    pub fallback_dry: bool,
}

/// What is on or off.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Switches {
    bypass: bool,
    fallback_dry: bool,
}

/// The mixer's controls along the input that have not been heard yet. Bounded, and nothing allocates after construction.
#[derive(Debug)]
pub(crate) struct ControlDelay {
    dry_wet: Lane,
    gain: Lane,
    switched: Sampler<Switches>,
    switches: VecDeque<(u64, Switches)>,
    capacity: usize,
}

impl ControlDelay {
    /// For controls that wait `latency_samples`.
    pub fn new(config: &StreamConfig, latency_samples: u32) -> Self {
        let most = config.max_block_samples;
        let lane = || Lane::new(config.host_rate_hz, latency_samples, most);
        let capacity = (latency_samples as usize + most) / GRID_SAMPLES as usize + 8;
        Self {
            dry_wet: lane(),
            gain: lane(),
            switched: Sampler::default(),
            switches: VecDeque::with_capacity(capacity),
            capacity,
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.dry_wet.clear();
        self.gain.clear();
        self.switched.clear();
        self.switches.clear();
    }

    /// Takes note that `controls` hold from `start` to before `end`.
    pub fn push(&mut self, start: u64, end: u64, controls: &Controls) {
        self.dry_wet
            .push(start, end, controls.dry_wet, |share| share);
        self.gain
            .push(start, end, controls.output_gain_db, db_to_linear);
        let switches = Switches {
            bypass: controls.bypass,
            fallback_dry: controls.fallback == Fallback::Dry,
        };
        if let Some(at) = self.switched.take(start, end, switches) {
            if self.switches.len() == self.capacity {
                self.switches.pop_front();
            }
            self.switches.push_back((at, switches));
        }
    }

    /// The controls at a position that is heard now. Positions are asked for in order.
    pub fn at(&mut self, position: u64) -> MixControls {
        while self.switches.get(1).is_some_and(|next| next.0 <= position) {
            self.switches.pop_front();
        }
        let switches = self.switches.front().map(|(_, switches)| *switches);
        MixControls {
            dry_wet: self.dry_wet.at(position).unwrap_or(1.0),
            gain: self.gain.at(position).unwrap_or(1.0),
            bypass: switches.is_some_and(|s| s.bypass),
            fallback_dry: switches.is_some_and(|s| s.fallback_dry),
        }
    }
}

/// The input of every channel, later by the latency.
#[derive(Debug)]
pub(crate) struct DryDelay {
    lines: Vec<DelayLine>,
}

impl DryDelay {
    pub fn new(channels: usize, latency_samples: u32) -> Self {
        Self {
            lines: (0..channels)
                .map(|_| DelayLine::new(latency_samples as usize))
                .collect(),
        }
    }

    /// Takes a sample of a channel and gives the one that is heard now.
    pub fn push(&mut self, channel: usize, sample: f32) -> f32 {
        self.lines[channel].push(sample)
    }

    pub fn reset(&mut self) {
        self.lines.iter_mut().for_each(DelayLine::reset);
    }
}
