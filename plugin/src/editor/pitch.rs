//! F0 of the source and of the converted voice over the last seconds, on a semitone axis.

use egui::{Align, Color32, Layout, RichText, Ui};
use egui_plot::{GridInput, GridMark, Line, Plot, PlotBounds, PlotPoints};
use timbra_engine::F0Point;
use timbra_engine::controls::Scale;

use super::{Scene, retune, theme};

/// Seconds shown.
const SPAN_S: f64 = 5.0;
/// Fewest semitones shown.
const MIN_RANGE: f64 = 15.0;
/// Farthest two points of one line may be apart: four frames.
const MAX_STEP_S: f64 = 0.045;

/// The part of the axis that is in view; it follows the singer slowly.
pub struct PitchView {
    low: f64,
    high: f64,
}

impl Default for PitchView {
    fn default() -> Self {
        Self {
            low: 45.0,
            high: 69.0,
        }
    }
}

/// MIDI note number of a frequency, A4 = 69 = 440 Hz.
fn note(f0_hz: f32) -> f64 {
    69.0 + 12.0 * (f64::from(f0_hz) / 440.0).log2()
}

/// `A#3 +12 ct`: the nearest note and the cents beside it.
fn note_text(f0_hz: f32) -> String {
    let note = note(f0_hz);
    let nearest = note.round();
    format!("{} {:+.0} ct", name(nearest), (note - nearest) * 100.0)
}

/// `C4` for 60.
fn name(note: f64) -> String {
    const NAMES: [&str; 12] = [
        "C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B",
    ];
    let note = note as i64;
    format!(
        "{}{}",
        NAMES[note.rem_euclid(12) as usize],
        note.div_euclid(12) - 1
    )
}

/// The voiced stretches of one curve, time relative to `now_s`.
fn stretches(
    points: &[F0Point],
    now_s: f64,
    f0_hz: impl Fn(&F0Point) -> f32,
) -> Vec<Vec<[f64; 2]>> {
    let mut all: Vec<Vec<[f64; 2]>> = Vec::new();
    let mut last_s = f64::NEG_INFINITY;
    for point in points {
        let f0 = f0_hz(point);
        if f0 > 0.0 && f0.is_finite() {
            if !(0.0..=MAX_STEP_S).contains(&(point.time_s - last_s)) {
                all.push(Vec::new());
            }
            if let Some(stretch) = all.last_mut() {
                stretch.push([point.time_s - now_s, note(f0)]);
            }
            last_s = point.time_s;
        }
    }
    all
}

impl PitchView {
    /// Draws the curves over the room that is left.
    pub fn show(&mut self, ui: &mut Ui, scene: &Scene) {
        let history = scene.session().f0_history();
        let now_s = history.last().map_or(0.0, |point| point.time_s);
        let start = history.partition_point(|point| point.time_s < now_s - SPAN_S);
        let recent = &history[start..];
        let input = stretches(recent, now_s, |point| point.in_hz);
        let output = stretches(recent, now_s, |point| point.out_hz);
        self.follow(input.iter().chain(&output).flatten().map(|point| point[1]));

        theme::panel().show(ui, |ui| {
            ui.horizontal(|ui| {
                theme::title(ui, "PITCH");
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    let last = recent.last();
                    reading(ui, "out", theme::OUTPUT, last.map(|point| point.out_hz));
                    ui.add_space(6.0);
                    reading(ui, "in", theme::INPUT, last.map(|point| point.in_hz));
                });
            });
            retune::show(ui, scene);
            let scale = retune::scale(scene);
            let (low, high) = (self.low, self.high);
            Plot::new("pitch")
                .allow_zoom(false)
                .allow_drag(false)
                .allow_scroll(false)
                .allow_boxed_zoom(false)
                .allow_double_click_reset(false)
                .show_x(false)
                .show_y(false)
                .set_margin_fraction(egui::Vec2::ZERO)
                .show_background(false)
                .grid_color(theme::LINE)
                .cursor_color(theme::LINE)
                .y_axis_min_width(30.0)
                .x_grid_spacer(|_| seconds())
                .y_grid_spacer(move |input: GridInput| notes(input.bounds, scale))
                .x_axis_formatter(|mark: GridMark, _| {
                    if mark.value == 0.0 {
                        "now".to_owned()
                    } else {
                        format!("{:.0} s", mark.value)
                    }
                })
                .y_axis_formatter(|mark: GridMark, _| name(mark.value))
                .label_formatter(|_| None)
                .show(ui, |plot| {
                    plot.set_plot_bounds(PlotBounds::from_min_max(
                        [-SPAN_S - 0.15, low],
                        [0.2, high],
                    ));
                    for (curve, colour, width) in [
                        // Wider, so that it is seen under the output when both are the same.
                        (input, theme::INPUT.gamma_multiply(0.75), 4.0),
                        (output, theme::OUTPUT, 1.8),
                    ] {
                        for points in curve {
                            plot.line(
                                Line::new("", PlotPoints::from(points))
                                    .color(colour)
                                    .width(width)
                                    .allow_hover(false),
                            );
                        }
                    }
                });
        });
    }

    /// Moves the view towards what is sung. Single slips of the tracker do not count.
    fn follow(&mut self, notes: impl Iterator<Item = f64>) {
        let mut notes: Vec<f64> = notes.collect();
        if notes.is_empty() {
            return;
        }
        notes.sort_by(f64::total_cmp);
        let slips = notes.len() / 30;
        let (lowest, highest) = (notes[slips], notes[notes.len() - 1 - slips]);
        let middle = (lowest + highest) / 2.0;
        let half = ((highest - lowest) / 2.0 + 2.0).max(MIN_RANGE / 2.0);
        self.low += (middle - half - self.low) * 0.15;
        self.high += (middle + half - self.high) * 0.15;
    }
}

