//! The list of voices.

use egui::{ComboBox, RichText, Ui};
use timbra_engine::VoiceState;
use timbra_voice::library::Listing;

use super::browser::Browser;
use super::{Scene, theme};

/// Draws the chooser and the button that opens the file browser.
pub fn show(ui: &mut Ui, scene: &Scene, browser: &mut Browser) {
    let wanted = scene.params.voice.get();
    let library = scene.session().library();
    let name = match wanted.name.as_str() {
        "" => "No voice".to_owned(),
        name => name.to_owned(),
    };
    let (suffix, colour) = match scene.status.map(|status| status.voice_state) {
        Some(VoiceState::Loading | VoiceState::Replacing) => (" (loading)", theme::WARNING),
        Some(VoiceState::Failed | VoiceState::NeedsRestart) => (" (silent)", theme::ERROR),
        _ => ("", theme::TEXT),
    };
    ComboBox::from_id_salt("voice")
        .width(176.0)
        .height(320.0)
        .truncate()
        .selected_text(
            RichText::new(format!("{name}{suffix}"))
                .color(colour)
                .size(15.0),
        )
        .show_ui(ui, |ui| {
            if library.is_empty() {
                ui.label(
                    RichText::new("No voices in the folders. Open one from a file.")
                        .color(theme::WEAK),
                );
            }
            for voice in library.iter() {
                entry(ui, scene, voice, voice.voice == wanted);
            }
            ui.separator();
            if ui.button("Search again").clicked() {
                scene.steward.retry_voice();
            }
        });
    if ui
        .button("Open\u{2026}")
        .on_hover_text("Load a voice from a file.")
        .clicked()
    {
        let at = wanted.path.parent().map(std::path::Path::to_path_buf);
        browser.open(at);
    }
}

fn entry(ui: &mut Ui, scene: &Scene, listing: &Listing, chosen: bool) {
    let (colour, help) = match &listing.manifest {
        Ok(manifest) => {
            let speakers: Vec<_> = manifest
                .speakers
                .iter()
                .map(|speaker| speaker.name.as_str())
                .collect();
            let help = format!("{}\n{}", speakers.join(", "), listing.voice.path.display());
            (theme::TEXT, help)
        }
        Err(problem) => (theme::ERROR, problem.clone()),
    };
    let text = RichText::new(&listing.voice.name).color(colour);
    let response = ui.selectable_label(chosen, text).on_hover_text(help);
    if response.clicked() && listing.manifest.is_ok() {
        scene.params.voice.ask_for(listing.voice.clone());
        scene.mark_changed();
        ui.close();
    }
}
