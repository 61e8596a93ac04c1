//! One voice in one stream: host samples in, host samples out at known positions.
//!
//! 16 kHz → features → steering and blend → synthesis → gate and envelope → host rate. One call of
//! [`Pipeline::advance`] is one hop, whatever the host's block size.

use std::collections::VecDeque;
use std::sync::Arc;

use timbra_dsp::fade::{FadeShape, fade_in, fade_out};
use timbra_dsp::resample::StreamResampler;
use timbra_dsp::{CONTENT_HOP_SAMPLES, CONTENT_RATE_HZ};
use timbra_voice::manifest::MAX_SPEAKERS;

use crate::blend::Blender;
use crate::controls::{ClusterMethod, ControlFrame, Controls};
use crate::error::EngineError;
use crate::features::{FeatureExtractor, FeatureFrame};
use crate::latency::{self, LatencyPlan};
use crate::model::LoadedVoice;
use crate::port::StreamConfig;
use crate::status::F0Point;
use crate::steering::{AutoPitch, Ceiling, EnvelopeMatch, F0Mean, FrameGate, GainLine, Retuner};
use crate::synthesis::{Synthesis, SynthesisFrame};

/// Hops of the past that features are computed again from after a break, beyond the look-ahead.
const CONTEXT_HOPS: usize = 6;
/// Frames that are so many late get features (to keep the encoder's memory whole) but no synthesis; later ones nothing.
const FEATURES_WHEN_LATE: u64 = 3;
/// Lowest F0 a voice is asked for, in Hz.
const LOWEST_F0_HZ: f32 = 20.0;

/// The controls along the input, as far as they are known and needed. Each holds until the next.
#[derive(Debug, Default)]
pub(crate) struct ControlTrack {
    frames: VecDeque<ControlFrame>,
}

impl ControlTrack {
    pub fn push(&mut self, frame: ControlFrame) {
        self.frames.push_back(frame);
    }

    pub fn clear(&mut self) {
        self.frames.clear();
    }

    /// Forgets what is not needed for this position and later ones.
    pub fn forget_before(&mut self, position: f64) {
        while self
            .frames
            .get(1)
            .is_some_and(|next| next.position as f64 <= position)
        {
            self.frames.pop_front();
        }
    }

    /// The numbers' means over `reach` samples on either side of a position, the switches as they are there, and the
    /// mix normalised over the `speakers` there are; forgets what lies before.
    pub fn around(&mut self, position: f64, reach: f64, speakers: usize) -> Controls {
        self.forget_before(position - reach);
        let normalised = |controls: Controls| Controls {
            speaker_mix: controls.normalised_mix(speakers),
            ..controls
        };
        let first = self.frames.front().map(|frame| frame.controls);
        let first = normalised(first.unwrap_or_default());
        let (mut mean, mut held) = (first, first);
        let begin = position - reach;
        for (index, frame) in self.frames.iter().enumerate().skip(1) {
            let from = frame.position as f64;
            if from >= position + reach {
                break;
            }
            if from <= position {
                held = frame.controls;
            }
            let next = self.frames.get(index + 1);
            let to = next.map_or(f64::INFINITY, |next| next.position as f64);
            let to = to.min(position + reach);
            // Over everything up to its own end, it holds for this share.
            mean = mean.towards(
                &normalised(frame.controls),
                ((to - from) / (to - begin)) as f32,
            );
        }
        mean.with_switches_of(&held)
    }
}

/// What one hop has become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// Position of the first sample.
    pub start: u64,
    /// Nothing was made: the fallback is heard here.
    pub missing: bool,
    /// A graph gave NaN and the hop was replaced.
    pub replaced: bool,
    /// Silence was made without running the graphs.
    pub asleep: bool,
    /// F0 of the frame, when one was made.
    pub f0: Option<F0Point>,
}

/// One voice in one stream.
pub(crate) struct Pipeline {
    voice: Arc<LoadedVoice>,
    /// Failures of its providers that were told of.
    told_failures: u32,
    host_rate_hz: u32,
    latency_samples: u32,
    /// Added to a position of the output to place it in the stream.
    padding_samples: u64,
    into: StreamResampler,
    out_of: StreamResampler,
    extractor: FeatureExtractor,
    synthesis: Synthesis,
    blender: Blender,
    auto_pitch: AutoPitch,
    f0_mean: F0Mean,
    retuner: Retuner,
    gate: FrameGate,
    envelope: EnvelopeMatch,
    /// The gate, at the times its frames are heard.
    gains: GainLine,
    /// The envelope's gain, which is found in the hop it is applied to.
    loudness: GainLine,
    /// Only where the voice's level is the input's.
    ceiling: Option<Ceiling>,

