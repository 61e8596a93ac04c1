//! A stream whose worker is another process: what of it has to outlive that process.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use ringbuf::traits::{Consumer, Observer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};
use timbra_voice::library::{VoiceRef, can_be_saved, unsaveable};

use super::client::Link;
use super::memory;
use super::message::ToWorker;
use crate::board::PortCounters;
use crate::latency::LatencyPlan;
use crate::port::{AudioPort, PortRelay, StreamConfig};
use crate::region::Plan;
use crate::ring::{PortEnds, Shared};
use crate::status::{VoiceState, Words};

/// A voice with which the worker ended so many times while it was being loaded is not sent again.
const STRIKES: u32 = 2;

/// A stream in the worker's process, as handles and the port hold it.
pub(crate) struct FarStream {
    core: Arc<Core>,
    link: Arc<Link>,
}

impl FarStream {
    pub(super) fn new(core: Arc<Core>, link: Arc<Link>) -> Self {
        Self { core, link }
    }

    /// The stream as this process sees it, until the worker is another one.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.core.state.lock().shared)
    }

    /// Has the worker load a voice.
    pub fn load(&self, wanted: VoiceRef, folders: Vec<PathBuf>) {
        if !can_be_saved(&wanted.path) {
            // What plays goes on: the worker hears nothing of it.
            let shared = self.shared();
            decline(&shared, &wanted, &unsaveable(&wanted.path));
            let sounding = shared.sounding.load(Ordering::Acquire);
            shared.counters.set_voice_state(if sounding {
                VoiceState::Ready
            } else {
                VoiceState::Failed
            });
            return;
        }
        let message = {
            let mut state = self.core.state.lock();
            state.strikes = 0;
            state.wanted = wanted;
            // Messages are text.
            state.folders = folders
                .into_iter()
                .filter(|path| can_be_saved(path))
                .collect();
            state.load(self.core.number)
        };
        self.link.inner().send(&message, None);
    }

    /// Process id of the worker.
    pub fn worker_process(&self) -> Option<u32> {
        Some(self.link.inner().worker_process())
    }
}

impl Drop for FarStream {
    fn drop(&mut self) {
        self.link.inner().forget(self.core.number);
    }
}

/// What the listening thread needs of a stream. Does not hold the link.
pub(super) struct Core {
    number: u64,
    config: StreamConfig,
    plan: LatencyPlan,
    state: Mutex<State>,
}

struct State {
    shared: Arc<Shared>,
    wanted: VoiceRef,
    folders: Vec<PathBuf>,
    /// How often the worker ended while it was loading the wanted voice.
    strikes: u32,
    /// How often it was started again for this stream.
    restarts: u32,
    fresh: HeapProd<PortEnds>,
    spent: HeapCons<PortEnds>,
    /// Ends the port has no room for yet, because nobody has called it since the last ones.
    pending: Option<PortEnds>,
}

impl State {
    /// Asks for the wanted voice; gives the message for the worker.
    fn load(&self, stream: u64) -> ToWorker {
        let asked = self.shared.ask_for(&self.wanted);
        ToWorker::Load {
            stream,
            asked,
            wanted: VoiceRef {
                path: from_root(&self.wanted.path),
                ..self.wanted.clone()
            },
            folders: self.folders.iter().map(|path| from_root(path)).collect(),
        }
    }
}

impl Core {
    /// A stream in new memory, with its port, and the descriptor for the worker.
    pub fn new(
        number: u64,
        config: StreamConfig,
        plan: LatencyPlan,
        counters: Arc<PortCounters>,
    ) -> io::Result<(Self, AudioPort, OwnedFd)> {
        let (shared, ends, memory) = side(config, &plan)?;
        let (fresh, fresh_out) = HeapRb::new(1).split();
        let (spent_in, spent) = HeapRb::new(2).split();
        let relay = PortRelay {
            fresh: fresh_out,
            spent: spent_in,
        };
        let port = AudioPort::new(config, plan, ends, counters).with_relay(relay);
        let state = State {
            shared,
            wanted: VoiceRef::default(),
            folders: Vec::new(),
            strikes: 0,
            restarts: 0,
            fresh,
            spent,
            pending: None,
        };
        let core = Self {
            number,
            config,
            plan,
            state: Mutex::new(state),
        };
        Ok((core, port, memory))
    }

