//! The loader thread: reads, checks and readies voices, and frees what others let go of.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use timbra_voice::library::{self, VoiceRef};

use super::{Job, Slot, State};
use crate::error::EngineError;
use crate::model::LoadedVoice;
use crate::pipeline::Pipeline;
use crate::ring::Change;
use crate::status::{VoiceState, Words};

/// After freeing, so long without further work, and memory is given back to the system.
const REST: Duration = Duration::from_millis(500);

pub(super) fn run(state: &State, work: &Receiver<Job>) {
    let mut freed = false;
    loop {
        let job = if freed {
            match work.recv_timeout(REST) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => {
                    // It takes milliseconds, in which others may have to wait for memory.
                    if !sings(state) {
                        freed = false;
                        give_back();
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        } else {
            match work.recv() {
                Ok(job) => job,
                Err(_) => return,
            }
        };
        match job {
            Job::Load {
                slot,
                wanted,
                asked,
                folders,
            } => load(&slot, &wanted, asked, &folders),
            Job::Free(thing) => {
                drop(thing);
                freed = true;
            }
            Job::Quit => return,
        }
    }
}

/// Whether any stream has something to sing.
fn sings(state: &State) -> bool {
    state.streams.lock().iter().any(|slot| {
        let shared = &slot.shared;
        shared.sounding.load(Ordering::Relaxed) && !shared.counters.asleep.load(Ordering::Relaxed)
    })
}

/// Has the allocator give what was freed back to the system: voices are large, and it would keep their memory.
fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call changes nothing that can be seen, and may be made at any time on any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn load(slot: &Slot, wanted: &VoiceRef, asked: u64, folders: &[PathBuf]) {
    let superseded = || slot.shared.asked.load(Ordering::Acquire) != asked;
    if superseded() || slot.shared.closed.load(Ordering::Acquire) {
        return;
    }
    let outcome = if wanted.is_empty() {
        unload(slot, asked);
        Ok(())
    } else {
        catch_unwind(AssertUnwindSafe(|| ready(slot, wanted, asked, folders)))
            .unwrap_or_else(|panic| Err(EngineError::Panic(panic_text(panic.as_ref()))))
    };
    if superseded() {
        return;
    }
    if let Err(error) = &outcome {
        refuse(slot, asked, error);
    }
    let shared = &slot.shared;
    shared.loading.store(false, Ordering::Release);
    shared
        .settled_well
        .store(outcome.is_ok(), Ordering::Release);
    shared.settled.store(asked, Ordering::Release);
}

/// Loads the voice and hands it to the worker.
fn ready(
    slot: &Slot,
    wanted: &VoiceRef,
    asked: u64,
    folders: &[PathBuf],
) -> Result<(), EngineError> {
    let shared = &slot.shared;
    let found = library::find(wanted, folders);
    let path = match &found {
        Some(found) => found.path.clone(),
        // What is at the path can not be used: loading it says why.
        None if wanted.path.exists() => wanted.path.clone(),
        None => {
            return Err(EngineError::VoiceNotFound {
                name: wanted.name.clone(),
                path: wanted.path.clone(),
                sha256: wanted.sha256.clone(),
                searched: folders.to_vec(),
            });
        }
    };
    let voice = LoadedVoice::load(&path, folders)?;
    let pipeline = Pipeline::new(&voice, &shared.config, shared.latency_samples)?;
    let manifest = voice.manifest();
    shared.tell(|words| {
        (words.answered, words.refused) = (asked, false);
        words.playing = Some(VoiceRef {
            name: manifest.name.clone(),
            path: path.clone(),
            sha256: voice.sha256().to_owned(),
        });
        words.speakers = manifest
            .speakers
            .iter()
            .map(|speaker| speaker.name.clone())
            .collect();
        words.has_formant = manifest.takes("formant_semitones");
        words.has_auto_f0 = manifest.takes("auto_f0");
        words.has_prior_noise = manifest.takes("prior_noise");
        words.has_tables = (voice.clusters().is_some(), voice.retrieval().is_some());
        words.own_retrieval = (voice.retrieval()).map_or(0.0, |_| manifest.retrieval_ratio);
        words.own_articulation = (manifest.speakers.iter())
            .map(|speaker| speaker.articulation)
            .collect();
        words.provider = voice.provider();
        words.message = notice(wanted, &voice);
    });
    shared.counters.set_voice_state(VoiceState::Ready);
    let before = shared.install(Change::Voice(Box::new(pipeline)));
    drop(before);
    let before = slot.voice.lock().replace(voice);
    drop(before);
    Ok(())
}

/// What the user should know about a voice that was found.
fn notice(wanted: &VoiceRef, voice: &Arc<LoadedVoice>) -> String {
    if !wanted.sha256.is_empty() && wanted.sha256 != voice.sha256() {
        return format!(
            "voice \"{}\" at {} is not the same as when the project was saved (hash {}, was {}): it may sound different",
            voice.manifest().name,
            voice.path().display(),
            &voice.sha256()[..12],
            wanted.sha256.get(..12).unwrap_or(&wanted.sha256),
        );
    }
    voice.provider_message()
}

fn refuse(slot: &Slot, asked: u64, error: &EngineError) {
    tracing::warn!("{error}");
    let shared = &slot.shared;
    shared.counters.set_voice_state(match error {
        EngineError::NeedsRestart { .. } => VoiceState::NeedsRestart,
        // The old voice goes on playing.
        _ if shared.sounding.load(Ordering::Acquire) => VoiceState::Ready,
        _ => VoiceState::Failed,
    });
    // After the state: whoever sees the answer sees what it means.
    shared.tell(|words| {
        (words.answered, words.refused) = (asked, true);
        words.message = error.to_string();
    });
}

fn unload(slot: &Slot, asked: u64) {
    let shared = &slot.shared;
    drop(shared.install(Change::Nothing));
    drop(slot.voice.lock().take());
    shared.tell(|words| {
        *words = Words {
            wanted: std::mem::take(&mut words.wanted),
            message: std::mem::take(&mut words.message),
            answered: asked,
            ..Words::default()
        };
    });
    shared.counters.set_voice_state(VoiceState::Empty);
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