    /// Input position at which it began.
    base: u64,
    /// Position from which on it is heard.
    audible_from: u64,
    /// 16 kHz samples that do not fill a hop yet.
    waiting: Vec<f32>,
    converted: Vec<f32>,
    hop: [f32; CONTENT_HOP_SAMPLES],
    /// The last hops, for computing features again.
    past: VecDeque<[f32; CONTENT_HOP_SAMPLES]>,
    hops: u64,
    silent_hops: u64,
    asleep: bool,
    /// Hops left out by the extractor since it ran last.
    left_out: u64,
    /// The next hop is faded in.
    fades_in: bool,
    last_sample: f32,
    audio: Vec<f32>,
    emitted: u64,
    output: Vec<f32>,
    output_samples: usize,
}

impl Pipeline {
    /// A voice ready to begin in a stream whose host was told `latency_samples`.
    pub fn new(
        voice: &Arc<LoadedVoice>,
        config: &StreamConfig,
        latency_samples: u32,
    ) -> Result<Self, EngineError> {
        let manifest = voice.manifest();
        let timing = voice.timing();
        let plan = LatencyPlan::new(
            &timing,
            config.tier,
            config.host_rate_hz,
            config.max_block_samples,
        )?;
        if plan.latency_samples > latency_samples {
            return Err(EngineError::NeedsRestart {
                voice: manifest.name.clone(),
                needed_samples: plan.latency_samples,
                told_samples: latency_samples,
            });
        }
        let into = StreamResampler::new(config.host_rate_hz, CONTENT_RATE_HZ)?;
        let out_of = StreamResampler::new(manifest.model_rate_hz, config.host_rate_hz)?;
        let lookahead = latency::lookahead_hops(manifest.encoder.lookahead_samples);
        let delay_samples = timing.synthesis_delay_samples;
        Ok(Self {
            voice: Arc::clone(voice),
            told_failures: voice.provider_failures(),
            host_rate_hz: config.host_rate_hz,
            latency_samples,
            padding_samples: u64::from(latency_samples - plan.chain_delay_samples),
            extractor: FeatureExtractor::new(Arc::clone(voice.encoder()))?,
            synthesis: Synthesis::new(voice)?,
            blender: Blender::default(),
            auto_pitch: AutoPitch::default(),
            f0_mean: F0Mean::default(),
            retuner: Retuner::default(),
            gate: FrameGate::default(),
            envelope: EnvelopeMatch::new(delay_samples, manifest.hop_samples),
            gains: GainLine::new(delay_samples, manifest.hop_samples),
            loudness: GainLine::new(0, manifest.hop_samples),
            ceiling: manifest.follows_level.then(|| {
                let delay_hops = delay_samples.div_ceil(manifest.hop_samples.max(1));
                Ceiling::new(lookahead + delay_hops)
            }),
            base: 0,
            audible_from: 0,
            waiting: Vec::new(),
            converted: Vec::new(),
            hop: [0.0; CONTENT_HOP_SAMPLES],
            past: VecDeque::with_capacity(lookahead + CONTEXT_HOPS),
            hops: 0,
            silent_hops: 0,
            asleep: true,
            left_out: 0,
            fades_in: false,
            last_sample: 0.0,
            audio: vec![0.0; manifest.hop_samples],
            emitted: 0,
            output: vec![0.0; out_of.max_output_samples(manifest.hop_samples)],
            output_samples: 0,
            into,
            out_of,
        })
    }

    /// Starts over with the sample at input position `base`: everything before counts as silence.
    pub fn begin(&mut self, base: u64) -> Result<(), EngineError> {
        self.base = base;
        self.audible_from = base + u64::from(self.latency_samples);
        self.into.reset();
        self.out_of.reset();
        self.waiting.clear();
        self.past.clear();
        self.hops = 0;
        self.silent_hops = 0;
        self.emitted = 0;
        self.fades_in = false;
        self.auto_pitch = AutoPitch::default();
        self.f0_mean = F0Mean::default();
        self.retuner = Retuner::default();
        self.fall_asleep()
    }

