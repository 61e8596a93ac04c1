//! The bottom line: latency, load, gaps, where the networks run.

use egui::{Align, Color32, Layout, RichText, Ui};

use timbra_engine::{Isolation, StatusSnapshot};

use super::{Scene, theme};
use crate::settings;

/// Draws the line.
pub fn show(ui: &mut Ui, scene: &Scene) {
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 5.0;
        let Some(status) = scene.status else {
            ui.label(
                RichText::new("Not active: the host has not started the plugin.").color(theme::WEAK),
            );
            ui.with_layout(Layout::right_to_left(Align::Center), zoom);
            return;
        };
        entry(
            ui,
            "Latency",
            &format!(
                "{:.1} ms \u{b7} {} samples at {} kHz",
                status.latency_ms,
                status.latency_samples,
                f64::from(status.host_rate_hz) / 1000.0
            ),
            theme::TEXT,
            "The delay the host was told; it compensates for it on playback.",
        );
        let load_colour = match status.load {
            load if load > 0.9 => theme::ERROR,
            load if load > 0.6 => theme::WARNING,
            _ => theme::TEXT,
        };
        entry(
            ui,
            "Load",
            &format!("{:.0} %", status.load * 100.0),
            load_colour,
            "Compute time over audio time of this instance, of the core it keeps busiest. Above 100 % it cannot keep up.",
        );
        let gaps_colour = if status.gaps > 0 {
            theme::WARNING
        } else {
            theme::TEXT
        };
        entry(
            ui,
            "Gaps",
            &status.gaps.to_string(),
            gaps_colour,
            &format!(
                "Times the voice was late: {} samples were filled, {} frames left out. \
                 A longer tier or a larger block helps.",
                status.gap_samples, status.skipped_frames
            ),
        );
        if status.replaced_frames > 0 || status.bad_input_samples > 0 {
            entry(
                ui,
                "Repaired",
                &(status.replaced_frames + status.bad_input_samples).to_string(),
                theme::WARNING,
                &format!(
                    "{} frames in which the voice gave no number, {} input samples that were none.",
                    status.replaced_frames, status.bad_input_samples
                ),
            );
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            zoom(ui);
            let doing = match (status.free_wheeling, status.asleep) {
                (true, _) => "rendering",
                (_, true) => "asleep",
                _ => "",
            };
            if !doing.is_empty() {
                ui.label(RichText::new(doing).color(theme::OUTPUT));
            }
            place(ui, scene, status);
        });
    });
}

/// Where the networks run, with the choice of it.
fn place(ui: &mut Ui, scene: &Scene, status: &StatusSnapshot) {
    let own = status.worker_process.is_some();
    let process = if own { "own process" } else { "in the host" };
    let label = match status.provider.as_str() {
        "" => process.to_owned(),
        provider => format!("{provider} \u{b7} {process}"),
    };
    ui.menu_button(RichText::new(label).color(theme::WEAK), |ui| {
        for (isolation, name, help) in [
            (
                Isolation::Process,
                "In a process of their own",
                "One process serves all hosts. When a voice brings it down the host plays on.",
            ),
            (
                Isolation::Thread,
                "In the host",
                "Inside the host's process: for systems where the other is not possible.",
            ),
        ] {
            let chosen = own == (isolation == Isolation::Process);
            if ui
                .selectable_label(chosen, name)
                .on_hover_text(help)
                .clicked()
            {
                match settings::choose(isolation) {
                    Ok(()) => scene.session().ask_for_restart(),
                    Err(reason) => scene.session().report(reason),
                }
                ui.close();
            }
        }
        if let Some(process) = status.worker_process {
            ui.label(RichText::new(format!("timbra-worker, process {process}")).color(theme::WEAK));
        }
    });
}

/// The menu of sizes; Ctrl with plus and minus does the same.
fn zoom(ui: &mut Ui) {
    let context = ui.ctx().clone();
    let now = context.zoom_factor();
    ui.menu_button(
        RichText::new(format!("{:.0} %", now * 100.0)).color(theme::WEAK),
        |ui| {
            for zoom in [0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5] {
                let chosen = (zoom - now).abs() < 0.01;
                if ui
                    .selectable_label(chosen, format!("{:.0} %", zoom * 100.0))
                    .clicked()
                {
                    context.set_zoom_factor(zoom);
                }
            }
        },
    );
}

fn entry(ui: &mut Ui, name: &str, value: &str, colour: Color32, help: &str) {
    ui.label(RichText::new(name).color(theme::WEAK))
        .on_hover_text(help);
    ui.label(RichText::new(value).color(colour))
        .on_hover_text(help);
    ui.add_space(12.0);
}
