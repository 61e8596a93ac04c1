//! Figures over the steps of a training.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axes::{Axis, Frame, coloured_text, draw_png};
use super::style::CURVES;

const WIDTH: u32 = 1000;
const LEFT: i32 = 80;
const RIGHT: i32 = 24;
const HEIGHT: i32 = 240;
const TITLE: i32 = 30;
const LABELS: i32 = 42;

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Shown beside the plot.
    pub name: String,
    /// `(step, value)`, steps rising.
    pub points: Vec<(f64, f64)>,
}

/// Curves that share a plot.
#[derive(Debug, Clone, PartialEq)]
pub struct CurveSet {
    /// Shown above.
    pub title: String,
    /// Its curves.
    pub series: Vec<Series>,
}

/// Draws the plots one below the other over a common axis of steps.
///
/// # Errors
/// There is no point at all, or the file cannot be written.
pub fn draw_curves(path: &Path, sets: &[CurveSet]) -> Result<()> {
    let sets: Vec<&CurveSet> = sets
        .iter()
        .filter(|set| set.series.iter().any(|series| !series.points.is_empty()))
        .collect();
    ensure!(!sets.is_empty(), "there is no curve to draw");
    let points = || {
        sets.iter()
            .flat_map(|set| &set.series)
            .flat_map(|series| &series.points)
    };
    let first = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let last = points()
        .map(|point| point.0)
        .fold(f64::NEG_INFINITY, f64::max);
    let steps = Axis::linear(first, last, 8);
    let each = TITLE + HEIGHT + LABELS;
    draw_png(path, WIDTH, (each * sets.len() as i32) as u32, |canvas| {
        for (index, set) in sets.iter().enumerate() {
            let frame = Frame {
                left: LEFT,
                top: each * index as i32 + TITLE,
                width: WIDTH as i32 - LEFT - RIGHT,
                height: HEIGHT,
                x: steps.clone(),
                y: value_axis(set),
            };
            frame.draw_grid(canvas)?;
            for (number, series) in set.series.iter().enumerate() {
                let points = series.points.iter().map(|&point| Some(point));
                frame.draw_line(canvas, points, CURVES[number % CURVES.len()], 2)?;
            }
            frame.draw_labels(canvas, &set.title, "step")?;
            let mut right = frame.left + frame.width;
            for (number, series) in set.series.iter().enumerate().rev() {
                let colour = CURVES[number % CURVES.len()];
                let anchor = Pos::new(HPos::Right, VPos::Bottom);
                coloured_text(
                    canvas,
                    &series.name,
                    (right, frame.top - 5),
                    13,
                    anchor,
                    colour,
                )?;
                right -= 8 * series.name.chars().count() as i32 + 18;
            }
        }
        Ok(())
    })
}

/// The range of the values without their highest hundredth: a spike must not flatten the rest.
fn value_axis(set: &CurveSet) -> Axis {
    let mut values: Vec<f64> = set
        .series
        .iter()
        .flat_map(|series| &series.points)
        .map(|point| point.1)
        .filter(|value| value.is_finite())
        .collect();
    values.sort_by(f64::total_cmp);
    let (Some(&low), false) = (values.first(), values.is_empty()) else {
        return Axis::linear(0.0, 1.0, 5);
    };
    let high = values[((values.len() - 1) as f64 * 0.99).ceil() as usize];
    let room = 0.04 * (high - low);
    Axis::linear(low - room, high + room, 5)
}

/// Reads a CSV of figures: a line of names, the first of them `step`, then numbers; one series per column.
///
/// Steps that come again (after a resumed run) count as they came last. A last
/// line that was cut off by a kill is passed over, as are cells that are not
/// finite numbers.
///
/// # Errors
/// The file is missing or has no such first line.
pub fn read_figures(path: &Path) -> Result<Vec<Series>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let mut names = header.split(',').map(str::trim);
    let first = names.next().unwrap_or_default();
    if first != "step" {
        bail!(
            "{} is no table of figures: the first column is \"{first}\", expected \"step\"",
            path.display()
        );
    }
    let mut series: Vec<Series> = names
        .map(|name| Series {
            name: name.to_owned(),
            points: Vec::new(),
        })
        .collect();
    for line in lines {
        let cells: Vec<Option<f64>> = line
            .split(',')
            .map(|cell| cell.trim().parse::<f64>().ok().filter(|v| v.is_finite()))
            .collect();
        if cells.len() != series.len() + 1 {
            continue;
        }
        let Some(step) = cells[0] else { continue };
        for (series, value) in series.iter_mut().zip(&cells[1..]) {
            while series.points.last().is_some_and(|point| point.0 >= step) {
                series.points.pop();
            }
            if let Some(value) = *value {
                series.points.push((step, value));
            }
        }
    }
    Ok(series)
}

/// Whether a figure belongs into the plot of losses.
fn is_loss(name: &str) -> bool {
    name.contains("loss") || ["distance", "held_out", "held out"].contains(&name)
}

/// Puts losses into one plot and every other figure into one of its own, by name.
#[must_use]
pub fn curve_sets(series: &[Series]) -> Vec<CurveSet> {
    let losses: Vec<Series> = series
        .iter()
        .filter(|s| is_loss(&s.name))
        .cloned()
        .collect();
    let mut sets = Vec::new();
    if !losses.is_empty() {
        sets.push(CurveSet {
            title: "loss".to_owned(),
            series: losses,
        });
    }
    for single in series.iter().filter(|s| !is_loss(&s.name)) {
        sets.push(CurveSet {
            title: single.name.replace('_', " "),
            series: vec![single.clone()],
        });
    }
    sets
}

/// Draws a training's `figures.csv` as a picture.
///
/// # Errors
/// The table is missing or holds no row, or the file cannot be written.
pub fn draw_figures(table: &Path, picture: &Path) -> Result<()> {
    draw_curves(picture, &curve_sets(&read_figures(table)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_run_replaces_the_steps_it_repeats_and_a_cut_off_line_is_passed_over() {
        let path = std::env::temp_dir().join(format!("timbra-figures-{}.csv", std::process::id()));
        std::fs::write(
            &path,
            "step,loss,similarity\n1,4,0.1\n2,3,nan\n3,2,0.3\n2,2.5,0.2\n3,2.",
        )
        .unwrap();
        let series = read_figures(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(series[0].points, [(1.0, 4.0), (2.0, 2.5)]);
        assert_eq!(series[1].points, [(1.0, 0.1), (2.0, 0.2)]);
    }

    #[test]
    fn losses_share_a_plot_and_others_have_their_own() {
        let named = |name: &str| Series {
            name: name.to_owned(),
            points: vec![(0.0, 1.0)],
        };
        let sets = curve_sets(&["distance", "held_out", "similarity"].map(named));
        let titles: Vec<&str> = sets.iter().map(|set| set.title.as_str()).collect();
        assert_eq!(titles, ["loss", "similarity"]);
        assert_eq!(sets[0].series.len(), 2);
    }
}