    /// Begins in the middle of a signal: `history` is the input before position `now`, and sound is wanted from position
    /// `heard_from` on. The past is listened to but not sung, and the first hop is faded in.
    pub fn join(&mut self, now: u64, history: &[f32], heard_from: u64) -> Result<(), EngineError> {
        self.begin(now - history.len() as u64)?;
        self.audible_from = self.audible_from.max(heard_from);
        let mut unheard = ControlTrack::default();
        for piece in history.chunks(self.feed_samples()) {
            self.feed(piece);
            while self.has_hop() && self.next_start() < heard_from {
                self.advance(&mut unheard, 1, false)?;
            }
        }
        Ok(())
    }

    /// Takes host samples; ask [`Self::has_hop`] afterwards.
    pub fn feed(&mut self, samples: &[f32]) {
        let room = self.into.max_output_samples(samples.len());
        if self.converted.len() < room {
            self.converted.resize(room, 0.0);
        }
        let written = self.into.push(samples, &mut self.converted);
        self.waiting.extend_from_slice(&self.converted[..written]);
    }

    /// Whether a whole hop waits.
    pub fn has_hop(&self) -> bool {
        self.waiting.len() >= CONTENT_HOP_SAMPLES
    }

    /// Host samples to feed at a time: about a third of a hop.
    pub fn feed_samples(&self) -> usize {
        (self.host_rate_hz as usize / 300).max(1)
    }

    /// Most samples one hop can give.
    pub fn max_output_samples(&self) -> usize {
        self.output.len()
    }

    /// Position of the first sample that the next hop gives.
    pub fn next_start(&self) -> u64 {
        self.base + self.padding_samples + self.emitted
    }

    /// From this position on sound is owed.
    pub fn audible_from(&self) -> u64 {
        self.audible_from
    }

    /// How many hops ago the next hop should have been there, when everything before `played` has been played.
    pub fn late_hops(&self, played: u64) -> u64 {
        if played <= self.audible_from {
            return 0;
        }
        let hop_samples = u64::from(self.host_rate_hz) / 100;
        played.saturating_sub(self.next_start()) / hop_samples.max(1)
    }

    /// The voice, when a provider of its has failed since the last call.
    pub fn take_failed_provider(&mut self) -> Option<&LoadedVoice> {
        let failures = self.voice.provider_failures();
        let before = std::mem::replace(&mut self.told_failures, failures);
        (failures != before).then_some(&*self.voice)
    }

    /// What the last hop gave.
    pub fn output(&self) -> &[f32] {
        &self.output[..self.output_samples]
    }

    /// Makes the next hop. `late_hops` is how many hops ago it should have been there; `leaving` fades it out because
    /// another voice takes over.
    pub fn advance(
        &mut self,
        controls: &mut ControlTrack,
        late_hops: u64,
        leaving: bool,
    ) -> Result<Outcome, EngineError> {
        self.hop
            .copy_from_slice(&self.waiting[..CONTENT_HOP_SAMPLES]);
        self.waiting.drain(..CONTENT_HOP_SAMPLES);
        let hop_index = self.hops;
        self.hops += 1;
        let lookahead = self.extractor.lookahead_hops() as u64;
        let silent = self.hop.iter().all(|&sample| sample == 0.0);
        self.silent_hops = if silent { self.silent_hops + 1 } else { 0 };

        let mut outcome = Outcome {
            start: self.next_start(),
            missing: false,
            replaced: false,
            asleep: false,
            f0: None,
        };
        let frame = if self.asleep && silent {
            outcome.asleep = true;
            None
        } else if late_hops > FEATURES_WHEN_LATE {
            self.left_out += 1;
            outcome.missing = true;
            None
        } else {
            if self.asleep || self.left_out > 0 {
                self.rejoin()?;
            }
            self.extractor.push_hop(&self.hop)?
        };
        self.remember();

        // Hop h completes frame h + 1 − look-ahead; there is nothing to emit before frame 0.
        let Some(index) = (hop_index + 1).checked_sub(lookahead) else {
            self.output_samples = 0;
            return Ok(outcome);
        };
        controls.forget_before(self.position_of(index) - self.hop_host_samples());
        match frame {
            Some(frame) if late_hops == 0 => self.make(index, frame, controls, &mut outcome)?,
            Some(_) => outcome.missing = true,
            None => {}
        }
        if outcome.asleep || outcome.missing || outcome.f0.is_none() {
            self.audio.fill(0.0);
            self.fades_in |= outcome.missing;
        }
        self.finish_hop(leaving, &mut outcome);
        Ok(outcome)
    }

