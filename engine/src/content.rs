//! A content encoder in one stream: hops of audio in, content of frames of 10 ms out.

use std::collections::VecDeque;

use timbra_dsp::CONTENT_HOP_SAMPLES;
use timbra_voice::manifest::EncoderStep;

use crate::error::EngineError;
use crate::model::Encoder;
use crate::onnx::GraphStream;

/// The encoder's graph with what waits for it.
pub(crate) struct ContentStream {
    stream: GraphStream,
    channels: usize,
    /// Hops after which a frame is there.
    lag_hops: u64,
    step: Option<EncoderStep>,
    /// Audio that waits for a step.
    waiting: Vec<f32>,
}

impl ContentStream {
    /// At the start of a signal.
    pub fn new(encoder: &Encoder) -> Result<Self, EngineError> {
        let spec = encoder.spec();
        Ok(Self {
            stream: GraphStream::new(encoder.graph())?,
            channels: spec.channels,
            lag_hops: spec.lookahead_samples.div_ceil(CONTENT_HOP_SAMPLES) as u64,
            step: spec.step.clone(),
            waiting: Vec::new(),
        })
    }

    /// Takes hop number `index` and appends the frames that are there with it.
    pub fn push(
        &mut self,
        hop: &[f32; CONTENT_HOP_SAMPLES],
        index: u64,
        contents: &mut VecDeque<Vec<f32>>,
    ) -> Result<(), EngineError> {
        let Some(step) = &self.step else {
            self.stream.input(0).copy_from_slice(hop);
            let content = self.stream.run()?;
            // Hop h brings samples up to 160·(h + 1), and so the content of frame h + 1 − look-ahead.
            if index + 1 >= self.lag_hops {
                contents.push_back(content.to_vec());
            }
            return Ok(());
        };
        self.waiting.extend_from_slice(hop);
        if self.waiting.len() < step.lag_samples() {
            return Ok(());
        }
        self.stream
            .input(0)
            .copy_from_slice(&self.waiting[..step.lag_samples()]);
        let made = self.stream.run()?;
        let repeats = step.frame_samples / CONTENT_HOP_SAMPLES;
        for frame in made.chunks(self.channels) {
            contents.extend(std::iter::repeat_n(frame.to_vec(), repeats));
        }
        self.waiting.drain(..step.frames * step.frame_samples);
        Ok(())
    }

    /// Back to the start of a signal.
    pub fn reset(&mut self) -> Result<(), EngineError> {
        self.waiting.clear();
        self.stream.reset()
    }
}
