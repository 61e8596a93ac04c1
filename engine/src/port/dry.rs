//! The dry signal and the controls, kept until they are heard.

use std::collections::VecDeque;

use timbra_dsp::delay::DelayLine;

use crate::controls::{ControlFrame, Controls, GRID_SAMPLES};

/// What the mixer needs of the controls at one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct MixControls {
    pub dry_wet: f32,
    pub gain: f32,
    pub bypass: bool,
    pub fallback_dry: bool,
}

impl MixControls {
    fn of(controls: &Controls) -> Self {
        Self {
            dry_wet: controls.dry_wet,
            gain: timbra_dsp::level::db_to_linear(controls.output_gain_db),
            bypass: controls.bypass,
            fallback_dry: controls.fallback == crate::controls::Fallback::Dry,
        }
    }
}

/// Controls along the input that have not been heard yet. Bounded, and nothing allocates after construction.
#[derive(Debug)]
pub(crate) struct ControlDelay {
    frames: VecDeque<ControlFrame>,
    capacity: usize,
    /// The line the mixer is on: positions and values of its ends.
    line: Option<(u64, u64, MixControls, MixControls)>,
}

impl ControlDelay {
    /// For controls that wait `latency_samples` and come in blocks of at most `max_block_samples`.
    pub fn new(latency_samples: u32, max_block_samples: usize) -> Self {
        let capacity = (latency_samples as usize + max_block_samples) / GRID_SAMPLES as usize + 8;
        Self {
            frames: VecDeque::with_capacity(capacity),
            capacity,
            line: None,
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.line = None;
    }

    /// Takes the controls at a grid point.
    pub fn push(&mut self, frame: ControlFrame) {
        if self.frames.len() == self.capacity {
            self.frames.pop_front();
        }
        self.frames.push_back(frame);
    }

    /// The controls at a position that is heard now. Positions are asked for in order.
    pub fn at(&mut self, position: u64) -> MixControls {
        match self.line {
            Some((from, to, start, end)) if (from..to).contains(&position) => {
                between(start, end, (position - from) as f32 / (to - from) as f32)
            }
            _ => self.find(position),
        }
    }

    fn find(&mut self, position: u64) -> MixControls {
        while self
            .frames
            .get(1)
            .is_some_and(|next| next.position <= position)
        {
            self.frames.pop_front();
        }
        let Some(before) = self.frames.front() else {
            return MixControls::of(&Controls::default());
        };
        let start = MixControls::of(&before.controls);
        let Some(after) = self.frames.get(1).filter(|_| position >= before.position) else {
            return start;
        };
        let end = MixControls::of(&after.controls);
        let (from, to) = (before.position, after.position);
        self.line = Some((from, to, start, end));
        between(start, end, (position - from) as f32 / (to - from) as f32)
    }
}

fn between(start: MixControls, end: MixControls, way: f32) -> MixControls {
    let line = |from: f32, to: f32| {
        if from == to {
            from
        } else {
            from + (to - from) * way
        }
    };
    MixControls {
        dry_wet: line(start.dry_wet, end.dry_wet),
        gain: line(start.gain, end.gain),
        ..start
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
