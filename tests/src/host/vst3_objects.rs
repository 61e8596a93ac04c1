//! The COM objects a VST3 host hands to a plugin.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};

use vst3::Steinberg::Vst::{
    Event, Event_::EventTypes_, Event__type0, IComponentHandler, IComponentHandlerTrait,
    IEventList, IEventListTrait, IHostApplication, IHostApplicationTrait, IParamValueQueue,
    IParamValueQueueTrait, IParameterChanges, IParameterChangesTrait, NoteOffEvent, NoteOnEvent,
    ParamID, ParamValue, String128,
};
use vst3::Steinberg::{
    IBStream,
    IBStream_::{IStreamSeekMode, IStreamSeekMode_},
    IBStreamTrait, TUID, int32, int64, kInvalidArgument, kNotImplemented, kResultOk, tresult,
};
use vst3::{Class, ComWrapper};

use super::{Change, Note};

/// Says who the host is.
pub struct Application;

impl Class for Application {
    type Interfaces = (IHostApplication,);
}

impl IHostApplicationTrait for Application {
    unsafe fn getName(&self, name: *mut String128) -> tresult {
        // SAFETY: the plugin passes a valid String128 to fill.
        let name = unsafe { &mut *name };
        let text = "Timbra test host".encode_utf16().chain([0]);
        for (to, from) in name.iter_mut().zip(text) {
            *to = from as _;
        }
        kResultOk
    }
    unsafe fn createInstance(
        &self,
        _cid: *mut TUID,
        _iid: *mut TUID,
        _object: *mut *mut c_void,
    ) -> tresult {
        kNotImplemented
    }
}

/// Receives what the plugin's controller wants to tell.
#[derive(Default)]
pub struct Handler {
    /// The plugin asked for a restart (latency, layout, …).
    pub restart: AtomicBool,
}

impl Class for Handler {
    type Interfaces = (IComponentHandler,);
}

impl IComponentHandlerTrait for Handler {
    unsafe fn beginEdit(&self, _id: ParamID) -> tresult {
        kResultOk
    }
    unsafe fn performEdit(&self, _id: ParamID, _value: ParamValue) -> tresult {
        kResultOk
    }
    unsafe fn endEdit(&self, _id: ParamID) -> tresult {
        kResultOk
    }
    unsafe fn restartComponent(&self, flags: int32) -> tresult {
        use vst3::Steinberg::Vst::RestartFlags_::{kIoChanged, kLatencyChanged, kReloadComponent};
        let restart = (kLatencyChanged | kIoChanged | kReloadComponent) as int32;
        if flags & restart != 0 {
            self.restart.store(true, Ordering::Release);
        }
        kResultOk
    }
}

/// A state stream in memory.
pub struct Stream {
    /// What was written or is to be read.
    pub bytes: RefCell<Vec<u8>>,
    position: Cell<usize>,
    /// Most bytes at a time.
    piece: usize,
}

impl Stream {
    /// A stream that holds `bytes` and takes or gives at most `piece` at a time.
    pub fn new(bytes: &[u8], piece: usize) -> ComWrapper<Self> {
        ComWrapper::new(Self {
            bytes: RefCell::new(bytes.to_vec()),
            position: Cell::new(0),
            piece,
        })
    }
}

impl Class for Stream {
    type Interfaces = (IBStream,);
}

impl IBStreamTrait for Stream {
    unsafe fn read(&self, buffer: *mut c_void, wanted: int32, done: *mut int32) -> tresult {
        let bytes = self.bytes.borrow();
        let start = self.position.get().min(bytes.len());
        let count = usize::try_from(wanted)
            .unwrap_or(0)
            .min(bytes.len() - start)
            .min(self.piece);
        // SAFETY: the plugin's buffer holds `wanted` bytes, `done` may be null.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes[start..].as_ptr(), buffer.cast(), count);
            if !done.is_null() {
                *done = count as int32;
            }
        }
        self.position.set(start + count);
        kResultOk
    }

    unsafe fn write(&self, buffer: *mut c_void, count: int32, done: *mut int32) -> tresult {
        let Ok(length) = usize::try_from(count) else {
            return kInvalidArgument;
        };
        let length = length.min(self.piece);
        // SAFETY: the plugin's buffer holds `count` bytes, `done` may be null.
        let new = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), length) };
        let mut bytes = self.bytes.borrow_mut();
        let start = self.position.get();
        let end = start + length;
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(new);
        self.position.set(end);
        if !done.is_null() {
            // SAFETY: checked above; points to the plugin's counter.
            unsafe { *done = length as int32 };
        }
        kResultOk
    }

    unsafe fn seek(&self, offset: int64, mode: int32, result: *mut int64) -> tresult {
        let length = self.bytes.borrow().len() as int64;
        let base = match mode as IStreamSeekMode {
            IStreamSeekMode_::kIBSeekSet => 0,
            IStreamSeekMode_::kIBSeekCur => self.position.get() as int64,
            IStreamSeekMode_::kIBSeekEnd => length,
            _ => return kInvalidArgument,
        };
        let position = (base + offset).clamp(0, length);
        self.position.set(position as usize);
        if !result.is_null() {
            // SAFETY: checked above; points to the plugin's variable.
            unsafe { *result = position };
        }
        kResultOk
    }

    unsafe fn tell(&self, position: *mut int64) -> tresult {
        if position.is_null() {
            return kInvalidArgument;
        }
        // SAFETY: checked above; points to the plugin's variable.
        unsafe { *position = self.position.get() as int64 };
        kResultOk
    }
}

