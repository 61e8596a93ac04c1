//! The host's side of a stream: everything that runs on the audio thread.

mod dry;
mod lane;
mod mixer;
mod pace;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ringbuf::traits::{Consumer, Observer, Producer};
use ringbuf::{HeapCons, HeapProd};
use serde::{Deserialize, Serialize};

use crate::board::{Board, PortCounters, add};
use crate::controls::{Controls, Tier};
use crate::denormals::FlushDenormals;
use crate::latency::LatencyPlan;
use crate::ring::{Event, PortEnds};
use dry::{ControlDelay, DryDelay};
use lane::Sampler;
use mixer::Mixer;
use pace::{Block, Pace};

/// Time between two looks while waiting for the worker.
const LOOK: Duration = Duration::from_micros(100);
/// A wait of this length without any progress is not repeated.
const IN_VAIN: Duration = Duration::from_millis(500);
/// Time in which what was heard last goes to zero at a restart.
const RESTART_FADE_S: f32 = 0.002;

/// How a host will call a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamConfig {
    /// Sample rate in Hz.
    pub host_rate_hz: u32,
    /// Most samples per call; longer calls are cut into pieces of this size.
    pub max_block_samples: usize,
    /// Channels per call, 1 or 2.
    pub channels: usize,
    /// Trade of delay for safety and quality.
    pub tier: Tier,
}

impl StreamConfig {
    /// Longest block a stream is opened for; longer ones are cut.
    pub(crate) const MAX_BLOCK_SAMPLES: usize = 1 << 16;

    /// The nearest configuration a stream can have.
    pub(crate) fn sane(self) -> Self {
        Self {
            max_block_samples: self.max_block_samples.clamp(1, Self::MAX_BLOCK_SAMPLES),
            channels: self.channels.clamp(1, 2),
            ..self
        }
    }

    /// Whether memory for it can be planned.
    #[cfg(unix)]
    pub(crate) fn is_sane(&self) -> bool {
        *self == self.sane() && (1_000..=1_000_000).contains(&self.host_rate_hz)
    }
}

/// The audio thread's end of a stream.
///
/// Positions count samples since the port was made. A sample that goes in at position n is heard at n + latency: dry,
/// wet, and with the controls that held at n.
pub struct AudioPort {
    config: StreamConfig,
    latency_samples: u32,
    counters: Arc<PortCounters>,
    ends: PortEnds,
    /// Where ends to a new worker come from when the old one is no more.
    relay: Option<PortRelay>,
    dry: DryDelay,
    controls: ControlDelay,
    mixer: Mixer,
    pace: Pace,
    block: Block,
    /// The clock on the wall begins here.
    epoch: Instant,
    /// Position of the next sample.
    position: u64,
    /// Position at which the stream began, or began again.
    base: u64,
    /// Where the worker is told of the controls.
    told: Sampler<Controls>,
    /// Input from this position on was lost because the ring was full.
    lost_from: Option<u64>,
    /// A restart that the worker has to be told of.
    restart: bool,
    in_gap: bool,
    /// The worker was waited for in vain when it had come as far as this.
    waited_in_vain_at: Option<u64>,
    /// The worker was exchanged while a voice sang, and the new one has not come in yet.
    recovering: bool,
    mono: Vec<f32>,
    wet: Vec<f32>,
    present: Vec<bool>,
    /// Last output of every channel, and its way to zero after a restart.
    last: Vec<f32>,
    fading: Vec<f32>,
    fade: f32,
    /// The way up of what begins after a restart that cut something off.
    rise: f32,
    tail_samples: u32,
    /// There is a worker on another thread that can be waited for.
    waits: bool,
    /// Ends the stream when the port goes.
    _lease: Option<Arc<dyn std::any::Any + Send + Sync>>,
}

/// The port's side of an exchange of worker: fresh ends come in, the old ones go out to be freed elsewhere.
pub(crate) struct PortRelay {
    pub fresh: HeapCons<PortEnds>,
    pub spent: HeapProd<PortEnds>,
}

impl Drop for AudioPort {
    fn drop(&mut self) {
        self.ends.board().closed.store(true, Ordering::Release);
    }
}

