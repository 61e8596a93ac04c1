//! Pictures as PNG, without system fonts and without a display.

mod axes;
mod curves;
mod spectrogram;
mod style;

pub use curves::{CurveSet, Series, draw_curves, read_figures};
pub use spectrogram::{Panel, draw_spectrograms};
