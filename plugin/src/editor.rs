//! The window: reads snapshots, sends parameter gestures.
//!
//! Each opening builds a fresh window on the instance's [`Session`], so any
//! number of instances may have theirs open, and size and zoom are taken from
//! the saved state every time.

pub mod browser;
pub mod chooser;
pub mod controls;
pub mod header;
pub mod meters;
pub mod notices;
pub mod pitch;
pub mod retune;
pub mod slider;
pub mod status_bar;
pub mod theme;
pub mod voice_card;
pub mod window;

use std::cell::Cell;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use egui::{CentralPanel, Frame, Margin, Panel, Ui, Vec2};
use nice_plug::context::gui::GuiContext;
use nice_plug::editor::dpi::{LogicalSize, NativeSize, Size as DpiSize};
use nice_plug::editor::{HostMethods, SpawnedEditor};
use nice_plug::params::internals::ParamPtr;
use nice_plug::prelude::{Editor, ParentWindowHandle, ResizeHint};
use nice_plug_egui::baseview::{HandlerError, WindowSize};
use nice_plug_egui::resizable_window::ResizableWindow;
use nice_plug_egui::{
    EguiEditor, EguiEditorState, EguiNiceSettings, NiceEguiApp, RepaintNotifier, create_egui_editor,
};
use parking_lot::Mutex;
use timbra_engine::StatusSnapshot;

use crate::params::TimbraParams;
use crate::state::{MIN_SIZE, Size, ZOOM};
use crate::steward::{Session, Steward};

/// Pause between two pictures while nothing is touched.
const FRAME: Duration = Duration::from_millis(33);

/// Opens the window of one instance.
pub struct TimbraEditor {
    steward: Arc<Steward>,
    /// Size of the open window in the system's native pixels; hosts ask for it.
    native_size: Arc<Mutex<Option<NativeSize<u32>>>>,
}

impl TimbraEditor {
    /// An editor for the instance `steward` looks after; no window yet.
    pub fn new(steward: Arc<Steward>) -> Self {
        Self {
            steward,
            native_size: Arc::default(),
        }
    }

    fn saved_size(&self) -> Size {
        self.steward.session().params.editor.get()
    }
}

/// What a window with `zoom` accepts.
fn resize_hint(zoom: f32) -> ResizeHint {
    let smallest = LogicalSize::new(MIN_SIZE.0 * zoom, MIN_SIZE.1 * zoom);
    ResizeHint::RESIZABLE.with_min_logical_size(smallest)
}

impl Editor for TimbraEditor {
    type Handle = window::Handle;

    fn spawn(
        &self,
        parent: Option<ParentWindowHandle>,
        wait_for_parent: bool,
        fallback_scale_factor: Option<f64>,
        gui_context: GuiContext,
        host: Option<HostMethods>,
    ) -> Result<SpawnedEditor<Self::Handle>, Box<dyn Error>> {
        self.steward.search_voices();
        let size = self.saved_size();
        let state = EguiEditorState::from_size(
            DpiSize::Logical(LogicalSize::new(size.width, size.height).cast()),
            size.zoom,
        );
        *self.native_size.lock() = None;
        // The window keeps this hint, and the zoom may become smaller; `window::Handle` knows the one that is.
        let settings = EguiNiceSettings::new()
            .with_tile("Timbra")
            .with_resize_hint(resize_hint(ZOOM.0));
        let (farewell, ended) = window::farewell();
        let window: EguiEditor<TimbraWindow> = create_egui_editor(
            state,
            RepaintNotifier::new(),
            settings,
            TimbraWindow::new(self.steward.clone(), self.native_size.clone(), farewell),
        )
        .ok_or("the editor could not be built")?;
        let spawned = window.spawn(
            parent,
            wait_for_parent,
            fallback_scale_factor,
            gui_context,
            host,
        )?;
        let params = self.steward.session().params.clone();
        Ok(window::adopt(spawned, ended, params))
    }

