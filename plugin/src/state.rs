//! What is saved beside the parameters: the wanted voice and the editor's size.
//!
//! The framework hands state over whenever the host likes: before or after
//! activation, and for presets loaded while playing even on the audio thread.
//! So a field here only stores what it is given, counts a generation up and
//! wakes the [`steward`](crate::steward), which does the work.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;

use nice_plug::params::internals::ParamPtr;
use nice_plug::params::persist::PersistentField;
use nice_plug::plugin::ParamValue;
use nice_plug::prelude::{Params, PluginState};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use timbra_engine::VoiceRef;

use crate::params::TimbraParams;

/// Name of the voice a fresh instance asks for.
pub const DEFAULT_VOICE: &str = "trio";

/// The saved voice with a count of its changes.
pub struct VoiceSlot {
    wanted: Mutex<VoiceRef>,
    /// Whether a state asked for it, not the user.
    from_state: AtomicBool,
    generation: AtomicU64,
    steward: OnceLock<Thread>,
}

impl Default for VoiceSlot {
    fn default() -> Self {
        Self {
            wanted: Mutex::new(VoiceRef {
                name: DEFAULT_VOICE.to_owned(),
                ..VoiceRef::default()
            }),
            from_state: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            steward: OnceLock::new(),
        }
    }
}

impl VoiceSlot {
    /// The voice asked for.
    pub fn get(&self) -> VoiceRef {
        self.wanted.lock().clone()
    }

    /// Asks for another voice, as the user does in the editor.
    pub fn ask_for(&self, voice: VoiceRef) {
        self.replace(voice, false);
    }

    /// Whether the voice was asked for by a state: then no other may sound in its place.
    pub fn is_from_state(&self) -> bool {
        self.from_state.load(Ordering::Acquire)
    }

    fn replace(&self, voice: VoiceRef, from_state: bool) {
        *self.wanted.lock() = voice;
        self.from_state.store(from_state, Ordering::Release);
        self.generation.fetch_add(1, Ordering::Release);
        if let Some(steward) = self.steward.get() {
            steward.unpark();
        }
    }

    /// Completes what is saved with the place and hash that were found for it,
    /// unless another voice was asked for since `generation`.
    pub fn complete(&self, generation: u64, found: VoiceRef) {
        let mut wanted = self.wanted.lock();
        if self.generation() == generation {
            *wanted = found;
        }
    }

    /// Counts the voices asked for.
    ///
    /// Real-time: yes.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Names the thread to wake on a change; the first call counts.
    pub fn wake_on_change(&self, steward: Thread) {
        // A second editor or activation finds the steward already named.
        let _ = self.steward.set(steward);
    }
}

impl<'a> PersistentField<'a, VoiceRef> for VoiceSlot {
    fn set(&self, voice: VoiceRef) {
        self.replace(voice, true);
    }

    fn map<F, R>(&self, f: F) -> R
    where
        F: Fn(&VoiceRef) -> R,
    {
        f(&self.wanted.lock())
    }
}

/// Smallest and largest zoom of the editor, on top of the system's.
pub const ZOOM: (f32, f32) = (0.75, 3.0);

/// Size of the editor in points, and the zoom on top of the system's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Size {
    /// Points.
    pub width: f32,
    /// Points.
    pub height: f32,
    /// Factor.
    pub zoom: f32,
}

/// Smallest editor in points; everything is readable and nothing is cut off at this size.
pub const MIN_SIZE: (f32, f32) = (880.0, 560.0);

impl Default for Size {
    fn default() -> Self {
        Self {
            width: 980.0,
            height: 640.0,
            zoom: 1.0,
        }
    }
}

impl Size {
    /// The nearest size an editor can have: numbers from a file may be anything.
    pub fn sane(self) -> Self {
        let within = |value: f32, low: f32, high: f32, otherwise: f32| {
            if value.is_finite() {
                value.clamp(low, high)
            } else {
                otherwise
            }
        };
        let default = Self::default();
        Self {
            width: within(self.width, MIN_SIZE.0, 4000.0, default.width),
            height: within(self.height, MIN_SIZE.1, 3000.0, default.height),
            zoom: within(self.zoom, ZOOM.0, ZOOM.1, default.zoom),
        }
    }
}

/// The saved size of the editor.
#[derive(Default)]
pub struct EditorSize(Mutex<Size>);

impl EditorSize {
    /// The size to open with.
    pub fn get(&self) -> Size {
        self.0.lock().sane()
    }

    /// Remembers a new size.
    pub fn store(&self, size: Size) {
        *self.0.lock() = size.sane();
    }
}

impl<'a> PersistentField<'a, Size> for EditorSize {
    fn set(&self, size: Size) {
        self.store(size);
    }

