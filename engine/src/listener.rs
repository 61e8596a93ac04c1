//! A content encoder on a thread of its own: while it listens, the stream goes on.
//!
//! What an encoder of full width takes for a step is more than the wait of a stream can spare, but nobody needs its
//! content before the voice's step that is made of it. So the stream counts the frames there will be, measures F0 and
//! loudness itself, and passes content on as a [`Promise`] that the voice's thread waits for. Orders are kept in the order
//! they are given, so what is heard does not depend on how the threads are scheduled.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use timbra_dsp::CONTENT_HOP_SAMPLES;

use crate::blend::{Blender, Pull};
use crate::content::{ContentClock, ContentStream};
use crate::denormals::FlushDenormals;
use crate::error::EngineError;
use crate::features::Measures;
use crate::model::LoadedVoice;
use crate::promise::{Keeper, Promise};
use crate::service;
use crate::stopwatch::Stopwatch;

/// What the thread is asked for. What was asked before a reset is of no more interest.
enum Wish {
    /// Listen to a hop.
    Hear(Box<[f32; CONTENT_HOP_SAMPLES]>),
    /// Pull the content of a frame, counted since the last reset, to the speaker's, and hand it over. Earlier ones are not
    /// asked for any more.
    Content(u64, Pull, Keeper),
    /// Back to the start of a signal.
    Reset,
}

/// A wish and how many resets there were before it, itself among them.
type Order = (u64, Wish);

/// The near end of the thread; the thread ends with it.
pub(crate) struct Listener {
    clock: ContentClock,
    measures: Measures,
    /// Whether a frame is handed on before its content is there.
    in_rounds: bool,
    /// Frames whose content was there and that were not handed on yet, less those that were handed on before it.
    ahead: i64,
    /// Frames since the last reset.
    frames: u64,
    /// How many resets there were.
    resets: Arc<AtomicU64>,
    /// Gone only while it is dropped.
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// A thread that listens for one stream of `voice` and counts on `stopwatch` how long.
    ///
    /// # Errors
    /// The thread could not be started, or the runtime has no memory for the encoder's states.
    pub fn new(voice: &Arc<LoadedVoice>, stopwatch: &Stopwatch) -> Result<Self, EngineError> {
        let spec = voice.encoder().spec();
        let (orders, work) = mpsc::channel();
        let resets = Arc::new(AtomicU64::new(0));
        let ear = Ear {
            resets: Arc::clone(&resets),
            content: ContentStream::new(voice.encoder())?,
            next: 0,
            owed: VecDeque::new(),
            failed: None,
            blender: Blender::default(),
            voice: Arc::clone(voice),
        };
        let stopwatch = stopwatch.clone();
        let thread = service::spawn("timbra-listener", move || ear.run(&work, &stopwatch))?;
        let timing = voice.timing();
        Ok(Self {
            clock: ContentClock::new(spec),
            measures: Measures::new(spec, timing.encoder_lookahead_samples),
            in_rounds: timing.round_frames.is_some(),
            ahead: 0,
            frames: 0,
            resets,
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    /// F0 and loudness so far.
    pub fn measures(&self) -> &Measures {
        &self.measures
    }

    /// Takes the next hop; gives F0 in Hz and loudness in dBFS of the frame that is complete with it. Its content is
    /// promised by [`Self::content`].
    pub fn push_hop(&mut self, hop: &[f32; CONTENT_HOP_SAMPLES]) -> Option<(f32, f32)> {
        self.send(Wish::Hear(Box::new(*hop)));
        self.clock.push();
        if !self.measures.push(hop) {
            return None;
        }
        if self.in_rounds {
            while self.clock.take() {
                self.ahead += 1;
            }
        } else if !self.clock.take() {
            return None;
        }
        let (f0, loudness_db) = self.measures.take()?;
        self.ahead -= i64::from(self.in_rounds);
        self.frames += 1;
        Some((f0.f0_hz, loudness_db))
    }

    /// How many frames after the one that came last will have their content without another hop; below 0 how many of the
    /// last ones will not.
    pub fn content_ahead(&self) -> i64 {
        self.ahead
    }

    /// Content of the frame that came last, pulled to the speaker's. It can be asked for once.
    pub fn content(&self, pull: Pull) -> Promise {
        let (promise, keeper) = Promise::new();
        self.send(Wish::Content(self.frames.saturating_sub(1), pull, keeper));
        promise
    }

    /// Back to the start of a signal.
    pub fn reset(&mut self) {
        self.clock.reset();
        self.measures.reset();
        self.ahead = 0;
        self.frames = 0;
        self.resets.fetch_add(1, Ordering::Relaxed);
        self.send(Wish::Reset);
    }

    fn send(&self, wish: Wish) {
        if let Some(orders) = &self.orders {
            // Of a thread that has gone the voice is told by the promises that are not kept.
            let _ = orders.send((self.resets.load(Ordering::Relaxed), wish));
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It has caught what it could; there is nothing more to say here.
            let _ = thread.join();
        }
    }
}

/// The far end.
struct Ear {
    resets: Arc<AtomicU64>,
    content: ContentStream,
    /// The frame that the content stream gives next.
    next: u64,
    /// What was asked for and is not there yet, oldest first.
    owed: VecDeque<(u64, Pull, Keeper)>,
    /// Why there is no content until the next reset.
    failed: Option<EngineError>,
    blender: Blender,
    voice: Arc<LoadedVoice>,
}

impl Ear {
    fn run(mut self, work: &Receiver<Order>, stopwatch: &Stopwatch) {
        let _flush = FlushDenormals::scope();
        while let Ok((resets, wish)) = work.recv() {
            if resets != self.resets.load(Ordering::Relaxed) {
                continue;
            }
            let _running = stopwatch.run();
            match wish {
                Wish::Hear(hop) => {
                    let heard = self.attempt(|ear| ear.content.push(&hop));
                    self.failed = heard.err();
                    self.keep_promises();
                }
                Wish::Content(frame, pull, keeper) => {
                    self.owed.push_back((frame, pull, keeper));
                    self.keep_promises();
                }
                Wish::Reset => {
                    self.next = 0;
                    self.owed.clear();
                    self.failed = None;
                    let reset = self.attempt(|ear| ear.content.reset());
                    self.failed = reset.err();
                }
            }
        }
    }

    /// Does it, unless something has failed before.
    fn attempt<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        if let Some(reason) = &self.failed {
            return Err(reason.clone());
        }
        catch_unwind(AssertUnwindSafe(|| act(self)))
            .unwrap_or_else(|panic| Err(EngineError::Panic(service::panic_text(panic.as_ref()))))
    }

    /// Gives what is owed, as far as it is there.
    fn keep_promises(&mut self) {
        while let Some((frame, pull, _)) = self.owed.front() {
            let (frame, pull) = (*frame, *pull);
            let Some(made) = self.attempt(|ear| ear.content(frame, &pull)).transpose() else {
                return;
            };
            if let Some((.., keeper)) = self.owed.pop_front() {
                keeper.keep(made);
            }
        }
    }

    /// The content of a frame, when it is there.
    fn content(&mut self, frame: u64, pull: &Pull) -> Result<Option<Vec<f32>>, EngineError> {
        while self.next <= frame {
            let Some(mut content) = self.content.take() else {
                return Ok(None);
            };
            self.next += 1;
            if self.next > frame {
                let (retrieval, clusters) = (self.voice.retrieval(), self.voice.clusters());
                self.blender.pull(&mut content, retrieval, clusters, pull);
                return Ok(Some(content));
            }
        }
        Err(EngineError::Panic("content was asked for twice".to_owned()))
    }
}
