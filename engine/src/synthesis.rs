//! One frame of features and controls to one hop of audio.
//!
//! A graph either takes a frame of 10 ms at a time, or several frames of its own length with some of the future; see
//! [`steps`].

mod singer;
mod steps;

use std::sync::Arc;

use timbra_dsp::noise;
use timbra_voice::manifest::MAX_SPEAKERS;

use crate::error::EngineError;
use crate::model::LoadedVoice;
use crate::onnx::GraphStream;
use crate::promise::Promise;
use crate::stopwatch::Stopwatch;

pub use steps::Steps;

/// The content of a frame, C numbers.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// There already.
    Known(&'a [f32]),
    /// Made by another thread. A graph that takes several frames at a time waits for it on a thread of its own. With it
    /// how many frames after this one are made without more to listen to; below 0, how many up to this one are not.
    Promised(&'a Promise, i64),
}

impl<'a> From<&'a [f32]> for Content<'a> {
    fn from(content: &'a [f32]) -> Self {
        Self::Known(content)
    }
}

/// What the synthesis of a frame is steered by.
#[derive(Debug, Clone, Copy)]
pub struct SynthesisFrame<'a> {
    /// Index k of the frame in its stream; decides the noise.
    pub index: u64,
    /// What is sung.
    pub content: Content<'a>,
    /// Hz, 0 = unvoiced.
    pub f0_hz: f32,
    /// dBFS.
    pub loudness_db: f32,
    /// Weights that sum to 1.
    pub speaker_mix: [f32; MAX_SPEAKERS],
    /// −12..12.
    pub formant_semitones: f32,
    /// 0 = `f0_hz`, 1 = the graph's own F0 decoder.
    pub auto_f0: f32,
    /// Share of the voice's own noise of the prior.
    pub noise_scale: f32,
    /// Which noise.
    pub seed: u32,
}

/// What an input of the graph means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Content,
    F0,
    Loudness,
    SpeakerMix,
    Formant,
    Noise,
}

/// A voice's synthesis graph in one stream.
pub enum Synthesis {
    /// One that takes a frame at a time.
    Frames(Frames),
    /// One that takes several.
    Steps(Box<Steps>),
}

impl Synthesis {
    /// At the start of a stream.
    ///
    /// # Errors
    /// The runtime has no memory for the states.
    pub fn new(voice: &Arc<LoadedVoice>) -> Result<Self, EngineError> {
        Self::timed(voice, &Stopwatch::default())
    }

    /// The same; a thread of its own counts on `stopwatch` how long it works.
    pub(crate) fn timed(
        voice: &Arc<LoadedVoice>,
        stopwatch: &Stopwatch,
    ) -> Result<Self, EngineError> {
        Ok(match &voice.manifest().step {
            None => Self::Frames(Frames::new(voice)?),
            Some(step) => Self::Steps(Box::new(Steps::new(voice, step, stopwatch)?)),
        })
    }

    /// Makes the hop of a frame.
    ///
    /// # Errors
    /// The graph failed to run.
    pub fn run(&mut self, frame: &SynthesisFrame<'_>) -> Result<&[f32], EngineError> {
        let mut passed_over = self.hear(frame)?;
        let made = self.leave(&mut passed_over, true)?;
        made.ok_or_else(|| EngineError::Panic("a step was waited for in vain".to_owned()))
    }

    /// Whether a frame comes so long after the last one that what waits to leave is given up.
    pub(crate) fn restarts_at(&self, index: u64) -> bool {
        match self {
            Self::Frames(_) => false,
            Self::Steps(steps) => steps.restarts_at(index),
        }
    }

    /// Takes a frame, and says how many hops [`Self::leave`] has to pass over before that of this frame.
    pub(crate) fn hear(&mut self, frame: &SynthesisFrame<'_>) -> Result<usize, EngineError> {
        match self {
            Self::Frames(frames) => frames.hear(frame).map(|()| 0),
            Self::Steps(steps) => Ok(steps.hear(frame)),
        }
    }

    /// Gives the hop of the oldest frame that was heard and has not left, when it is made. Waits for it if asked to.
    pub(crate) fn leave(
        &mut self,
        passed_over: &mut usize,
        wait: bool,
    ) -> Result<Option<&[f32]>, EngineError> {
        match self {
            Self::Frames(frames) => Ok(Some(frames.stream.output())),
            Self::Steps(steps) => steps.leave(passed_over, wait),
        }
    }

    /// Back to the start of a stream.
    ///
    /// # Errors
    /// The runtime has no memory for the states.
    pub fn reset(&mut self) -> Result<(), EngineError> {
        match self {
            Self::Frames(frames) => frames.stream.reset(),
            Self::Steps(steps) => {
                steps.reset();
                Ok(())
            }
        }
    }
}

/// A graph that takes a frame of 10 ms at a time.
pub struct Frames {
    stream: GraphStream,
    meanings: Vec<Meaning>,
    hop_samples: u64,
}

impl Frames {
    fn new(voice: &Arc<LoadedVoice>) -> Result<Self, EngineError> {
        let meanings = voice
            .synthesis()
            .shape()
            .inputs
            .iter()
            .map(|slot| match slot.name.as_str() {
                "f0_hz" => Meaning::F0,
                "loudness" => Meaning::Loudness,
                "speaker_mix" => Meaning::SpeakerMix,
                "formant_semitones" => Meaning::Formant,
                "noise" => Meaning::Noise,
                _ => Meaning::Content,
            })
            .collect();
        Ok(Self {
            stream: GraphStream::new(voice.synthesis())?,
            meanings,
            hop_samples: voice.manifest().hop_samples as u64,
        })
    }

    fn hear(&mut self, frame: &SynthesisFrame<'_>) -> Result<(), EngineError> {
        for (index, meaning) in self.meanings.iter().enumerate() {
            let input = self.stream.input(index);
            match meaning {
                Meaning::Content => match frame.content {
                    Content::Known(content) => input.copy_from_slice(content),
                    Content::Promised(promise, _) => promise.read(input)?,
                },
                Meaning::F0 => input.fill(frame.f0_hz),
                Meaning::Loudness => input.fill(frame.loudness_db),
                Meaning::SpeakerMix => input.copy_from_slice(&frame.speaker_mix[..input.len()]),
                Meaning::Formant => input.fill(frame.formant_semitones),
                Meaning::Noise => {
                    noise::fill(u64::from(frame.seed), frame.index * self.hop_samples, input)
                }
            }
        }
        self.stream.run().map(|_| ())
    }
}
