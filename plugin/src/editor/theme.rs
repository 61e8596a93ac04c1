//! Colours, spacing and text sizes of the editor.

use egui::{Color32, CornerRadius, FontFamily, FontId, Margin, Stroke, TextStyle, Vec2};

/// Behind everything.
pub const BACKGROUND: Color32 = Color32::from_rgb(0x12, 0x15, 0x1a);
/// A group of controls.
pub const PANEL: Color32 = Color32::from_rgb(0x1a, 0x1f, 0x26);
/// Troughs of sliders and meters, text fields.
pub const SUNKEN: Color32 = Color32::from_rgb(0x0d, 0x10, 0x14);
/// Buttons.
pub const RAISED: Color32 = Color32::from_rgb(0x29, 0x31, 0x3c);
/// Buttons under the pointer.
pub const RAISED_HOVER: Color32 = Color32::from_rgb(0x35, 0x3f, 0x4d);
/// Lines between groups.
pub const LINE: Color32 = Color32::from_rgb(0x2f, 0x37, 0x43);
/// Text to read.
pub const TEXT: Color32 = Color32::from_rgb(0xe1, 0xe6, 0xee);
/// Labels and what may be overlooked; 5.9:1 on [`PANEL`].
pub const WEAK: Color32 = Color32::from_rgb(0x98, 0xa3, 0xb3);
/// The converted voice, and what is switched on.
pub const OUTPUT: Color32 = Color32::from_rgb(0x4e, 0xc9, 0xb4);
/// The source.
pub const INPUT: Color32 = Color32::from_rgb(0xe6, 0xab, 0x5e);
/// Something to know.
pub const WARNING: Color32 = Color32::from_rgb(0xee, 0xc0, 0x5c);
/// Something to do.
pub const ERROR: Color32 = Color32::from_rgb(0xf0, 0x74, 0x70);

/// Rounding of panels and controls in points.
pub const ROUNDING: u8 = 5;

/// Sets the look of `context`.
pub fn apply(context: &egui::Context) {
    context.set_theme(egui::Theme::Dark);
    context.all_styles_mut(|style| {
        style.text_styles = [
            (TextStyle::Small, 11.5),
            (TextStyle::Body, 13.5),
            (TextStyle::Button, 13.5),
            (TextStyle::Heading, 19.0),
        ]
        .into_iter()
        .map(|(role, points)| (role, FontId::new(points, FontFamily::Proportional)))
        .chain([(
            TextStyle::Monospace,
            FontId::new(12.5, FontFamily::Monospace),
        )])
        .collect();

        let spacing = &mut style.spacing;
        spacing.item_spacing = Vec2::new(8.0, 6.0);
        spacing.button_padding = Vec2::new(9.0, 4.0);
        spacing.window_margin = Margin::same(14);
        spacing.menu_margin = Margin::same(6);
        spacing.interact_size.y = 24.0;
        spacing.combo_width = 60.0;

        let visuals = &mut style.visuals;
        *visuals = egui::Visuals::dark();
        visuals.override_text_color = None;
        visuals.weak_text_color = Some(WEAK);
        visuals.panel_fill = BACKGROUND;
        visuals.window_fill = PANEL;
        visuals.window_stroke = Stroke::new(1.0, LINE);
        visuals.window_corner_radius = CornerRadius::same(8);
        visuals.menu_corner_radius = CornerRadius::same(6);
        visuals.extreme_bg_color = SUNKEN;
        visuals.faint_bg_color = Color32::from_rgb(0x1e, 0x24, 0x2c);
        visuals.text_edit_bg_color = Some(SUNKEN);
        visuals.code_bg_color = SUNKEN;
        visuals.hyperlink_color = OUTPUT;
        visuals.warn_fg_color = WARNING;
        visuals.error_fg_color = ERROR;
        visuals.selection.bg_fill = Color32::from_rgb(0x1f, 0x5d, 0x55);
        visuals.selection.stroke = Stroke::new(1.0, TEXT);
        visuals.resize_corner_size = 12.0;

        let widgets = &mut visuals.widgets;
        for (state, fill, line, text) in [
            (&mut widgets.noninteractive, PANEL, LINE, TEXT),
            (&mut widgets.inactive, RAISED, Color32::TRANSPARENT, TEXT),
            (&mut widgets.hovered, RAISED_HOVER, LINE, Color32::WHITE),
            (&mut widgets.active, RAISED_HOVER, OUTPUT, Color32::WHITE),
            (&mut widgets.open, RAISED_HOVER, LINE, TEXT),
        ] {
            state.bg_fill = fill;
            state.weak_bg_fill = fill;
            state.bg_stroke = Stroke::new(1.0, line);
            state.fg_stroke = Stroke::new(1.0, text);
            state.corner_radius = CornerRadius::same(ROUNDING);
            state.expansion = 0.0;
        }
    });
}

/// The frame of a group of controls.
pub fn panel() -> egui::Frame {
    egui::Frame::new()
        .fill(PANEL)
        .corner_radius(CornerRadius::same(7))
        .inner_margin(Margin::symmetric(12, 10))
}

/// The frame of a window above the others.
pub fn window() -> egui::Frame {
    egui::Frame::new()
        .fill(PANEL)
        .stroke(Stroke::new(1.0, LINE))
        .corner_radius(CornerRadius::same(8))
        .inner_margin(Margin::same(16))
}

/// The title of a group.
pub fn title(ui: &mut egui::Ui, text: &str) {
    ui.label(egui::RichText::new(text).size(11.5).color(WEAK).strong());
}
