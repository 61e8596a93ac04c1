//! The parameters: pitch and speakers at the left, sound below the curves.

use egui::{ScrollArea, Ui};
use nice_plug::prelude::{BoolParam, Enum, EnumParam, Param, ParamSetter};
use timbra_engine::StatusSnapshot;

use super::slider::Slider;
use super::{Scene, theme};

/// Pitch, formant and the speakers of the voice.
pub fn left(ui: &mut Ui, scene: &Scene) {
    let params = scene.params;
    let setter = scene.host.param_setter();
    theme::panel().show(ui, |ui| {
        theme::title(ui, "REGISTER");
        Slider::new(&params.pitch, scene).bipolar().show(ui);
        Slider::new(&params.formant, scene)
            .bipolar()
            .needs(
                has(scene, |status| status.has_formant),
                "This voice has no formant control.",
            )
            .show(ui);
        Slider::new(&params.f0_smoothing, scene)
            .lowest("Off")
            .show(ui);
        ui.horizontal(|ui| {
            switch(
                ui,
                &setter,
                &params.auto_pitch,
                "Shifts the source into the speakers' register, in whole semitones.",
            );
            let help = if has(scene, |status| status.has_auto_f0) {
                "The voice finds its own melody instead of the one that is sung. For speech."
            } else {
                ui.visuals_mut().override_text_color = Some(theme::WEAK);
                "This voice has no F0 decoder of its own."
            };
            switch(ui, &setter, &params.auto_f0, help);
        });
    });
    ui.add_space(10.0);
    theme::panel().show(ui, |ui| {
        ui.set_min_size(ui.available_size());
        theme::title(ui, "SPEAKERS");
        let names = scene
            .status
            .map(|status| status.speakers.as_slice())
            .unwrap_or_default();
        let scrolls = ui.scope_id().with("scrolls");
        let scrolled = ui.data(|data| data.get_temp(scrolls)).unwrap_or(false);
        let list = ScrollArea::vertical()
            .auto_shrink([false, false])
            .show(ui, |ui| {
                ui.set_width(ui.available_width());
                for (index, weight) in params.mix.all().into_iter().enumerate() {
                    let mut slider = Slider::new(weight, scene).in_list(scrolled);
                    match names.get(index) {
                        Some(name) => slider = slider.named(name),
                        None if names.is_empty() => slider = slider.relevant(false),
                        None => continue,
                    }
                    slider.show(ui);
                }
            });
        let more = list.content_size.y > list.inner_rect.height() + 0.5;
        ui.data_mut(|data| data.insert_temp(scrolls, more));
    });
}

/// Whether the voice in use has something; yes while there is none, for then nothing is known to be lacking.
fn has(scene: &Scene, what: impl Fn(&StatusSnapshot) -> bool) -> bool {
    scene
        .status
        .is_none_or(|status| status.playing.is_none() || what(status))
}

/// What the voice in use does of the cluster ratio's work by itself.
fn own_retrieval(scene: &Scene) -> String {
    match scene.status.map(|status| status.own_retrieval) {
        Some(ratio) if ratio > 0.0 => format!(
            "This voice goes {:.0} % of the way to frames of its speakers by itself; what is set here comes on top.",
            ratio * 100.0
        ),
        _ => String::new(),
    }
}

fn own_articulation(scene: &Scene) -> String {
    let own = scene.status.map_or_else(String::new, |status| {
        let speakers = status.speakers.iter().zip(&status.own_articulation);
        let own: Vec<String> = speakers
            .map(|(name, share)| format!("{name} {:.0} %", share * 100.0))
            .collect();
        format!(" ({})", own.join(", "))
    });
    format!(
        "How far the voice follows the way it is sung, in eight broad bands: up, and more words are understood; down, and it is nearer \
         to its speakers. At 0 it does as its speakers do by themselves{own}; at -100 % nothing of it, at 100 % all."
    )
}

/// Everything else that changes sound.
pub fn below(ui: &mut Ui, scene: &Scene) {
    let params = scene.params;
    let setter = scene.host.param_setter();
    // Of two kinds the method chooses; a voice with one of them is pulled by that.
    let table = has(scene, |status| status.has_tables.0 || status.has_tables.1);
    let without = "This voice has no k-means and no retrieval table.";
    theme::panel().show(ui, |ui| {
        ui.spacing_mut().item_spacing.x = 18.0;
        ui.columns(3, |columns| {
            for column in columns.iter_mut() {
                column.spacing_mut().item_spacing.x = 8.0;
            }
            if let [likeness, level, output] = columns {
                theme::title(likeness, "LIKENESS");
                Slider::new(&params.cluster_ratio, scene)
                    .needs(table, without)
                    .hint(own_retrieval(scene))
                    .show(likeness);
                likeness.add_space(2.0);
                segments(likeness, &setter, &params.cluster_method);
                likeness.add_space(2.0);
                Slider::new(&params.noise_scale, scene)
                    .needs(
                        has(scene, |status| status.has_prior_noise),
                        "This voice sings without the noise that this scales.",
                    )
                    .show(likeness);

                Slider::new(&params.articulation, scene)
                    .bipolar()
                    .hint(own_articulation(scene))
                    .show(likeness);

                theme::title(level, "LEVEL");
                Slider::new(&params.loudness_match, scene).show(level);
                Slider::new(&params.gate, scene).lowest("Off").show(level);
                Slider::new(&params.output_gain, scene)
                    .bipolar()
                    .show(level);

                theme::title(output, "OUTPUT");
                Slider::new(&params.dry_wet, scene).show(output);
                output.add_space(2.0);
                output
                    .label(
                        egui::RichText::new("Without a voice")
                            .size(13.0)
                            .color(theme::TEXT),
                    )
                    .on_hover_text("What is heard while no voice can sound.");
                segments(output, &setter, &params.fallback);
                output.add_space(2.0);
                Slider::new(&params.seed, scene).show(output);
            }
        });
    });
}

/// Buttons side by side for the variants of `param`.
pub fn segments<T: Enum + PartialEq + Copy + 'static>(
    ui: &mut Ui,
    setter: &ParamSetter,
    param: &EnumParam<T>,
) {
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 3.0;
        let chosen = T::to_index(param.value());
        for (index, name) in T::variants().iter().enumerate() {
            if ui.selectable_label(index == chosen, *name).clicked() && index != chosen {
                setter.begin_set_parameter(param);
                setter.set_parameter(param, T::from_index(index));
                setter.end_set_parameter(param);
            }
        }
    });
}

/// A check box for `param`.
pub fn switch(ui: &mut Ui, setter: &ParamSetter, param: &BoolParam, help: &str) {
    let mut on = param.value();
    if ui
        .checkbox(&mut on, param.name())
        .on_hover_text(help)
        .changed()
    {
        setter.begin_set_parameter(param);
        setter.set_parameter(param, on);
        setter.end_set_parameter(param);
    }
}
