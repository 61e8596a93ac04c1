//! The thread of one instance that does what neither the audio thread nor the
//! host's may: it has wanted voices loaded, searches folders, and watches what
//! comes of it.
//!
//! It sleeps until the wanted voice changes, the editor asks for a search, or a
//! poll of the open stream is due.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use timbra_engine::{Answer, F0Point, Service, StatusSnapshot, StreamHandle, VoiceState};
use timbra_voice::VoiceRef;
use timbra_voice::library::Listing;

use crate::params::{Tier, TimbraParams};
use crate::voices;

/// How often a stream is looked after while a voice is on its way.
const LOADING_POLL: Duration = Duration::from_millis(40);
/// How often a settled stream is looked after.
const SETTLED_POLL: Duration = Duration::from_millis(250);

/// The open stream and what it was opened with.
#[derive(Clone)]
pub struct OpenStream {
    /// The engine's side of it.
    pub handle: StreamHandle,
    /// The tier it was opened for; the parameter may be ahead of it.
    pub tier: Tier,
}

/// What the parts of one instance share.
pub struct Session {
    /// The parameters and saved fields.
    pub params: Arc<TimbraParams>,
    stream: Mutex<Option<OpenStream>>,
    /// Why nothing plays, when the engine has no word about it.
    failure: Mutex<String>,
    /// Generation of the wanted voice that the stream was told about.
    applied: Mutex<u64>,
    /// Peaks read by the steward and not yet shown: a status takes them from the engine.
    held_peaks: Mutex<(f32, f32)>,
    library: Mutex<Arc<Vec<Listing>>>,
    search_wanted: AtomicBool,
    restart_wanted: AtomicBool,
    restart_asked: AtomicBool,
    stop: AtomicBool,
}

impl Session {
    fn new(params: Arc<TimbraParams>) -> Self {
        Self {
            params,
            stream: Mutex::new(None),
            failure: Mutex::default(),
            applied: Mutex::new(0),
            held_peaks: Mutex::default(),
            library: Mutex::default(),
            search_wanted: AtomicBool::new(true),
            restart_wanted: AtomicBool::new(false),
            restart_asked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        }
    }

    /// The open stream.
    pub fn stream(&self) -> Option<OpenStream> {
        self.stream.lock().clone()
    }

    /// Why nothing plays, when that is not in the stream's state; else empty.
    pub fn failure(&self) -> String {
        self.failure.lock().clone()
    }

    /// Shows a sentence about something that did not work.
    pub fn report(&self, failure: String) {
        *self.failure.lock() = failure;
    }

    /// The stream's state with the peaks since the last call, for the editor.
    pub fn status(&self) -> Option<StatusSnapshot> {
        let mut status = self.stream()?.handle.status();
        let (in_peak, out_peak) = std::mem::take(&mut *self.held_peaks.lock());
        status.in_peak = status.in_peak.max(in_peak);
        status.out_peak = status.out_peak.max(out_peak);
        Some(status)
    }

    /// The last seconds of F0.
    pub fn f0_history(&self) -> Vec<F0Point> {
        self.stream()
            .map(|stream| stream.handle.f0_history())
            .unwrap_or_default()
    }

    /// The voices found by the last search.
    pub fn library(&self) -> Arc<Vec<Listing>> {
        self.library.lock().clone()
    }

    /// Whether the host should be asked to restart the plugin; says so once.
    ///
    /// Real-time: yes.
    pub fn take_restart_request(&self) -> bool {
        self.restart_wanted.load(Ordering::Relaxed)
            && self.restart_wanted.swap(false, Ordering::Relaxed)
    }

    /// Has the host asked to restart the plugin at the next block.
    pub fn ask_for_restart(&self) {
        self.restart_wanted.store(true, Ordering::Relaxed);
    }

    /// Hands over a stream that was opened with the voice of `generation`.
    pub fn opened(&self, stream: OpenStream, generation: u64) {
        let mut applied = self.applied.lock();
        if *applied != generation {
            // Once for every voice: one that a restart does not help would have the host restart for ever.
            self.restart_asked.store(false, Ordering::Relaxed);
        }
        *applied = generation;
        self.restart_wanted.store(false, Ordering::Relaxed);
        self.failure.lock().clear();
        *self.stream.lock() = Some(stream);
    }

    /// Takes the stream away; `failure` says why when it could not be opened.
    pub fn closed(&self, failure: String) {
        *self.stream.lock() = None;
        *self.failure.lock() = failure;
    }

