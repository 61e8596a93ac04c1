//! What went wrong, in words and with what to do, above everything else.

use egui::{Align, Color32, CornerRadius, Frame, Layout, Margin, RichText, Stroke, Ui};
use timbra_engine::{StatusSnapshot, VoiceState};

use super::{Scene, theme};

/// Width kept for the button of a notice, in points.
const BUTTON_ROOM: f32 = 96.0;

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
            let short = shortened(text);
            ui.horizontal_top(|ui| {
                let words = (ui.available_width() - BUTTON_ROOM).max(100.0);
                ui.allocate_ui(egui::vec2(words, 0.0), |ui| {
                    ui.set_width(words);
                    let label = egui::Label::new(RichText::new(&short).color(colour)).wrap();
                    let response = ui.add(label);
                    if short != text {
                        response.on_hover_text(text);
                    }
                });
                ui.with_layout(Layout::right_to_left(Align::Min), action);
            });
        });
}

/// Leaves out all but the first two of a list of paths: the whole is shown on hovering.
fn shortened(text: &str) -> String {
    let is_path = |item: &str| item.starts_with('/') || item.get(1..3) == Some(":\\");
    let mut short: Vec<String> = Vec::new();
    let mut paths = 0;
    let mut left_out = 0;
    for item in text.split(", ") {
        if !is_path(item) {
            paths = 0;
            short.push(item.to_owned());
            continue;
        }
        paths += 1;
        match item.split_once(". ") {
            // The end of the list, and the sentence after it.
            Some((_, rest)) if left_out > 0 => {
                if let Some(last) = short.last_mut() {
                    last.push_str(&format!(" and {} more. {rest}", left_out + 1));
                }
                left_out = 0;
            }
            None if paths > 1 => left_out += 1,
            _ => short.push(item.to_owned()),
        }
    }
    let short = short.join(", ");
    match left_out {
        0 => short,
        left_out => format!("{short} and {left_out} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_of_places_are_shortened_and_the_advice_stays() {
        let text = "It is missing. Looked in: /a/x, /b/x, /c/x, /d/x. Put it there, or set X to it";
        assert_eq!(
            shortened(text),
            "It is missing. Looked in: /a/x, /b/x and 2 more. Put it there, or set X to it"
        );
    }

    #[test]
    fn other_sentences_stay_as_they_are() {
        for text in [
            "",
            "voice \"a\" is damaged: synthesis.onnx has 3 bytes, expected 40",
            "Searched: /a, /b. Put it there",
        ] {
            assert_eq!(shortened(text), text);
        }
    }
}
