//! The worker's side of a stream: from ring to ring.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::board::add;
use crate::controls::ControlFrame;
use crate::denormals::FlushDenormals;
use crate::error::EngineError;
use crate::pipeline::{ControlTrack, Outcome, Pipeline};
use crate::ring::{Change, Event, Shared, WorkerEnds};
use crate::status::VoiceState;

/// Input that is kept for a voice that joins: enough for the look-ahead and context of our own encoder.
const HISTORY_S: f64 = 0.15;
/// Time in which a voice that joins is not owed yet: about what our own features of [`HISTORY_S`] take to compute.
const LISTENING_S: f64 = 0.02;
/// Hops for which the worker looks ahead after one was late.
const WARY_HOPS: u32 = 100;
/// Hops that may leave so much later than they are played before a voice starts over: it would stay behind.
const MOST_LATE_HOPS: u64 = 3;
/// Samples passed over at a time.
const PASSED_OVER_SAMPLES: usize = 4096;

/// What a step has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There was not enough input, or no room for output.
    Idle,
    /// A hop was listened to or has left, or input was passed over.
    Worked,
}

/// Everything between the rings; the worker thread only calls [`Worker::step`].
pub struct Worker {
    shared: Arc<Shared>,
    ends: WorkerEnds,
    pipeline: Option<Box<Pipeline>>,
    next: Option<Change>,
    /// Voices that have left, to be freed where time does not matter.
    #[allow(clippy::vec_box, reason = "they come boxed, and go so")]
    left: Vec<Box<Pipeline>>,
    controls: ControlTrack,
    /// Input position up to which samples were taken.
    position: u64,
    /// The first restart has come: before it the position means nothing, for the port may have played long before.
    begun: bool,
    /// The last samples that were taken, for a voice that joins.
    history: VecDeque<f32>,
    history_samples: usize,
    piece: Vec<f32>,
    /// Whether it waits for the threads a voice has beside it: nobody plays meanwhile.
    waits: bool,
    /// Seconds worked since a hop has left.
    spent_s: f32,
    /// Of this thread and of those a voice has beside it.
    loads: [f32; 3],
    /// Hops for which it looks ahead yet.
    wary_hops: u32,
    /// Seconds a frame that is sung takes, and what the last one took.
    cost_s: f32,
    last_s: f32,
    /// Lets a test see what becomes of a panic.
    #[cfg(test)]
    pub(crate) panics: bool,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, ends: WorkerEnds) -> Self {
        let history_samples = (f64::from(shared.config.host_rate_hz) * HISTORY_S) as usize;
        Self {
            history: VecDeque::with_capacity(history_samples),
            history_samples,
            shared,
            ends,
            pipeline: None,
            next: None,
            left: Vec::new(),
            controls: ControlTrack::default(),
            position: 0,
            begun: false,
            piece: Vec::new(),
            waits: false,
            spent_s: 0.0,
            loads: [0.0; 3],
            wary_hops: 0,
            cost_s: 0.0,
            last_s: 0.0,
            #[cfg(test)]
            panics: false,
        }
    }

    /// Whether a step waits for the threads a voice has beside it, because nobody plays meanwhile.
    pub fn set_waits(&mut self, waits: bool) {
        self.waits = waits;
    }

    /// Does the next piece of work: at most one hop.
    ///
    /// # Errors
    /// The voice failed while running. It is gone; the stream plays its fallback until another one is loaded.
    pub fn step(&mut self) -> Result<Step, EngineError> {
        let _flush = FlushDenormals::scope();
        let outcome = self.work();
        if let Err(error) = &outcome {
            self.fail(error);
        }
        outcome
    }

    /// Drops the voice and says why. One that was to take over from it does so at once.
    pub(crate) fn fail(&mut self, error: &EngineError) {
        self.left.extend(self.pipeline.take());
        self.shared.sounding.store(false, Ordering::Release);
        if matches!(self.next, Some(Change::Voice(_))) {
            self.shared.tell(|words| words.message = error.to_string());
            return;
        }
        self.next = None;
        self.shared.settle_incoming();
        self.shared.counters.set_voice_state(VoiceState::Failed);
        self.shared.tell(|words| {
            words.message = error.to_string();
            words.playing = None;
        });
    }

    /// A voice that has left since the last call; there may be more.
    pub(crate) fn take_left(&mut self) -> Option<Box<Pipeline>> {
        self.left.pop()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn work(&mut self) -> Result<Step, EngineError> {
        #[cfg(test)]
        assert!(!self.panics, "a test asked for this panic");
        if let Some(change) = self.shared.take_incoming() {
            // One that was about to take over and is itself replaced never sounded.
            if let Some(Change::Voice(replaced)) = self.next.replace(change) {
                self.left.push(replaced);
            }
        }
        if self.pipeline.is_none()
            && let Some(change) = self.next.take()
        {
            self.pass_over_late()?;
            let played = self.shared.played_until.load(Ordering::Acquire);
            self.take_over(change, played)?;
        }
        let Some(mut pipeline) = self.pipeline.take() else {
            return self.pass_over_late();
        };
        match self.advance(&mut pipeline) {
            // The voice has faded out; what comes next goes on from there.
            Ok((step, true)) => {
                let left_at = pipeline.next_start();
                self.left.push(pipeline);
                if let Some(change) = self.next.take() {
                    self.take_over(change, left_at)?;
                }
                Ok(step)
            }
            Ok((step, false)) => {
                self.pipeline = Some(pipeline);
                Ok(step)
            }
            Err(error) => {
                self.left.push(pipeline);
                Err(error)
            }
        }
    }

    /// Makes the change at position `at` of the output. A voice that joins is heard a little later: it has to listen to
    /// the past first.
    fn take_over(&mut self, change: Change, at: u64) -> Result<(), EngineError> {
        match change {
            Change::Voice(mut pipeline) => {
                let history = self.history.make_contiguous();
                if history.is_empty() {
                    pipeline.begin(self.position)?;
                } else {
                    let listening =
                        (f64::from(self.shared.config.host_rate_hz) * LISTENING_S) as u64;
                    pipeline.join(self.position, history, at + listening)?;
                }
                self.shared
                    .sound_from
                    .store(pipeline.audible_from(), Ordering::Release);
                self.shared
                    .decided_until
                    .store(pipeline.next_start(), Ordering::Release);
                self.shared.sounding.store(true, Ordering::Release);
                self.pipeline = Some(pipeline);
            }
            Change::Nothing => self.shared.sounding.store(false, Ordering::Release),
        }
        self.shared.settle_incoming();
        Ok(())
    }

    /// Takes samples from the ring, into `self.piece` and the history.
    fn take(&mut self, count: usize) {
        self.piece.resize(count, 0.0);
        let taken = self.ends.pop_audio(&mut self.piece);
        self.piece.truncate(taken);
        self.position += taken as u64;
        let forgotten = (self.history.len() + taken)
            .saturating_sub(self.history_samples)
            .min(self.history.len());
        self.history.drain(..forgotten);
        let kept = taken.min(self.history_samples);
        self.history.extend(&self.piece[taken - kept..]);
    }

    /// How many samples may be taken now; the events before them have been taken.
    fn ready_samples(&mut self, pipeline: Option<&mut Pipeline>) -> Result<u64, EngineError> {
        // Samples first: of those that are seen here every event before them is seen, of those that come while events
        // are taken not. A restart that is seen late would leave the sample at its position in the past.
        let available = self.ends.available() as u64;
        Ok(self.due_events(pipeline)?.min(available))
    }

    /// Takes events that are due, and says how many samples may be taken before the next restart.
    fn due_events(&mut self, mut pipeline: Option<&mut Pipeline>) -> Result<u64, EngineError> {
        while let Some(placed) = self.ends.peek_event() {
            match placed.event {
                Event::Controls(controls) => {
                    self.controls.push(ControlFrame {
                        position: placed.position,
                        controls,
                    });
                }
                Event::Restart { resume } if !self.begun || placed.position <= self.position => {
                    self.begun = true;
                    self.controls.clear();
                    self.history.clear();
                    self.position = resume;
                    // What was too late before says nothing of what comes.
                    self.wary_hops = 0;
                    if let Some(pipeline) = pipeline.as_deref_mut() {
                        pipeline.begin(resume)?;
                        self.shared
                            .sound_from
                            .store(pipeline.audible_from(), Ordering::Release);
                    }
                }
                Event::Restart { .. } => return Ok(placed.position - self.position),
            }
            self.ends.pop_event();
        }
        Ok(u64::MAX)
    }

    /// Without a voice: lets go of input whose output would be too late anyway, and keeps the rest for the voice
    /// that may come.
    fn pass_over_late(&mut self) -> Result<Step, EngineError> {
        let mut step = Step::Idle;
        loop {
            let ready = self.ready_samples(None)?;
            let played = self.shared.played_until.load(Ordering::Acquire);
            let late = played
                .saturating_sub(u64::from(self.shared.latency_samples))
                .saturating_sub(self.position);
            let count = late.min(ready);
            if count == 0 {
                self.controls.forget_before(self.position as f64);
                return Ok(step);
            }
            self.take((count as usize).min(PASSED_OVER_SAMPLES));
            step = Step::Worked;
        }
    }

    /// Listens to a hop when there is one, and sends one out when it is sung; says whether the voice has left.
    fn advance(&mut self, pipeline: &mut Pipeline) -> Result<(Step, bool), EngineError> {
        let started = Instant::now();
        let listened = pipeline.listens() && self.listen(pipeline)?;
        // A host that renders waits as well, and has nothing else to do.
        let wait = self.waits || self.shared.port_waits.load(Ordering::Acquire);
        let outcome = match pipeline.emit(wait)? {
            Some(outcome) => Some(outcome),
            None => self.give_up_late(pipeline)?,
        };
        if listened || outcome.is_some() {
            self.spent_s += started.elapsed().as_secs_f32();
        }
        let Some(outcome) = outcome else {
            let step = if listened { Step::Worked } else { Step::Idle };
            return Ok((step, false));
        };
        self.send(pipeline, &outcome);
        Ok((Step::Worked, outcome.left))
    }

    /// One hop, if it is there and there is room for what will be made of it.
    fn listen(&mut self, pipeline: &mut Pipeline) -> Result<bool, EngineError> {
        while !pipeline.has_hop() {
            let ready = self.ready_samples(Some(pipeline))?;
            let count = ready.min(pipeline.feed_samples() as u64) as usize;
            if count == 0 {
                return Ok(false);
            }
            self.take(count);
            pipeline.feed(&self.piece);
        }
        if !self.ends.has_room(pipeline.max_output_samples()) {
            return Ok(false);
        }
        let played = self.shared.played_until.load(Ordering::Acquire);
        let mut late_hops = pipeline.late_hops(played);
        if late_hops > 0 {
            self.wary_hops = WARY_HOPS;
        } else if self.wary_hops > 0
            && !self.waits
            && !self.shared.port_waits.load(Ordering::Acquire)
        {
            // A frame that would be too late when it is made is not begun: a voice that is slower than real time would
            // make nothing else. A host that renders waits, and there nothing is ever late.
            let cost_samples = (self.cost_s * self.shared.config.host_rate_hz as f32) as u64;
            late_hops = pipeline.late_hops(played + cost_samples);
            self.wary_hops -= 1;
        }
        pipeline.listen(&mut self.controls, late_hops, self.next.is_some())?;
        Ok(true)
    }

    /// When the next hop to leave is not sung although it should have been played long ago, the voice starts over.
    fn give_up_late(&mut self, pipeline: &mut Pipeline) -> Result<Option<Outcome>, EngineError> {
        let played = self.shared.played_until.load(Ordering::Acquire);
        if pipeline.late_leaving_hops(played) <= MOST_LATE_HOPS {
            return Ok(None);
        }
        pipeline.give_up()?;
        pipeline.emit(false)
    }

    /// Sends out the hop that has left.
    fn send(&mut self, pipeline: &mut Pipeline, outcome: &Outcome) {
        let output = pipeline.output();
        if !outcome.missing && !output.is_empty() {
            self.ends.push_hop(outcome.start, output);
        }
        self.shared
            .decided_until
            .store(outcome.start + output.len() as u64, Ordering::Release);

        if let Some(voice) = pipeline.take_failed_provider() {
            self.shared.tell(|words| {
                words.provider = voice.provider();
                words.message = voice.provider_message();
            });
        }

        let counters = &self.shared.counters;
        counters.asleep.store(outcome.asleep, Ordering::Relaxed);
        if outcome.missing {
            add(&counters.skipped_frames, 1);
        }
        if outcome.replaced {
            add(&counters.replaced_frames, 1);
        }
        if let Some(point) = outcome.f0 {
            self.shared.f0.push(point);
        }
        let spent_s = std::mem::take(&mut self.spent_s);
        // About a second of memory at 100 hops a second.
        let [listened_s, sung_s] = pipeline.take_beside_s();
        for (load, spent_s) in self.loads.iter_mut().zip([spent_s, listened_s, sung_s]) {
            *load += 0.01 * (spent_s * 100.0 - *load);
        }
        if !outcome.missing && !outcome.asleep {
            // One frame in which the whole process was held up says nothing about the next.
            let usual_s = spent_s.min(self.last_s);
            self.last_s = spent_s;
            self.cost_s += 0.1 * (usual_s - self.cost_s);
        }
        let load = self.loads.into_iter().fold(0.0, f32::max);
        counters.load_bits.store(load.to_bits(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::controls::Tier;
    use crate::port::StreamConfig;
    use crate::ring::stream;

    #[test]
    fn a_sample_is_taken_at_its_position_however_restarts_and_reading_meet() {
        const RESTARTS: u64 = 50_000;
        const BETWEEN: u64 = 7;
        const LOST: u64 = 5;
        let config = StreamConfig {
            host_rate_hz: 8_000,
            max_block_samples: 64,
            channels: 1,
            tier: Tier::Live,
        };
        let (shared, mut port, ends) = stream(config, 100);
        let taken = Arc::new(AtomicU64::new(0));
        let all_taken = Arc::clone(&taken);
        let port = std::thread::spawn(move || {
            for restart in 0..RESTARTS {
                let position = restart * (BETWEEN + LOST);
                // The worker looks again and again, and finds nothing.
                while all_taken.load(Ordering::Acquire) < position {
                    std::hint::spin_loop();
                }
                let resume = position + LOST;
                port.push_event(position, Event::Restart { resume });
                let samples: [f32; BETWEEN as usize] =
                    std::array::from_fn(|index| (resume + index as u64) as f32);
                port.push_audio(&samples);
            }
        });
        let mut worker = Worker::new(shared, ends);
        while worker.position < RESTARTS * (BETWEEN + LOST) {
            let ready = worker
                .ready_samples(None)
                .expect("there is no voice to fail");
            worker.take((ready as usize).min(3));
            let from = worker.position - worker.piece.len() as u64;
            for (position, &sample) in (from..).zip(&worker.piece) {
                assert_eq!(sample, position as f32);
            }
            taken.store(worker.position, Ordering::Release);
        }
        port.join().expect("the port is done");
    }
}
