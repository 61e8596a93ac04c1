//! VST3's editor, embedded in an X11 window of the host.

use std::ffi::c_void;

use anyhow::{Context, Result, bail};
use vst3::ComPtr;
use vst3::Steinberg::Vst::{IEditController, IEditControllerTrait, ViewType};
use vst3::Steinberg::{
    IPlugView, IPlugViewTrait, ViewRect, kPlatformTypeX11EmbedWindowID, kResultOk,
};

use super::Editor;

/// The editor of one instance.
pub(super) struct View {
    controller: ComPtr<IEditController>,
    open: Option<ComPtr<IPlugView>>,
}

impl View {
    pub fn new(controller: ComPtr<IEditController>) -> Self {
        Self {
            controller,
            open: None,
        }
    }
}

impl Editor for View {
    fn open(&mut self, parent: u32) -> Result<(u32, u32)> {
        // SAFETY: the order of the life cycle of a view; the caller keeps the window.
        unsafe {
            let view = ComPtr::from_raw(self.controller.createView(ViewType::kEditor));
            let view = view.context("no view")?;
            let mut size: ViewRect = std::mem::zeroed();
            if view.isPlatformTypeSupported(kPlatformTypeX11EmbedWindowID) != kResultOk {
                bail!("no X11");
            }
            if view.getSize(&mut size) != kResultOk {
                bail!("an editor without a size");
            }
            let window = parent as usize as *mut c_void;
            if view.attached(window, kPlatformTypeX11EmbedWindowID) != kResultOk {
                bail!("the view was not attached");
            }
            self.open = Some(view);
            let (width, height) = (size.right - size.left, size.bottom - size.top);
            Ok((width.try_into()?, height.try_into()?))
        }
    }

    fn close(&mut self) -> Result<()> {
        let view = self.open.take().context("not open")?;
        // SAFETY: the view is attached; the last use of it.
        if unsafe { view.removed() } != kResultOk {
            bail!("the view was not removed");
        }
        Ok(())
    }
}
