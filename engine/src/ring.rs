//! The two rings between the audio thread and the worker, and what a stream's ends share beside them.
//!
//! Towards the worker: samples, and events (controls, restarts) with the position they belong to; an event is pushed
//! before the sample at its position, so whoever sees the sample sees the event. Towards the port: samples, and hops
//! that say at which position they start, so that a hop that comes too late is thrown away and the next one lands on
//! time. Positions count host samples since the port was made and never go back.
//!
//! The rings lie in a [`Region`], which may be shared with another process.

mod end;
mod wire;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use parking_lot::Mutex;
use ringbuf::traits::{Consumer, Observer, Producer};
use timbra_voice::library::VoiceRef;

use crate::board::{Board, PortCounters};
use crate::controls::Controls;
use crate::pipeline::Pipeline;
use crate::port::StreamConfig;
use crate::region::Region;
use crate::status::{Answer, StatusSnapshot, VoiceState, Words};
use end::{Rx, Tx};
pub(crate) use wire::{HopWords, PlacedWords};

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

/// A stream as one side sees it: the board both see, and the words only this side has.
pub(crate) struct Shared {
    pub config: StreamConfig,
    pub latency_samples: u32,
    region: Arc<Region>,
    words: Mutex<Words>,
    /// What is to take over from the voice that plays.
    incoming: Mutex<Option<Change>>,
    /// Whoever wants to know that the words have changed, and as what it knows this stream.
    listener: Option<(Sender<u64>, u64)>,
}

impl Deref for Shared {
    type Target = Board;

    fn deref(&self) -> &Board {
        self.region.board()
    }
}

impl Shared {
    pub fn new(config: StreamConfig, latency_samples: u32, region: Arc<Region>) -> Self {
        Self {
            config,
            latency_samples,
            region,
            words: Mutex::default(),
            incoming: Mutex::new(None),
            listener: None,
        }
    }

    /// The same, telling `listener` the number `name` whenever the words have changed.
    pub fn with_listener(self, listener: Sender<u64>, name: u64) -> Self {
        Self {
            listener: Some((listener, name)),
            ..self
        }
    }

    /// A copy of the words.
    pub fn words(&self) -> Words {
        self.words.lock().clone()
    }

    /// Changes the words. Never called on the audio thread.
    pub fn tell(&self, change: impl FnOnce(&mut Words)) {
        change(&mut self.words.lock());
        if let Some((listener, name)) = &self.listener {
            // Whoever listened may have gone, and then nobody wants to know.
            let _ = listener.send(*name);
        }
    }

    /// Notes that `wanted` is asked for, and gives the number of this request.
    pub fn ask_for(&self, wanted: &VoiceRef) -> u64 {
        let asked = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        self.tell(|words| {
            words.wanted = wanted.clone();
            words.message.clear();
        });
        if !wanted.is_empty() {
            let sounding = self.sounding.load(Ordering::Acquire);
            self.loading.store(true, Ordering::Release);
            self.counters.set_voice_state(if sounding {
                VoiceState::Replacing
            } else {
                VoiceState::Loading
            });
        }
        asked
    }

