//! Spectrogram and F0 of one or more recordings in one picture.

use std::path::Path;

use anyhow::{Result, ensure};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use timbra_dsp::stft::stft_magnitude;

use super::axes::{Axis, Canvas, Frame, Scale, coloured_text, draw_png, drawn};
use super::style::{CURVES, heat};
use crate::evaluation::measures::f0_track_hz;

const WIDTH: u32 = 1240;
const LEFT: i32 = 64;
const RIGHT: i32 = 20;
const SPECTROGRAM_HEIGHT: i32 = 250;
const F0_HEIGHT: i32 = 200;
const TITLE: i32 = 30;
const LABELS: i32 = 40;

/// Transform of about 43 ms: harmonics of a low voice are apart, syllables too.
const WINDOW_S: f64 = 0.043;
/// Range of colours below the loudest point of all panels.
const RANGE_DB: f32 = 80.0;

/// Octaves between two frames above which an F0 line is broken.
const MAX_STEP: f32 = 0.4;

const FREQUENCIES: [(f64, &str); 9] = [
    (100.0, "100"),
    (250.0, "250"),
    (500.0, "500"),
    (1_000.0, "1 k"),
    (2_000.0, "2 k"),
    (4_000.0, "4 k"),
    (8_000.0, "8 k"),
    (12_000.0, "12 k"),
    (20_000.0, "20 k"),
];

const PITCHES: [(f64, &str); 7] = [
    (55.0, "A1"),
    (110.0, "A2"),
    (220.0, "A3"),
    (440.0, "A4"),
    (880.0, "A5"),
    (1_046.5, "C6"),
    (1_400.0, "1400"),
];

/// One recording of a picture.
#[derive(Debug, Clone)]
pub struct Panel {
    title: String,
    samples: Vec<f32>,
    rate_hz: u32,
}

impl Panel {
    /// A mono recording under a title.
    #[must_use]
    pub fn new(title: &str, samples: &[f32], rate_hz: u32) -> Self {
        Self {
            title: title.to_owned(),
            samples: samples.to_vec(),
            rate_hz,
        }
    }

    fn duration_s(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate_hz)
    }
}

/// Draws the spectrograms of all panels one below the other, and their F0 tracks together at the bottom.
///
/// All panels share the time axis and the colours.
///
/// # Errors
/// There is no panel, one is empty, or the file cannot be written.
pub fn draw_spectrograms(path: &Path, panels: &[Panel]) -> Result<()> {
    ensure!(!panels.is_empty(), "there is nothing to draw");
    ensure!(
        panels.iter().all(|panel| !panel.samples.is_empty()),
        "there is an empty recording to draw"
    );
    let duration_s = panels.iter().map(Panel::duration_s).fold(0.0, f64::max);
    let step = TITLE + SPECTROGRAM_HEIGHT + LABELS;
    let height = step * panels.len() as i32 + TITLE + F0_HEIGHT + LABELS;
    draw_png(path, WIDTH, height as u32, |canvas| {
        let highest_hz = panels
            .iter()
            .map(|panel| f64::from(panel.rate_hz) / 2.0)
            .fold(0.0, f64::max)
            .min(20_000.0);
        let time = Axis::linear(0.0, duration_s, 10);
        let columns = WIDTH as i32 - LEFT - RIGHT;
        let spectra: Vec<Spectra> = panels
            .iter()
            .map(|panel| Spectra::of(panel, columns as usize, duration_s))
            .collect();
        let loudest_db = spectra
            .iter()
            .flat_map(|spectra| spectra.levels_db.iter().copied())
            .fold(f32::NEG_INFINITY, f32::max);
        for (index, (panel, spectra)) in panels.iter().zip(&spectra).enumerate() {
            let frame = Frame {
                left: LEFT,
                top: step * index as i32 + TITLE,
                width: columns,
                height: SPECTROGRAM_HEIGHT,
                x: time.clone(),
                y: Axis::with_ticks(40.0, highest_hz, Scale::Mel, &FREQUENCIES),
            };
            spectra.draw(canvas, &frame, panel.rate_hz, loudest_db)?;
            frame.draw_labels(canvas, &format!("{} (Hz)", panel.title), "s")?;
        }
        draw_f0(canvas, panels, time, step * panels.len() as i32 + TITLE)
    })
}

