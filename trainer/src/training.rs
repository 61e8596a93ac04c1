//! What every training loop needs.
//!
//! | module | what |
//! |---|---|
//! | [`checkpoint`] | exact, atomic, resumable checkpoints |
//! | [`schedule`] | learning rates and gradient clipping |
//! | [`progress`] | progress on screen and figures in a log |

pub mod checkpoint;
pub mod progress;
pub mod schedule;
