//! Pictures as PNG, without system fonts and without a display.

mod axes;
mod curves;
mod spectrogram;
mod style;

pub use curves::{CurveSet, Series, curve_sets, draw_curves, draw_figures, read_figures};
pub use spectrogram::{Panel, draw_spectrograms};
