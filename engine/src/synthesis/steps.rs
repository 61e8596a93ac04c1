//! A graph that makes several frames at a time and sees some of the future.
//!
//! Features come every 10 ms; the graph's frames are as long as its own hop, so every feature is read at the times of
//! those frames. Once a step's frames are there, a thread of its own makes it while the next frames are listened to, and
//! its audio leaves here 10 ms at a time, late by [`StepSpec::lag_samples`] and the handover exactly.

use std::collections::VecDeque;
use std::sync::Arc;

use timbra_dsp::f0::bridge_unvoiced;
use timbra_dsp::noise;
use timbra_voice::manifest::{MAX_SPEAKERS, StepSpec};

use super::singer::{Fetched, Input, Singer};
use super::{Content, SynthesisFrame};
use crate::error::EngineError;
use crate::model::LoadedVoice;
use crate::promise::Promise;
use crate::stopwatch::Stopwatch;

/// Frames of 10 ms that may be missing without the graph starting over: they are bridged.
const MOST_BRIDGED: u64 = 8;
/// Sets the prior's noise apart from that of the source.
const PRIOR_STREAM: u64 = 0x7072_696f_7200_0000;

/// What an input of the graph means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Content,
    F0,
    Voiced,
    Loudness,
    SpeakerMix,
    AutoF0,
    Formant,
    PriorNoise,
    SourceNoise,
    Fixed,
}

/// A frame of features that is kept.
#[derive(Debug, Clone)]
struct Kept {
    content: Promise,
    f0_hz: f32,
    loudness_db: f32,
    speaker_mix: [f32; MAX_SPEAKERS],
    formant_semitones: f32,
    auto_f0: f32,
    noise_scale: f32,
}

impl Kept {
    fn of(frame: &SynthesisFrame<'_>) -> Self {
        Self {
            content: match frame.content {
                Content::Known(content) => Promise::kept(content.to_vec()),
                Content::Promised(promise) => promise.clone(),
            },
            f0_hz: frame.f0_hz,
            loudness_db: frame.loudness_db,
            speaker_mix: frame.speaker_mix,
            formant_semitones: frame.formant_semitones,
            auto_f0: frame.auto_f0,
            noise_scale: frame.noise_scale,
        }
    }

    /// Between this frame (`share` 0) and the next (1).
    fn towards(&self, next: &Self, share: f32) -> Self {
        if share >= 1.0 {
            return next.clone();
        }
        let line = |a: f32, b: f32| a + share * (b - a);
        let nearer = if share < 0.5 { self } else { next };
        let f0_hz = if self.f0_hz > 0.0 && next.f0_hz > 0.0 {
            self.f0_hz * (next.f0_hz / self.f0_hz).powf(share)
        } else {
            nearer.f0_hz
        };
        Self {
            content: self.content.towards(&next.content, share),
            f0_hz,
            loudness_db: line(self.loudness_db, next.loudness_db),
            speaker_mix: std::array::from_fn(|n| line(self.speaker_mix[n], next.speaker_mix[n])),
            formant_semitones: line(self.formant_semitones, next.formant_semitones),
            auto_f0: line(self.auto_f0, next.auto_f0),
            noise_scale: line(self.noise_scale, next.noise_scale),
        }
    }
}

/// A graph that takes several frames at a time, in one stream.
pub struct Steps {
    singer: Singer,
    /// What each input of the graph means, and how many numbers it has.
    inputs: Vec<(Meaning, usize)>,
    step: StepSpec,
    /// Samples after which a step must be made.
    handover_samples: usize,
    /// Samples per 10 ms.
    hop_samples: usize,
    /// The last frame of features and its index.
    last: Option<(u64, Kept)>,
    /// Frames of the graph that wait for their step, the first with this index.
    frames: VecDeque<Kept>,
    first: u64,
    /// F0 of the last voiced frame of an earlier step, 0 when there was none.
    held_f0_hz: f32,
    /// Audio that was made and has not left.
    made: VecDeque<f32>,
    hop: Vec<f32>,
}

impl Steps {
    pub(super) fn new(
        voice: &Arc<LoadedVoice>,
        step: &StepSpec,
        stopwatch: &Stopwatch,
    ) -> Result<Self, EngineError> {
        let graph = voice.synthesis();
        let meaning = |name: &str| match name {
            "f0_hz" => Meaning::F0,
            "voiced" => Meaning::Voiced,
            "loudness" => Meaning::Loudness,
            "speaker_mix" => Meaning::SpeakerMix,
            "formant_semitones" => Meaning::Formant,
            "auto_f0" => Meaning::AutoF0,
            "prior_noise" => Meaning::PriorNoise,
            "noise" => Meaning::SourceNoise,
            "lookahead_frames" => Meaning::Fixed,
            _ => Meaning::Content,
        };
        let slots = graph.shape().inputs.iter();
        let inputs = slots.map(|slot| (meaning(&slot.name), slot.shape.iter().product()));
        let hop_samples = voice.manifest().hop_samples;
        Ok(Self {
            singer: Singer::new(graph, stopwatch)?,
            inputs: inputs.collect(),
            step: step.clone(),
            handover_samples: voice.timing().handover_frames * hop_samples,
            hop_samples,
            last: None,
            frames: VecDeque::new(),
            first: 0,
            held_f0_hz: 0.0,
            made: VecDeque::new(),
            hop: vec![0.0; hop_samples],
        })
    }

    /// Whether a frame comes so long after the last one that the graph starts over with it.
    pub(super) fn restarts_at(&self, index: u64) -> bool {
        let last = self.last.as_ref().map(|&(last, _)| last);
        last.is_none_or(|last| index <= last || index - last > MOST_BRIDGED + 1)
    }