    /// Frame `index` into `self.audio`.
    fn make(
        &mut self,
        index: u64,
        mut frame: FeatureFrame,
        controls: &mut ControlTrack,
        outcome: &mut Outcome,
    ) -> Result<(), EngineError> {
        let manifest = self.voice.manifest();
        let position = self.position_of(index);
        // Between frames the graph moves on straight lines, so this one is heard from the frame before to the frame
        // after; with the mean over that time, the middle of a step is heard where it is.
        let speakers = manifest.speakers.len();
        let controls = controls.around(position, self.hop_host_samples(), speakers);
        let mix = controls.speaker_mix;
        let shift = controls.pitch_semitones
            + self.auto_pitch.push(
                (frame.f0_hz, frame.loudness_db),
                controls.auto_pitch,
                &manifest.speakers,
                &mix,
            );
        let ahead_hz = self.extractor.f0_ahead_hz();
        let smooth_hz = self
            .f0_mean
            .push(index, frame.f0_hz, ahead_hz, controls.f0_smoothing_ms);
        let f0_hz = if frame.f0_hz > 0.0 {
            // The note that is heard is that of the transposed F0, so that is what is brought to a scale.
            let shifted_hz = smooth_hz * (shift / 12.0).exp2();
            self.retuner
                .push(index, shifted_hz, &controls.retune, controls.note)
                .clamp(LOWEST_F0_HZ, manifest.f0_max_hz.max(LOWEST_F0_HZ))
        } else {
            0.0
        };
        self.blend(&mut frame.content, &controls, &mix);
        let made = self.synthesis.run(&SynthesisFrame {
            index,
            content: &frame.content,
            f0_hz,
            loudness_db: frame.loudness_db,
            speaker_mix: mix,
            formant_semitones: controls.formant_semitones,
            auto_f0: controls.auto_f0,
            noise_scale: controls.noise_scale,
            seed: controls.seed,
        })?;
        if made.iter().all(|sample| sample.is_finite()) {
            self.audio.copy_from_slice(made);
            if std::mem::take(&mut self.fades_in) {
                fade_in(&mut self.audio, FadeShape::Linear);
            }
            let gate = self.gate.push(frame.loudness_db, controls.gate_db);
            let envelope =
                self.envelope
                    .push(frame.loudness_db, &self.audio, controls.loudness_match);
            self.gains.apply(gate, &mut self.audio);
            self.loudness.apply(envelope, &mut self.audio);
            if let Some(ceiling) = &mut self.ceiling {
                ceiling.apply(&mut self.audio);
            }
        } else {
            self.replace_hop()?;
            outcome.replaced = true;
        }
        outcome.f0 = Some(F0Point {
            time_s: position.max(0.0) / f64::from(self.host_rate_hz),
            in_hz: frame.f0_hz,
            out_hz: f0_hz,
        });
        Ok(())
    }

    fn blend(&mut self, content: &mut [f32], controls: &Controls, mix: &[f32; MAX_SPEAKERS]) {
        let (to_centres, to_neighbours) = match controls.cluster_method {
            ClusterMethod::KMeans => (controls.cluster_ratio, 0.0),
            ClusterMethod::Retrieval => (0.0, controls.cluster_ratio),
        };
        // What the control asks for comes on top of what the voice wants by itself.
        let own = self.voice.manifest().retrieval_ratio;
        let to_neighbours = own + (1.0 - own) * to_neighbours;
        if let Some(tables) = self.voice.retrieval() {
            self.blender
                .towards_neighbours(content, tables, mix, to_neighbours);
        }
        if let Some(tables) = self.voice.clusters() {
            self.blender
                .towards_centres(content, tables, mix, to_centres);
        }
    }

    /// Input position, in host samples of the stream, that frame `index` describes.
    fn position_of(&self, index: u64) -> f64 {
        let host_samples = index as f64 * self.hop_host_samples();
        self.base as f64 + host_samples - self.into.delay_input_samples()
    }

    /// Time between two frames, in host samples. Not longer than any look-ahead: what holds there is known.
    fn hop_host_samples(&self) -> f64 {
        CONTENT_HOP_SAMPLES as f64 * f64::from(self.host_rate_hz) / f64::from(CONTENT_RATE_HZ)
    }

    /// In place of a hop that is not a number: what was heard last, going to silence. The states start over.
    fn replace_hop(&mut self) -> Result<(), EngineError> {
        self.audio.fill(self.last_sample);
        fade_out(&mut self.audio, FadeShape::Linear);
        self.fades_in = true;
        self.synthesis.reset()?;
        self.left_out = 1;
        Ok(())
    }