    fn size(&self) -> NativeSize<u32> {
        // An open window knows the system's scale; before, hosts are told the
        // size at scale 1 and follow when the window asks for more.
        self.native_size.lock().unwrap_or_else(|| {
            let size = self.saved_size();
            let points = LogicalSize::new(size.width * size.zoom, size.height * size.zoom);
            NativeSize::from_size(DpiSize::Logical(points.cast()), 1.0)
        })
    }

    fn resize_hint(&self) -> ResizeHint {
        resize_hint(self.saved_size().zoom)
    }
}

/// What one open window remembers between two pictures.
pub struct TimbraWindow {
    steward: Arc<Steward>,
    native_size: Arc<Mutex<Option<NativeSize<u32>>>>,
    host: Option<GuiContext>,
    size: Size,
    browser: browser::Browser,
    card: voice_card::VoiceCard,
    presets: header::PresetMenu,
    meters: meters::Meters,
    pitch: pitch::PitchView,
    gesture: Cell<Option<ParamPtr>>,
    /// What the last action of the user came to, when it failed.
    failure: String,
    /// The engine's message that was read and put away.
    dismissed: String,
    farewell: window::Farewell,
}

/// What every part of the window is given.
pub struct Scene<'a> {
    /// The instance.
    pub steward: &'a Steward,
    /// Its parameters.
    pub params: &'a TimbraParams,
    /// The way to the host.
    pub host: &'a GuiContext,
    /// The stream's state; `None` while the host has not activated the plugin.
    pub status: Option<&'a StatusSnapshot>,
    /// The parameter that is being dragged.
    pub gesture: &'a Cell<Option<ParamPtr>>,
    /// Whether the whole of it is scrolled: then the wheel does that and nothing else.
    pub scrolls: bool,
}

impl Scene<'_> {
    /// What the instance's parts share.
    pub fn session(&self) -> &Session {
        self.steward.session()
    }

    /// Lets the host know that what it would save has changed.
    ///
    /// The framework has no call for it, so a gesture sets the tier to what it
    /// is: the one parameter that no host writes into an automation lane.
    pub fn mark_changed(&self) {
        let setter = self.host.param_setter();
        let tier = &self.params.tier;
        setter.begin_set_parameter(tier);
        setter.set_parameter(tier, tier.value());
        setter.end_set_parameter(tier);
    }
}

impl TimbraWindow {
    fn new(
        steward: Arc<Steward>,
        native_size: Arc<Mutex<Option<NativeSize<u32>>>>,
        farewell: window::Farewell,
    ) -> Self {
        let size = steward.session().params.editor.get();
        Self {
            steward,
            native_size,
            host: None,
            size,
            browser: browser::Browser::default(),
            card: voice_card::VoiceCard::default(),
            presets: header::PresetMenu::default(),
            meters: meters::Meters::default(),
            pitch: pitch::PitchView::default(),
            gesture: Cell::new(None),
            failure: String::new(),
            dismissed: String::new(),
            farewell,
        }
    }

    fn remember_size(&self) {
        self.steward.session().params.editor.store(self.size);
    }

