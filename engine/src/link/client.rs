//! The host's side: finds or starts the worker's process, listens to it, and starts another one when it is gone.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::channel::Channel;
use super::far_stream::{Core, FarStream};
use super::message::{ToHost, ToWorker};
use crate::board::PortCounters;
use crate::error::EngineError;
use crate::latency::LatencyPlan;
use crate::locate;
use crate::port::{AudioPort, StreamConfig};

/// Longest a worker may take from its start to its first message.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries to reach a worker that is starting.
const KNOCK: Duration = Duration::from_millis(5);
/// After so long without an answer it is started once more.
const START_AGAIN: Duration = Duration::from_secs(1);
/// How often the listening thread looks after the streams.
const LOOK_AFTER: Duration = Duration::from_millis(100);
/// So many ends of the worker within [`CRASH_WINDOW`], and it is left alone for [`PAUSE`].
const CRASHES: usize = 5;
const CRASH_WINDOW: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(30);

/// The connection of this process to the worker's process.
pub(crate) struct Link {
    inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the listening thread and the streams share.
pub(super) struct Inner {
    program: PathBuf,
    key: String,
    channel: Mutex<Option<Arc<Channel>>>,
    worker_process: AtomicU32,
    streams: Mutex<HashMap<u64, Arc<Core>>>,
    next_stream: AtomicU64,
    stop: AtomicBool,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.inner.stop.store(true, Ordering::Release);
        if let Some(channel) = self.inner.channel.lock().take() {
            channel.shut();
        }
        if let Some(thread) = self.thread.lock().take() {
            thread.thread().unpark();
            // A thread that panicked has nothing more to say here.
            let _ = thread.join();
        }
    }
}