fn draw_f0(canvas: &Canvas<'_>, panels: &[Panel], time: Axis, top: i32) -> Result<()> {
    let tracks = panels
        .iter()
        .map(|panel| f0_track_hz(&panel.samples, panel.rate_hz))
        .collect::<Result<Vec<Vec<f32>>>>()?;
    let voiced = || tracks.iter().flatten().copied().filter(|&f0| f0 > 0.0);
    let low = voiced().fold(f32::INFINITY, f32::min);
    let high = voiced().fold(0.0, f32::max);
    // Nothing voiced still gives axes.
    let (low, high) = if high > 0.0 {
        (f64::from(low) * 0.89, f64::from(high) * 1.12)
    } else {
        (50.0, 1_400.0)
    };
    let frame = Frame {
        left: LEFT,
        top,
        width: WIDTH as i32 - LEFT - RIGHT,
        height: F0_HEIGHT,
        x: time,
        y: f0_axis(low, high),
    };
    frame.draw_grid(canvas)?;
    for (index, track) in tracks.iter().enumerate() {
        let mut before_hz = 0.0;
        let points = track.iter().enumerate().flat_map(|(frame, &f0_hz)| {
            // A jump is another note, or a mistake: no line leads there.
            let jump =
                before_hz > 0.0 && f0_hz > 0.0 && (f0_hz / before_hz).log2().abs() > MAX_STEP;
            before_hz = f0_hz;
            let point = (f0_hz > 0.0).then_some((frame as f64 / 100.0, f64::from(f0_hz)));
            std::iter::once(None)
                .filter(move |_| jump)
                .chain(std::iter::once(point))
        });
        frame.draw_line(canvas, points, CURVES[index % CURVES.len()], 2)?;
    }
    frame.draw_labels(canvas, "F0 (Hz)", "s")?;
    let mut right = frame.left + frame.width;
    for (index, panel) in panels.iter().enumerate().rev() {
        let colour = CURVES[index % CURVES.len()];
        let anchor = Pos::new(HPos::Right, VPos::Bottom);
        coloured_text(canvas, &panel.title, (right, top - 5), 14, anchor, colour)?;
        right -= 9 * panel.title.chars().count() as i32 + 24;
    }
    Ok(())
}

/// Octaves of A where the range is wide, otherwise round frequencies.
fn f0_axis(low: f64, high: f64) -> Axis {
    if high > 4.0 * low {
        return Axis::with_ticks(low, high, Scale::Logarithmic, &PITCHES);
    }
    let mut axis = Axis::linear(low, high, 6);
    axis.scale = Scale::Logarithmic;
    axis
}

/// One spectrum per column of pixels.
struct Spectra {
    levels_db: Vec<f32>,
    bins: usize,
    fft_samples: usize,
}

impl Spectra {
    fn of(panel: &Panel, columns: usize, duration_s: f64) -> Self {
        let wanted = (WINDOW_S * f64::from(panel.rate_hz)) as usize;
        let fft_samples = wanted.next_power_of_two().max(64);
        let bins = fft_samples / 2 + 1;
        let mut levels_db = Vec::with_capacity(columns * bins);
        for column in 0..columns {
            let time_s = (column as f64 + 0.5) / columns as f64 * duration_s;
            let centre = (time_s * f64::from(panel.rate_hz)) as usize;
            if centre >= panel.samples.len() {
                break;
            }
            // One window around the column, with silence where the recording does not reach.
            let window: Vec<f32> = (0..fft_samples)
                .map(|n| {
                    let at = (centre + n).checked_sub(fft_samples / 2);
                    at.and_then(|at| panel.samples.get(at))
                        .copied()
                        .unwrap_or(0.0)
                })
                .collect();
            // The frame in the middle of the window covers it whole.
            let spectrum = stft_magnitude(&window, fft_samples, fft_samples / 2);
            let scale = 4.0 / fft_samples as f32;
            levels_db.extend(
                spectrum
                    .frame(1)
                    .iter()
                    .map(|magnitude| 20.0 * (magnitude * scale + 1e-7).log10()),
            );
        }
        Self {
            levels_db,
            bins,
            fft_samples,
        }
    }

    fn draw(
        &self,
        canvas: &Canvas<'_>,
        frame: &Frame,
        rate_hz: u32,
        loudest_db: f32,
    ) -> Result<()> {
        // The bins that each row of pixels covers; between two bins the level is interpolated.
        let bin_of = |row: i32| {
            let place = 1.0 - (f64::from(row) + 0.5) / f64::from(frame.height);
            frame.y.value(place) * self.fft_samples as f64 / f64::from(rate_hz)
        };
        let columns = self.levels_db.len() / self.bins;
        for row in 0..frame.height {
            let (low, high) = (bin_of(row + 1).max(0.0), bin_of(row).max(0.0));
            for column in 0..frame.width {
                let level = if (column as usize) < columns && high < self.bins as f64 - 1.0 {
                    let spectrum = &self.levels_db[column as usize * self.bins..][..self.bins];
                    1.0 + (level_between(spectrum, low, high) - loudest_db) / RANGE_DB
                } else {
                    0.0
                };
                let pixel = (frame.left + column, frame.top + row);
                drawn(canvas.draw_pixel(pixel, &heat(level)))?;
            }
        }
        Ok(())
    }
}

/// The highest level between two places on the bin axis, or the interpolated one where they lie within a bin.
fn level_between(spectrum: &[f32], low: f64, high: f64) -> f32 {
    let (first, last) = (low.ceil() as usize, high.floor() as usize);
    if first <= last {
        return spectrum[first..=last]
            .iter()
            .copied()
            .fold(f32::NEG_INFINITY, f32::max);
    }
    let middle = 0.5 * (low + high);
    let below = middle.floor() as usize;
    let share = (middle - middle.floor()) as f32;
    spectrum[below] + share * (spectrum[(below + 1).min(spectrum.len() - 1)] - spectrum[below])
}
