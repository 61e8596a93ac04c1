//! The two rings between the audio thread and the worker, and what a stream's ends share beside them.
//!
//! Towards the worker: samples, and events (controls, restarts) with the position they belong to; an event is pushed
//! before the sample at its position, so whoever sees the sample sees the event. Towards the port: samples, and hops
//! that say at which position they start, so that a hop that comes too late is thrown away and the next one lands on
//! time. Positions count host samples since the port was made and never go back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use ringbuf::traits::{Consumer, Observer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};

use crate::controls::{Controls, GRID_SAMPLES};
use crate::pipeline::Pipeline;
use crate::port::StreamConfig;
use crate::status::{Counters, F0History, StatusSnapshot, Words};

/// Audio the rings hold beyond latency and block, in seconds: how long the worker may be away before input is lost.
const RESERVE_S: f64 = 1.0;

/// Something that happens at a position of the input.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// These controls hold here.
    Controls(Controls),
    /// The signal starts over: everything before counts as silence, and the next sample is at `resume`. That lies
    /// further on when input was lost because the ring was full.
    Restart {
        /// Position of the next sample.
        resume: u64,
    },
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    pub position: u64,
    pub event: Event,
}

/// A stretch of output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hop {
    /// Position of its first sample.
    pub start: u64,
    /// Samples of it that are in the ring.
    pub samples: u32,
}

/// What takes over from the voice that plays.
pub(crate) enum Change {
    /// This voice.
    Voice(Box<Pipeline>),
    /// No voice.
    Nothing,
}

/// What both ends and the watchers see.
pub(crate) struct Shared {
    pub config: StreamConfig,
    pub latency_samples: u32,
    pub counters: Counters,
    pub words: Mutex<Words>,
    pub f0: F0History,
    /// Positions before this one have been played.
    pub played_until: AtomicU64,
    /// Positions before this one are in the ring or never will be.
    pub decided_until: AtomicU64,
    /// From this position on the worker was asked for sound: what is missing there is a gap.
    pub sound_from: AtomicU64,
    /// The worker has a voice.
    pub sounding: AtomicBool,
    /// A voice is being loaded.
    pub loading: AtomicBool,
    /// The port sleeps until the worker has caught up.
    pub port_waits: AtomicBool,
    /// The port is gone.
    pub closed: AtomicBool,
    /// What is to take over from the voice that plays.
    pub incoming: Mutex<Option<Change>>,
    /// A change waits or is about to take over.
    pub has_incoming: AtomicBool,
}

impl Shared {
    pub fn new(config: StreamConfig, latency_samples: u32) -> Self {
        Self {
            config,
            latency_samples,
            counters: Counters::default(),
            words: Mutex::default(),
            f0: F0History::default(),
            played_until: AtomicU64::new(0),
            decided_until: AtomicU64::new(0),
            sound_from: AtomicU64::new(u64::MAX),
            sounding: AtomicBool::new(false),
            loading: AtomicBool::new(false),
            port_waits: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            incoming: Mutex::new(None),
            has_incoming: AtomicBool::new(false),
        }
    }

    /// Everything a watcher is shown; takes the peaks.
    pub fn snapshot(&self) -> StatusSnapshot {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        let words = self.words.lock().clone();
        StatusSnapshot {
            voice_state: counters.voice_state(),
            wanted: words.wanted,
            playing: words.playing,
            speakers: words.speakers,
            has_formant: words.has_formant,
            has_tables: words.has_tables,
            message: words.message,
            provider: words.provider,
            host_rate_hz: self.config.host_rate_hz,
            latency_samples: self.latency_samples,
            latency_ms: self.latency_samples as f32 * 1e3 / self.config.host_rate_hz as f32,
            load: f32::from_bits(counters.load_bits.load(Ordering::Relaxed)),
            gaps: count(&counters.gaps),
            gap_samples: count(&counters.gap_samples),
            skipped_frames: count(&counters.skipped_frames),
            replaced_frames: count(&counters.replaced_frames),
            bad_input_samples: count(&counters.bad_input_samples),
            in_peak: Counters::take_peak(&counters.in_peak_bits),
            out_peak: Counters::take_peak(&counters.out_peak_bits),
            asleep: counters.asleep.load(Ordering::Relaxed),
            free_wheeling: counters.free_wheeling.load(Ordering::Relaxed),
        }
    }

    /// Hands the worker a change; one that was waiting there is given back.
    pub fn install(&self, change: Change) -> Option<Change> {
        let mut incoming = self.incoming.lock();
        self.has_incoming.store(true, Ordering::Release);
        incoming.replace(change)
    }

    /// The change that waits, if any; [`Self::settle_incoming`] is to follow once it has taken over.
    pub fn take_incoming(&self) -> Option<Change> {
        if !self.has_incoming.load(Ordering::Acquire) {
            return None;
        }
        self.incoming.lock().take()
    }

    /// The change that was taken has taken over (unless another one waits already).
    pub fn settle_incoming(&self) {
        let incoming = self.incoming.lock();
        if incoming.is_none() {
            self.has_incoming.store(false, Ordering::Release);
        }
    }
}

/// The port's ends.
pub(crate) struct PortEnds {
    audio_in: HeapProd<f32>,
    events: HeapProd<Placed>,
    audio_out: HeapCons<f32>,
    hops: HeapCons<Hop>,
    current: Hop,
}

/// The worker's ends.
pub(crate) struct WorkerEnds {
    pub audio_in: HeapCons<f32>,
    pub events: HeapCons<Placed>,
    audio_out: HeapProd<f32>,
    hops: HeapProd<Hop>,
}

