//! Progress on screen, figures in `figures.csv`.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

use crate::plot::draw_figures;

/// A bar with rate and time left that also works where there is no terminal.
#[must_use]
pub fn bar(total: u64, unit: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let template = format!(
        "{{elapsed_precise}} {{bar:30}} {{pos}}/{{len}} {unit} ({{per_sec}}, {{eta}} left) {{msg}}"
    );
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// A CSV of named figures over steps; appended to when a run is resumed.
#[derive(Debug)]
pub struct Figures {
    file: File,
    path: PathBuf,
}

impl Figures {
    /// Opens `path` for appending, with a header line when it is new.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path, columns: &[&str]) -> Result<Self> {
        let fresh = !path.exists();
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| path.display().to_string())?;
        if fresh {
            writeln!(file, "step,{}", columns.join(","))?;
        }
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn row(&mut self, step: u64, values: &[f64]) -> Result<()> {
        let values: Vec<String> = values.iter().map(|v| format!("{v:.6}")).collect();
        writeln!(self.file, "{step},{}", values.join(",")).context("cannot write the figures")?;
        Ok(())
    }

    /// Draws all rows so far as a picture beside the table; a picture that fails must not stop a training.
    pub fn draw(&self) {
        if let Err(error) = draw_figures(&self.path, &self.path.with_extension("png")) {
            tracing::warn!("no picture of the training: {error:#}");
        }
    }
}
