//! A graph that makes several frames at a time and sees some of the future.
//!
//! Features come every 10 ms; the graph's frames are as long as its own hop, so every feature is read at the times of
//! those frames. Once a step's frames are there, a thread of its own makes it while the next frames are listened to, and
//! its audio leaves here 10 ms at a time, late by [`VoiceTiming::step_wait_samples`] and the graph's own delay exactly.
//!
//! A step has as many frames as its [`StepSpec`] says, or, where it follows the encoder's, those whose content has come
//! since the last one. Content of an encoder whose frames are longer than 10 ms holds for as long as they are, as in the
//! front ends these networks come from; other content, and all other features, lie on straight lines between frames.
//!
//! [`VoiceTiming::step_wait_samples`]: crate::VoiceTiming::step_wait_samples

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
                Content::Promised(promise, _) => promise.clone(),
            },
            f0_hz: frame.f0_hz,
            loudness_db: frame.loudness_db,
            speaker_mix: frame.speaker_mix,
            formant_semitones: frame.formant_semitones,
            auto_f0: frame.auto_f0,
            noise_scale: frame.noise_scale,
        }
    }

    /// The same frame with the content of another.
    fn with_content_of(self, other: &Self) -> Self {
        Self {
            content: other.content.clone(),
            ..self
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
    /// What each input of the graph means, and how many numbers it has for a frame.
    inputs: Vec<(Meaning, usize)>,
    step: StepSpec,
    /// Samples by which the graph begins late with a frame.
    wait_samples: usize,
    /// Frames of 10 ms of a step, where it follows the encoder's.
    round: Option<u64>,
    /// Whether content holds until the next frame's.
    holds: bool,
    /// The frame of 10 ms up to which frames of the graph were asked for, where steps follow the encoder's.
    asked: u64,
    /// Samples per 10 ms.
    hop_samples: usize,
    /// The last frame of features and its index.
    last: Option<(u64, Kept)>,
    /// Frames of the graph that wait for their step, the first with this index.
    frames: VecDeque<Kept>,
    first: u64,
    /// F0 of the last voiced frame of an earlier step, 0 when there was none.
    held_f0_hz: f32,
    /// F0 before anything was voiced: such a voice has never heard a recording without any.
    resting_f0_hz: f32,
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
        let frames = graph.shape().counts.0.max(1);
        let slots = graph.shape().inputs.iter();
        let inputs = slots.map(|slot| {
            let numbers: usize = slot.shape.iter().product();
            (meaning(&slot.name), numbers / frames)
        });
        let hop_samples = voice.manifest().hop_samples;
        let timing = voice.timing();
        Ok(Self {
            singer: Singer::new(graph, stopwatch)?,
            inputs: inputs.collect(),
            step: step.clone(),
            wait_samples: timing.step_wait_samples,
            round: timing.round_frames.map(|frames| frames as u64),
            holds: voice.manifest().encoder.step.is_some(),
            asked: 0,
            hop_samples,
            last: None,
            frames: VecDeque::new(),
            first: 0,
            held_f0_hz: 0.0,
            resting_f0_hz: voice.manifest().speakers[0].f0_median_hz,
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
        // Up to here frames of the graph can be made when this one is there.
        let known = match frame.content {
            Content::Known(_) => frame.index,
            Content::Promised(_, ahead) => frame
                .index
                .min((frame.index + 1).saturating_add_signed(ahead)),
        };
        if self.restarts_at(frame.index) {
            self.reset();
            self.begin(frame.index);
            self.asked = known;
        } else if let Some((last, before)) = self.last.clone() {
            for between in last + 1..frame.index {
                let share = (between - last) as f32 / (frame.index - last) as f32;
                let mut read = before.towards(&kept, share);
                if self.holds {
                    read = read.with_content_of(&before);
                }
                self.take(between, read, frame.seed);
                passed_over += 1;
            }
        }
        self.take(frame.index, kept, frame.seed);
        if let Some(round) = self.round {
            while self.asked + round <= known {
                self.asked += round;
                self.ask_before(self.asked, frame.seed);
            }
        }
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
        let silence = self.first * frame - index * hop + hop + self.wait_samples as u64;
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
                    let read = last.towards(&kept, share);
                    if self.holds && at < index * hop {
                        read.with_content_of(last)
                    } else {
                        read
                    }
                }
                None => kept.clone(),
            };
            self.frames.push_back(read);
            let full = self.step.frames + self.step.lookahead_frames;
            if self.round.is_none() && self.frames.len() == full {
                self.ask(full, seed);
            }
        }
        self.last = Some((index, kept));
    }

    /// Asks for a step of what there is before frame `index` of the features.
    fn ask_before(&mut self, index: u64, seed: u32) {
        let frames = (index * self.hop_samples as u64).div_ceil(self.step.frame_samples as u64);
        let known = frames.saturating_sub(self.first) as usize;
        // Frames that are only the future of a step do not make one.
        if known > self.step.lookahead_frames {
            self.ask(known.min(self.frames.len()), seed);
        }
    }

    /// F0 of the first `count` frames that wait, going on where there is no voice, when the graph wants it so.
    fn f0(&self, count: usize) -> Vec<f32> {
        let frames = self.frames.iter().take(count);
        let mut line: Vec<f32> = frames.map(|frame| frame.f0_hz).collect();
        if self.step.continuous_f0 {
            bridge_unvoiced(&mut line, self.held_f0_hz);
            // Still none: what follows is not known yet.
            let resting = line.iter_mut().filter(|f0_hz| **f0_hz == 0.0);
            resting.for_each(|f0_hz| *f0_hz = self.resting_f0_hz);
        }
        line
    }

    /// Asks for a step that sees `count` frames, the last of them only as its future.
    fn ask(&mut self, count: usize, seed: u32) {
        let f0_hz = self.f0(count);
        let step = &self.step;
        let frames = || self.frames.iter().take(count);
        let numbers = |&(meaning, width): &(Meaning, usize)| {
            let each = |value: fn(&Kept) -> f32| -> Vec<f32> {
                frames()
                    .flat_map(|frame| std::iter::repeat_n(value(frame), width))
                    .collect()
            };
            Input::Numbers(match meaning {
                Meaning::Content => {
                    let rows = frames().map(|frame| frame.content.clone());
                    return Input::Rows(rows.collect());
                }
                Meaning::Fixed => return Input::Fixed,
                Meaning::SpeakerMix => frames()
                    .flat_map(|f| f.speaker_mix[..width].to_vec())
                    .collect(),
                Meaning::Loudness => each(|f| f.loudness_db),
                Meaning::Formant => each(|f| f.formant_semitones),
                Meaning::Voiced => each(|f| f32::from(f.f0_hz > 0.0)),
                Meaning::AutoF0 => each(|f| f.auto_f0),
                Meaning::F0 => f0_hz.clone(),
                Meaning::PriorNoise => {
                    let mut noise = vec![0.0; count * width];
                    let stream = u64::from(seed) ^ PRIOR_STREAM;
                    noise::fill_normal(stream, self.first * width as u64, &mut noise);
                    for (row, frame) in noise.chunks_mut(width.max(1)).zip(frames()) {
                        let scale = step.noise_scale * frame.noise_scale;
                        row.iter_mut().for_each(|v| *v *= scale);
                    }
                    noise
                }
                Meaning::SourceNoise => {
                    let mut noise = vec![0.0; count * width];
                    let from = self.first * step.frame_samples as u64;
                    noise::fill_normal(u64::from(seed), from, &mut noise);
                    let scale = step.source_noise_scale;
                    noise.iter_mut().for_each(|v| *v *= scale);
                    noise
                }
            })
        };
        let inputs = self.inputs.iter().map(numbers).collect();
        self.singer.ask(count, inputs);
        let made = count - step.lookahead_frames;
        for frame in self.frames.drain(..made) {
            if frame.f0_hz > 0.0 {
                self.held_f0_hz = frame.f0_hz;
            }
        }
        self.first += made as u64;
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
