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

use crate::board::PortCounters;
use crate::error::EngineError;
use crate::latency::{LatencyPlan, VoiceTiming};
#[cfg(unix)]
use crate::link::{FarStream, Link};
use crate::locate;
use crate::model::{self, LoadedVoice};
use crate::port::{AudioPort, StreamConfig};
use crate::ring::{self, Shared, WorkerEnds};
use crate::status::{F0Point, StatusSnapshot};
use crate::worker::Worker;

pub(crate) use loader::panic_text;

/// The process-wide service.
pub struct Service {
    running: Mutex<Weak<Running>>,
    folders: Mutex<Option<Vec<PathBuf>>>,
    isolation: Mutex<Isolation>,
    #[cfg(unix)]
    link: Mutex<Weak<Link>>,
}

/// Where voices are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// On threads of the host's process.
    #[default]
    Thread,
    /// In a process of their own, which all hosts of a user share; on threads where there is no such process.
    Process,
}

/// One stream as the threads of the service see it.
pub(crate) struct Slot {
    shared: Arc<Shared>,
    worker: Mutex<Worker>,
    /// Kept for whoever opens the next stream with the same voice; freed by the loader.
    voice: Mutex<Option<Arc<LoadedVoice>>>,
}

/// Work for the loader thread.
enum Job {
    Load {
        slot: Arc<Slot>,
        wanted: VoiceRef,
        asked: u64,
        folders: Vec<PathBuf>,
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
            isolation: Mutex::new(Isolation::Thread),
            #[cfg(unix)]
            link: Mutex::new(Weak::new()),
        };
        &SERVICE
    }

    /// Folders that are searched for voices by name and hash, in order, beside the path a [`VoiceRef`] gives.
    /// Each folder's `encoders` folder is searched for encoders. The default is [`locate::voice_folders`].
    pub fn set_voice_folders(&self, folders: Vec<PathBuf>) {
        *self.folders.lock() = Some(folders);
    }

    /// Where the voices of streams opened from now on are run.
    pub fn set_isolation(&self, isolation: Isolation) {
        *self.isolation.lock() = isolation;
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
        let config = config.sane();
        let folders = self.voice_folders();
        let timing = library::find(&wanted, &folders)
            .and_then(|found| model::manifest_as_played(&found.path, &folders).ok())
            .map_or_else(VoiceTiming::default, |manifest| VoiceTiming::of(&manifest));
        let plan = LatencyPlan::new(
            &timing,
            config.tier,
            config.host_rate_hz,
            config.max_block_samples,
        )?;
        let counters = Arc::new(PortCounters::default());
        #[cfg(unix)]
        let notice = if *self.isolation.lock() == Isolation::Process {
            match self.link(config, plan, &counters) {
                Ok((port, far)) => {
                    let handle = StreamHandle {
                        side: Side::Far(far),
                        counters,
                    };
                    handle.load_voice(wanted);
                    return Ok((port, handle));
                }
                Err(error) => {
                    tracing::warn!("{error}");
                    format!("{error}; it runs inside the host instead")
                }
            }
        } else {
            String::new()
        };
        #[cfg(not(unix))]
        let notice = String::new();

        let (shared, port_ends, worker_ends) = ring::stream(config, plan.latency_samples);
        let near = Arc::new(self.begin(shared, worker_ends)?);
        let port = AudioPort::new(config, plan, port_ends, Arc::clone(&counters))
            .with_lease(Arc::clone(&near) as Arc<dyn Any + Send + Sync>);
        near.slot.shared.tell(|words| words.notice = notice);
        let handle = StreamHandle {
            side: Side::Near(near),
            counters,
        };
        handle.load_voice(wanted);
        Ok((port, handle))
    }

    /// Has the threads of this process work on a stream whose worker's ends are `ends`.
    ///
    /// # Errors
    /// A thread could not be started.
    pub(crate) fn begin(
        &self,
        shared: Arc<Shared>,
        ends: WorkerEnds,
    ) -> Result<NearStream, EngineError> {
        let running = self.running()?;
        let slot = Arc::new(Slot {
            worker: Mutex::new(Worker::new(Arc::clone(&shared), ends)),
            shared,
            voice: Mutex::new(None),
        });
        let count = {
            let mut streams = running.state.streams.lock();
            streams.push(Arc::clone(&slot));
            streams.len()
        };
        running.state.generation.fetch_add(1, Ordering::Release);
        running.grow(count)?;
        Ok(NearStream { slot, running })
    }

    /// Opens a stream in the worker's process, which is started if it does not run.
    #[cfg(unix)]
    fn link(
        &self,
        config: StreamConfig,
        plan: LatencyPlan,
        counters: &Arc<PortCounters>,
    ) -> Result<(AudioPort, Arc<FarStream>), EngineError> {
        let link = {
            let mut known = self.link.lock();
            match known.upgrade() {
                Some(link) => link,
                None => {
                    let link = Link::new()?;
                    *known = Arc::downgrade(&link);
                    link
                }
            }
        };
        link.open(config, plan, Arc::clone(counters))
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
        let loader = {
            let state = Arc::clone(&state);
            spawn("timbra-loader", move || loader::run(&state, &work))?
        };
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

pub(crate) fn spawn(
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

/// A stream whose worker is a thread of this process.
pub(crate) struct NearStream {
    slot: Arc<Slot>,
    running: Arc<Running>,
}

impl NearStream {
    pub fn shared(&self) -> &Arc<Shared> {
        &self.slot.shared
    }

    /// Has the loader load `wanted`, which was asked for as number `asked`.
    pub fn load(&self, wanted: VoiceRef, asked: u64, folders: Vec<PathBuf>) {
        // The loader lives as long as this stream.
        let _ = self.running.state.jobs.send(Job::Load {
            slot: Arc::clone(&self.slot),
            wanted,
            asked,
            folders,
        });
    }
}

/// Where a stream's worker is.
#[derive(Clone)]
enum Side {
    Near(Arc<NearStream>),
    #[cfg(unix)]
    Far(Arc<FarStream>),
}

/// The other threads' end of a stream. Clones refer to the same stream.
#[derive(Clone)]
pub struct StreamHandle {
    side: Side,
    counters: Arc<PortCounters>,
}

impl StreamHandle {
    /// The stream as this process sees it. With a worker in another process it is another one after each restart.
    fn shared(&self) -> Arc<Shared> {
        match &self.side {
            Side::Near(near) => Arc::clone(near.shared()),
            #[cfg(unix)]
            Side::Far(far) => far.shared(),
        }
    }

    /// Starts to load another voice; the one that plays goes on until the new one is ready. An empty reference
    /// unloads.
    pub fn load_voice(&self, wanted: VoiceRef) {
        let folders = Service::global().voice_folders();
        match &self.side {
            Side::Near(near) => {
                let asked = near.shared().ask_for(&wanted);
                near.load(wanted, asked, folders);
            }
            #[cfg(unix)]
            Side::Far(far) => far.load(wanted, folders),
        }
    }

    /// Waits until the voice asked for last plays, or takes over with the next input (true), or can not (false); at
    /// most `timeout` (false). From then on [`Self::status`] has the answer to it.
    pub fn wait_ready(&self, timeout: Duration) -> bool {
        let began = Instant::now();
        loop {
            let shared = self.shared();
            let asked = shared.asked.load(Ordering::Acquire);
            // The words of another process come a moment after what its board shows.
            if shared.settled.load(Ordering::Acquire) == asked && shared.words().answered == asked {
                let well = shared.settled_well.load(Ordering::Acquire);
                // A voice that plays leaves with the next input; a first voice begins without any.
                let waits_for_input = shared.sounding.load(Ordering::Acquire);
                if !well || waits_for_input || !shared.has_incoming.load(Ordering::Acquire) {
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
        let snapshot = self.shared().snapshot(&self.counters);
        match &self.side {
            Side::Near(_) => snapshot,
            #[cfg(unix)]
            Side::Far(far) => StatusSnapshot {
                worker_process: far.worker_process(),
                ..snapshot
            },
        }
    }

    /// The last 5 s of F0, oldest first.
    pub fn f0_history(&self) -> Vec<F0Point> {
        self.shared().f0.snapshot()
    }
}
