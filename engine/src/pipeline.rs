//! One voice in one stream: host samples in, host samples out at known positions.
//!
//! 16 kHz → features → steering and blend → synthesis → articulation, gate and envelope → host rate. [`Pipeline::listen`] takes a hop as
//! far as synthesis, whatever the host's block size, [`Pipeline::emit`] lets the oldest one leave. Where graphs run on
//! threads of their own nobody waits for them in between.

mod control_track;
mod leaving;

use std::collections::VecDeque;
use std::sync::Arc;

use timbra_dsp::bands::BandLevels;
use timbra_dsp::resample::StreamResampler;
use timbra_dsp::{CONTENT_HOP_SAMPLES, CONTENT_RATE_HZ};

use crate::blend::Pull;
use crate::ear::{Ear, HeardFrame};
use crate::error::EngineError;
use crate::latency::{self, LatencyPlan};
use crate::model::LoadedVoice;
use crate::port::StreamConfig;
use crate::status::F0Point;
use crate::steering::{AutoPitch, Ceiling, F0Mean, HALVES, HeardLevels, Retuner};
use crate::stopwatch::Stopwatch;
use crate::synthesis::{Synthesis, SynthesisFrame};

pub(crate) use control_track::ControlTrack;
use leaving::{Leaving, Pending, Sung};

