//! The window of an editor, which is gone for good when it has been dropped.
//!
//! On X11 baseview draws on a thread of its own. Dropping its window asks that thread to end and would wait for it, but
//! gives up when the thread is quick to end (`Could not receive response`): what is left of it then draws while the
//! host destroys the parent window or the instance. So this waits for the thread itself.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use nice_plug::editor::dpi::NativeSize;
use nice_plug::editor::{EditorHandle, SpawnedEditor};
use nice_plug::prelude::ParentWindowHandle;
use nice_plug_egui::{EguiEditorHandle, baseview};

use crate::params::TimbraParams;

/// Longest that closing may take. The thread needs the time of a picture.
const PATIENCE: Duration = Duration::from_secs(3);

thread_local! {
    /// Dropped when the thread ends, after all it had.
    static LAST: RefCell<Option<Sender<()>>> = const { RefCell::new(None) };
}

/// The part of a window's thread in its end.
pub struct Farewell(Option<Sender<()>>);

impl Farewell {
    /// To be called on the thread that draws, while the window is built.
    pub fn follow_this_thread(&mut self) {
        // Elsewhere the host's thread draws, and a window is gone when it has been dropped.
        if cfg!(target_os = "linux") {
            LAST.set(self.0.take());
        }
    }
}

/// Waits for the end of a thread that a [`Farewell`] follows.
pub struct Ended(Receiver<()>);

/// Makes the two ends.
pub fn farewell() -> (Farewell, Ended) {
    let (sender, receiver) = channel();
    (Farewell(Some(sender)), Ended(receiver))
}

/// An open window.
pub struct Window {
    window: Option<baseview::Window>,
    ended: Ended,
}

impl Window {
    fn open(&self) -> &baseview::Window {
        self.window.as_ref().expect("taken by drop alone")
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // When a picture failed, because the host closed its own window first for instance, the thread has panicked,
        // and dropping would raise that again: through the host, which it would end.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(self.window.take())));
        // Ends with the sender; a thread that hangs must not hang the host for ever.
        let _ = self.ended.0.recv_timeout(PATIENCE);
    }
}

/// The framework's handle, for such a window.
pub struct Handle {
    framework: EguiEditorHandle,
    params: Arc<TimbraParams>,
}

/// Takes over what the framework has opened.
pub fn adopt(
    spawned: SpawnedEditor<EguiEditorHandle>,
    ended: Ended,
    params: Arc<TimbraParams>,
) -> SpawnedEditor<Handle> {
    SpawnedEditor {
        handle: Handle {
            framework: spawned.handle,
            params,
        },
        window: Window {
            window: Some(spawned.window),
            ended,
        },
    }
}

impl EditorHandle for Handle {
    type Window = Window;
    type Error = baseview::Error;

    fn run_until_closed(mut window: Window) -> Result<(), Self::Error> {
        let open = window.window.take().expect("taken by drop alone");
        EguiEditorHandle::run_until_closed(open)
    }

    fn set_parent(&self, parent: ParentWindowHandle, window: &Window) -> Result<(), Self::Error> {
        self.framework.set_parent(parent, window.open())
    }

    fn show(&self, window: &Window) -> Result<(), Self::Error> {
        self.framework.show(window.open())
    }

    fn hide(&self, window: &Window) -> Result<(), Self::Error> {
        self.framework.hide(window.open())
    }

    fn set_size(&self, size: NativeSize<u32>, window: &Window) -> Result<(), Self::Error> {
        self.framework.set_size(size, window.open())
    }

    fn host_main_thread_callback(&self, window: &Window) {
        self.framework.host_main_thread_callback(window.open());
    }

    fn adjust_size(&self, size: NativeSize<u32>, window: &Window) -> Option<NativeSize<u32>> {
        // The framework's own hint is that of the smallest zoom.
        let now = window.open().size();
        let hint = super::resize_hint(self.params.editor.get().zoom);
        let native = NativeSize::from_logical_or_physical(now.logical, now.physical);
        Some(hint.adjust_size(size, native, now.scale_factor))
    }

    fn set_fallback_scale_factor(&self, scale: f64, window: &Window) -> Result<(), Self::Error> {
        self.framework
            .set_fallback_scale_factor(scale, window.open())
    }

    fn state_changed(&self) {
        self.framework.state_changed();
    }

    fn param_value_changed(&self, id: &str, normalized: f32) {
        self.framework.param_value_changed(id, normalized);
    }

    fn param_modulation_changed(&self, id: &str, offset: f32) {
        self.framework.param_modulation_changed(id, offset);
    }
}
