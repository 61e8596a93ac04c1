//! Content, F0 and loudness of every frame, aligned.

use std::collections::VecDeque;
use std::sync::Arc;

use timbra_dsp::CONTENT_HOP_SAMPLES;
use timbra_dsp::f0::{F0Config, F0Frame, F0Tracker};
use timbra_dsp::loudness::LoudnessMeter;
use timbra_voice::manifest::EncoderSpec;

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

/// F0 and loudness of every frame, as long as its content is waited for.
pub(crate) struct Measures {
    f0: F0Tracker,
    loudness: LoudnessMeter,
    hops: u64,
    lookahead_hops: usize,
    /// What is there of frames that are not complete, each oldest first and beginning with the same frame.
    f0s: VecDeque<F0Frame>,
    loudnesses: VecDeque<f32>,
}

impl Measures {
    /// At the start of a signal, beside `encoder`, of frames that wait for `encoder_lookahead_samples`.
    pub fn new(encoder: &EncoderSpec, encoder_lookahead_samples: usize) -> Self {
        let lookahead = latency::lookahead(latency::heard_ahead_samples(encoder));
        Self {
            f0: F0Tracker::new(F0Config {
                lookahead,
                ..F0Config::default()
            }),
            loudness: LoudnessMeter::with_lookahead(lookahead),
            hops: 0,
            lookahead_hops: latency::lookahead_hops(encoder_lookahead_samples),
            f0s: VecDeque::new(),
            loudnesses: VecDeque::new(),
        }
    }

    /// Hops that must follow a frame's time before the frame appears.
    pub fn lookahead_hops(&self) -> usize {
        self.lookahead_hops
    }

    /// Takes the next hop; says whether a frame is owed with it, if its content is there.
    pub fn push(&mut self, hop: &[f32; CONTENT_HOP_SAMPLES]) -> bool {
        self.hops += 1;
        self.f0s.extend(self.f0.push(hop));
        self.loudnesses.extend(self.loudness.push(hop));
        self.hops >= self.lookahead_hops as u64
    }

    /// F0 and loudness, in dBFS, of the next frame.
    pub fn take(&mut self) -> Option<(F0Frame, f32)> {
        Some((self.f0s.pop_front()?, self.loudnesses.pop_front()?))
    }

    /// F0 in Hz (0 = unvoiced) of the frames after the one that was taken last, as far as it is known already: what the
    /// encoder sees of the future beyond what F0 itself needs.
    pub fn f0_ahead_hz(&self) -> impl ExactSizeIterator<Item = f32> + '_ {
        self.f0s.iter().map(|frame| frame.f0_hz)
    }

    /// Back to the start of a signal.
    pub fn reset(&mut self) {
        self.f0.reset();
        self.loudness.reset();
        self.hops = 0;
        self.f0s.clear();
        self.loudnesses.clear();
    }
}

/// Streaming features of one 16 kHz signal.
///
/// The worker and the trainer use this same type, so that training and playing cannot drift apart. Samples must be
/// finite.
pub struct FeatureExtractor {
    content: ContentStream,
    measures: Measures,
    next: u64,
}

impl FeatureExtractor {
    /// An extractor at the start of a signal; what lies before counts as silence.
    ///
    /// # Errors
    /// The runtime has no memory for the encoder's states.
    pub fn new(encoder: Arc<Encoder>) -> Result<Self, EngineError> {
        Ok(Self {
            content: ContentStream::new(&encoder)?,
            measures: Measures::new(encoder.spec(), encoder.spec().lookahead_samples),
            next: 0,
        })
    }

    /// Hops that must follow a frame's time before the frame appears.
    pub fn lookahead_hops(&self) -> usize {
        self.measures.lookahead_hops()
    }

    /// F0 and loudness so far.
    pub(crate) fn measures(&self) -> &Measures {
        &self.measures
    }

    /// Takes the next hop; returns the frame that is complete with it: hop h completes frame h + 1 − look-ahead.
    ///
    /// # Errors
    /// The encoder's graph failed to run.
    pub fn push_hop(
        &mut self,
        hop: &[f32; CONTENT_HOP_SAMPLES],
    ) -> Result<Option<FeatureFrame>, EngineError> {
        self.content.push(hop)?;
        if !self.measures.push(hop) {
            return Ok(None);
        }
        let Some(content) = self.content.take() else {
            return Ok(None);
        };
        let Some((f0, loudness_db)) = self.measures.take() else {
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

    /// Back to the start of a signal.
    ///
    /// # Errors
    /// The runtime has no memory for the encoder's states.
    pub fn reset(&mut self) -> Result<(), EngineError> {
        self.measures.reset();
        self.next = 0;
        self.content.reset()
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
