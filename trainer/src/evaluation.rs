//! Measures on held-out clips, and what a voice's certificate is made of.

pub mod measures;
pub mod page;
pub mod precision;
mod report;

pub use report::{ClipReport, Report, ReportOptions, SpeakerReport, evaluate, machine_name};