    /// Everything a watcher is shown; takes the peaks.
    pub fn snapshot(&self, port: &PortCounters) -> StatusSnapshot {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        let words = self.words();
        let answer = match (words.answered, words.refused) {
            (0, _) => Answer::Awaited,
            (number, _) if number != self.asked.load(Ordering::Acquire) => Answer::Awaited,
            (_, true) => Answer::Refused,
            (_, false) => Answer::Granted,
        };
        let (in_peak, out_peak) = port.take_peaks();
        StatusSnapshot {
            voice_state: counters.voice_state(),
            wanted: words.wanted,
            playing: words.playing,
            answer,
            speakers: words.speakers,
            has_formant: words.has_formant,
            has_auto_f0: words.has_auto_f0,
            has_prior_noise: words.has_prior_noise,
            has_tables: words.has_tables,
            own_retrieval: words.own_retrieval,
            own_articulation: words.own_articulation,
            message: if words.message.is_empty() {
                words.notice
            } else {
                words.message
            },
            provider: words.provider,
            worker_process: None,
            host_rate_hz: self.config.host_rate_hz,
            latency_samples: self.latency_samples,
            latency_ms: self.latency_samples as f32 * 1e3 / self.config.host_rate_hz as f32,
            load: f32::from_bits(counters.load_bits.load(Ordering::Relaxed)),
            gaps: count(&port.gaps),
            gap_samples: count(&port.gap_samples),
            skipped_frames: count(&counters.skipped_frames),
            replaced_frames: count(&counters.replaced_frames),
            bad_input_samples: count(&port.bad_input_samples),
            in_peak,
            out_peak,
            asleep: counters.asleep.load(Ordering::Relaxed),
            free_wheeling: port.free_wheeling.load(Ordering::Relaxed),
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
    region: Arc<Region>,
    audio_in: Tx<f32>,
    events: Tx<PlacedWords>,
    audio_out: Rx<f32>,
    hops: Rx<HopWords>,
    current: Hop,
}

/// The worker's ends.
pub(crate) struct WorkerEnds {
    audio_in: Rx<f32>,
    events: Rx<PlacedWords>,
    audio_out: Tx<f32>,
    hops: Tx<HopWords>,
}

impl PortEnds {
    /// The port's ends of a region.
    ///
    /// # Safety
    /// Nobody else has them, in any process.
    pub unsafe fn new(region: &Arc<Region>) -> Self {
        let plan = *region.plan();
        // SAFETY: promised by the caller; the items are plain.
        unsafe {
            Self {
                audio_in: Tx::new(region, plan.audio_in),
                events: Tx::new(region, plan.events),
                audio_out: Rx::new(region, plan.audio_out),
                hops: Rx::new(region, plan.hops),
                current: Hop {
                    start: 0,
                    samples: 0,
                },
                region: Arc::clone(region),
            }
        }
    }

    /// What the worker's side sees too.
    pub fn board(&self) -> &Board {
        self.region.board()
    }

    /// Whether so many samples and events can be pushed.
    pub fn has_room(&self, samples: usize, events: usize) -> bool {
        self.audio_in.vacant_len() >= samples && self.events.vacant_len() >= events
    }

    /// Pushes an event; the caller has asked [`Self::has_room`].
    pub fn push_event(&mut self, position: u64, event: Event) {
        // Room was made sure of; a full ring would lose one control frame, no more.
        let _ = self.events.try_push(Placed { position, event }.into());
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
                    Some(hop) => self.current = hop.into(),
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
        self.current.start = self.current.start.saturating_add(u64::from(samples));
        self.current.samples -= samples;
    }
}

impl WorkerEnds {
    /// The worker's ends of a region.
    ///
    /// # Safety
    /// Nobody else has them, in any process.
    pub unsafe fn new(region: &Arc<Region>) -> Self {
        let plan = *region.plan();
        // SAFETY: promised by the caller; the items are plain.
        unsafe {
            Self {
                audio_in: Rx::new(region, plan.audio_in),
                events: Rx::new(region, plan.events),
                audio_out: Tx::new(region, plan.audio_out),
                hops: Tx::new(region, plan.hops),
            }
        }
    }

    /// Whether a hop of so many samples can be pushed.
    pub fn has_room(&self, samples: usize) -> bool {
        self.audio_out.vacant_len() >= samples && self.hops.vacant_len() >= 1
    }

    /// Pushes a hop; the caller has asked [`Self::has_room`].
    pub fn push_hop(&mut self, start: u64, samples: &[f32]) {
        let pushed = self.audio_out.push_slice(samples);
        // Room was made sure of.
        let _ = self.hops.try_push(
            Hop {
                start,
                samples: pushed as u32,
            }
            .into(),
        );
    }

    /// The next event, left where it is.
    pub fn peek_event(&self) -> Option<Placed> {
        self.events.first().map(|&words| words.into())
    }

    /// Lets go of the event that was peeked at.
    pub fn pop_event(&mut self) {
        self.events.try_pop();
    }

    /// Reads samples; says how many there were.
    pub fn pop_audio(&mut self, samples: &mut [f32]) -> usize {
        self.audio_in.pop_slice(samples)
    }

    /// Samples that can be read.
    pub fn available(&self) -> usize {
        self.audio_in.occupied_len()
    }
}

/// A stream within this process: the shared part with both sides' ends.
pub(crate) fn stream(
    config: StreamConfig,
    latency_samples: u32,
) -> (Arc<Shared>, PortEnds, WorkerEnds) {
    let region = Arc::new(Region::on_heap(&config, latency_samples));
    // SAFETY: the region is new, and these are its only ends.
    let ends = unsafe { (PortEnds::new(&region), WorkerEnds::new(&region)) };
    let shared = Arc::new(Shared::new(config, latency_samples, region));
    (shared, ends.0, ends.1)
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
        let (_, port, worker) = stream(config, 100);
        (port, worker)
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