/// Hops of the past that features are computed again from after a break, beyond the look-ahead.
const CONTEXT_HOPS: usize = 6;
/// Frames that are so many late get features (to keep the encoder's memory whole) but no synthesis; later ones nothing.
const FEATURES_WHEN_LATE: u64 = 3;
/// A voice that is late again within so many hops has no time to listen to the past.
const AGAIN_HOPS: u64 = 100;
/// Lowest F0 a voice is asked for, in Hz.
const LOWEST_F0_HZ: f32 = 20.0;

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
    /// It was faded out for another voice.
    pub left: bool,
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
    ear: Ear,
    heard: HeardLevels,
    synthesis: Synthesis,
    /// How long threads of its own have worked.
    listened: Stopwatch,
    sung: Stopwatch,
    auto_pitch: AutoPitch,
    f0_mean: F0Mean,
    retuner: Retuner,
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
    /// Hops of silence the encoder has heard since it fell asleep.
    heard_asleep: usize,
    /// Hops that were not listened to since the last one that was.
    left_out: u64,
    /// The hop with which it listened again last.
    rejoined: Option<u64>,
    /// Hops that were listened to and have not left, oldest first.
    pending: VecDeque<Pending>,
    leaving: Leaving,
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
        let lookahead = latency::lookahead_hops(manifest.encoder.lookahead_samples);
        let delay_samples = timing.synthesis_delay_samples;
        let (listened, sung) = (Stopwatch::default(), Stopwatch::default());
        Ok(Self {
            voice: Arc::clone(voice),
            told_failures: voice.provider_failures(),
            host_rate_hz: config.host_rate_hz,
            latency_samples,
            padding_samples: u64::from(latency_samples - plan.chain_delay_samples),
            ear: Ear::new(voice, &listened)?,
            heard: HeardLevels::default(),
            synthesis: Synthesis::timed(voice, &sung)?,
            listened,
            sung,
            auto_pitch: AutoPitch::default(),
            f0_mean: F0Mean::default(),
            retuner: Retuner::default(),
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
            heard_asleep: 0,
            left_out: 0,
            rejoined: None,
            pending: VecDeque::new(),
            leaving: Leaving::new(voice, config.host_rate_hz, lookahead)?,
            into,
        })
    }

    /// Starts over with the sample at input position `base`: everything before counts as silence.
    pub fn begin(&mut self, base: u64) -> Result<(), EngineError> {
        self.base = base;
        self.audible_from = base + u64::from(self.latency_samples);
        self.into.reset();
        self.waiting.clear();
        self.past.clear();
        self.pending.clear();
        self.hops = 0;
        self.silent_hops = 0;
        self.rejoined = None;
        self.leaving.begin();
        self.auto_pitch = AutoPitch::default();
        self.f0_mean = F0Mean::default();
        self.retuner = Retuner::default();
        self.fall_asleep()
    }

    /// Begins in the middle of a signal: `history` is the input before position `now`, and sound is wanted from position
    /// `heard_from` on. The past is listened to but not sung, and the first hop is faded in. A voice with threads of its own
    /// would be late with the past, and begins with what is new.
    pub fn join(&mut self, now: u64, history: &[f32], heard_from: u64) -> Result<(), EngineError> {
        let history = if self.ear.is_beside() { &[] } else { history };
        self.begin(now - history.len() as u64)?;
        self.audible_from = self.audible_from.max(heard_from);
        let mut unheard = ControlTrack::default();
        for piece in history.chunks(self.feed_samples()) {
            self.feed(piece);
            while self.has_hop() && self.next_start() < heard_from {
                self.listen(&mut unheard, 1, false)?;
                self.emit(true)?;
            }
        }
        // A voice that looks less far ahead could have been heard before: its hops do not begin where sound was wanted.
        self.audible_from = self.audible_from.max(self.next_start());
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

    /// Whether the next hop may be listened to; otherwise what was listened to has to leave first.
    pub fn listens(&self) -> bool {
        !self.pending.back().is_some_and(Pending::ends)
    }

    /// Most samples there can be when everything leaves that was listened to, and one hop more.
    pub fn max_output_samples(&self) -> usize {
        self.leaving.max_output_samples() * (self.pending.len() + 1)
    }

    /// Position of the first sample of the next hop that leaves.
    pub fn next_start(&self) -> u64 {
        self.base + self.padding_samples + self.leaving.emitted()
    }

    /// From this position on sound is owed.
    pub fn audible_from(&self) -> u64 {
        self.audible_from
    }

    /// How many hops ago the next hop to be listened to should have been there, when everything before `played` has been
    /// played.
    pub fn late_hops(&self, played: u64) -> u64 {
        self.hops_behind(played, self.pending.len())
    }

    /// The same of the next hop to leave; 0 where there is none.
    pub fn late_leaving_hops(&self, played: u64) -> u64 {
        if self.pending.is_empty() {
            return 0;
        }
        self.hops_behind(played, 0)
    }

    fn hops_behind(&self, played: u64, after_hops: usize) -> u64 {
        if played <= self.audible_from {
            return 0;
        }
        let hop_samples = u64::from(self.host_rate_hz) / 100;
        let start = self.next_start() + after_hops as u64 * hop_samples;
        played.saturating_sub(start) / hop_samples.max(1)
    }

    /// The voice, when a provider of its has failed since the last call.
    pub fn take_failed_provider(&mut self) -> Option<&LoadedVoice> {
        let failures = self.voice.provider_failures();
        let before = std::mem::replace(&mut self.told_failures, failures);
        (failures != before).then_some(&*self.voice)
    }

    /// Seconds that threads of its own, for listening and for singing, have worked since the last call.
    pub fn take_beside_s(&self) -> [f32; 2] {
        [self.listened.take_s(), self.sung.take_s()]
    }

    /// What the last hop that left gave.
    pub fn output(&self) -> &[f32] {
        self.leaving.output()
    }

    /// Listens to the next hop. `late_hops` is how many hops ago it should have been there; `leaving` fades it out because
    /// another voice takes over.
    pub fn listen(
        &mut self,
        controls: &mut ControlTrack,
        late_hops: u64,
        leaving: bool,
    ) -> Result<(), EngineError> {
        self.hop
            .copy_from_slice(&self.waiting[..CONTENT_HOP_SAMPLES]);
        self.waiting.drain(..CONTENT_HOP_SAMPLES);
        let hop_index = self.hops;
        self.hops += 1;
        let lookahead = self.ear.measures().lookahead_hops() as u64;
        let silent = self.hop.iter().all(|&sample| sample == 0.0);
        self.silent_hops = if silent { self.silent_hops + 1 } else { 0 };

        let mut pending = Pending {
            missing: false,
            asleep: false,
            leaving,
            last: !self.asleep && self.silent_hops >= self.tail_hops(),
            held_peak: 0.0,
            heard: [BandLevels::silence(); HALVES],
            sung: None,
        };
        let frame = if self.asleep && silent {
            pending.asleep = true;
            // As much as it has to have heard when it wakes: then there is no time for that.
            if self.heard_asleep < self.remembered_hops() {
                self.heard_asleep += 1;
                self.ear.push_hop(&self.hop)?;
            }
            None
        } else if late_hops > FEATURES_WHEN_LATE {
            self.left_out += 1;
            pending.missing = true;
            None
        } else {
            if self.left_out > 0 {
                self.rejoin()?;
            } else if self.asleep {
                self.wake()?;
            }
            self.asleep = false;
            let frame = self.ear.push_hop(&self.hop)?;
            // A thread of its own does not listen to the past again.
            pending.missing = frame.is_none();
            frame
        };
        pending.held_peak = self.remember();
        if !pending.asleep {
            pending.heard = self.heard.hear(&self.hop);
        }

        // Hop h completes frame h + 1 − look-ahead; there is nothing to emit before frame 0.
        let Some(index) = (hop_index + 1).checked_sub(lookahead) else {
            self.leaving.hear(&pending.heard);
            return Ok(());
        };
        controls.forget_before(self.position_of(index) - self.hop_host_samples());
        match frame {
            Some(frame) if late_hops == 0 => {
                pending.sung = Some(self.steer(index, frame, controls)?);
            }
            Some(_) => pending.missing = true,
            None => {}
        }
        self.pending.push_back(pending);
        Ok(())
    }

    /// Lets the oldest hop leave that was listened to, when it is sung; waits for it if asked to.
    pub fn emit(&mut self, wait: bool) -> Result<Option<Outcome>, EngineError> {
        let Some(pending) = self.pending.front_mut() else {
            return Ok(None);
        };
        let made = match &mut pending.sung {
            Some(sung) => match self.synthesis.leave(&mut sung.passed_over, wait)? {
                Some(made) => Some(made),
                None => return Ok(None),
            },
            None => None,
        };
        let mut outcome = Outcome {
            start: self.base + self.padding_samples + self.leaving.emitted(),
            missing: pending.missing,
            replaced: false,
            asleep: pending.asleep,
            left: pending.leaving,
            f0: None,
        };
        match (&pending.sung, made) {
            (Some(sung), Some(made)) => {
                let ceiling = self.ceiling.as_mut();
                outcome.f0 = Some(sung.f0);
                outcome.replaced = !self.leaving.take(pending, sung, made, ceiling);
            }
            _ => self.leaving.silence(pending),
        }
        let (ends, last) = (pending.ends(), pending.last);
        self.pending.pop_front();
        if outcome.replaced {
            // The states start over.
            self.give_up()?;
        }
        self.leaving.emit(ends);
        if last && self.fall_asleep().is_err() {
            // No memory for zeros: stay awake, which is only slower.
            self.asleep = false;
        }
        outcome.asleep |= self.asleep;
        Ok(Some(outcome))
    }

    /// What was listened to is not sung any more, and the voice starts over with what comes.
    pub fn give_up(&mut self) -> Result<(), EngineError> {
        self.mute_pending();
        self.left_out = self.left_out.max(1);
        self.synthesis.reset()
    }

    fn mute_pending(&mut self) {
        for pending in &mut self.pending {
            pending.missing |= pending.sung.take().is_some();
        }
    }

    /// Hands frame `index` to the synthesis.
    fn steer(
        &mut self,
        index: u64,
        frame: HeardFrame,
        controls: &mut ControlTrack,
    ) -> Result<Sung, EngineError> {
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
        let ahead_hz = self.ear.measures().f0_ahead_hz();
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
        let pull = Pull::new(&controls, manifest, frame.f0_hz > 0.0);
        let articulation = articulation_of(controls.articulation, manifest.articulation(&mix));
        if self.synthesis.restarts_at(index) {
            self.mute_pending();
        }
        let passed_over = self.synthesis.hear(&SynthesisFrame {
            index,
            content: self.ear.content(pull),
            f0_hz,
            loudness_db: frame.loudness_db,
            speaker_mix: mix,
            formant_semitones: controls.formant_semitones,
            auto_f0: controls.auto_f0,
            noise_scale: controls.noise_scale,
            seed: controls.seed,
        })?;
        Ok(Sung {
            passed_over,
            loudness_db: frame.loudness_db,
            gate_db: controls.gate_db,
            loudness_match: controls.loudness_match,
            articulation,
            f0: F0Point {
                time_s: position.max(0.0) / f64::from(self.host_rate_hz),
                in_hz: frame.f0_hz,
                out_hz: f0_hz,
            },
        })
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

    /// Silent hops after which nothing of the past is heard any more.
    fn tail_hops(&self) -> u64 {
        let receptive_field_frames = self.voice.timing().receptive_field_frames;
        let lookahead = self.ear.measures().lookahead_hops();
        (receptive_field_frames + latency::SLEEP_MARGIN_FRAMES + lookahead) as u64
    }

    fn remembered_hops(&self) -> usize {
        self.ear.measures().lookahead_hops() + CONTEXT_HOPS
    }

    /// Keeps the hop for [`Self::rejoin`]; gives the peak that limits what is made of it.
    fn remember(&mut self) -> f32 {
        if self.past.len() == self.remembered_hops() {
            self.past.pop_front();
        }
        self.past.push_back(self.hop);
        let ceiling = self.ceiling.as_mut();
        ceiling.map_or(0.0, |ceiling| ceiling.hear(&self.hop))
    }

    /// After a break the last hops are listened to again. Where that takes too long, in a thread of its own or when it has
    /// just been done, it begins anew, and gives its first frame once it has heard what is new as far as it looks ahead.
    fn rejoin(&mut self) -> Result<(), EngineError> {
        self.ear.reset()?;
        let again = self.rejoined.replace(self.hops);
        let in_vain = again.is_some_and(|before| self.hops - before < AGAIN_HOPS);
        let anew = self.ear.is_beside() || in_vain;
        if anew || self.left_out as usize > self.past.len() {
            // What the synthesis remembers has nothing to do with what comes.
            self.mute_pending();
            self.synthesis.reset()?;
        }
        if !anew {
            for hop in &self.past {
                self.ear.push_hop(hop)?;
            }
        }
        self.left_out = 0;
        Ok(())
    }

    /// Whatever ends the silence finds as much of it heard as there is memory for.
    fn wake(&mut self) -> Result<(), EngineError> {
        for _ in self.heard_asleep..self.past.len() {
            self.ear.push_hop(&[0.0; CONTENT_HOP_SAMPLES])?;
        }
        Ok(())
    }

    /// From here on silence costs nothing, and what wakes it finds it as new.
    fn fall_asleep(&mut self) -> Result<(), EngineError> {
        self.asleep = true;
        self.heard_asleep = 0;
        self.left_out = 0;
        self.ear.reset()?;
        self.synthesis.reset()?;
        self.heard.reset();
        self.leaving.forget();
        if let Some(ceiling) = &mut self.ceiling {
            ceiling.reset();
        }
        Ok(())
    }
}

/// How much of the input's articulation is kept: `own` is what its speakers keep by themselves, and the control goes from there
/// to nothing (-1) and to all (1).
fn articulation_of(control: f32, own: f32) -> f32 {
    if control < 0.0 {
        own * (1.0 + control)
    } else {
        own + (1.0 - own) * control
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn articulation_goes_from_none_over_the_voices_own_to_all() {
        for own in [0.0, 0.4, 1.0] {
            let kept = [-1.0, -0.5, 0.0, 0.5, 1.0].map(|control| articulation_of(control, own));
            let expected = [0.0, 0.5 * own, own, 0.5 * (own + 1.0), 1.0];
            for (kept, expected) in kept.into_iter().zip(expected) {
                assert!(
                    (kept - expected).abs() < 1e-6,
                    "{own}: {kept}, not {expected}"
                );
            }
        }
    }
}
