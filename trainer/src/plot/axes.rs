//! A rectangle with axes: pixels to values and back, ticks, labels.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::style::{FONT, GRID, INK, PAPER, load_font};

/// A whole picture while it is drawn.
pub type Canvas<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// Makes a picture and writes it as PNG, whole or not at all.
///
/// # Errors
/// The drawing library failed or the disk is full.
pub fn draw_png(
    path: &Path,
    width: u32,
    height: u32,
    draw: impl FnOnce(&Canvas<'_>) -> Result<()>,
) -> Result<()> {
    load_font()?;
    let cannot = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(cannot)?;
    }
    // The drawing library chooses the format by the extension.
    let name = path.file_name().with_context(cannot)?.to_string_lossy();
    let partial = path.with_file_name(format!(".{name}.{}.partial.png", std::process::id()));
    let outcome = (|| {
        let canvas = BitMapBackend::new(&partial, (width, height)).into_drawing_area();
        drawn(canvas.fill(&PAPER))?;
        draw(&canvas)?;
        drawn(canvas.present())
    })()
    .and_then(|()| std::fs::rename(&partial, path).map_err(anyhow::Error::from));
    if outcome.is_err() {
        // Nothing can be done about a failure here, and the name says what it is.
        let _ = std::fs::remove_file(&partial);
    }
    outcome.with_context(cannot)
}

/// How values lie along an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm; the range lies above 0.
    Logarithmic,
    /// By their pitch on the mel scale.
    Mel,
}

