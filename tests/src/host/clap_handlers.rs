//! What a CLAP plugin may ask of the host, and from which thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ThreadId;

use clack_extensions::gui::HostGui;
use clack_extensions::latency::{HostLatency, HostLatencyImpl};
use clack_extensions::params::{
    HostParams, HostParamsImplMainThread, HostParamsImplShared, ParamClearFlags, ParamRescanFlags,
};
use clack_extensions::state::{HostState, HostStateImpl};
use clack_extensions::thread_check::{HostThreadCheck, HostThreadCheckImpl};
use clack_host::prelude::*;
use clack_host::utils::ClapId;

use super::clap_gui::Gui;

/// Requests a plugin may raise from any thread, and the thread it must not take for another.
pub struct Shared {
    pub(super) restart: AtomicBool,
    pub(super) callback: AtomicBool,
    main: ThreadId,
    /// A function of the main thread was called on another one.
    pub(super) strayed: AtomicBool,
    pub(super) gui: Gui,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            restart: AtomicBool::new(false),
            callback: AtomicBool::new(false),
            main: std::thread::current().id(),
            strayed: AtomicBool::new(false),
            gui: Gui::default(),
        }
    }
}

impl HostThreadCheckImpl for Shared {
    fn is_main_thread(&self) -> bool {
        std::thread::current().id() == self.main
    }
    fn is_audio_thread(&self) -> bool {
        !self.is_main_thread()
    }
}

impl SharedHandler<'_> for Shared {
    fn request_restart(&self) {
        self.restart.store(true, Ordering::Release);
    }
    fn request_process(&self) {}
    fn request_callback(&self) {
        self.callback.store(true, Ordering::Release);
    }
}

impl HostParamsImplShared for Shared {
    fn request_flush(&self) {}
}

/// The main thread's side.
pub struct MainThread<'a>(pub(super) &'a Shared);

impl MainThread<'_> {
    fn called(&self) {
        if !self.0.is_main_thread() {
            self.0.strayed.store(true, Ordering::Release);
        }
    }
}

impl<'a> MainThreadHandler<'a> for MainThread<'a> {}

impl HostParamsImplMainThread for MainThread<'_> {
    fn rescan(&self, _flags: ParamRescanFlags) {
        self.called();
    }
    fn clear(&self, _id: ClapId, _flags: ParamClearFlags) {
        self.called();
    }
}

impl HostLatencyImpl for MainThread<'_> {
    // CLAP lets it change during activation only, after which it is asked for.
    fn changed(&self) {
        self.called();
    }
}

impl HostStateImpl for MainThread<'_> {
    fn mark_dirty(&self) {
        self.called();
    }
}

/// Names the handler types for clack.
pub struct Handlers;

impl HostHandlers for Handlers {
    type Shared<'a> = Shared;
    type MainThread<'a> = MainThread<'a>;
    type AudioProcessor<'a> = ();

    fn declare_extensions(builder: &mut HostExtensions<Self>, _shared: &Self::Shared<'_>) {
        builder
            .register::<HostGui>()
            .register::<HostParams>()
            .register::<HostLatency>()
            .register::<HostState>()
            .register::<HostThreadCheck>();
    }
}