fn reading(ui: &mut Ui, label: &str, colour: Color32, f0_hz: Option<f32>) {
    let text = match f0_hz {
        Some(f0_hz) if f0_hz > 0.0 => note_text(f0_hz),
        _ => "\u{2013}".to_owned(),
    };
    ui.label(
        RichText::new(format!("{label}  {text}"))
            .color(colour)
            .size(12.5),
    );
}

fn seconds() -> Vec<GridMark> {
    (0..=SPAN_S as i32)
        .map(|second| GridMark {
            value: -f64::from(second),
            step_size: 1.0,
        })
        .collect()
}

/// Lines at the notes: those of the scale that is sung in; without one every semitone when few are in view, else whole
/// tones of a scale, always the Cs.
fn notes((low, high): (f64, f64), scale: Option<(u8, Scale)>) -> Vec<GridMark> {
    let range = high - low;
    let wanted = |note: i64| match note.rem_euclid(12) {
        step if scale.is_some() => {
            let (key, scale) = scale?;
            let weight = if step == i64::from(key) { 12.0 } else { 4.0 };
            scale.has(key, note as i32).then_some(weight)
        }
        0 => Some(12.0),
        4 | 7 | 9 | 2 if range <= 30.0 => Some(4.0),
        _ if range <= 18.0 => Some(1.0),
        _ => None,
    };
    (low.ceil() as i64..=high.floor() as i64)
        .filter_map(|note| {
            Some(GridMark {
                value: note as f64,
                step_size: wanted(note)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_have_their_names() {
        assert_eq!(name(60.0), "C4");
        assert_eq!(name(69.0), "A4");
        assert_eq!(name(21.0), "A0");
        assert_eq!(note_text(440.0), "A4 +0 ct");
        assert_eq!(note_text(466.16), "A#4 -0 ct");
    }

    #[test]
    fn lines_are_the_notes_of_the_scale() {
        let lines = |scale| -> Vec<f64> {
            let marks = notes((59.5, 72.5), scale);
            marks.iter().map(|mark| mark.value).collect()
        };
        let pentatonic = [62.0, 64.0, 66.0, 69.0, 71.0];
        assert_eq!(lines(Some((2, Scale::MajorPentatonic))), pentatonic);
        assert_eq!(lines(None).len(), 13);
    }

    #[test]
    fn unvoiced_frames_break_the_line() {
        let point = |time_s: f64, in_hz: f32| F0Point {
            time_s,
            in_hz,
            out_hz: in_hz,
        };
        let points = [
            point(0.00, 220.0),
            point(0.01, 220.0),
            point(0.02, 0.0),
            point(0.10, 220.0),
            point(0.11, f32::NAN),
        ];
        let lines = stretches(&points, 0.11, |point| point.in_hz);
        assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    }
}
