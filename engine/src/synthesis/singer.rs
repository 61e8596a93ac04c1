//! A graph on a thread of its own: while it makes a step, the stream goes on listening.
//!
//! Steps are made in the order they are asked for, and whoever fetches one waits for it, so what is heard does not depend
//! on how the threads are scheduled.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::JoinHandle;

use crate::denormals::FlushDenormals;
use crate::error::EngineError;
use crate::onnx::{Graph, GraphStream};
use crate::promise::Promise;
use crate::service;
use crate::stopwatch::Stopwatch;

/// What goes into an input of a graph.
pub(super) enum Input {
    /// It stays as it is.
    Fixed,
    Numbers(Vec<f32>),
    /// A row for every frame, each as soon as it is there.
    Rows(Vec<Promise>),
}

/// Orders of before a reset are of no more interest; each carries the number of resets before it.
enum Order {
    /// How many frames it sees, and inputs in the order of the graph's shape.
    Step(u64, usize, Vec<Input>),
    Reset,
}

type Made = Result<Vec<f32>, EngineError>;

/// What is there of the oldest step that was asked for.
pub(super) enum Fetched {
    Step(Vec<f32>),
    NotYet,
    /// None was asked for.
    Nothing,
}

/// The near end of the thread; the thread ends with it.
pub(super) struct Singer {
    /// Gone only while it is dropped.
    orders: Option<Sender<Order>>,
    made: Receiver<(u64, Made)>,
    thread: Option<JoinHandle<()>>,
    /// Steps asked for and not fetched.
    waiting: usize,
    /// How many resets there were.
    resets: Arc<AtomicU64>,
}

impl Singer {
    /// A thread with a new stream of `graph`, that counts on `stopwatch` how long it works.
    ///
    /// # Errors
    /// The thread could not be started, or the runtime has no memory for the states.
    pub fn new(graph: &Arc<Graph>, stopwatch: &Stopwatch) -> Result<Self, EngineError> {
        let stream = GraphStream::new(graph)?;
        let (orders, work) = mpsc::channel();
        let (done, made) = mpsc::channel();
        let resets = Arc::new(AtomicU64::new(0));
        let throat = Throat {
            stream,
            failed: None,
            resets: Arc::clone(&resets),
            stopwatch: stopwatch.clone(),
        };
        let thread = service::spawn("timbra-singer", move || throat.run(&work, &done))?;
        Ok(Self {
            orders: Some(orders),
            made,
            thread: Some(thread),
            waiting: 0,
            resets,
        })
    }

    /// Asks for a step that sees so many frames.
    pub fn ask(&mut self, frames: usize, inputs: Vec<Input>) {
        self.waiting += 1;
        let resets = self.resets.load(Ordering::Relaxed);
        self.send(Order::Step(resets, frames, inputs));
    }

    /// Takes the oldest step that was asked for; waits for it if asked to.
    ///
    /// # Errors
    /// The graph failed to run.
    pub fn fetch(&mut self, wait: bool) -> Result<Fetched, EngineError> {
        if self.waiting == 0 {
            return Ok(Fetched::Nothing);
        }
        let gone = || EngineError::Panic("the thread of the voice has ended".to_owned());
        loop {
            let (resets, made) = if wait {
                self.made.recv().map_err(|_| gone())?
            } else {
                match self.made.try_recv() {
                    Ok(made) => made,
                    Err(TryRecvError::Empty) => return Ok(Fetched::NotYet),
                    Err(TryRecvError::Disconnected) => return Err(gone()),
                }
            };
            if resets == self.resets.load(Ordering::Relaxed) {
                self.waiting -= 1;
                return made.map(Fetched::Step);
            }
        }
    }

    /// Sets the states to zero and forgets what was asked for.
    pub fn reset(&mut self) {
        self.waiting = 0;
        self.resets.fetch_add(1, Ordering::Relaxed);
        self.send(Order::Reset);
    }

    fn send(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // A thread that has gone is told of when its work is fetched.
            let _ = orders.send(order);
        }
    }
}

impl Drop for Singer {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It has caught what it could; there is nothing more to say here.
            let _ = thread.join();
        }
    }
}

/// The far end.
struct Throat {
    stream: GraphStream,
    /// Why there are no states to sing with.
    failed: Option<EngineError>,
    resets: Arc<AtomicU64>,
    stopwatch: Stopwatch,
}

impl Throat {
    fn run(mut self, work: &Receiver<Order>, done: &Sender<(u64, Made)>) {
        let _flush = FlushDenormals::scope();
        while let Ok(order) = work.recv() {
            match order {
                Order::Reset => self.failed = self.stream.reset().err(),
                Order::Step(resets, frames, inputs) => {
                    if resets != self.resets.load(Ordering::Relaxed) {
                        continue;
                    }
                    if done.send((resets, self.step(frames, &inputs))).is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn step(&mut self, frames: usize, inputs: &[Input]) -> Made {
        if let Some(reason) = &self.failed {
            return Err(reason.clone());
        }
        let sing = || {
            self.stream.resize(frames)?;
            for (index, input) in inputs.iter().enumerate() {
                fill(self.stream.input(index), input)?;
            }
            let _running = self.stopwatch.run();
            self.stream.run().map(<[f32]>::to_vec)
        };
        catch_unwind(AssertUnwindSafe(sing))
            .unwrap_or_else(|panic| Err(EngineError::Panic(service::panic_text(panic.as_ref()))))
    }
}

/// Writes an input; waits for what is not there yet.
fn fill(places: &mut [f32], input: &Input) -> Result<(), EngineError> {
    match input {
        Input::Fixed => {}
        Input::Numbers(numbers) => places.copy_from_slice(numbers),
        Input::Rows(rows) => {
            let width = places.len() / rows.len().max(1);
            for (row, places) in rows.iter().zip(places.chunks_mut(width.max(1))) {
                row.read(places)?;
            }
        }
    }
    Ok(())
}
