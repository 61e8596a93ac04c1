//! Font and colours of all pictures.

use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use plotters::style::{FontStyle, RGBColor, register_font};

/// Name under which the built-in font is known to the drawing library.
pub const FONT: &str = "timbra";

/// Background of a picture.
pub const PAPER: RGBColor = RGBColor(250, 250, 252);
/// Text and axes.
pub const INK: RGBColor = RGBColor(40, 42, 54);
/// Lines of the grid.
pub const GRID: RGBColor = RGBColor(222, 223, 230);

/// Colours of curves, told apart also by the colour-blind.
///
/// Source: Okabe, Ito, "Color Universal Design", 2008; without yellow, which is faint on paper.
pub const CURVES: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// Makes the font known; the first call of a process does the work.
///
/// # Errors
/// The font that is compiled in cannot be read.
pub fn load_font() -> Result<()> {
    static LOADED: OnceLock<bool> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| {
        register_font(FONT, FontStyle::Normal, epaint_default_fonts::HACK_REGULAR).is_ok()
    });
    if *loaded {
        Ok(())
    } else {
        Err(anyhow!("the built-in font cannot be read"))
    }
}

/// Dark violet to light yellow for a level of 0..1.
#[must_use]
pub fn heat(level: f32) -> RGBColor {
    // Our own stops: rising lightness, so that it reads in grey too.
    const STOPS: [[f32; 3]; 6] = [
        [8.0, 7.0, 26.0],
        [58.0, 18.0, 104.0],
        [138.0, 37.0, 122.0],
        [219.0, 73.0, 92.0],
        [252.0, 158.0, 84.0],
        [253.0, 246.0, 190.0],
    ];
    let place = level.clamp(0.0, 1.0) * (STOPS.len() - 1) as f32;
    let index = (place as usize).min(STOPS.len() - 2);
    let share = place - index as f32;
    let mix = |channel: usize| {
        let (from, to) = (STOPS[index][channel], STOPS[index + 1][channel]);
        (from + (to - from) * share).round() as u8
    };
    RGBColor(mix(0), mix(1), mix(2))
}