/// A direction of a plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Value at the left or lower end.
    pub low: f64,
    /// Value at the right or upper end.
    pub high: f64,
    /// How values lie between.
    pub scale: Scale,
    /// Where a line and a label go.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis with ticks at round numbers, about `count` of them.
    #[must_use]
    pub fn linear(low: f64, high: f64, count: usize) -> Self {
        // A constant still needs some height.
        let (low, high) = if high - low > 1e-12 * high.abs().max(low.abs()).max(1e-6) {
            (low, high)
        } else {
            (low - 0.5, high + 0.5)
        };
        let step = round_step((high - low) / count.max(1) as f64);
        let digits = (-step.log10().floor()).max(0.0) as usize;
        let first = (low / step - 1e-9).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        let ticks = (first..=last)
            .map(|index| {
                let value = index as f64 * step;
                (value, format!("{value:.digits$}"))
            })
            .collect();
        Self {
            low,
            high,
            scale: Scale::Linear,
            ticks,
        }
    }

    /// An axis with the given ticks that lie in its range.
    #[must_use]
    pub fn with_ticks(low: f64, high: f64, scale: Scale, ticks: &[(f64, &str)]) -> Self {
        Self {
            low,
            high,
            scale,
            ticks: ticks
                .iter()
                .filter(|(value, _)| (low..=high).contains(value))
                .map(|&(value, label)| (value, label.to_owned()))
                .collect(),
        }
    }

    /// 0 at the low end, 1 at the high end.
    #[must_use]
    pub fn place(&self, value: f64) -> f64 {
        let bend = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.max(1e-12).ln(),
            Scale::Mel => (1.0 + value / 700.0).ln(),
        };
        (bend(value) - bend(self.low)) / (bend(self.high) - bend(self.low))
    }

    /// The value at a place of 0..1.
    #[must_use]
    pub fn value(&self, place: f64) -> f64 {
        let between = |low: f64, high: f64| low + (high - low) * place;
        match self.scale {
            Scale::Linear => between(self.low, self.high),
            Scale::Logarithmic => between(self.low.ln(), self.high.ln()).exp(),
            Scale::Mel => {
                let bend = |value: f64| (1.0 + value / 700.0).ln();
                700.0 * (between(bend(self.low), bend(self.high)).exp() - 1.0)
            }
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.max(1e-12).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|&candidate| candidate >= step * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

/// A plot's rectangle in pixels.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Left edge.
    pub left: i32,
    /// Upper edge.
    pub top: i32,
    /// Width.
    pub width: i32,
    /// Height.
    pub height: i32,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
}

impl Frame {
    /// The pixel of a point.
    #[must_use]
    pub fn pixel(&self, x: f64, y: f64) -> (i32, i32) {
        (
            self.left + (self.x.place(x) * f64::from(self.width)).round() as i32,
            self.top + self.height - (self.y.place(y) * f64::from(self.height)).round() as i32,
        )
    }

    /// Lines at the ticks.
    ///
    /// # Errors
    /// The drawing library failed.
    pub fn draw_grid(&self, canvas: &Canvas<'_>) -> Result<()> {
        for (value, _) in &self.x.ticks {
            let (x, _) = self.pixel(*value, self.y.low);
            self.line(canvas, (x, self.top), (x, self.top + self.height), GRID)?;
        }
        for (value, _) in &self.y.ticks {
            let (_, y) = self.pixel(self.x.low, *value);
            self.line(canvas, (self.left, y), (self.left + self.width, y), GRID)?;
        }
        Ok(())
    }

    /// Border, labels of the ticks, and a title above.
    ///
    /// # Errors
    /// The drawing library failed.
    pub fn draw_labels(&self, canvas: &Canvas<'_>, title: &str, x_unit: &str) -> Result<()> {
        let (right, bottom) = (self.left + self.width, self.top + self.height);
        drawn(canvas.draw(&Rectangle::new(
            [(self.left, self.top), (right, bottom)],
            INK.stroke_width(1),
        )))?;
        text(
            canvas,
            title,
            (self.left, self.top - 5),
            15,
            HPos::Left,
            VPos::Bottom,
        )?;
        for (value, label) in &self.y.ticks {
            let (_, y) = self.pixel(self.x.low, *value);
            self.line(canvas, (self.left - 4, y), (self.left, y), INK)?;
            text(
                canvas,
                label,
                (self.left - 7, y),
                12,
                HPos::Right,
                VPos::Center,
            )?;
        }
        for (value, label) in &self.x.ticks {
            let (x, _) = self.pixel(*value, self.y.low);
            self.line(canvas, (x, bottom), (x, bottom + 4), INK)?;
            text(canvas, label, (x, bottom + 6), 12, HPos::Center, VPos::Top)?;
        }
        text(
            canvas,
            x_unit,
            (right, bottom + 22),
            12,
            HPos::Right,
            VPos::Top,
        )
    }

    /// A line through the points that lie in the frame, broken at `None`.
    ///
    /// # Errors
    /// The drawing library failed.
    pub fn draw_line(
        &self,
        canvas: &Canvas<'_>,
        points: impl Iterator<Item = Option<(f64, f64)>>,
        colour: RGBColor,
        width: u32,
    ) -> Result<()> {
        let mut stretch: Vec<(i32, i32)> = Vec::new();
        for point in points.chain(std::iter::once(None)) {
            let inside = point.filter(|&(x, y)| {
                x.is_finite() && y.is_finite() && (-0.001..=1.001).contains(&self.x.place(x))
            });
            match inside {
                Some((x, y)) => {
                    let y = y.clamp(self.y.low, self.y.high);
                    stretch.push(self.pixel(x, y));
                }
                None => {
                    match stretch.len() {
                        0 => {}
                        1 => drawn(canvas.draw(&Circle::new(stretch[0], width, colour.filled())))?,
                        _ => drawn(canvas.draw(&PathElement::new(
                            std::mem::take(&mut stretch),
                            colour.stroke_width(width),
                        )))?,
                    }
                    stretch.clear();
                }
            }
        }
        Ok(())
    }

    fn line(
        &self,
        canvas: &Canvas<'_>,
        from: (i32, i32),
        to: (i32, i32),
        colour: RGBColor,
    ) -> Result<()> {
        drawn(canvas.draw(&PathElement::new([from, to], colour.stroke_width(1))))
    }
}

/// Writes a line of text.
///
/// # Errors
/// The drawing library failed.
pub fn text(
    canvas: &Canvas<'_>,
    line: &str,
    at: (i32, i32),
    height: i32,
    horizontal: HPos,
    vertical: VPos,
) -> Result<()> {
    coloured_text(
        canvas,
        line,
        at,
        height,
        Pos::new(horizontal, vertical),
        INK,
    )
}

/// [`text`] in a colour.
///
/// # Errors
/// The drawing library failed.
pub fn coloured_text(
    canvas: &Canvas<'_>,
    line: &str,
    at: (i32, i32),
    height: i32,
    anchor: Pos,
    colour: RGBColor,
) -> Result<()> {
    let style = (FONT, height).into_font().color(&colour).pos(anchor);
    drawn(canvas.draw_text(line, &style, at))
}

/// The drawing library's error as ours.
///
/// # Errors
/// Its own.
pub fn drawn<E: std::error::Error + Send + Sync>(
    outcome: std::result::Result<(), DrawingAreaErrorKind<E>>,
) -> Result<()> {
    outcome.map_err(|error| anyhow!("cannot draw: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_inside_the_range() {
        let axis = Axis::linear(0.13, 7.9, 5);
        let labels: Vec<&str> = axis.ticks.iter().map(|(_, label)| label.as_str()).collect();
        assert_eq!(labels, ["2", "4", "6"]);
        let axis = Axis::linear(0.0, 0.05, 5);
        let labels: Vec<&str> = axis.ticks.iter().map(|(_, label)| label.as_str()).collect();
        assert_eq!(labels, ["0.00", "0.01", "0.02", "0.03", "0.04", "0.05"]);
    }

    #[test]
    fn a_constant_has_a_range() {
        let axis = Axis::linear(3.0, 3.0, 4);
        assert!(axis.low < 3.0 && axis.high > 3.0 && !axis.ticks.is_empty());
    }

    #[test]
    fn places_and_values_are_inverse_on_every_scale() {
        for scale in [Scale::Linear, Scale::Logarithmic, Scale::Mel] {
            let axis = Axis::with_ticks(50.0, 20_000.0, scale, &[]);
            for value in [50.0, 440.0, 3_000.0, 20_000.0] {
                let back = axis.value(axis.place(value));
                assert!(
                    (back - value).abs() < 1e-6 * value,
                    "{scale:?}: {value} became {back}"
                );
            }
        }
    }
}