    fn finish_hop(&mut self, leaving: bool, outcome: &mut Outcome) {
        let receptive_field_frames = self.voice.timing().receptive_field_frames;
        let lookahead = self.extractor.lookahead_hops() as u64;
        let tail = (receptive_field_frames + latency::SLEEP_MARGIN_FRAMES) as u64 + lookahead;
        let falls_asleep = !self.asleep && self.silent_hops >= tail;
        if leaving || falls_asleep {
            fade_out(&mut self.audio, FadeShape::Linear);
        }
        self.last_sample = self.audio.last().copied().unwrap_or(0.0);
        self.output_samples = self.out_of.push(&self.audio, &mut self.output);
        self.emitted += self.output_samples as u64;
        if falls_asleep && self.fall_asleep().is_err() {
            // No memory for zeros: stay awake, which is only slower.
            self.asleep = false;
        }
        outcome.asleep |= self.asleep;
    }

    /// Keeps the hop for [`Self::rejoin`].
    fn remember(&mut self) {
        if self.past.len() == self.extractor.lookahead_hops() + CONTEXT_HOPS {
            self.past.pop_front();
        }
        self.past.push_back(self.hop);
        if let Some(ceiling) = &mut self.ceiling {
            ceiling.hear(&self.hop);
        }
    }

    /// Lets the extractor catch up with the last hops after a break, silence or lateness.
    fn rejoin(&mut self) -> Result<(), EngineError> {
        self.extractor.reset()?;
        if self.left_out as usize > self.past.len() {
            // Long away: what the synthesis remembers has nothing to do with what comes.
            self.synthesis.reset()?;
        }
        for hop in &self.past {
            self.extractor.push_hop(hop)?;
        }
        self.asleep = false;
        self.left_out = 0;
        Ok(())
    }

    /// From here on silence costs nothing, and what wakes it finds it as new.
    fn fall_asleep(&mut self) -> Result<(), EngineError> {
        self.asleep = true;
        self.left_out = 0;
        self.last_sample = 0.0;
        self.synthesis.reset()?;
        let hop_samples = self.voice.manifest().hop_samples;
        let delay_samples = self.voice.timing().synthesis_delay_samples;
        self.gate = FrameGate::default();
        self.envelope = EnvelopeMatch::new(delay_samples, hop_samples);
        self.gains = GainLine::new(delay_samples, hop_samples);
        self.loudness = GainLine::new(0, hop_samples);
        if let Some(ceiling) = &mut self.ceiling {
            ceiling.reset();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pitches(pitches: &[(u64, f32)]) -> ControlTrack {
        let mut track = ControlTrack::default();
        for &(position, pitch_semitones) in pitches {
            track.push(ControlFrame {
                position,
                controls: Controls {
                    pitch_semitones,
                    auto_pitch: pitch_semitones > 5.0,
                    ..Controls::default()
                },
            });
        }
        track
    }

    #[test]
    fn a_step_counts_by_its_share_of_the_time_around_a_frame() {
        for (step, share) in [
            (400, 1.0),
            (520, 1.0),
            (760, 0.75),
            (1000, 0.5),
            (1480, 0.0),
        ] {
            let around = pitches(&[(0, 0.0), (step, 10.0)]).around(1000.0, 480.0, 1);
            assert!(
                (around.pitch_semitones - 10.0 * share).abs() < 1e-5,
                "at {step}"
            );
            assert_eq!(around.auto_pitch, step <= 1000);
        }
        let twice = pitches(&[(0, 0.0), (900, 8.0), (1100, 2.0)]).around(1000.0, 400.0, 1);
        assert!((twice.pitch_semitones - (200.0 * 8.0 + 300.0 * 2.0) / 800.0).abs() < 1e-5);
    }

    #[test]
    fn half_of_a_step_lies_where_it_is_whatever_the_frames() {
        let hop = 480.0;
        for step in 4000..4480u64 {
            let at = |frame: f64| {
                let controls = pitches(&[(0, 0.0), (step, 1.0)]).around(frame * hop, hop, 1);
                f64::from(controls.pitch_semitones)
            };
            let after = (0..20).find(|&k| at(f64::from(k)) >= 0.5).unwrap_or(0);
            let (low, high) = (at(f64::from(after) - 1.0), at(f64::from(after)));
            let heard = hop * (f64::from(after) - 1.0 + (0.5 - low) / (high - low));
            assert!((heard - step as f64).abs() < 0.01, "{step}: {heard}");
        }
    }
}