    /// Has a newly wanted voice loaded into the open stream.
    fn follow_wanted_voice(&self) {
        let mut applied = self.applied.lock();
        let generation = self.params.voice.generation();
        if *applied != generation
            && let Some(stream) = self.stream()
        {
            *applied = generation;
            self.restart_asked.store(false, Ordering::Relaxed);
            self.failure.lock().clear();
            stream.handle.load_voice(self.params.voice.get());
        }
    }

    fn search(&self) {
        if self.search_wanted.swap(false, Ordering::AcqRel) {
            let found = voices::find_all(&Service::global().voice_folders());
            *self.library.lock() = Arc::new(found);
        }
    }

    /// Reads the stream's state and acts on it; returns how long to sleep, without end when there is no stream.
    ///
    /// Called on activation too: what is saved is complete from then on, not some time later.
    pub fn watch(&self) -> Option<Duration> {
        let generation = *self.applied.lock();
        let status = self.stream()?.handle.status();
        {
            let mut held = self.held_peaks.lock();
            held.0 = held.0.max(status.in_peak);
            held.1 = held.1.max(status.out_peak);
        }
        if status.voice_state == VoiceState::NeedsRestart
            && !self.restart_asked.swap(true, Ordering::Relaxed)
        {
            self.restart_wanted.store(true, Ordering::Relaxed);
        }
        let pause = match status.voice_state {
            VoiceState::Loading | VoiceState::Replacing => LOADING_POLL,
            _ => SETTLED_POLL,
        };
        if status.voice_state == VoiceState::Ready && status.answer != Answer::Awaited {
            self.settle(generation, status);
        }
        Some(pause)
    }

    /// Makes what is wanted and what plays agree.
    fn settle(&self, generation: u64, status: StatusSnapshot) {
        let voice = &self.params.voice;
        let wanted = voice.get();
        let Some(playing) = status.playing else {
            return;
        };
        if generation != voice.generation() || status.wanted != wanted || playing == wanted {
            return;
        }
        // What was granted is what was found for the wanted voice, perhaps in another version.
        if status.answer == Answer::Granted {
            if wanted.sha256.is_empty() || wanted.sha256 == playing.sha256 {
                // So that the project finds it again by its place and hash.
                voice.complete(generation, playing);
            }
        } else if voice.is_from_state() {
            // The wanted voice was refused. A project must not sound in another one.
            if let Some(stream) = self.stream() {
                *self.failure.lock() = status.message;
                stream.handle.load_voice(VoiceRef::default());
            }
        } else {
            // The user's choice was refused and the old voice plays on: it is what should be saved.
            voice.complete(generation, playing);
        }
    }

    fn run(&self) {
        while !self.stop.load(Ordering::Acquire) {
            self.follow_wanted_voice();
            self.search();
            match self.watch() {
                Some(pause) => thread::park_timeout(pause),
                None => thread::park(),
            }
        }
    }
}

/// The steward of one instance. The thread starts with the first need and is
/// joined when this is dropped, so that a host may unload the library.
pub struct Steward {
    session: Arc<Session>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Steward {
    /// No thread yet.
    pub fn new(params: Arc<TimbraParams>) -> Self {
        Self {
            session: Arc::new(Session::new(params)),
            thread: Mutex::new(None),
        }
    }

    /// What the instance's parts share.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Starts the thread if it does not run yet, and wakes it.
    pub fn wake(&self) {
        let mut thread = self.thread.lock();
        if thread.is_none() {
            let session = self.session.clone();
            *thread = thread::Builder::new()
                .name("timbra-steward".to_owned())
                .spawn(move || session.run())
                .ok();
            if let Some(handle) = thread.as_ref() {
                let voice = &self.session.params.voice;
                voice.wake_on_change(handle.thread().clone());
            }
        }
        if let Some(handle) = thread.as_ref() {
            handle.thread().unpark();
        }
    }

    /// Searches the folders for voices in the background.
    pub fn search_voices(&self) {
        self.session.search_wanted.store(true, Ordering::Release);
        self.wake();
    }

    /// Tries once more to load the wanted voice, for when its file was put where it was missing.
    pub fn retry_voice(&self) {
        let voice = &self.session.params.voice;
        voice.ask_for(voice.get());
        self.search_voices();
    }

    /// Asks for the voice in a file the user named.
    ///
    /// # Errors
    /// Why the file is no voice.
    pub fn open_voice(&self, path: PathBuf) -> Result<(), String> {
        let voice = voices::at(path)?;
        self.session.params.voice.ask_for(voice);
        Ok(())
    }
}

impl Drop for Steward {
    fn drop(&mut self) {
        self.session.stop.store(true, Ordering::Release);
        if let Some(handle) = self.thread.get_mut().take() {
            handle.thread().unpark();
            // A panic of the steward was reported when it happened; there is nothing to add here.
            let _ = handle.join();
        }
    }
}