impl AudioPort {
    pub(crate) fn new(
        config: StreamConfig,
        plan: LatencyPlan,
        ends: PortEnds,
        counters: Arc<PortCounters>,
    ) -> Self {
        let first_due_samples = plan.latency_samples as usize - config.max_block_samples;
        let first_due_s = first_due_samples as f64 / f64::from(config.host_rate_hz);
        Self {
            dry: DryDelay::new(config.channels, plan.latency_samples),
            controls: ControlDelay::new(&config, plan.latency_samples),
            mixer: Mixer::new(config.host_rate_hz),
            pace: Pace::new(first_due_s),
            block: Block::default(),
            epoch: Instant::now(),
            position: 0,
            base: 0,
            told: Sampler::default(),
            lost_from: None,
            restart: true,
            in_gap: false,
            recovering: false,
            waited_in_vain_at: None,
            mono: vec![0.0; config.max_block_samples],
            wet: vec![0.0; config.max_block_samples],
            present: vec![false; config.max_block_samples],
            last: vec![0.0; config.channels],
            fading: vec![0.0; config.channels],
            fade: 0.0,
            rise: 1.0,
            tail_samples: plan.latency_samples + plan.tail_samples,
            waits: true,
            config,
            latency_samples: plan.latency_samples,
            counters,
            ends,
            relay: None,
            _lease: None,
        }
    }

    /// The same, able to go on with another worker.
    #[cfg(unix)]
    pub(crate) fn with_relay(mut self, relay: PortRelay) -> Self {
        self.relay = Some(relay);
        self
    }

    /// The same, holding on to what keeps its worker alive.
    pub(crate) fn with_lease(mut self, lease: Arc<dyn std::any::Any + Send + Sync>) -> Self {
        self._lease = Some(lease);
        self
    }

    /// The delay of the output, wet and dry alike, in host samples. Never changes during the life of a port.
    ///
    /// Real-time: yes.
    pub fn latency_samples(&self) -> u32 {
        self.latency_samples
    }

    /// How long something can still be heard after the input has become silent, in host samples.
    ///
    /// Real-time: yes.
    pub fn tail_samples(&self) -> u32 {
        self.tail_samples
    }

    /// Processes a block in place; every channel has the same number of samples, channels beyond those of the
    /// configuration are left alone.
    ///
    /// `controls` holds for this block: changes travel with the audio and are heard `latency_samples` later.
    ///
    /// Real-time: no allocation, no lock, no system call. Only when the host renders faster than real time, the call
    /// may sleep until the worker has caught up.
    pub fn process(&mut self, channels: &mut [&mut [f32]], controls: &Controls) {
        let _flush = FlushDenormals::scope();
        let samples = channels
            .iter()
            .map(|channel| channel.len())
            .min()
            .unwrap_or(0);
        let controls = controls.sane();
        let most = self.config.max_block_samples;
        let place = channels
            .first()
            .map_or(0, |channel| channel.as_ptr() as usize);
        if !self.block.goes_on(place, samples, most) {
            self.block.came_s = self.epoch.elapsed().as_secs_f64();
            self.pace.begin(self.block.came_s);
        }
        let mut start = 0;
        while start < samples {
            let end = (start + most).min(samples);
            self.process_piece(channels, start, end, &controls);
            start = end;
        }
        let audio_s = self.block.samples as f64 / f64::from(self.config.host_rate_hz);
        self.pace.end(
            self.block.came_s,
            self.epoch.elapsed().as_secs_f64(),
            audio_s,
        );
    }

    /// Starts over: silence lies behind the next sample. What was heard last fades out within 2 ms and what comes then
    /// fades in, unless the host says it renders (then a bounce begins, and must begin the same every time).
    ///
    /// Real-time: yes.
    pub fn reset(&mut self) {
        if !self.pace.is_offline() {
            let cut_off = self.last.iter().any(|&sample| sample != 0.0);
            self.fading.copy_from_slice(&self.last);
            self.fade = 1.0;
            self.rise = if cut_off { 0.0 } else { self.rise };
        }
        self.base = self.position;
        self.told.clear();
        self.restart = true;
        self.in_gap = false;
        self.dry.reset();
        self.controls.clear();
        self.mixer.reset();
    }

