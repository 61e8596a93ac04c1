//! A file chooser for voices that needs nothing of the system: hosts embed the
//! editor in ways that native dialogs do not always survive.

use std::path::{Path, PathBuf};

use egui::{Context, Id, Key, Modal, RichText, ScrollArea, TextEdit};

use super::theme;
use crate::folders;
use crate::voices;

/// Most entries of a folder that are shown.
const MAX_SHOWN: usize = 2000;

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    Folder(PathBuf),
    Voice(PathBuf),
}

/// The chooser; closed at first.
#[derive(Default)]
pub struct Browser {
    open: bool,
    folder: PathBuf,
    typed: String,
    entries: Vec<Entry>,
    /// How many more there are than are shown.
    unseen: usize,
    problem: String,
}

impl Browser {
    /// Opens it at `folder`, else where it was last, else at home.
    pub fn open(&mut self, folder: Option<PathBuf>) {
        let start = folder
            .filter(|folder| folder.is_dir())
            .or_else(|| self.folder.is_dir().then(|| self.folder.clone()))
            .or_else(|| folders::user_voices().filter(|folder| folder.is_dir()))
            .or_else(folders::home)
            .unwrap_or_else(|| PathBuf::from("/"));
        self.open = true;
        self.enter(start);
    }

    fn enter(&mut self, folder: PathBuf) {
        match read(&folder) {
            Ok(mut entries) => {
                self.unseen = entries.len().saturating_sub(MAX_SHOWN);
                entries.truncate(MAX_SHOWN);
                self.entries = entries;
                self.problem.clear();
            }
            Err(error) => {
                self.entries.clear();
                self.unseen = 0;
                self.problem = format!("{}: {error}", folder.display());
            }
        }
        self.typed = folder.to_string_lossy().into_owned();
        self.folder = folder;
    }

    /// Draws it when it is open; returns the voice that was chosen.
    pub fn show(&mut self, context: &Context) -> Option<PathBuf> {
        if !self.open {
            return None;
        }
        let mut next = None;
        let mut chosen = None;
        let modal = Modal::new(Id::unique("timbra voice browser"))
            .frame(theme::window())
            .show(context, |ui| {
                ui.set_width(520.0);
                ui.label(RichText::new("Open a voice").size(16.0).strong());
                ui.add_space(4.0);
                ui.horizontal(|ui| {
                    if ui.button("Up").clicked() {
                        next = self.folder.parent().map(Path::to_path_buf);
                    }
                    if ui.button("Home").clicked() {
                        next = folders::home();
                    }
                    if let Some(folder) = folders::user_voices().filter(|folder| folder.is_dir())
                        && ui.button("My voices").clicked()
                    {
                        next = Some(folder);
                    }
                    let edit = ui.add(
                        TextEdit::singleline(&mut self.typed)
                            .hint_text("Path of a .timbra file or a folder")
                            .desired_width(ui.available_width()),
                    );
                    if edit.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter)) {
                        let path = PathBuf::from(self.typed.trim());
                        if voices::looks_like_voice(&path) {
                            chosen = Some(path);
                        } else {
                            next = Some(path);
                        }
                    }
                });
                ui.add_space(2.0);
                ScrollArea::vertical()
                    .auto_shrink([false, false])
                    .min_scrolled_height(280.0)
                    .max_height(280.0)
                    .show(ui, |ui| {
                        if !self.problem.is_empty() {
                            ui.colored_label(theme::ERROR, &self.problem);
                        } else if self.entries.is_empty() {
                            ui.colored_label(theme::WEAK, "No folders and no .timbra files here.");
                        }
                        for entry in &self.entries {
                            match entry {
                                Entry::Folder(path) => {
                                    let text = RichText::new(format!("{}/", name(path)));
                                    if ui
                                        .selectable_label(false, text.color(theme::WEAK))
                                        .clicked()
                                    {
                                        next = Some(path.clone());
                                    }
                                }
                                Entry::Voice(path) => {
                                    let text = RichText::new(name(path)).color(theme::OUTPUT);
                                    if ui.selectable_label(false, text).clicked() {
                                        chosen = Some(path.clone());
                                    }
                                }
                            }
                        }
                        if self.unseen > 0 {
                            let more =
                                format!("{} more are not shown; type a path above.", self.unseen);
                            ui.colored_label(theme::WEAK, more);
                        }
                    });
                ui.separator();
                if ui.button("Cancel").clicked() {
                    self.open = false;
                }
            });
        if modal.should_close() || chosen.is_some() {
            self.open = false;
        }
        if let Some(folder) = next {
            self.enter(folder);
        }
        chosen
    }
}

fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_else(|| path.to_string_lossy().into_owned())
}

/// Folders first, then voices, by name; hidden ones are left out.
fn read(folder: &Path) -> std::io::Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = std::fs::read_dir(folder)?
        .flatten()
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .filter_map(|entry| {
            let path = entry.path();
            if voices::looks_like_voice(&path) {
                Some(Entry::Voice(path))
            } else {
                path.is_dir().then_some(Entry::Folder(path))
            }
        })
        .collect();
    entries.sort();
    Ok(entries)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_voice_is_found_among_thousands_of_other_files() {
        let folder = std::env::temp_dir().join(format!("timbra browser {}", std::process::id()));
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        for number in 0..MAX_SHOWN + 500 {
            std::fs::write(folder.join(format!("{number}.txt")), "").unwrap();
        }
        std::fs::write(folder.join("mine.timbra"), "").unwrap();
        let found = read(&folder).unwrap();
        let wanted = [
            Entry::Folder(folder.join("sub")),
            Entry::Voice(folder.join("mine.timbra")),
        ];
        assert_eq!(found, wanted);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
