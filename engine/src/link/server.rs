//! The worker's side: serves the streams of all hosts that are connected.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::channel::{Channel, Ear};
use super::memory;
use super::message::{ToHost, ToWorker};
use crate::port::StreamConfig;
use crate::region::{Plan, Region};
use crate::ring::{Shared, WorkerEnds};
use crate::service::{NearStream, Service};

/// How long the process stays without a host: a project that is closed and the next one share it.
const GRACE: Duration = Duration::from_secs(5);
/// Between two looks whether a host is left.
const LOOK: Duration = Duration::from_millis(200);
/// Most samples of latency a host may ask memory for: ten seconds at 384 kHz.
const MAX_LATENCY_SAMPLES: u32 = 3_840_000;

/// Starts this program once more as the worker `key`, on its own, and returns at once.
///
/// # Errors
/// It could not be started.
pub fn start(key: &str) -> io::Result<()> {
    use std::os::unix::process::CommandExt;
    Command::new(std::env::current_exe()?)
        .args(["serve", key])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // What ends the host's group of processes, as Ctrl-C does, is not meant for the worker of all hosts.
        .process_group(0)
        .spawn()
        .map(drop)
}

/// Serves hosts as the worker `key` until none has been there for a while. When there is such a worker already, it
/// returns at once.
///
/// # Errors
/// It can not listen.
pub fn serve(key: &str) -> io::Result<()> {
    let ear = match Ear::bind(key) {
        Ok(ear) => ear,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Ok(()),
        Err(error) => return Err(error),
    };
    let hosts = Arc::new(AtomicUsize::new(0));
    let mut last_seen = Instant::now();
    while last_seen.elapsed() < GRACE {
        if let Some(channel) = ear.accept(LOOK) {
            hosts.fetch_add(1, Ordering::AcqRel);
            let hosts = Arc::clone(&hosts);
            let served = crate::service::spawn("timbra-host", move || {
                Host::new(channel).serve();
                hosts.fetch_sub(1, Ordering::AcqRel);
            });
            if let Err(error) = served {
                return Err(io::Error::other(error.to_string()));
            }
        }
        if hosts.load(Ordering::Acquire) > 0 {
            last_seen = Instant::now();
        }
    }
    Ok(())
}

/// One host that is connected.
struct Host {
    channel: Channel,
    streams: Mutex<HashMap<u64, Arc<NearStream>>>,
    /// Sending is for one thread at a time.
    sending: Mutex<()>,
}

impl Host {
    fn new(channel: Channel) -> Self {
        Self {
            channel,
            streams: Mutex::default(),
            sending: Mutex::new(()),
        }
    }

    /// Serves it until it is gone.
    fn serve(&self) {
        let hello = ToHost::Hello {
            process: std::process::id(),
        };
        if self.channel.send(&hello, None).is_err() {
            return;
        }
        let (told, news) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for stream in news {
                    self.report(stream);
                }
            });
            while let Ok(Some((message, memory))) = self.channel.receive::<ToWorker>() {
                if let Err(error) = self.obey(message, memory, &told) {
                    tracing::error!("a host asked for what can not be: {error}");
                    break;
                }
            }
            // The host may have ended without a word: its streams are over.
            for (_, near) in self.streams.lock().drain() {
                near.shared().closed.store(true, Ordering::Release);
            }
            self.channel.shut();
            drop(told);
        });
    }

    fn obey(
        &self,
        message: ToWorker,
        memory: Option<OwnedFd>,
        told: &Sender<u64>,
    ) -> io::Result<()> {
        match message {
            ToWorker::Open {
                stream,
                config,
                latency_samples,
            } => {
                let memory = memory.ok_or_else(|| io::Error::other("a stream without memory"))?;
                let (region, shared) = open(config, latency_samples, memory)?;
                let shared = Arc::new(shared.with_listener(told.clone(), stream));
                // SAFETY: the memory came with this one message; the host has the port's ends.
                let ends = unsafe { WorkerEnds::new(&region) };
                let near = Service::global()
                    .begin(shared, ends)
                    .map_err(|error| io::Error::other(error.to_string()))?;
                self.streams.lock().insert(stream, Arc::new(near));
            }
            ToWorker::Load {
                stream,
                asked,
                wanted,
                folders,
            } => {
                let near = self.streams.lock().get(&stream).cloned();
                if let Some(near) = near {
                    near.shared().tell(|words| {
                        words.wanted = wanted.clone();
                        words.message.clear();
                    });
                    near.load(wanted, asked, folders);
                }
            }
            ToWorker::Close { stream } => {
                if let Some(near) = self.streams.lock().remove(&stream) {
                    near.shared().closed.store(true, Ordering::Release);
                }
            }
        }
        Ok(())
    }

    /// Sends the words of a stream.
    fn report(&self, stream: u64) {
        let near = self.streams.lock().get(&stream).cloned();
        if let Some(near) = near {
            let words = Box::new(near.shared().words());
            let _one_at_a_time = self.sending.lock();
            if self
                .channel
                .send(&ToHost::Words { stream, words }, None)
                .is_err()
            {
                self.channel.shut();
            }
        }
    }
}

/// The worker's side of a stream in memory that came from a host.
fn open(
    config: StreamConfig,
    latency_samples: u32,
    memory: OwnedFd,
) -> io::Result<(Arc<Region>, Shared)> {
    if !config.is_sane() || latency_samples > MAX_LATENCY_SAMPLES {
        return Err(io::Error::other(format!(
            "a stream of {config:?} with a latency of {latency_samples} samples"
        )));
    }
    let region = Arc::new(memory::open(memory, Plan::new(&config, latency_samples))?);
    let shared = Shared::new(config, latency_samples, Arc::clone(&region));
    Ok((region, shared))
}
