//! CLAP's editor, embedded in an X11 window of the host.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use clack_extensions::gui::{
    GuiApiType, GuiConfiguration, GuiSize, HostGuiImpl, PluginGui, Window,
};
use clack_host::prelude::*;

use super::Editor;
use super::clap::ClapHost;
use super::clap_handlers::{Handlers, Shared};

/// What the editor told the host.
#[derive(Default)]
pub struct Gui {
    closed: AtomicBool,
}

impl HostGuiImpl for Shared {
    fn resize_hints_changed(&self) {}
    fn request_resize(&self, _size: GuiSize) -> Result<(), HostError> {
        Ok(())
    }
    fn request_show(&self) -> Result<(), HostError> {
        Ok(())
    }
    fn request_hide(&self) -> Result<(), HostError> {
        Ok(())
    }
    fn closed(&self, _was_destroyed: bool) {
        self.gui.closed.store(true, Ordering::Release);
    }
}

/// The editor of one instance.
pub(super) struct ClapEditor<'a>(pub &'a mut PluginInstance<Handlers>);

const X11: GuiConfiguration<'static> = GuiConfiguration {
    api_type: GuiApiType::X11,
    is_floating: false,
};

impl ClapEditor<'_> {
    fn gui(&mut self) -> Result<(PluginMainThreadHandle<'_>, PluginGui)> {
        let handle = self.0.plugin_handle();
        let gui = handle
            .get_extension::<PluginGui>()
            .context("no gui extension")?;
        Ok((handle, gui))
    }
}

impl Editor for ClapEditor<'_> {
    fn open(&mut self, parent: u32) -> Result<(u32, u32)> {
        let (handle, gui) = self.gui()?;
        ensure!(gui.is_api_supported(&handle, X11), "no X11");
        gui.create(&handle, X11)?;
        gui.set_scale(&handle, 1.0)?;
        let size = gui.get_size(&handle).context("an editor without a size")?;
        if gui.can_resize(&handle) {
            let size = gui.adjust_size(&handle, size).context("no size near it")?;
            gui.set_size(&handle, size)?;
        }
        // SAFETY: the caller keeps the window until the editor is closed, or wants to see what happens when not.
        unsafe { gui.set_parent(&handle, Window::from_x11_handle(parent.into()))? };
        gui.show(&handle)?;
        ClapHost::serve_callback(self.0);
        Ok((size.width, size.height))
    }

    fn close(&mut self) -> Result<()> {
        ClapHost::serve_callback(self.0);
        let closed = self
            .0
            .access_shared_handler(|shared| shared.gui.closed.swap(false, Ordering::AcqRel));
        let (handle, gui) = self.gui()?;
        let hidden = gui.hide(&handle);
        gui.destroy(&handle);
        ensure!(!closed, "it had closed by itself");
        Ok(hidden?)
    }
}