/// The points of one parameter in one block.
pub struct Queue {
    id: ParamID,
    points: Vec<(int32, ParamValue)>,
}

impl Class for Queue {
    type Interfaces = (IParamValueQueue,);
}

impl IParamValueQueueTrait for Queue {
    unsafe fn getParameterId(&self) -> ParamID {
        self.id
    }
    unsafe fn getPointCount(&self) -> int32 {
        self.points.len() as int32
    }
    unsafe fn getPoint(&self, index: int32, at: *mut int32, value: *mut ParamValue) -> tresult {
        let Some(&point) = usize::try_from(index).ok().and_then(|i| self.points.get(i)) else {
            return kInvalidArgument;
        };
        // SAFETY: the plugin passes two valid variables to fill.
        unsafe { (*at, *value) = point };
        kResultOk
    }
    unsafe fn addPoint(&self, _at: int32, _value: ParamValue, _index: *mut int32) -> tresult {
        kNotImplemented
    }
}

/// All parameter changes of one block, a queue per parameter.
pub struct Changes {
    queues: Vec<ComWrapper<Queue>>,
}

impl Changes {
    /// Groups `changes` by parameter and keeps their order.
    pub fn new(changes: &[Change]) -> ComWrapper<Self> {
        let mut queues: Vec<Queue> = Vec::new();
        for change in changes {
            let point = (change.at_samples as int32, change.value);
            match queues.iter_mut().find(|q| q.id == change.id) {
                Some(queue) => queue.points.push(point),
                None => queues.push(Queue {
                    id: change.id,
                    points: vec![point],
                }),
            }
        }
        ComWrapper::new(Self {
            queues: queues.into_iter().map(ComWrapper::new).collect(),
        })
    }
}

impl Class for Changes {
    type Interfaces = (IParameterChanges,);
}

impl IParameterChangesTrait for Changes {
    unsafe fn getParameterCount(&self) -> int32 {
        self.queues.len() as int32
    }
    unsafe fn getParameterData(&self, index: int32) -> *mut IParamValueQueue {
        usize::try_from(index)
            .ok()
            .and_then(|i| self.queues.get(i))
            .and_then(|q| q.as_com_ref::<IParamValueQueue>())
            .map_or(std::ptr::null_mut(), |q| q.as_ptr())
    }
    unsafe fn addParameterData(
        &self,
        _id: *const ParamID,
        _index: *mut int32,
    ) -> *mut IParamValueQueue {
        std::ptr::null_mut()
    }
}

/// All notes of one block.
pub struct Events {
    notes: Vec<Note>,
}

impl Events {
    /// Keeps the order of `notes`.
    pub fn new(notes: &[Note]) -> ComWrapper<Self> {
        ComWrapper::new(Self {
            notes: notes.to_vec(),
        })
    }
}

impl Class for Events {
    type Interfaces = (IEventList,);
}

impl IEventListTrait for Events {
    unsafe fn getEventCount(&self) -> int32 {
        self.notes.len() as int32
    }
    unsafe fn getEvent(&self, index: int32, event: *mut Event) -> tresult {
        let Some(note) = usize::try_from(index).ok().and_then(|i| self.notes.get(i)) else {
            return kInvalidArgument;
        };
        let (kind, what) = if note.on {
            let on = NoteOnEvent {
                channel: 0,
                pitch: note.key.into(),
                tuning: 0.0,
                velocity: 0.8,
                length: 0,
                noteId: -1,
            };
            (EventTypes_::kNoteOnEvent, Event__type0 { noteOn: on })
        } else {
            let off = NoteOffEvent {
                channel: 0,
                pitch: note.key.into(),
                velocity: 0.0,
                noteId: -1,
                tuning: 0.0,
            };
            (EventTypes_::kNoteOffEvent, Event__type0 { noteOff: off })
        };
        let filled = Event {
            busIndex: 0,
            sampleOffset: note.at_samples as int32,
            ppqPosition: 0.0,
            flags: 0,
            r#type: kind as _,
            __field0: what,
        };
        // SAFETY: the plugin passes a valid event to fill, which it may not have made whole.
        unsafe { event.write(filled) };
        kResultOk
    }
    unsafe fn addEvent(&self, _event: *mut Event) -> tresult {
        kNotImplemented
    }
}
