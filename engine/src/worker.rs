//! The worker's side of a stream: from ring to ring.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use ringbuf::traits::Consumer;

use crate::controls::ControlFrame;
use crate::denormals::FlushDenormals;
use crate::error::EngineError;
use crate::pipeline::{ControlTrack, Pipeline};
use crate::ring::{Event, Shared, WorkerEnds};
use crate::status::{Counters, VoiceState};

/// What a step has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There was not enough input, or no room for output.
    Idle,
    /// One hop was made, or input was passed over.
    Worked,
}

/// Everything between the rings; the worker thread only calls [`Worker::step`].
pub struct Worker {
    shared: Arc<Shared>,
    ends: WorkerEnds,
    pipeline: Option<Box<Pipeline>>,
    next: Option<Box<Pipeline>>,
    /// A voice that has left, to be freed where time does not matter.
    left: Option<Box<Pipeline>>,
    controls: ControlTrack,
    /// Input position up to which samples were taken.
    position: u64,
    piece: Vec<f32>,
    load: f32,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, ends: WorkerEnds) -> Self {
        Self {
            shared,
            ends,
            pipeline: None,
            next: None,
            left: None,
            controls: ControlTrack::default(),
            position: 0,
            piece: Vec::new(),
            load: 0.0,
        }
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

    /// Drops the voice and says why.
    pub(crate) fn fail(&mut self, error: &EngineError) {
        self.left = self.pipeline.take();
        self.next = None;
        self.shared.sounding.store(false, Ordering::Release);
        self.shared.counters.set_voice_state(VoiceState::Failed);
        let mut words = self.shared.words.lock();
        words.message = error.to_string();
        words.playing = None;
    }

    /// A voice that has left since the last call.
    pub(crate) fn take_left(&mut self) -> Option<Box<Pipeline>> {
        self.left.take()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn work(&mut self) -> Result<Step, EngineError> {
        if let Some(pipeline) = self.shared.take_incoming() {
            // One that was about to take over and is itself replaced never sounded.
            self.next = Some(pipeline);
        }
        if self.pipeline.is_none()
            && let Some(mut pipeline) = self.next.take()
        {
            self.pass_over_late()?;
            pipeline.begin(self.position)?;
            self.take_over(pipeline);
        }
        let Some(mut pipeline) = self.pipeline.take() else {
            return self.pass_over_late();
        };
        let outcome = self.advance(&mut pipeline);
        match outcome {
            // The voice has faded out; the next one begins here.
            Ok((step, true)) => {
                self.left = Some(pipeline);
                if let Some(mut next) = self.next.take() {
                    next.begin(self.position)?;
                    self.take_over(next);
                }
                Ok(step)
            }
            Ok((step, false)) => {
                self.pipeline = Some(pipeline);
                Ok(step)
            }
            Err(error) => {
                self.left = Some(pipeline);
                Err(error)
            }
        }
    }

    fn take_over(&mut self, pipeline: Box<Pipeline>) {
        self.shared.sound_from.store(pipeline.first_audible(self.shared.latency_samples), Ordering::Release);
        self.shared.sounding.store(true, Ordering::Release);
        self.pipeline = Some(pipeline);
    }

    /// Takes events that are due, and says how many samples may be taken before the next restart.
    fn due_events(&mut self, mut pipeline: Option<&mut Pipeline>) -> Result<u64, EngineError> {
        while let Some(placed) = self.ends.peek_event() {
            match placed.event {
                Event::Controls(controls) => {
                    self.controls.push(ControlFrame { position: placed.position, controls });
                }
                Event::Restart { resume } if placed.position <= self.position => {
                    self.controls.clear();
                    self.position = resume;
                    if let Some(pipeline) = pipeline.as_deref_mut() {
                        pipeline.begin(resume)?;
                        let audible = pipeline.first_audible(self.shared.latency_samples);
                        self.shared.sound_from.store(audible, Ordering::Release);
                    }
                }
                Event::Restart { .. } => return Ok(placed.position - self.position),
            }
            self.ends.events.try_pop();
        }
        Ok(u64::MAX)
    }

    /// Without a voice: lets go of input whose output would be too late anyway, and keeps the rest for the voice
    /// that may come.
    fn pass_over_late(&mut self) -> Result<Step, EngineError> {
        let mut step = Step::Idle;
        loop {
            let until = self.due_events(None)?;
            let played = self.shared.played_until.load(Ordering::Acquire);
            let late = played.saturating_sub(u64::from(self.shared.latency_samples)).saturating_sub(self.position);
            let count = late.min(until).min(self.ends.available() as u64);
            if count == 0 {
                self.controls.forget_before(self.position as f64);
                return Ok(step);
            }
            self.ends.audio_in.skip(count as usize);
            self.position += count;
            step = Step::Worked;
        }
    }

    /// One hop; says whether the voice has left.
    fn advance(&mut self, pipeline: &mut Pipeline) -> Result<(Step, bool), EngineError> {
        let started = Instant::now();
        while !pipeline.has_hop() {
            let until = self.due_events(Some(pipeline))?;
            let count = (pipeline.feed_samples() as u64).min(until).min(self.ends.available() as u64) as usize;
            if count == 0 {
                return Ok((Step::Idle, false));
            }
            self.piece.resize(count, 0.0);
            let count = self.ends.audio_in.pop_slice(&mut self.piece);
            pipeline.feed(&self.piece[..count]);
            self.position += count as u64;
        }
        if !self.ends.has_room(pipeline.max_output_samples()) {
            return Ok((Step::Idle, false));
        }
        let played = self.shared.played_until.load(Ordering::Acquire);
        let late_hops = played.saturating_sub(pipeline.next_start()) / pipeline.hop_samples().max(1);
        let leaving = self.next.is_some();
        let outcome = pipeline.advance(&mut self.controls, late_hops, leaving)?;
        let output = pipeline.output();
        if !outcome.missing && !output.is_empty() {
            self.ends.push_hop(outcome.start, output);
        }
        self.shared.decided_until.store(outcome.start + output.len() as u64, Ordering::Release);

        let counters = &self.shared.counters;
        counters.asleep.store(outcome.asleep, Ordering::Relaxed);
        if outcome.missing {
            Counters::add(&counters.skipped_frames, 1);
        }
        if outcome.replaced {
            Counters::add(&counters.replaced_frames, 1);
        }
        if let Some(point) = outcome.f0 {
            self.shared.f0.push(point);
        }
        // About a second of memory at 100 hops a second.
        let spent = started.elapsed().as_secs_f32() * 100.0;
        self.load += 0.01 * (spent - self.load);
        counters.load_bits.store(self.load.to_bits(), Ordering::Relaxed);
        Ok((Step::Worked, leaving))
    }
}