/// Makes the rings of a stream.
pub(crate) fn rings(config: &StreamConfig, latency_samples: u32) -> (PortEnds, WorkerEnds) {
    let reserve = (f64::from(config.host_rate_hz) * RESERVE_S) as usize;
    let samples = latency_samples as usize + 2 * config.max_block_samples + reserve;
    let (audio_in, worker_in) = HeapRb::new(samples).split();
    let (events, worker_events) = HeapRb::new(samples / GRID_SAMPLES as usize + 64).split();
    let (worker_out, audio_out) = HeapRb::new(samples).split();
    // A hop has at least 4000 / 100 samples.
    let (worker_hops, hops) = HeapRb::new(samples / 32 + 16).split();
    let port = PortEnds {
        audio_in,
        events,
        audio_out,
        hops,
        current: Hop {
            start: 0,
            samples: 0,
        },
    };
    let worker = WorkerEnds {
        audio_in: worker_in,
        events: worker_events,
        audio_out: worker_out,
        hops: worker_hops,
    };
    (port, worker)
}

impl PortEnds {
    /// Whether so many samples and events can be pushed.
    pub fn has_room(&self, samples: usize, events: usize) -> bool {
        self.audio_in.vacant_len() >= samples && self.events.vacant_len() >= events
    }

    /// Pushes an event; the caller has asked [`Self::has_room`].
    pub fn push_event(&mut self, position: u64, event: Event) {
        // Room was made sure of; a full ring would lose one control frame, no more.
        let _ = self.events.try_push(Placed { position, event });
    }

    /// Pushes samples; the caller has asked [`Self::has_room`].
    pub fn push_audio(&mut self, samples: &[f32]) {
        self.audio_in.push_slice(samples);
    }

    /// Reads the output from `start` on into `wet` and marks what was there in `present`.
    pub fn pull(&mut self, start: u64, wet: &mut [f32], present: &mut [bool]) {
        wet.fill(0.0);
        present.fill(false);
        let mut done = 0;
        while done < wet.len() {
            if self.current.samples == 0 {
                match self.hops.try_pop() {
                    Some(hop) => self.current = hop,
                    None => return,
                }
                continue;
            }
            let position = start + done as u64;
            let late = position
                .saturating_sub(self.current.start)
                .min(u64::from(self.current.samples)) as u32;
            if late > 0 {
                self.audio_out.skip(late as usize);
                self.advance(late);
                continue;
            }
            let ahead = (self.current.start - position) as usize;
            if ahead > 0 {
                done += ahead.min(wet.len() - done);
                continue;
            }
            let count = (self.current.samples as usize).min(wet.len() - done);
            let read = self.audio_out.pop_slice(&mut wet[done..done + count]);
            present[done..done + read].fill(true);
            self.advance(read as u32);
            if read < count {
                // The worker pushes samples before hops; a hop without its samples can not be.
                self.current.samples = 0;
            }
            done += read;
        }
    }

    fn advance(&mut self, samples: u32) {
        self.current.start += u64::from(samples);
        self.current.samples -= samples;
    }
}

impl WorkerEnds {
    /// Whether a hop of so many samples can be pushed.
    pub fn has_room(&self, samples: usize) -> bool {
        self.audio_out.vacant_len() >= samples && self.hops.vacant_len() >= 1
    }

    /// Pushes a hop; the caller has asked [`Self::has_room`].
    pub fn push_hop(&mut self, start: u64, samples: &[f32]) {
        let pushed = self.audio_out.push_slice(samples);
        // Room was made sure of.
        let _ = self.hops.try_push(Hop {
            start,
            samples: pushed as u32,
        });
    }

    /// The next event, left where it is.
    pub fn peek_event(&self) -> Option<Placed> {
        self.events.first().copied()
    }

    /// Samples that can be read.
    pub fn available(&self) -> usize {
        self.audio_in.occupied_len()
    }
}

/// The shared part with its rings.
pub(crate) fn stream(
    config: StreamConfig,
    latency_samples: u32,
) -> (Arc<Shared>, PortEnds, WorkerEnds) {
    let (port, worker) = rings(&config, latency_samples);
    (Arc::new(Shared::new(config, latency_samples)), port, worker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controls::Tier;

    fn ends() -> (PortEnds, WorkerEnds) {
        let config = StreamConfig {
            host_rate_hz: 8_000,
            max_block_samples: 64,
            channels: 1,
            tier: Tier::Live,
        };
        rings(&config, 100)
    }

    #[test]
    fn late_hops_are_dropped_and_the_next_lands_on_time() {
        let (mut port, mut worker) = ends();
        let mut wet = [0.0; 10];
        let mut present = [false; 10];
        port.pull(0, &mut wet, &mut present);
        assert_eq!(present, [false; 10]);
        worker.push_hop(5, &[5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0]);
        worker.push_hop(14, &[14.0, 15.0]);
        port.pull(10, &mut wet, &mut present);
        assert_eq!(wet, [10.0, 11.0, 0.0, 0.0, 14.0, 15.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(
            present,
            [
                true, true, false, false, true, true, false, false, false, false
            ]
        );
    }

    #[test]
    fn a_hop_is_read_over_several_blocks() {
        let (mut port, mut worker) = ends();
        let samples: Vec<f32> = (0..20).map(|i| i as f32).collect();
        worker.push_hop(0, &samples);
        let mut read = Vec::new();
        for start in (0..20).step_by(4) {
            let (mut wet, mut present) = ([0.0; 4], [false; 4]);
            port.pull(start, &mut wet, &mut present);
            assert_eq!(present, [true; 4]);
            read.extend(wet);
        }
        assert_eq!(read, samples);
    }
}
