//! The top line: name, voice, presets, tier, bypass.

use egui::containers::menu::{MenuButton, MenuConfig};
use egui::{Align, Button, Color32, Layout, PopupCloseBehavior, RichText, TextEdit, Ui};

use super::browser::Browser;
use super::voice_card::VoiceCard;
use super::{Scene, chooser, controls, theme};
use crate::folders;
use crate::presets::{self, Preset, UserPreset};

/// Draws the line.
pub fn show(
    ui: &mut Ui,
    scene: &Scene,
    browser: &mut Browser,
    card: &mut VoiceCard,
    menu: &mut PresetMenu,
    failure: &mut String,
) {
    ui.horizontal(|ui| {
        ui.label(
            RichText::new("Timbra")
                .size(20.0)
                .strong()
                .color(theme::OUTPUT),
        );
        ui.add_space(6.0);
        chooser::show(ui, scene, browser);
        if ui
            .button("About")
            .on_hover_text("Licence, attribution and certificate of the voice.")
            .clicked()
        {
            card.open();
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            bypass(ui, scene);
            ui.add_space(4.0);
            // In a right-to-left row the segments would come in reverse order.
            ui.scope(|ui| {
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    menu.show(ui, scene, failure);
                    ui.scope(|ui| {
                        controls::segments(ui, &scene.host.param_setter(), &scene.params.tier);
                    })
                    .response
                    .on_hover_text(
                        "How much delay is traded for quality. Live for singing through it, Studio for \
                         playback, Render for the bounce. A change restarts the plugin.",
                    );
                });
            });
        });
    });
}

fn bypass(ui: &mut Ui, scene: &Scene) {
    let on = scene.params.bypass.value();
    let text = RichText::new("Bypass").color(if on { Color32::BLACK } else { theme::TEXT });
    let button = Button::new(text).fill(if on { theme::WARNING } else { theme::RAISED });
    if ui
        .add(button)
        .on_hover_text("The source, delayed by the reported latency.")
        .clicked()
    {
        let setter = scene.host.param_setter();
        setter.begin_set_parameter(&scene.params.bypass);
        setter.set_parameter(&scene.params.bypass, !on);
        setter.end_set_parameter(&scene.params.bypass);
    }
}

/// The menu of presets.
#[derive(Default)]
pub struct PresetMenu {
    factory: Vec<Preset>,
    user: Vec<UserPreset>,
    open: bool,
    new_name: String,
}

impl PresetMenu {
    fn show(&mut self, ui: &mut Ui, scene: &Scene, failure: &mut String) {
        // A click into the text field must not close the menu.
        let config = MenuConfig::new().close_behavior(PopupCloseBehavior::CloseOnClickOutside);
        let menu = MenuButton::new("Presets").config(config);
        let (_, response) = menu.ui(ui, |ui| {
            if !self.open {
                self.factory = presets::factory();
                self.user = presets::user();
            }
            ui.set_min_width(230.0);
            self.list(ui, scene, failure);
            ui.separator();
            self.save(ui, scene, failure);
        });
        self.open = response.is_some();
    }

    fn list(&self, ui: &mut Ui, scene: &Scene, failure: &mut String) {
        for preset in self.factory.iter() {
            entry(ui, scene, preset, failure);
        }
        if !self.user.is_empty() {
            ui.separator();
            for found in self.user.iter() {
                match &found.preset {
                    Ok(preset) => entry(ui, scene, preset, failure),
                    Err(problem) => {
                        ui.colored_label(theme::ERROR, found.name())
                            .on_hover_text(format!("{problem}\n{}", found.path.display()));
                    }
                }
            }
        }
    }

    fn save(&mut self, ui: &mut Ui, scene: &Scene, failure: &mut String) {
        let folder = folders::user_presets().map_or_else(String::new, |folder| {
            format!("Goes to {}", folder.display())
        });
        ui.horizontal(|ui| {
            ui.add(
                TextEdit::singleline(&mut self.new_name)
                    .hint_text("Name of a new preset")
                    .desired_width(150.0),
            );
            let name = self.new_name.trim();
            let there = self.user.iter().any(|found| found.name() == name);
            let save = Button::new(if there { "Replace" } else { "Save" });
            if ui
                .add_enabled(!name.is_empty(), save)
                .on_hover_text(folder)
                .clicked()
            {
                match Preset::capture(name, scene.params).save() {
                    Ok(_) => self.new_name.clear(),
                    Err(error) => *failure = format!("The preset was not saved: {error}"),
                }
                ui.close();
            }
        });
    }
}

fn entry(ui: &mut Ui, scene: &Scene, preset: &Preset, failure: &mut String) {
    let mut button = ui.button(&preset.name);
    if !preset.description.is_empty() {
        button = button.on_hover_text(&preset.description);
    }
    if button.clicked() {
        match preset.values(scene.params) {
            Ok(values) => {
                for (pointer, normalized) in values {
                    // SAFETY: the parameters live as long as the session the window holds.
                    unsafe {
                        scene.host.raw_begin_set_parameter(pointer);
                        scene.host.raw_set_parameter_normalized(pointer, normalized);
                        scene.host.raw_end_set_parameter(pointer);
                    }
                }
            }
            Err(error) => *failure = format!("\"{}\" was not loaded: {error}", preset.name),
        }
        ui.close();
    }
}
