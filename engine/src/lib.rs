//! The real-time spine of Timbra.
//!
//! Module order is signal order: [`port`] (the host's side, audio thread) → [`ring`] → [`worker`] (worker thread:
//! [`features`] → [`blend`] → [`synthesis`]; voices in steps have a thread for their content and one for their steps) →
//! [`ring`] → [`port`]. [`service`] owns the threads and the loaded voices, [`model`] is a voice that is loaded and checked,
//! [`offline`] runs the same port and worker without threads, [`latency`] alone computes delays and [`onnx`] alone names the
//! inference runtime.

pub mod blend;
mod board;
mod content;
pub mod controls;
pub mod denormals;
mod ear;
pub mod error;
pub mod features;
pub mod large_pages;
pub mod latency;
#[cfg(unix)]
pub mod link;
mod listener;
pub mod locate;
pub mod model;
pub mod offline;
pub mod onnx;
mod pipeline;
pub mod port;
pub mod promise;
mod region;
mod ring;
pub mod service;
pub mod status;
pub mod steering;
mod stopwatch;
pub mod synthesis;
pub mod worker;

pub use controls::{ClusterMethod, Controls, Fallback, Tier};
pub use error::EngineError;
pub use features::{FeatureExtractor, FeatureFrame};
pub use latency::{LatencyPlan, VoiceTiming};
pub use model::{Encoder, LoadedVoice};
pub use port::{AudioPort, StreamConfig};
pub use service::{Isolation, Service, StreamHandle};
pub use status::{Answer, F0Point, StatusSnapshot, VoiceState};
pub use timbra_voice::library::VoiceRef;
pub use worker::Worker;