    /// The message that opens it; the memory goes with it.
    pub fn opening(&self) -> ToWorker {
        ToWorker::Open {
            stream: self.number,
            config: self.config,
            latency_samples: self.plan.latency_samples,
        }
    }

    /// Takes the worker's words.
    pub fn hear(&self, words: Box<Words>) {
        let state = self.state.lock();
        state.shared.tell(|own| {
            *own = Words {
                wanted: std::mem::take(&mut own.wanted),
                notice: std::mem::take(&mut own.notice),
                ..*words
            };
        });
    }

    /// New memory for a new worker; gives its descriptor. What is to be loaded comes from [`Self::reload`].
    pub fn renew(&self) -> io::Result<OwnedFd> {
        let (shared, ends, memory) = side(self.config, &self.plan)?;
        let mut state = self.state.lock();
        if !state.wanted.is_empty() {
            // Until it is asked for again nobody may take memory in which nothing was asked for as an answer, and a rendering
            // host waits for a voice that is on its way.
            shared.ask_for(&state.wanted);
        }
        let before = std::mem::replace(&mut state.shared, shared);
        let was_loading =
            before.settled.load(Ordering::Acquire) != before.asked.load(Ordering::Acquire);
        // Of a voice that had been loaded, earlier ends say nothing: it was on its way when another one ended the worker.
        state.strikes = if was_loading { state.strikes + 1 } else { 0 };
        state.restarts += 1;
        let notice = format!(
            "the worker process ended unexpectedly and was started again ({} so far)",
            match state.restarts {
                1 => "once".to_owned(),
                times => format!("{times} times"),
            }
        );
        state.shared.tell(|words| words.notice = notice);
        state.pending = Some(ends);
        drop(state);
        self.look_after();
        Ok(memory)
    }

    /// What a new worker has to load, once it has the stream.
    pub fn reload(&self) -> Option<ToWorker> {
        let state = self.state.lock();
        if state.wanted.is_empty() {
            return None;
        }
        if state.strikes < STRIKES {
            return Some(state.load(self.number));
        }
        let message = format!(
            "voice \"{}\" at {} ended the worker process each time it was loaded and is not tried again. It may be \
             damaged: choose another voice, or export it again",
            state.wanted.name,
            state.wanted.path.display()
        );
        refuse(&state, &message);
        None
    }

    /// Hands the port what waits for it, and frees what it gave back.
    pub fn look_after(&self) {
        let mut state = self.state.lock();
        while let Some(ends) = state.spent.try_pop() {
            drop(ends);
        }
        if !state.fresh.is_full()
            && let Some(ends) = state.pending.take()
        {
            // There is room: it was looked for, and nobody else pushes.
            let _ = state.fresh.try_push(ends);
        }
    }

    /// There is no worker: the fallback is heard, and a host that renders does not wait.
    pub fn fail(&self, reason: &str) {
        let state = self.state.lock();
        if !state.wanted.is_empty() {
            refuse(&state, reason);
        }
    }
}

/// A path as the worker has to know it, whose working folder is another. One that is not there stays as it is: it may be that of
/// another system, which here only looks as if it began in the working folder.
fn from_root(path: &Path) -> PathBuf {
    let there = !path.as_os_str().is_empty() && path.exists();
    let absolute = there.then(|| std::path::absolute(path).ok()).flatten();
    absolute
        .filter(|path| can_be_saved(path))
        .unwrap_or_else(|| path.to_owned())
}

