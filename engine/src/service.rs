//! One service per process: worker threads, the loader thread and every open stream.
//!
//! Threads start with the first stream and are joined when the last port and the last handle are gone, so that a host
//! may unload the plugin's binary afterwards.

mod loader;
mod pool;

use std::any::Any;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use timbra_voice::library::{self, VoiceRef};
use timbra_voice::package;

use crate::error::EngineError;
use crate::latency::{LatencyPlan, VoiceTiming};
use crate::locate;
use crate::model::LoadedVoice;
use crate::port::{AudioPort, StreamConfig};
use crate::ring::{self, Shared};
use crate::status::{F0Point, StatusSnapshot, VoiceState};
use crate::worker::Worker;

/// The process-wide service.
pub struct Service {
    running: Mutex<Weak<Running>>,
    folders: Mutex<Option<Vec<PathBuf>>>,
}

/// One stream as the threads of the service see it.
pub(crate) struct Slot {
    shared: Arc<Shared>,
    worker: Mutex<Worker>,
    /// Kept for whoever opens the next stream with the same voice; freed by the loader.
    voice: Mutex<Option<Arc<LoadedVoice>>>,
    /// Counts the voices asked for.
    asked: AtomicU64,
    /// The last of them that was settled, and whether it plays.
    settled: AtomicU64,
    settled_well: AtomicBool,
}

/// Work for the loader thread.
enum Job {
    Load {
        slot: Arc<Slot>,
        wanted: VoiceRef,
        asked: u64,
    },
    /// Freed where time does not matter.
    Free(Box<dyn Any + Send>),
    Quit,
}

/// What the threads share.
struct State {
    streams: Mutex<Vec<Arc<Slot>>>,
    /// Changes with `streams`.
    generation: AtomicU64,
    stop: AtomicBool,
    jobs: Sender<Job>,
}

/// The threads; whoever holds a stream holds this.
struct Running {
    state: Arc<State>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// How many of them are workers.
    workers: AtomicU64,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Release);
        // The loader may have gone already.
        let _ = self.state.jobs.send(Job::Quit);
        for thread in self.threads.lock().drain(..) {
            // A thread that panicked outside its guard has nothing more to say here.
            let _ = thread.join();
        }
    }
}

impl Service {
    /// The service of this process; nothing is started before the first stream is opened.
    pub fn global() -> &'static Self {
        static SERVICE: Service = Service {
            running: Mutex::new(Weak::new()),
            folders: Mutex::new(None),
        };
        &SERVICE
    }

    /// Folders that are searched for voices by name and hash, in order, beside the path a [`VoiceRef`] gives.
    /// Each folder's `encoders` folder is searched for encoders. The default is [`locate::voice_folders`].
    pub fn set_voice_folders(&self, folders: Vec<PathBuf>) {
        *self.folders.lock() = Some(folders);
    }

    /// The folders in use.
    pub fn voice_folders(&self) -> Vec<PathBuf> {
        self.folders
            .lock()
            .clone()
            .unwrap_or_else(locate::voice_folders)
    }

    /// Opens a stream and starts to load `wanted` (an empty reference loads nothing).
    ///
    /// Reads manifests only: the latency is final when this returns. It is that of the voice when it was found, and
    /// that of our own voices' usual shape when not.
    ///
    /// # Errors
    /// The rate is not supported or a thread could not be started.
    pub fn open(
        &self,
        config: StreamConfig,
        wanted: VoiceRef,
    ) -> Result<(AudioPort, StreamHandle), EngineError> {
        let config = StreamConfig {
            max_block_samples: config.max_block_samples.clamp(1, 1 << 16),
            channels: config.channels.clamp(1, 2),
            ..config
        };
        let timing = library::find(&wanted, &self.voice_folders())
            .and_then(|found| package::read_manifest(&found.path).ok())
            .map_or_else(VoiceTiming::default, |(manifest, _)| {
                VoiceTiming::of(&manifest)
            });
        let plan = LatencyPlan::new(
            &timing,
            config.tier,
            config.host_rate_hz,
            config.max_block_samples,
        )?;
        let running = self.running()?;

        let (shared, port_ends, worker_ends) = ring::stream(config, plan.latency_samples);
        let slot = Arc::new(Slot {
            worker: Mutex::new(Worker::new(Arc::clone(&shared), worker_ends)),
            shared: Arc::clone(&shared),
            voice: Mutex::new(None),
            asked: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            settled_well: AtomicBool::new(false),
        });
        let count = {
            let mut streams = running.state.streams.lock();
            streams.push(Arc::clone(&slot));
            streams.len()
        };
        running.state.generation.fetch_add(1, Ordering::Release);
        running.grow(count)?;
        let port = AudioPort::new(
            shared,
            port_ends,
            plan,
            Some(Arc::clone(&running) as Arc<dyn Any + Send + Sync>),
        );
        let handle = StreamHandle { slot, running };
        handle.load_voice(wanted);
        Ok((port, handle))
    }

    fn running(&self) -> Result<Arc<Running>, EngineError> {
        let mut known = self.running.lock();
        if let Some(running) = known.upgrade() {
            return Ok(running);
        }
        let (jobs, work) = mpsc::channel();
        let state = Arc::new(State {
            streams: Mutex::default(),
            generation: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            jobs,
        });
        let loader = spawn("timbra-loader", move || loader::run(&work))?;
        let running = Arc::new(Running {
            state,
            threads: Mutex::new(vec![loader]),
            workers: AtomicU64::new(0),
        });
        running.grow(1)?;
        *known = Arc::downgrade(&running);
        Ok(running)
    }
}

