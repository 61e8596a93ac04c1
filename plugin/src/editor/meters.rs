//! Input and output level with peak hold.

use std::time::Instant;

use egui::{Align2, Color32, CornerRadius, FontId, Pos2, Rect, Sense, Ui, vec2};

use super::{Scene, theme};

/// Lower end of the scale in dBFS.
const FLOOR_DB: f32 = -60.0;
/// Upper end of the scale in dBFS.
const CEILING_DB: f32 = 6.0;
/// How fast a bar falls.
const FALL_DB_PER_S: f32 = 26.0;
/// How long the highest peak stands.
const HOLD_S: f32 = 2.0;

/// One bar.
#[derive(Clone, Copy)]
struct Bar {
    level_db: f32,
    held_db: f32,
    held_s: f32,
    /// Highest since the last click.
    highest_db: f32,
}

impl Default for Bar {
    fn default() -> Self {
        Self {
            level_db: FLOOR_DB,
            held_db: FLOOR_DB,
            held_s: 0.0,
            highest_db: f32::NEG_INFINITY,
        }
    }
}

impl Bar {
    /// Takes the peak since the last picture, `elapsed_s` ago.
    fn follow(&mut self, peak: f32, elapsed_s: f32) {
        let peak_db = if peak > 0.0 {
            20.0 * peak.log10()
        } else {
            f32::NEG_INFINITY
        };
        self.level_db = (self.level_db - FALL_DB_PER_S * elapsed_s)
            .max(peak_db)
            .max(FLOOR_DB);
        self.held_s += elapsed_s;
        if peak_db >= self.held_db {
            self.held_db = peak_db;
            self.held_s = 0.0;
        } else if self.held_s > HOLD_S {
            self.held_db = self.level_db;
        }
        self.highest_db = self.highest_db.max(peak_db);
    }
}

/// Both bars.
#[derive(Default)]
pub struct Meters {
    input: Bar,
    output: Bar,
    last: Option<Instant>,
}

impl Meters {
    /// Draws both over the height that is left. A click forgets the highest peaks.
    pub fn show(&mut self, ui: &mut Ui, scene: &Scene) {
        let now = Instant::now();
        let elapsed_s = self
            .last
            .replace(now)
            .map_or(0.0, |last| (now - last).as_secs_f32().min(1.0));
        let (in_peak, out_peak) = scene
            .status
            .map_or((0.0, 0.0), |status| (status.in_peak, status.out_peak));
        self.input.follow(in_peak, elapsed_s);
        self.output.follow(out_peak, elapsed_s);

        theme::panel().show(ui, |ui| {
            let (rect, response) = ui.allocate_exact_size(ui.available_size(), Sense::click());
            if response.clicked() {
                self.input.highest_db = f32::NEG_INFINITY;
                self.output.highest_db = f32::NEG_INFINITY;
            }
            response.on_hover_text("Peaks in dBFS. Click to forget the highest.");
            let bars = Rect::from_min_max(rect.min + vec2(0.0, 36.0), rect.max - vec2(0.0, 4.0));
            let width = 22.0;
            let input = Rect::from_min_size(bars.min, vec2(width, bars.height()));
            let output = Rect::from_min_size(
                Pos2::new(bars.right() - width, bars.top()),
                vec2(width, bars.height()),
            );
            draw(ui, input, "In", &self.input, theme::INPUT);
            draw(ui, output, "Out", &self.output, theme::OUTPUT);
            scale(ui, bars);
        });
    }
}

/// Vertical position of a level.
fn y(rect: Rect, level_db: f32) -> f32 {
    let height = ((level_db - FLOOR_DB) / (CEILING_DB - FLOOR_DB)).clamp(0.0, 1.0);
    rect.bottom() - rect.height() * height
}

fn draw(ui: &Ui, rect: Rect, name: &str, bar: &Bar, colour: Color32) {
    let painter = ui.painter();
    painter.rect_filled(rect, CornerRadius::same(3), theme::SUNKEN);
    let fill = |from_db: f32, to_db: f32, colour: Color32| {
        if to_db > from_db {
            let bar = Rect::from_x_y_ranges(rect.x_range(), y(rect, to_db)..=y(rect, from_db));
            painter.rect_filled(bar, CornerRadius::same(2), colour);
        }
    };
    fill(FLOOR_DB, bar.level_db.min(0.0), colour);
    fill(0.0, bar.level_db, theme::ERROR);
    if bar.held_db > FLOOR_DB {
        let colour = if bar.held_db > 0.0 {
            theme::ERROR
        } else {
            theme::TEXT
        };
        painter.hline(rect.x_range(), y(rect, bar.held_db), (1.5, colour));
    }
    let centre = rect.center().x;
    painter.text(
        Pos2::new(centre, rect.top() - 36.0),
        Align2::CENTER_TOP,
        name,
        FontId::proportional(12.5),
        theme::WEAK,
    );
    let text = if bar.highest_db > FLOOR_DB {
        format!("{:.1}", bar.highest_db)
    } else {
        "\u{2212}\u{221e}".to_owned()
    };
    let colour = if bar.highest_db > 0.0 {
        theme::ERROR
    } else {
        theme::TEXT
    };
    painter.text(
        Pos2::new(centre, rect.top() - 20.0),
        Align2::CENTER_TOP,
        text,
        FontId::proportional(12.0),
        colour,
    );
}

fn scale(ui: &Ui, rect: Rect) {
    for level_db in [0i32, -6, -12, -18, -24, -36, -48, -60] {
        ui.painter().text(
            Pos2::new(rect.center().x, y(rect, level_db as f32)),
            Align2::CENTER_CENTER,
            level_db.unsigned_abs(),
            FontId::proportional(10.5),
            theme::WEAK,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_held_and_then_falls() {
        let mut bar = Bar::default();
        bar.follow(1.0, 0.033);
        assert_eq!(bar.level_db, 0.0);
        for _ in 0..30 {
            bar.follow(0.0, 0.033);
        }
        assert_eq!(bar.held_db, 0.0);
        assert!(bar.level_db < -20.0);
        for _ in 0..60 {
            bar.follow(0.0, 0.033);
        }
        assert!(bar.held_db < -20.0);
        assert_eq!(bar.highest_db, 0.0);
    }

    #[test]
    fn silence_rests_on_the_floor() {
        let mut bar = Bar::default();
        bar.follow(0.0, 1.0);
        assert_eq!(bar.level_db, FLOOR_DB);
    }
}