/// Answers that a voice is not loaded.
fn decline(shared: &Shared, wanted: &VoiceRef, message: &str) {
    let asked = shared.ask_for(wanted);
    shared.loading.store(false, Ordering::Release);
    shared.settled_well.store(false, Ordering::Release);
    shared.settled.store(asked, Ordering::Release);
    shared.tell(|words| {
        (words.answered, words.refused) = (asked, true);
        words.message = message.to_owned();
    });
}

/// The same, and nothing sounds any more.
fn refuse(state: &State, message: &str) {
    let shared = &state.shared;
    shared.sounding.store(false, Ordering::Release);
    shared.has_incoming.store(false, Ordering::Release);
    shared.tell(|words| words.playing = None);
    decline(shared, &state.wanted, message);
    shared.counters.set_voice_state(VoiceState::Failed);
}

/// This side of a stream in new memory.
fn side(config: StreamConfig, plan: &LatencyPlan) -> io::Result<(Arc<Shared>, PortEnds, OwnedFd)> {
    let (region, memory) = memory::create(Plan::new(&config, plan.latency_samples))?;
    let region = Arc::new(region);
    // SAFETY: the memory is new, and the worker makes the other ends.
    let ends = unsafe { PortEnds::new(&region) };
    let shared = Arc::new(Shared::new(config, plan.latency_samples, region));
    Ok((shared, ends, memory))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::controls::Tier;
    use crate::latency::VoiceTiming;

    fn core(counters: &Arc<PortCounters>) -> (Core, AudioPort, OwnedFd) {
        let config = StreamConfig {
            host_rate_hz: 48_000,
            max_block_samples: 64,
            channels: 1,
            tier: Tier::Live,
        };
        let plan = LatencyPlan::new(&VoiceTiming::default(), Tier::Live, 48_000, 64).unwrap();
        Core::new(3, config, plan, Arc::clone(counters)).unwrap()
    }

    #[test]
    fn a_voice_that_ends_the_worker_twice_is_not_sent_a_third_time() {
        let counters = Arc::new(PortCounters::default());
        let (core, mut port, _memory) = core(&counters);
        core.state.lock().wanted = VoiceRef::at("/voices/bad.timbra");
        assert!(core.reload().is_some(), "the first time");
        for time in 1..=2 {
            core.renew().unwrap();
            let renewed = Arc::clone(&core.state.lock().shared);
            let numbers = [&renewed.asked, &renewed.settled].map(|n| n.load(Ordering::Acquire));
            assert_ne!(numbers[0], numbers[1], "whoever waits goes on waiting");
            let again = core.reload();
            assert_eq!(again.is_some(), time < 2, "after {time} ends");
            // Whether the host plays meanwhile does not matter.
            if time == 1 {
                port.process(&mut [&mut [0.0; 64]], &crate::Controls::default());
            }
            core.look_after();
        }
        let shared = Arc::clone(&core.state.lock().shared);
        let status = shared.snapshot(&counters);
        assert_eq!(status.voice_state, VoiceState::Failed);
        assert!(status.message.contains("bad.timbra"), "{}", status.message);
    }
    #[test]
    fn a_voice_that_was_only_on_its_way_when_another_ended_the_worker_is_sent_again_later() {
        let (core, _port, _memory) = core(&Arc::default());
        core.state.lock().wanted = VoiceRef::at("/voices/good.timbra");
        for _ in 0..3 {
            assert!(core.reload().is_some(), "it is on its way");
            core.renew().unwrap();
            assert!(core.reload().is_some(), "one end may have been another's");
            let shared = Arc::clone(&core.state.lock().shared);
            let asked = shared.asked.load(Ordering::Acquire);
            shared.settled.store(asked, Ordering::Release);
            core.renew().unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_path_of_another_system_stays_what_it_is_and_one_that_is_here_begins_at_the_root() {
        let path = Path::new("C:\\Users\\amy\\amy.timbra");
        assert_eq!(from_root(path), path);
        assert_eq!(from_root(Path::new("")), Path::new(""));
        let here = from_root(Path::new("Cargo.toml"));
        assert!(here.is_absolute() && here.is_file(), "{}", here.display());
    }
}