    fn draw(&mut self, ui: &mut Ui, host: &GuiContext, scrolls: bool) {
        let steward = self.steward.clone();
        let session = steward.session();
        let status = session.status();
        let scene = Scene {
            steward: &steward,
            params: &session.params,
            host,
            status: status.as_ref(),
            gesture: &self.gesture,
            scrolls,
        };

        let bar = |margin: Margin| Frame::new().fill(theme::BACKGROUND).inner_margin(margin);
        Panel::top("header")
            .resizable(false)
            .show_separator_line(false)
            .frame(bar(Margin {
                left: 14,
                right: 14,
                top: 10,
                bottom: 6,
            }))
            .show(ui, |ui| {
                header::show(
                    ui,
                    &scene,
                    &mut self.browser,
                    &mut self.card,
                    &mut self.presets,
                    &mut self.failure,
                );
                notices::show(ui, &scene, &mut self.failure, &mut self.dismissed);
            });
        Panel::bottom("status")
            .resizable(false)
            .show_separator_line(false)
            .frame(bar(Margin {
                left: 14,
                right: 22,
                top: 4,
                bottom: 8,
            }))
            .show(ui, |ui| status_bar::show(ui, &scene));
        Panel::left("voice")
            .resizable(false)
            .show_separator_line(false)
            .exact_size(236.0)
            .frame(bar(Margin {
                left: 14,
                right: 0,
                top: 4,
                bottom: 4,
            }))
            .show(ui, |ui| controls::left(ui, &scene));
        Panel::right("meters")
            .resizable(false)
            .show_separator_line(false)
            .exact_size(108.0)
            .frame(bar(Margin {
                left: 0,
                right: 14,
                top: 4,
                bottom: 4,
            }))
            .show(ui, |ui| self.meters.show(ui, &scene));
        CentralPanel::default()
            .frame(bar(Margin {
                left: 10,
                right: 10,
                top: 4,
                bottom: 4,
            }))
            .show(ui, |ui| {
                Panel::bottom("sound")
                    .resizable(false)
                    .show_separator_line(false)
                    .frame(bar(Margin {
                        left: 0,
                        right: 0,
                        top: 10,
                        bottom: 0,
                    }))
                    .show(ui, |ui| controls::below(ui, &scene));
                CentralPanel::no_frame().show(ui, |ui| self.pitch.show(ui, &scene));
            });

        if let Some(path) = self.browser.show(ui.ctx()) {
            match steward.open_voice(path) {
                Ok(()) => scene.mark_changed(),
                Err(problem) => self.failure = problem,
            }
        }
        self.card.show(ui.ctx(), &scene);
    }
}

impl Drop for TimbraWindow {
    fn drop(&mut self) {
        // Closed in the middle of a drag: a host must not wait for its end forever.
        if let Some((pointer, host)) = self.gesture.take().zip(self.host.take()) {
            // The framework panics when the plugin went first; then nobody waits.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                // SAFETY: the steward holds the parameters.
                unsafe { host.raw_end_set_parameter(pointer) }
            }));
        }
    }
}

impl NiceEguiApp for TimbraWindow {
    fn build(
        &mut self,
        context: egui::Context,
        host: GuiContext,
        _frame: &mut nice_plug_egui::Frame,
    ) -> Result<(), HandlerError> {
        self.farewell.follow_this_thread();
        theme::apply(&context);
        self.host = Some(host);
        Ok(())
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut nice_plug_egui::Frame) {
        ui.ctx().request_repaint_after(FRAME);
        let Some(host) = self.host.clone() else {
            return;
        };
        ResizableWindow::new("timbra")
            .min_size(Vec2::new(MIN_SIZE.0, MIN_SIZE.1))
            .show(ui, |ui| {
                let room = ui.available_size();
                if room.x + 1.0 < MIN_SIZE.0 || room.y + 1.0 < MIN_SIZE.1 {
                    // A host may give less than was asked for; then one scrolls.
                    egui::ScrollArea::both().show(ui, |ui| {
                        let size = room.max(Vec2::new(MIN_SIZE.0, MIN_SIZE.1));
                        let (rect, _) = ui.allocate_exact_size(size, egui::Sense::hover());
                        let mut inside = ui.new_child(egui::UiBuilder::new().max_rect(rect));
                        self.draw(&mut inside, &host, true);
                    });
                } else {
                    self.draw(ui, &host, false);
                }
            });
    }

    fn resized(&mut self, size: WindowSize) {
        // On macOS native pixels are points of the system, without our zoom.
        *self.native_size.lock() = Some(NativeSize::from_size(
            DpiSize::Physical(size.physical),
            size.scale_factor / f64::from(self.size.zoom),
        ));
        self.size.width = size.logical.width as f32;
        self.size.height = size.logical.height as f32;
        self.remember_size();
    }

    fn zoom_factor_changed(&mut self, zoom: f32) {
        self.size.zoom = zoom;
        self.remember_size();
    }
}
