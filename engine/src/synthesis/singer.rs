//! A graph on a thread of its own: while it makes a step, the stream goes on listening.
//!
//! Steps are made in the order they are asked for, and whoever fetches one waits for it, so what is heard does not depend
//! on how the threads are scheduled.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use crate::denormals::FlushDenormals;
use crate::error::EngineError;
use crate::onnx::{Graph, GraphStream};
use crate::service;

/// Numbers for the inputs of a graph, in the order of its shape; empty for those that stay as they are.
pub(super) type Inputs = Vec<Vec<f32>>;

enum Order {
    Step(Inputs),
    Reset,
}

type Made = Result<Vec<f32>, EngineError>;

/// The near end of the thread; the thread ends with it.
pub(super) struct Singer {
    /// Gone only while it is dropped.
    orders: Option<Sender<Order>>,
    made: Receiver<Made>,
    thread: Option<JoinHandle<()>>,
    /// Steps asked for and not fetched.
    waiting: usize,
    /// Steps of before a reset that were not fetched.
    stale: usize,
}

impl Singer {
    /// A thread with a new stream of `graph`.
    ///
    /// # Errors
    /// The thread could not be started, or the runtime has no memory for the states.
    pub fn new(graph: &Arc<Graph>) -> Result<Self, EngineError> {
        let stream = GraphStream::new(graph)?;
        let (orders, work) = mpsc::channel();
        let (done, made) = mpsc::channel();
        let thread = service::spawn("timbra-singer", move || run(stream, &work, &done))?;
        Ok(Self {
            orders: Some(orders),
            made,
            thread: Some(thread),
            waiting: 0,
            stale: 0,
        })
    }

    /// Asks for a step.
    pub fn ask(&mut self, inputs: Inputs) {
        self.waiting += 1;
        self.send(Order::Step(inputs));
    }

    /// Waits for the oldest step that was asked for; `None` when there is none.
    ///
    /// # Errors
    /// The graph failed to run.
    pub fn fetch(&mut self) -> Result<Option<Vec<f32>>, EngineError> {
        while self.stale > 0 {
            self.stale -= 1;
            // What it gave or why it failed is of no more interest.
            let _ = self.receive();
        }
        if self.waiting == 0 {
            return Ok(None);
        }
        self.waiting -= 1;
        self.receive().map(Some)
    }

    /// Sets the states to zero and forgets what was asked for.
    pub fn reset(&mut self) {
        self.stale += std::mem::take(&mut self.waiting);
        self.send(Order::Reset);
    }

    fn send(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // A thread that has gone is told of when its work is fetched.
            let _ = orders.send(order);
        }
    }

    fn receive(&self) -> Made {
        let gone = |_| EngineError::Panic("the thread of the voice has ended".to_owned());
        self.made.recv().map_err(gone)?
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

fn run(mut stream: GraphStream, work: &Receiver<Order>, done: &Sender<Made>) {
    let _flush = FlushDenormals::scope();
    let mut failed: Option<EngineError> = None;
    while let Ok(order) = work.recv() {
        let made = match order {
            Order::Reset => {
                failed = stream.reset().err();
                continue;
            }
            Order::Step(inputs) => match &failed {
                Some(reason) => Err(reason.clone()),
                None => catch_unwind(AssertUnwindSafe(|| step(&mut stream, &inputs)))
                    .unwrap_or_else(|panic| {
                        Err(EngineError::Panic(service::panic_text(panic.as_ref())))
                    }),
            },
        };
        if done.send(made).is_err() {
            return;
        }
    }
}

fn step(stream: &mut GraphStream, inputs: &Inputs) -> Made {
    for (index, numbers) in inputs.iter().enumerate() {
        if !numbers.is_empty() {
            stream.input(index).copy_from_slice(numbers);
        }
    }
    stream.run().map(<[f32]>::to_vec)
}