    /// Tells what the host says about its clock: `true` allows waiting for the worker from the first block.
    ///
    /// Real-time: yes.
    pub fn set_offline(&mut self, offline: bool) {
        self.pace.set_offline(offline);
    }

    /// The worker is stepped by whoever calls: waiting for it would be for ever.
    pub(crate) fn never_wait(&mut self) {
        self.waits = false;
    }

    fn process_piece(
        &mut self,
        channels: &mut [&mut [f32]],
        start: usize,
        end: usize,
        controls: &Controls,
    ) {
        self.counters
            .free_wheeling
            .store(self.pace.free_wheels(), Ordering::Relaxed);
        let samples = end - start;
        self.exchange_worker();

        self.take_in(channels, start, end);
        self.send(samples, controls);
        self.wait_for(self.position + samples as u64);
        self.ends.pull(
            self.position,
            &mut self.wet[..samples],
            &mut self.present[..samples],
        );
        self.give_out(channels, start, end);

        self.position += samples as u64;
        self.ends
            .board()
            .played_until
            .store(self.position, Ordering::Release);
    }

    /// Reads the input: the mono mix for the worker, and nothing that is not a number for anyone.
    fn take_in(&mut self, channels: &mut [&mut [f32]], start: usize, end: usize) {
        let used = channels.len().min(self.config.channels);
        let share = 1.0 / used.max(1) as f32;
        let mono = &mut self.mono[..end - start];
        mono.fill(0.0);
        let mut bad = 0;
        let mut peak = 0.0f32;
        for channel in &mut channels[..used] {
            for (sum, sample) in mono.iter_mut().zip(&mut channel[start..end]) {
                if !sample.is_finite() {
                    *sample = 0.0;
                    bad += 1;
                }
                peak = peak.max(sample.abs());
                *sum += *sample * share;
            }
        }
        self.counters.raise_peaks(peak, 0.0);
        if bad > 0 {
            add(&self.counters.bad_input_samples, bad);
        }
    }

    /// Sends the mono mix and the controls to the worker, and keeps the controls until they are heard.
    fn send(&mut self, samples: usize, controls: &Controls) {
        let end = self.position + samples as u64;
        // A restart, and the controls that go with it.
        let room = self.ends.has_room(samples, 2);
        if !room && self.lost_from.is_none() {
            self.lost_from = Some(self.position);
        }
        if room {
            let broken_at = self.lost_from.take();
            if broken_at.is_some() || self.restart {
                self.restart = false;
                let at = broken_at.unwrap_or(self.position);
                self.ends.push_event(
                    at,
                    Event::Restart {
                        resume: self.position,
                    },
                );
                self.told.clear();
            }
        }
        self.controls.push(self.position, end, controls);
        if room {
            if let Some(at) = self.told.take(self.position, end, *controls) {
                self.ends.push_event(at, Event::Controls(*controls));
            }
            self.ends.push_audio(&self.mono[..samples]);
        }
    }

    /// Takes the ends to a new worker, when there are any. The stream goes on from the next sample; what the old worker
    /// still had is lost.
    fn exchange_worker(&mut self) {
        let Some(relay) = &mut self.relay else { return };
        if relay.spent.is_full() || relay.fresh.is_empty() {
            return;
        }
        if let Some(fresh) = relay.fresh.try_pop() {
            let old = std::mem::replace(&mut self.ends, fresh);
            let board = old.board();
            self.recovering |= board.sounding.load(Ordering::Acquire)
                && self.position >= board.sound_from.load(Ordering::Acquire);
            // There is room: it was looked for, and nobody else pushes.
            let _ = relay.spent.try_push(old);
            self.restart = true;
            self.lost_from = None;
            self.waited_in_vain_at = None;
            self.ends
                .board()
                .played_until
                .store(self.position, Ordering::Release);
        }
    }