    /// Takes a frame of features, and says how many hops leave before that of this frame that nobody asked for.
    pub(super) fn hear(&mut self, frame: &SynthesisFrame<'_>) -> usize {
        let kept = Kept::of(frame);
        let mut passed_over = 0;
        if self.restarts_at(frame.index) {
            self.reset();
            self.begin(frame.index);
        } else if let Some((last, before)) = self.last.clone() {
            for between in last + 1..frame.index {
                let share = (between - last) as f32 / (frame.index - last) as f32;
                self.take(between, before.towards(&kept, share), frame.seed);
                passed_over += 1;
            }
        }
        self.take(frame.index, kept, frame.seed);
        passed_over
    }

    /// Back to the start of a stream.
    pub(super) fn reset(&mut self) {
        self.last = None;
        self.frames.clear();
        self.made.clear();
        self.held_f0_hz = 0.0;
        self.singer.reset();
    }

    /// Begins with the first frame of the graph that is not before frame `index` of the features.
    fn begin(&mut self, index: u64) {
        let (hop, frame) = (self.hop_samples as u64, self.step.frame_samples as u64);
        self.first = (index * hop).div_ceil(frame);
        // Up to the audio of that frame there is silence.
        let lag =
            (self.step.lag_samples() - self.step.delay_samples + self.handover_samples) as u64;
        let silence = self.first * frame - index * hop + hop + lag;
        self.made.clear();
        self.made.resize(silence as usize, 0.0);
    }

    /// Reads the features at the graph's frames up to frame `index` of the features, and asks for the step that is complete.
    fn take(&mut self, index: u64, kept: Kept, seed: u32) {
        let (hop, frame) = (self.hop_samples as u64, self.step.frame_samples as u64);
        loop {
            let at = (self.first + self.frames.len() as u64) * frame;
            if at > index * hop {
                break;
            }
            let read = match &self.last {
                Some((before, last)) => {
                    let from = before * hop;
                    let share = at.saturating_sub(from) as f32 / (index * hop - from) as f32;
                    last.towards(&kept, share)
                }
                None => kept.clone(),
            };
            self.frames.push_back(read);
            if self.frames.len() == self.step.frames + self.step.lookahead_frames {
                self.ask(seed);
            }
        }
        self.last = Some((index, kept));
    }

    /// F0 of every frame that waits, going on where there is no voice, when the graph wants it so.
    fn f0(&self) -> Vec<f32> {
        let mut line: Vec<f32> = self.frames.iter().map(|frame| frame.f0_hz).collect();
        if self.step.continuous_f0 {
            bridge_unvoiced(&mut line, self.held_f0_hz);
        }
        line
    }

    /// Asks for a step.
    fn ask(&mut self, seed: u32) {
        let f0_hz = self.f0();
        let step = &self.step;
        let frames = &self.frames;
        let numbers = |&(meaning, count): &(Meaning, usize)| {
            let width = count / frames.len().max(1);
            let each = |value: fn(&Kept) -> f32| -> Vec<f32> {
                frames
                    .iter()
                    .flat_map(|frame| std::iter::repeat_n(value(frame), width))
                    .collect()
            };
            Input::Numbers(match meaning {
                Meaning::Content => {
                    let rows = frames.iter().map(|frame| frame.content.clone());
                    return Input::Rows(rows.collect());
                }
                Meaning::Fixed => return Input::Fixed,
                Meaning::SpeakerMix => frames
                    .iter()
                    .flat_map(|f| f.speaker_mix[..width].to_vec())
                    .collect(),
                Meaning::Loudness => each(|f| f.loudness_db),
                Meaning::Formant => each(|f| f.formant_semitones),
                Meaning::Voiced => each(|f| f32::from(f.f0_hz > 0.0)),
                Meaning::AutoF0 => each(|f| f.auto_f0),
                Meaning::F0 => f0_hz.clone(),
                Meaning::PriorNoise => {
                    let mut noise = vec![0.0; count];
                    let stream = u64::from(seed) ^ PRIOR_STREAM;
                    noise::fill_normal(stream, self.first * width as u64, &mut noise);
                    for (row, frame) in noise.chunks_mut(width.max(1)).zip(frames) {
                        let scale = step.noise_scale * frame.noise_scale;
                        row.iter_mut().for_each(|v| *v *= scale);
                    }
                    noise
                }
                Meaning::SourceNoise => {
                    let mut noise = vec![0.0; count];
                    let from = self.first * step.frame_samples as u64;
                    noise::fill_normal(u64::from(seed), from, &mut noise);
                    let scale = step.source_noise_scale;
                    noise.iter_mut().for_each(|v| *v *= scale);
                    noise
                }
            })
        };
        let inputs = self.inputs.iter().map(numbers).collect();
        self.singer.ask(inputs);
        for frame in self.frames.drain(..step.frames) {
            if frame.f0_hz > 0.0 {
                self.held_f0_hz = frame.f0_hz;
            }
        }
        self.first += step.frames as u64;
    }

    /// The next 10 ms leave, after `passed_over` others that nobody hears, when the steps they are of are made; waits for
    /// these if asked to.
    pub(super) fn leave(
        &mut self,
        passed_over: &mut usize,
        wait: bool,
    ) -> Result<Option<&[f32]>, EngineError> {
        loop {
            while self.made.len() < self.hop.len() {
                match self.singer.fetch(wait)? {
                    Fetched::Step(audio) => self.made.extend(audio),
                    Fetched::NotYet => return Ok(None),
                    Fetched::Nothing => {
                        debug_assert!(false, "the lag is too short");
                        break;
                    }
                }
            }
            for sample in &mut self.hop {
                *sample = self.made.pop_front().unwrap_or(0.0);
            }
            if *passed_over == 0 {
                return Ok(Some(&self.hop));
            }
            *passed_over -= 1;
        }
    }
}