impl Running {
    /// As many workers as there are streams, but one core is left to the host.
    fn grow(&self, streams: usize) -> Result<(), EngineError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let wanted = streams.clamp(1, cores.saturating_sub(1).clamp(1, 8)) as u64;
        let mut threads = self.threads.lock();
        while self.workers.load(Ordering::Acquire) < wanted {
            let index = self.workers.load(Ordering::Acquire) as usize;
            let state = Arc::clone(&self.state);
            threads.push(spawn("timbra-worker", move || pool::run(&state, index))?);
            self.workers.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }
}

fn spawn(
    name: &'static str,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, EngineError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| EngineError::Thread {
            thread: name,
            reason: error.to_string(),
        })
}

/// The other threads' end of a stream. Clones refer to the same stream.
#[derive(Clone)]
pub struct StreamHandle {
    slot: Arc<Slot>,
    running: Arc<Running>,
}

impl StreamHandle {
    /// Starts to load another voice; the one that plays goes on until the new one is ready. An empty reference
    /// unloads.
    pub fn load_voice(&self, wanted: VoiceRef) {
        let slot = &self.slot;
        let asked = slot.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let shared = &slot.shared;
        {
            let mut words = shared.words.lock();
            words.wanted = wanted.clone();
            words.message.clear();
        }
        if !wanted.is_empty() {
            let sounding = shared.sounding.load(Ordering::Acquire);
            shared.loading.store(true, Ordering::Release);
            shared.counters.set_voice_state(if sounding {
                VoiceState::Replacing
            } else {
                VoiceState::Loading
            });
        }
        // The loader lives as long as this handle.
        let _ = self.running.state.jobs.send(Job::Load {
            slot: Arc::clone(slot),
            wanted,
            asked,
        });
    }

    /// Waits until the voice asked for last plays, or takes over with the next input (true), or can not (false); at
    /// most `timeout` (false).
    pub fn wait_ready(&self, timeout: Duration) -> bool {
        let began = Instant::now();
        let slot = &self.slot;
        loop {
            if slot.settled.load(Ordering::Acquire) == slot.asked.load(Ordering::Acquire) {
                let well = slot.settled_well.load(Ordering::Acquire);
                // A voice that plays leaves with the next input; a first voice begins without any.
                let waits_for_input = slot.shared.sounding.load(Ordering::Acquire);
                if !well || waits_for_input || !slot.shared.has_incoming.load(Ordering::Acquire) {
                    return well;
                }
            }
            if began.elapsed() >= timeout {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What the stream tells about itself; takes the peaks (they start over at 0).
    pub fn status(&self) -> StatusSnapshot {
        self.slot.shared.snapshot()
    }

    /// The last 5 s of F0, oldest first.
    pub fn f0_history(&self) -> Vec<F0Point> {
        self.slot.shared.f0.snapshot()
    }
}
