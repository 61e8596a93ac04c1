//! Content, F0 and loudness of every frame, aligned.

use std::collections::VecDeque;
use std::sync::Arc;

use timbra_dsp::CONTENT_HOP_SAMPLES;
use timbra_dsp::f0::{F0Config, F0Frame, F0Tracker};
use timbra_dsp::loudness::LoudnessMeter;

use crate::content::ContentStream;
use crate::error::EngineError;
use crate::latency;
use crate::model::Encoder;

/// Every feature of one frame.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FeatureFrame {
    /// Index k: the frame describes the signal at sample 160·k of the 16 kHz signal.
    pub index: u64,
    /// C numbers of the content encoder.
    pub content: Vec<f32>,
    /// Fundamental frequency in Hz, 0 = unvoiced.
    pub f0_hz: f32,
    /// 0 (noise) to 1 (periodic).
    pub periodicity: f32,
    /// dBFS, see [`timbra_dsp::loudness`].
    pub loudness_db: f32,
}

/// Streaming features of one 16 kHz signal.
///
/// The worker and the trainer use this same type, so that training and playing cannot drift apart. Samples must be
/// finite.
pub struct FeatureExtractor {
    encoder: Arc<Encoder>,
    content: ContentStream,
    f0: F0Tracker,
    loudness: LoudnessMeter,
    hops: u64,
    /// What is there of frames that are not complete, each oldest first and beginning with frame `next`.
    contents: VecDeque<Vec<f32>>,
    f0s: VecDeque<F0Frame>,
    loudnesses: VecDeque<f32>,
    next: u64,
}

impl FeatureExtractor {
    /// An extractor at the start of a signal; what lies before counts as silence.
    ///
    /// # Errors
    /// The runtime has no memory for the encoder's states.
    pub fn new(encoder: Arc<Encoder>) -> Result<Self, EngineError> {
        let lookahead = latency::lookahead(encoder.spec().lookahead_samples);
        let mut extractor = Self {
            content: ContentStream::new(&encoder)?,
            encoder,
            f0: F0Tracker::new(F0Config {
                lookahead,
                ..F0Config::default()
            }),
            loudness: LoudnessMeter::with_lookahead(lookahead),
            hops: 0,
            contents: VecDeque::new(),
            f0s: VecDeque::new(),
            loudnesses: VecDeque::new(),
            next: 0,
        };
        extractor.prime();
        Ok(extractor)
    }

    /// Hops that must follow a frame's time before the frame appears.
    pub fn lookahead_hops(&self) -> usize {
        latency::lookahead_hops(self.encoder.spec().lookahead_samples)
    }

    /// Takes the next hop; returns the frame that is complete with it: hop h completes frame h + 1 − look-ahead.
    ///
    /// # Errors
    /// The encoder's graph failed to run.
    pub fn push_hop(
        &mut self,
        hop: &[f32; CONTENT_HOP_SAMPLES],
    ) -> Result<Option<FeatureFrame>, EngineError> {
        self.content.push(hop, self.hops, &mut self.contents)?;
        self.hops += 1;
        self.f0s.extend(self.f0.push(hop));
        self.loudnesses.extend(self.loudness.push(hop));
        if self.hops < self.lookahead_hops() as u64 {
            return Ok(None);
        }
        let (Some(content), Some(f0), Some(loudness_db)) = (
            self.contents.pop_front(),
            self.f0s.pop_front(),
            self.loudnesses.pop_front(),
        ) else {
            return Ok(None);
        };
        let index = self.next;
        self.next += 1;
        Ok(Some(FeatureFrame {
            index,
            content,
            f0_hz: f0.f0_hz,
            periodicity: f0.periodicity,
            loudness_db,
        }))
    }

    /// F0 in Hz (0 = unvoiced) of the frames after the one that came last, as far as it is known already: what the
    /// encoder sees of the future beyond what F0 itself needs.
    pub fn f0_ahead_hz(&self) -> impl ExactSizeIterator<Item = f32> + '_ {
        self.f0s.iter().map(|frame| frame.f0_hz)
    }

    /// Back to the start of a signal.
    ///
    /// # Errors
    /// The runtime has no memory for the encoder's states.
    pub fn reset(&mut self) -> Result<(), EngineError> {
        self.content.reset()?;
        self.f0.reset();
        self.loudness.reset();
        self.hops = 0;
        self.next = 0;
        self.contents.clear();
        self.f0s.clear();
        self.loudnesses.clear();
        self.prime();
        Ok(())
    }

    /// An encoder without look-ahead gives frame 1 with the first hop; frame 0 then is silence.
    fn prime(&mut self) {
        if self.encoder.spec().lookahead_samples == 0 && self.encoder.spec().step.is_none() {
            self.contents
                .push_back(vec![0.0; self.encoder.spec().channels]);
        }
    }
}

/// The features of a whole 16 kHz signal, one frame for every 160 samples begun (`ceil(len / 160)` frames).
///
/// # Errors
/// The encoder's graph failed to run.
pub fn extract(
    encoder: &Arc<Encoder>,
    samples_16k: &[f32],
) -> Result<Vec<FeatureFrame>, EngineError> {
    let wanted = samples_16k.len().div_ceil(CONTENT_HOP_SAMPLES);
    let mut extractor = FeatureExtractor::new(Arc::clone(encoder))?;
    let mut frames = Vec::with_capacity(wanted);
    let mut hops = samples_16k.chunks(CONTENT_HOP_SAMPLES);
    while frames.len() < wanted {
        let mut hop = [0.0; CONTENT_HOP_SAMPLES];
        if let Some(samples) = hops.next() {
            hop[..samples.len()].copy_from_slice(samples);
        }
        frames.extend(extractor.push_hop(&hop)?);
    }
    Ok(frames)
}
