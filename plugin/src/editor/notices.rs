//! What went wrong, in words and with what to do, above everything else.

use egui::{Color32, CornerRadius, Frame, Margin, RichText, Stroke, Ui};
use timbra_engine::{StatusSnapshot, VoiceState};

use super::{Scene, theme};

/// Draws one line per notice; nothing when all is well. `dismissed` is the engine's message that was read.
pub fn show(ui: &mut Ui, scene: &Scene, failure: &mut String, dismissed: &mut String) {
    let session = scene.session();

    let no_stream = session.failure();
    if !no_stream.is_empty() {
        notice(ui, theme::ERROR, &no_stream, |ui| {
            if ui.button("Try again").clicked() {
                scene.steward.retry_voice();
            }
        });
    }
    if let Some(status) = scene.status {
        if !status.message.is_empty() && status.message != *dismissed {
            of_voice(ui, scene, status, dismissed);
        } else if status.voice_state == VoiceState::Empty && no_stream.is_empty() {
            notice(ui, theme::WARNING, "No voice. Choose one above.", |_| {});
        }
    }
    if let Some(stream) = session.stream()
        && stream.tier != scene.params.tier.value()
    {
        let text = "The new tier has another latency. It takes effect when the host restarts the plugin: \
                    stop playback, or switch the plugin off and on.";
        notice(ui, theme::WARNING, text, |ui| {
            if ui.button("Restart").clicked() {
                scene.host.request_restart();
            }
        });
    }
    let loaded = scene.params.notice.get();
    if !loaded.is_empty() {
        notice(ui, theme::WARNING, &loaded, |ui| {
            if ui.button("Dismiss").clicked() {
                scene.params.notice.clear();
            }
        });
    }
    if !failure.is_empty() {
        let text = failure.clone();
        notice(ui, theme::ERROR, &text, |ui| {
            if ui.button("Dismiss").clicked() {
                failure.clear();
            }
        });
    }
}

/// What the engine says about the voice, with what can be done about it.
fn of_voice(ui: &mut Ui, scene: &Scene, status: &StatusSnapshot, dismissed: &mut String) {
    let colour = match status.voice_state {
        VoiceState::Failed | VoiceState::NeedsRestart => theme::ERROR,
        _ => theme::WARNING,
    };
    notice(ui, colour, &status.message, |ui| match status.voice_state {
        VoiceState::NeedsRestart => {
            if ui.button("Restart").clicked() {
                scene.host.request_restart();
            }
        }
        VoiceState::Ready => {
            if ui
                .button("Keep")
                .on_hover_text("Go on with the voice that plays, and save it with the project.")
                .clicked()
            {
                dismissed.clone_from(&status.message);
                if let Some(playing) = &status.playing
                    && *playing != scene.params.voice.get()
                {
                    scene.params.voice.ask_for(playing.clone());
                    scene.mark_changed();
                }
            }
        }
        _ => {
            if ui.button("Try again").clicked() {
                scene.steward.retry_voice();
            }
        }
    });
}

fn notice(ui: &mut Ui, colour: Color32, text: &str, action: impl FnOnce(&mut Ui)) {
    ui.add_space(4.0);
    Frame::new()
        .fill(theme::PANEL)
        .stroke(Stroke::new(1.0, colour.gamma_multiply(0.6)))
        .corner_radius(CornerRadius::same(theme::ROUNDING))
        .inner_margin(Margin::symmetric(10, 6))
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.horizontal_top(|ui| {
                let words = ui.available_width() - 96.0;
                ui.allocate_ui(egui::vec2(words, 0.0), |ui| {
                    ui.set_width(words);
                    ui.add(egui::Label::new(RichText::new(text).color(colour)).wrap());
                });
                action(ui);
            });
        });
}