    /// Whether the output before `end` is still to come and worth a wait.
    fn owed(&self, end: u64) -> bool {
        let board = self.ends.board();
        if self
            .relay
            .as_ref()
            .is_some_and(|relay| !relay.fresh.is_empty())
        {
            return false;
        }
        if board.sounding.load(Ordering::Acquire) {
            end > board.sound_from.load(Ordering::Acquire)
                && board.decided_until.load(Ordering::Acquire) < end
        } else {
            // A rendering host that begins while the voice is being loaded.
            let coming =
                board.loading.load(Ordering::Acquire) || board.has_incoming.load(Ordering::Acquire);
            coming && self.pace.free_wheels()
        }
    }

    /// Waits, where the host's pace allows it, until the output before `end` is decided.
    fn wait_for(&mut self, end: u64) {
        if !self.waits || end <= self.base + u64::from(self.latency_samples) || !self.owed(end) {
            return;
        }
        let longest = self.pace.longest_wait();
        let board = self.ends.board();
        let decided = |board: &Board| board.decided_until.load(Ordering::Acquire);
        let sounding = board.sounding.load(Ordering::Acquire);
        if longest < LOOK || (sounding && self.waited_in_vain_at == Some(decided(board))) {
            return;
        }
        let began = Instant::now();
        board.port_waits.store(true, Ordering::Release);
        while self.owed(end) && began.elapsed() < longest {
            std::thread::sleep(LOOK);
        }
        board.port_waits.store(false, Ordering::Release);
        // A worker that stands still is waited for once.
        let in_vain = sounding && self.owed(end) && began.elapsed() >= IN_VAIN;
        self.waited_in_vain_at = in_vain.then(|| decided(board));
    }

    /// Writes what is heard.
    fn give_out(&mut self, channels: &mut [&mut [f32]], start: usize, end: usize) {
        let latency = u64::from(self.latency_samples);
        let board = self.ends.board();
        let sounding = board.sounding.load(Ordering::Acquire);
        let sound_from = board.sound_from.load(Ordering::Acquire);
        // After a worker's end nothing is owed any more once it is settled that no voice comes.
        self.recovering &= sounding
            || board.loading.load(Ordering::Acquire)
            || board.has_incoming.load(Ordering::Acquire);
        let used = channels.len().min(self.config.channels);
        let fade_step = 1.0 / (RESTART_FADE_S * self.config.host_rate_hz as f32);
        let mut peak = 0.0f32;
        let mut missing = 0;
        for offset in 0..end - start {
            let position = self.position + offset as u64;
            let heard = position
                .checked_sub(latency)
                .filter(|&heard| heard >= self.base);
            let controls = self.controls.at(heard.unwrap_or(self.base));
            let wet = match heard {
                // Before the first sample is heard there is silence, and nothing is missing.
                None => {
                    self.mixer.settle(&controls);
                    Some(0.0)
                }
                Some(_) => self.present[offset]
                    .then_some(self.wet[offset])
                    .filter(|sample| sample.is_finite()),
            };
            let arrived = sounding && position >= sound_from;
            self.recovering &= !arrived;
            let owed = arrived || self.recovering;
            if wet.is_none() && owed {
                missing += 1;
                if !self.in_gap {
                    add(&self.counters.gaps, 1);
                }
            }
            self.in_gap = wet.is_none() && owed;
            let gains = self.mixer.next(wet, &controls);
            for (index, channel) in channels[..used].iter_mut().enumerate() {
                let sample = &mut channel[start + offset];
                let dry = self.dry.push(index, *sample);
                let mut out = gains.mix(dry);
                if self.rise < 1.0 {
                    out *= self.rise;
                }
                if self.fade > 0.0 {
                    out += self.fading[index] * self.fade;
                }
                self.last[index] = out;
                peak = peak.max(out.abs());
                *sample = out;
            }
            self.fade = (self.fade - fade_step).max(0.0);
            if heard.is_some() {
                self.rise = (self.rise + fade_step).min(1.0);
            }
        }
        self.counters.raise_peaks(0.0, peak);
        if missing > 0 {
            add(&self.counters.gap_samples, missing);
        }
    }
}