    fn map<F, R>(&self, f: F) -> R
    where
        F: Fn(&Size) -> R,
    {
        f(&self.0.lock())
    }
}

/// A sentence about the state loaded last; empty when there was nothing to say. Saved empty.
#[derive(Default)]
pub struct StateNotice(Mutex<String>);

impl StateNotice {
    /// The sentence.
    pub fn get(&self) -> String {
        self.0.lock().clone()
    }

    /// Forgets it, once it was read.
    pub fn clear(&self) {
        self.0.lock().clear();
    }
}

impl<'a> PersistentField<'a, String> for StateNotice {
    fn set(&self, notice: String) {
        *self.0.lock() = notice;
    }

    fn map<F, R>(&self, f: F) -> R
    where
        F: Fn(&String) -> R,
    {
        f(&String::new())
    }
}

/// Field under which [`filter`] leaves its sentence for [`StateNotice`].
const NOTICE_FIELD: &str = "notice";

/// The value of a parameter as it is saved.
///
/// # Safety
/// What owns the parameter is alive.
unsafe fn saved(pointer: ParamPtr) -> ParamValue {
    // SAFETY: the caller's.
    let plain = unsafe { pointer.unmodulated_plain_value() };
    match pointer {
        ParamPtr::FloatParam(_) => ParamValue::F32(plain),
        ParamPtr::IntParam(_) => ParamValue::I32(plain.round() as i32),
        ParamPtr::BoolParam(_) => ParamValue::Bool(plain > 0.5),
        // SAFETY: the caller's.
        ParamPtr::EnumParam(p) => match unsafe { (*p).unmodulated_plain_id() } {
            Some(id) => ParamValue::String(id.to_owned()),
            None => ParamValue::I32(plain.round() as i32),
        },
    }
}

/// Makes a state of any version fit this one, and says what was left out.
///
/// Unknown parameters and fields (of a newer version) are dropped, numbers are
/// brought into range, and a voice entry that cannot be read is dropped so that
/// the voice in use stays. What an older version did not have is as it was
/// then, at its default, whatever the instance is set to. Nothing is refused as
/// a whole: the rest still plays.
pub fn filter(state: &mut PluginState) {
    let reference = TimbraParams::default();
    let map = reference.param_map();
    let mut left_out = BTreeSet::new();
    let not_saved: Vec<_> = map
        .iter()
        .filter(|(id, _, _)| !state.params.contains_key(id))
        .collect();

    state.params.retain(|id, value| {
        let Some((_, pointer, _)) = map.iter().find(|(known, _, _)| known == id) else {
            left_out.insert(format!("parameter \"{id}\""));
            return false;
        };
        // SAFETY: `reference` owns the parameters and outlives this closure.
        let (low, high) = unsafe { (pointer.preview_plain(0.0), pointer.preview_plain(1.0)) };
        let fits = match (pointer, value) {
            (ParamPtr::FloatParam(_), ParamValue::F32(number)) if number.is_finite() => {
                *number = number.clamp(low, high);
                true
            }
            (ParamPtr::IntParam(_), ParamValue::I32(number)) => {
                *number = (*number).clamp(low as i32, high as i32);
                true
            }
            (ParamPtr::BoolParam(_), ParamValue::Bool(_)) => true,
            // SAFETY: see above.
            (ParamPtr::EnumParam(p), ParamValue::String(id)) => unsafe { (**p).set_from_id(id) },
            _ => false,
        };
        if !fits {
            left_out.insert(format!("value of \"{id}\""));
        }
        fits
    });

    for (id, pointer, _) in not_saved {
        // SAFETY: `reference` owns the parameters, and they are what they default to.
        let value = unsafe { saved(*pointer) };
        state.params.insert(id.clone(), value);
    }

    let known_fields = reference.serialize_fields();
    state.fields.retain(|key, json| {
        let readable = match key.as_str() {
            "voice" => serde_json::from_str::<VoiceRef>(json).is_ok(),
            "editor" => serde_json::from_str::<Size>(json).is_ok(),
            NOTICE_FIELD => false,
            key => known_fields.contains_key(key),
        };
        if !readable && key != NOTICE_FIELD {
            left_out.insert(format!("entry \"{key}\""));
        }
        readable
    });

    let notice = if left_out.is_empty() {
        String::new()
    } else {
        let list: Vec<_> = left_out.into_iter().collect();
        let version = match state.version.as_str() {
            "" => "an unknown version",
            version => version,
        };
        format!(
            "This state was saved by Timbra {version}; this is {}, which left out: {}. \
             Install the newer version to have them back.",
            env!("CARGO_PKG_VERSION"),
            list.join(", ")
        )
    };
    if let Ok(json) = serde_json::to_string(&notice) {
        state.fields.insert(NOTICE_FIELD.to_owned(), json);
    }
}
