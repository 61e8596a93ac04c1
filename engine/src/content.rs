//! A content encoder in one stream: hops of audio in, content of frames of 10 ms out.

use std::collections::VecDeque;

use timbra_dsp::CONTENT_HOP_SAMPLES;
use timbra_voice::manifest::{EncoderSpec, EncoderStep};

use crate::error::EngineError;
use crate::model::Encoder;
use crate::onnx::GraphStream;

/// How many frames there are, by counting hops alone: whoever waits for nothing knows it as well as the encoder does.
#[derive(Debug, Clone)]
pub(crate) struct ContentClock {
    /// Hops after which a frame is there.
    lag_hops: u64,
    step: Option<EncoderStep>,
    hops: u64,
    /// Samples that wait for a step.
    waiting_samples: usize,
    /// Frames that are there and were not taken.
    frames: usize,
}

impl ContentClock {
    /// At the start of a signal.
    pub fn new(spec: &EncoderSpec) -> Self {
        let mut clock = Self {
            lag_hops: spec.lookahead_samples.div_ceil(CONTENT_HOP_SAMPLES) as u64,
            step: spec.step.clone(),
            hops: 0,
            waiting_samples: 0,
            frames: 0,
        };
        clock.reset();
        clock
    }

    /// Counts a hop; says whether the graph is run with it.
    pub fn push(&mut self) -> bool {
        self.hops += 1;
        let Some(step) = &self.step else {
            // Hop h brings samples up to 160·(h + 1), and so the content of frame h + 1 − look-ahead.
            self.frames += usize::from(self.hops >= self.lag_hops);
            return true;
        };
        self.waiting_samples += CONTENT_HOP_SAMPLES;
        if self.waiting_samples < step.lag_samples() {
            return false;
        }
        self.waiting_samples -= step.frames * step.frame_samples;
        self.frames += step.frames * step.frame_samples / CONTENT_HOP_SAMPLES;
        true
    }

    /// Takes a frame away; says whether there was one.
    pub fn take(&mut self) -> bool {
        let there = self.frames > 0;
        self.frames = self.frames.saturating_sub(1);
        there
    }

    /// Back to the start of a signal. An encoder without look-ahead gives frame 1 with the first hop; frame 0 then is
    /// silence.
    pub fn reset(&mut self) {
        self.hops = 0;
        self.waiting_samples = 0;
        self.frames = usize::from(self.lag_hops == 0 && self.step.is_none());
    }
}

/// The encoder's graph with what waits for it.
pub(crate) struct ContentStream {
    stream: GraphStream,
    clock: ContentClock,
    channels: usize,
    /// Audio that waits for a step.
    waiting: Vec<f32>,
    /// Frames that are there, oldest first.
    frames: VecDeque<Vec<f32>>,
}

impl ContentStream {
    /// At the start of a signal.
    pub fn new(encoder: &Encoder) -> Result<Self, EngineError> {
        let spec = encoder.spec();
        let mut stream = Self {
            stream: GraphStream::new(encoder.graph())?,
            clock: ContentClock::new(spec),
            channels: spec.channels,
            waiting: Vec::new(),
            frames: VecDeque::new(),
        };
        stream.begin();
        Ok(stream)
    }

    /// Takes the next hop.
    pub fn push(&mut self, hop: &[f32; CONTENT_HOP_SAMPLES]) -> Result<(), EngineError> {
        let runs = self.clock.push();
        let Some(step) = self.clock.step.clone() else {
            self.stream.input(0).copy_from_slice(hop);
            let content = self.stream.run()?;
            if self.frames.len() < self.clock.frames {
                self.frames.push_back(content.to_vec());
            }
            return Ok(());
        };
        self.waiting.extend_from_slice(hop);
        if runs {
            self.stream
                .input(0)
                .copy_from_slice(&self.waiting[..step.lag_samples()]);
            let made = self.stream.run()?;
            let repeats = step.frame_samples / CONTENT_HOP_SAMPLES;
            for frame in made.chunks(self.channels) {
                self.frames
                    .extend(std::iter::repeat_n(frame.to_vec(), repeats));
            }
            self.waiting.drain(..step.frames * step.frame_samples);
        }
        debug_assert_eq!(self.frames.len(), self.clock.frames);
        Ok(())
    }

    /// The content of the next frame, C numbers, when it is there.
    pub fn take(&mut self) -> Option<Vec<f32>> {
        self.clock.take();
        self.frames.pop_front()
    }

    /// Back to the start of a signal.
    pub fn reset(&mut self) -> Result<(), EngineError> {
        self.clock.reset();
        self.begin();
        self.stream.reset()
    }

    fn begin(&mut self) {
        self.waiting.clear();
        self.frames.clear();
        let first = vec![0.0; self.channels];
        self.frames
            .extend(std::iter::repeat_n(first, self.clock.frames));
    }
}
