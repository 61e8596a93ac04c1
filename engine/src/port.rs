//! The host's side of a stream: everything that runs on the audio thread.

mod dry;
mod lane;
mod mixer;
mod pace;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::controls::{Controls, Tier};
use crate::denormals::FlushDenormals;
use crate::latency::LatencyPlan;
use crate::ring::{Event, PortEnds, Shared};
use crate::status::Counters;
use dry::{ControlDelay, DryDelay};
use lane::Sampler;
use mixer::Mixer;
use pace::{Block, Pace};

/// Time between two looks while waiting for the worker.
const LOOK: Duration = Duration::from_micros(100);
/// Time in which what was heard last goes to zero at a restart.
const RESTART_FADE_S: f32 = 0.002;

/// How a host will call a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// The audio thread's end of a stream.
///
/// Positions count samples since the port was made. A sample that goes in at position n is heard at n + latency: dry,
/// wet, and with the controls that held at n.
pub struct AudioPort {
    shared: Arc<Shared>,
    ends: PortEnds,
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

impl Drop for AudioPort {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
    }
}

impl AudioPort {
    pub(crate) fn new(
        shared: Arc<Shared>,
        ends: PortEnds,
        plan: LatencyPlan,
        lease: Option<Arc<dyn std::any::Any + Send + Sync>>,
    ) -> Self {
        let config = shared.config;
        Self {
            dry: DryDelay::new(config.channels, shared.latency_samples),
            controls: ControlDelay::new(&config, shared.latency_samples),
            mixer: Mixer::new(config.host_rate_hz),
            pace: Pace::default(),
            block: Block::default(),
            epoch: Instant::now(),
            position: 0,
            base: 0,
            told: Sampler::default(),
            lost_from: None,
            restart: true,
            in_gap: false,
            mono: vec![0.0; config.max_block_samples],
            wet: vec![0.0; config.max_block_samples],
            present: vec![false; config.max_block_samples],
            last: vec![0.0; config.channels],
            fading: vec![0.0; config.channels],
            fade: 0.0,
            rise: 1.0,
            tail_samples: shared.latency_samples + plan.tail_samples,
            waits: true,
            shared,
            ends,
            _lease: lease,
        }
    }

    /// The delay of the output, wet and dry alike, in host samples. Never changes during the life of a port.
    ///
    /// Real-time: yes.
    pub fn latency_samples(&self) -> u32 {
        self.shared.latency_samples
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
        let most = self.shared.config.max_block_samples;
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
        let audio_s = self.block.samples as f64 / f64::from(self.shared.config.host_rate_hz);
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
        self.shared
            .counters
            .free_wheeling
            .store(self.pace.free_wheels(), Ordering::Relaxed);
        let samples = end - start;

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
        self.shared
            .played_until
            .store(self.position, Ordering::Release);
    }

    /// Reads the input: the mono mix for the worker, and nothing that is not a number for anyone.
    fn take_in(&mut self, channels: &mut [&mut [f32]], start: usize, end: usize) {
        let used = channels.len().min(self.shared.config.channels);
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
        let counters = &self.shared.counters;
        Counters::raise(&counters.in_peak_bits, peak);
        if bad > 0 {
            Counters::add(&counters.bad_input_samples, bad);
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

    /// Waits, where the host's pace allows it, until the output before `end` is decided.
    fn wait_for(&mut self, end: u64) {
        let shared = &*self.shared;
        if !self.waits || end <= self.base + u64::from(shared.latency_samples) {
            return;
        }
        let owed = |shared: &Shared| {
            let sounding = shared.sounding.load(Ordering::Acquire);
            if sounding {
                end > shared.sound_from.load(Ordering::Acquire)
                    && shared.decided_until.load(Ordering::Acquire) < end
            } else {
                // A rendering host that begins while the voice is being loaded.
                let coming = shared.loading.load(Ordering::Acquire)
                    || shared.has_incoming.load(Ordering::Acquire);
                coming && self.pace.free_wheels()
            }
        };
        if !owed(shared) {
            return;
        }
        let longest = self.pace.longest_wait();
        if longest < LOOK {
            return;
        }
        let began = Instant::now();
        shared.port_waits.store(true, Ordering::Release);
        while owed(shared) && began.elapsed() < longest {
            std::thread::sleep(LOOK);
        }
        shared.port_waits.store(false, Ordering::Release);
    }

    /// Writes what is heard.
    fn give_out(&mut self, channels: &mut [&mut [f32]], start: usize, end: usize) {
        let latency = u64::from(self.shared.latency_samples);
        let sounding = self.shared.sounding.load(Ordering::Acquire);
        let sound_from = self.shared.sound_from.load(Ordering::Acquire);
        let used = channels.len().min(self.shared.config.channels);
        let fade_step = 1.0 / (RESTART_FADE_S * self.shared.config.host_rate_hz as f32);
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
                Some(_) => self.present[offset].then_some(self.wet[offset]),
            };
            let owed = sounding && position >= sound_from;
            if wet.is_none() && owed {
                missing += 1;
                if !self.in_gap {
                    Counters::add(&self.shared.counters.gaps, 1);
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
        let counters = &self.shared.counters;
        Counters::raise(&counters.out_peak_bits, peak);
        if missing > 0 {
            Counters::add(&counters.gap_samples, missing);
        }
    }
}
