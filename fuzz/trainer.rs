//! The readers of the trainer without the training framework, which takes long to build under instrumentation.
#![allow(dead_code, reason = "every target uses a part")]

pub use data::audio;

#[path = "../trainer/src/data"]
mod data {
    pub mod atomic_file;
    pub mod audio;
}
#[path = "../trainer/src/commands/convert/timeline.rs"]
pub mod timeline;

/// What the timeline takes from the trainer's `config`.
pub mod config {
    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    pub struct WrongArgument(pub String);
}
