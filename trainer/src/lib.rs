//! Builds, measures and converts with Timbra voices: the parts of the `trainer` program.
//!
//! The order of work is the order of the modules: [`data`] (recordings and
//! features) → `encoder`, `harmonic`, `vits`, `training` (networks) → [`evaluation`]
//! (measures on held-out clips) → `export`. [`commands`] has one verb a file, [`kernels`] what
//! a backend computes better than burn would.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod backend;
pub mod cli;
pub mod commands;
pub mod config;
pub mod data;
pub mod encoder;
pub mod evaluation;
pub mod harmonic;
pub mod import;
pub mod kernels;
pub mod model;
pub mod plot;
pub mod progress;
pub mod random;
pub mod training;
pub mod vits;