impl Link {
    /// Connects to the worker, which is started if it does not run.
    ///
    /// # Errors
    /// There is no program to start, or it did not answer.
    pub fn new() -> Result<Arc<Self>, EngineError> {
        let program = locate::worker_program().ok_or_else(|| EngineError::WorkerProcess {
            program: PathBuf::from(locate::worker_program_name()),
            reason: "no such file beside the plugin; the bundle has it".to_owned(),
        })?;
        let key = key_of(&program).map_err(|error| failure(&program, &error))?;
        let inner = Arc::new(Inner {
            key,
            channel: Mutex::new(None),
            worker_process: AtomicU32::new(0),
            streams: Mutex::default(),
            next_stream: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            program,
        });
        inner
            .connect()
            .map_err(|error| failure(&inner.program, &error))?;
        let listener = Arc::clone(&inner);
        let thread = crate::service::spawn("timbra-link", move || listener.listen())?;
        Ok(Arc::new(Self {
            inner,
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// Opens a stream in the worker.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn open(
        self: &Arc<Self>,
        config: StreamConfig,
        plan: LatencyPlan,
        counters: Arc<PortCounters>,
    ) -> Result<(AudioPort, Arc<FarStream>), EngineError> {
        let inner = &self.inner;
        let number = inner.next_stream.fetch_add(1, Ordering::Relaxed);
        let (core, port, memory) = Core::new(number, config, plan, counters)
            .map_err(|error| failure(&inner.program, &error))?;
        let core = Arc::new(core);
        inner.streams.lock().insert(number, Arc::clone(&core));
        inner.send(&core.opening(), Some(&memory));
        let far = Arc::new(FarStream::new(core, Arc::clone(self)));
        Ok((port.with_lease(Arc::clone(&far) as _), far))
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }
}

impl Inner {
    /// Sends a message. One that is lost because the worker is gone is made up for when the stream is opened anew.
    pub fn send(&self, message: &ToWorker, memory: Option<&OwnedFd>) {
        use std::os::fd::AsFd;
        let channel = self.channel.lock();
        if let Some(channel) = &*channel {
            let memory: Option<BorrowedFd<'_>> = memory.map(AsFd::as_fd);
            if channel.send(message, memory).is_err() {
                // The listening thread sees the end and does what is to be done.
                channel.shut();
            }
        }
    }

    /// Takes a stream off the list.
    pub fn forget(&self, stream: u64) {
        self.streams.lock().remove(&stream);
        self.send(&ToWorker::Close { stream }, None);
    }

    /// Process id of the worker.
    pub fn worker_process(&self) -> u32 {
        self.worker_process.load(Ordering::Relaxed)
    }

    /// Reaches the worker, starting it where there is none.
    fn connect(&self) -> io::Result<()> {
        let began = Instant::now();
        let mut start_at = began;
        loop {
            match greeted(&self.key, began) {
                Ok((channel, process)) => {
                    self.worker_process.store(process, Ordering::Relaxed);
                    *self.channel.lock() = Some(Arc::new(channel));
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
                Err(error) if began.elapsed() > START_TIMEOUT => return Err(error),
                Err(_) if Instant::now() >= start_at => {
                    start(&self.program, &self.key)?;
                    // One that was about to end may have held the place.
                    start_at = Instant::now() + START_AGAIN;
                }
                Err(_) => std::thread::sleep(KNOCK),
            }
        }
    }

    /// The listening thread.
    fn listen(&self) {
        let mut crashes = VecDeque::new();
        while !self.stop.load(Ordering::Acquire) {
            let channel = self.channel.lock().clone();
            if let Some(channel) = channel {
                self.hear(&channel);
            }
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            self.channel.lock().take();
            let now = Instant::now();
            crashes.push_back(now);
            crashes.retain(|&then| now.duration_since(then) < CRASH_WINDOW);
            if crashes.len() >= CRASHES {
                let reason = format!(
                    "it ended {CRASHES} times within {} seconds and is tried again in {}",
                    CRASH_WINDOW.as_secs(),
                    PAUSE.as_secs()
                );
                self.give_up(&reason);
                crashes.clear();
                std::thread::park_timeout(PAUSE);
            }
            self.restart();
        }
    }

    /// Hears what the worker says until it is gone.
    fn hear(&self, channel: &Channel) {
        loop {
            for core in self.cores() {
                core.look_after();
            }
            match channel.wait(LOOK_AFTER) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(_) => return,
            }
            match channel.receive::<ToHost>() {
                Ok(Some((ToHost::Words { stream, words }, _))) => {
                    let core = self.streams.lock().get(&stream).cloned();
                    if let Some(core) = core {
                        core.hear(words);
                    }
                }
                Ok(Some((ToHost::Hello { .. }, _))) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Starts another worker and opens all streams in it.
    fn restart(&self) {
        if let Err(error) = self.connect() {
            self.give_up(&failure(&self.program, &error).to_string());
            std::thread::park_timeout(Duration::from_secs(1));
            return;
        }
        for core in self.cores() {
            match core.renew() {
                Ok(memory) => {
                    self.send(&core.opening(), Some(&memory));
                    if let Some(load) = core.reload() {
                        self.send(&load, None);
                    }
                }
                Err(error) => core.fail(&failure(&self.program, &error).to_string()),
            }
        }
    }

    fn give_up(&self, reason: &str) {
        for core in self.cores() {
            core.fail(reason);
        }
    }

    fn cores(&self) -> Vec<Arc<Core>> {
        self.streams.lock().values().cloned().collect()
    }
}

/// Connects and waits for the first message.
fn greeted(key: &str, began: Instant) -> io::Result<(Channel, u32)> {
    let channel = Channel::connect(key)?;
    if !channel.wait(START_TIMEOUT.saturating_sub(began.elapsed()))? {
        return Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "it does not answer",
        ));
    }
    match channel.receive::<ToHost>()? {
        Some((ToHost::Hello { process }, _)) => Ok((channel, process)),
        _ => Err(io::Error::other("it ended before its first word")),
    }
}

/// Starts the program, which puts a process of its own into the background and returns.
fn start(program: &Path, key: &str) -> io::Result<()> {
    let mut command = Command::new(program);
    command
        .args(["start", key])
        .current_dir("/")
        .env(locate::NO_REPORTS_VARIABLE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Some(library) = runtime_library() {
        command.env(locate::RUNTIME_VARIABLE, library);
    }
    let status = command.status()?;
    if status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("it failed to start ({status})")))
}

/// ONNX Runtime as this process finds it; the worker is to use the same.
fn runtime_library() -> Option<PathBuf> {
    let found = locate::runtime_candidates()
        .into_iter()
        .find(|path| path.is_file())?;
    std::path::absolute(found).ok()
}

/// What tells one worker from another: the program, byte for byte, and the ONNX Runtime it uses. Copies of the same two
/// in several bundles are one worker.
fn key_of(program: &Path) -> io::Result<String> {
    let mut hasher = DefaultHasher::new();
    std::fs::read(program)?.hash(&mut hasher);
    if let Some(library) = runtime_library() {
        // Libraries of different versions differ in length and in their first part; reading all of it takes too long.
        let mut file = std::fs::File::open(&library)?;
        file.metadata()?.len().hash(&mut hasher);
        let mut head = Vec::new();
        file.by_ref().take(1 << 16).read_to_end(&mut head)?;
        head.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn failure(program: &Path, error: &io::Error) -> EngineError {
    EngineError::WorkerProcess {
        program: program.to_path_buf(),
        reason: error.to_string(),
    }
}
