//! Which notes F0 is moved to, and how: a row above the curves, and a second one while it is on.

use egui::{ComboBox, RichText, Ui};
use nice_plug::prelude::{Enum, EnumParam, Param, ParamSetter};
use timbra_engine::controls::{RetuneMode as Mode, Scale};

use super::controls::segments;
use super::slider::Slider;
use super::{Scene, theme};
use crate::params::retune::RetuneMode;

/// Draws the row, or both.
pub fn show(ui: &mut Ui, scene: &Scene) {
    let retune = &scene.params.retune;
    let setter = scene.host.param_setter();
    let mode = retune.mode.value();
    ui.horizontal(|ui| {
        ui.label(RichText::new("Retune").size(13.0).color(theme::TEXT))
            .on_hover_text(
                "Moves what is sung to the nearest note of a scale, or to the MIDI note that is held: \
                 send a track with notes to this plugin. Without a note what is sung stays as it is.",
            );
        segments(ui, &setter, &retune.mode);
        if mode == RetuneMode::Scale {
            ui.add_space(4.0);
            choice(ui, &setter, &retune.key, 44.0);
            choice(ui, &setter, &retune.scale, 132.0);
        }
    });
    if mode != RetuneMode::Off {
        ui.scope(|ui| numbers(ui, scene));
    }
}

fn numbers(ui: &mut Ui, scene: &Scene) {
    let retune = &scene.params.retune;
    let finds_its_own =
        scene.params.auto_f0.value() && scene.status.is_some_and(|status| status.has_auto_f0);
    let reason = "Auto-F0 is on: the voice finds its own melody.";
    ui.spacing_mut().item_spacing.x = 16.0;
    ui.columns(4, |columns| {
        for column in columns.iter_mut() {
            column.spacing_mut().item_spacing.x = 8.0;
        }
        if let [speed, humanise, amount, reference] = columns {
            Slider::new(&retune.speed, scene)
                .named("Speed")
                .lowest("At once")
                .needs(!finds_its_own, reason)
                .show(speed);
            Slider::new(&retune.humanise, scene)
                .needs(!finds_its_own, reason)
                .show(humanise);
            Slider::new(&retune.amount, scene)
                .named("Amount")
                .needs(!finds_its_own, reason)
                .show(amount);
            Slider::new(&retune.reference, scene)
                .named("A4")
                .needs(!finds_its_own, reason)
                .show(reference);
        }
    });
}

/// The key and scale that the lines behind the curves show, while there is one.
pub fn scale(scene: &Scene) -> Option<(u8, Scale)> {
    let controls = scene.params.retune.controls();
    (controls.mode == Mode::Scale).then_some((controls.key, controls.scale))
}

/// A list to choose from for the variants of `param`.
fn choice<T: Enum + PartialEq + Copy + 'static>(
    ui: &mut Ui,
    setter: &ParamSetter,
    param: &EnumParam<T>,
    width: f32,
) {
    let chosen = T::to_index(param.value());
    let names = T::variants();
    ComboBox::from_id_salt(param.name())
        .width(width)
        .height(340.0)
        .truncate()
        .selected_text(names[chosen])
        .show_ui(ui, |ui| {
            for (index, name) in names.iter().enumerate() {
                if ui.selectable_label(index == chosen, *name).clicked() && index != chosen {
                    setter.begin_set_parameter(param);
                    setter.set_parameter(param, T::from_index(index));
                    setter.end_set_parameter(param);
                }
            }
        });
}
