//! What the voice says about itself: who sings, under which licence, how well it was measured.

use std::path::PathBuf;

use egui::{Context, Grid, Id, Modal, RichText, ScrollArea, Ui};
use timbra_voice::manifest::{Certificate, Manifest, Speaker};
use timbra_voice::package;

use super::{Scene, theme};

/// The card; closed at first.
#[derive(Default)]
pub struct VoiceCard {
    open: bool,
    /// The manifest of the voice at a path, or why it could not be read.
    read: Option<(PathBuf, Result<Box<Manifest>, String>)>,
}

impl VoiceCard {
    /// Opens it.
    pub fn open(&mut self) {
        self.open = true;
        self.read = None;
    }

    /// Draws it when it is open.
    pub fn show(&mut self, context: &Context, scene: &Scene) {
        if !self.open {
            return;
        }
        let playing = scene
            .status
            .and_then(|status| status.playing.clone())
            .unwrap_or_else(|| scene.params.voice.get());
        if self
            .read
            .as_ref()
            .is_none_or(|(path, _)| *path != playing.path)
        {
            let manifest = if playing.path.as_os_str().is_empty() {
                Err("No voice is loaded.".to_owned())
            } else {
                package::read_manifest(&playing.path)
                    .map(|(manifest, _)| Box::new(manifest))
                    .map_err(|error| error.to_string())
            };
            self.read = Some((playing.path.clone(), manifest));
        }
        let Some((path, manifest)) = &self.read else {
            return;
        };
        let modal = Modal::new(Id::unique("timbra voice card"))
            .frame(theme::window())
            .show(context, |ui| {
                ui.set_width(560.0);
                ScrollArea::vertical().max_height(410.0).show(ui, |ui| {
                    ui.set_width(ui.available_width());
                    match manifest {
                        Ok(manifest) => {
                            card(ui, manifest);
                            ui.add_space(8.0);
                            small(ui, &format!("{}", path.display()));
                            small(ui, &format!("SHA-256 of voice.json: {}", playing.sha256));
                        }
                        Err(problem) => {
                            ui.colored_label(theme::WARNING, problem);
                        }
                    }
                });
                ui.separator();
                small(
                    ui,
                    &format!(
                        "Timbra {}, under the MIT or the Apache-2.0 licence.",
                        env!("CARGO_PKG_VERSION")
                    ),
                );
                if ui.button("Close").clicked() {
                    self.open = false;
                }
            });
        if modal.should_close() {
            self.open = false;
        }
    }
}

fn small(ui: &mut Ui, text: &str) {
    ui.label(RichText::new(text).small().color(theme::WEAK));
}

fn card(ui: &mut Ui, manifest: &Manifest) {
    ui.label(RichText::new(&manifest.name).size(18.0).strong());
    small(
        ui,
        &format!(
            "{} \u{b7} {} kHz \u{b7} F0 {:.0} to {:.0} Hz \u{b7} licence {}",
            family(manifest),
            f64::from(manifest.model_rate_hz) / 1000.0,
            manifest.f0_min_hz,
            manifest.f0_max_hz,
            manifest.licence
        ),
    );
    for speaker in &manifest.speakers {
        ui.add_space(8.0);
        person(ui, speaker);
    }
    ui.add_space(10.0);
    theme::title(ui, "CERTIFICATE");
    match &manifest.certificate {
        Some(certificate) => certified(ui, certificate),
        None => small(ui, "The voice was exported without being measured."),
    }
    if !manifest.attribution.is_empty() {
        ui.add_space(10.0);
        theme::title(ui, "ATTRIBUTION");
        for attribution in &manifest.attribution {
            small(ui, attribution);
        }
    }
    let training = &manifest.training;
    if !training.trainer.is_empty() {
        ui.add_space(6.0);
        small(
            ui,
            &format!(
                "Trained by {} on {:.0} minutes of recordings, {} steps, {:.1} hours. {}",
                training.trainer, training.minutes, training.steps, training.hours, training.notes
            ),
        );
    }
}

fn family(manifest: &Manifest) -> String {
    format!("Family {:?}", manifest.family).to_lowercase()
}

fn person(ui: &mut Ui, speaker: &Speaker) {
    ui.horizontal_wrapped(|ui| {
        ui.label(RichText::new(&speaker.name).strong().color(theme::OUTPUT));
        small(
            ui,
            &format!(
                "{} \u{b7} median {:.0} Hz ({:.0} to {:.0}) \u{b7} licence {}",
                speaker.languages.join(", "),
                speaker.f0_median_hz,
                speaker.f0_low_hz,
                speaker.f0_high_hz,
                speaker.licence
            ),
        );
    });
    if !speaker.attribution.is_empty() {
        ui.label(&speaker.attribution);
    }
    small(ui, &speaker.consent);
}

fn certified(ui: &mut Ui, certificate: &Certificate) {
    Grid::new("certificate")
        .num_columns(2)
        .spacing([18.0, 3.0])
        .show(ui, |ui| {
            for (name, value) in [
                (
                    "Similarity to the speaker (1 = the same)",
                    format!("{:.3}", certificate.similarity),
                ),
                (
                    "F0 error, median",
                    format!("{:.1} ct", certificate.f0_cents),
                ),
                (
                    "Wrong voicing",
                    format!("{:.1} % of frames", certificate.voicing_error * 100.0),
                ),
                (
                    "Content distance (0 = the same)",
                    format!("{:.3}", certificate.content_distance),
                ),
                (
                    "Latency at 48 kHz without the host's block",
                    format!("{:.1} ms", certificate.latency_ms),
                ),
                (
                    "Load of one core",
                    format!(
                        "{:.1} % on {}",
                        certificate.load * 100.0,
                        certificate.machine
                    ),
                ),
            ] {
                ui.label(RichText::new(name).color(theme::WEAK));
                ui.label(value);
                ui.end_row();
            }
        });
}
