//! What every training loop needs.
//!
//! | module | what |
//! |---|---|
//! | [`adamw`] | the optimiser, in one pass over memory |
//! | [`average`] | a running average of a network's weights |
//! | [`checkpoint`] | exact, atomic, resumable checkpoints |
//! | [`clip`] | the length of a gradient, and a bound on it |
//! | [`clips`] | prepared features to training clips |
//! | [`mixture`] | one network from several of one shape |
//! | [`pulled`] | clips as retrieval pulls them |
//! | [`schedule`] | learning rates |
//! | [`progress`] | progress on screen and figures in a log |

pub mod adamw;
pub mod average;
pub mod checkpoint;
pub mod clip;
pub mod clips;
pub mod mixture;
pub mod progress;
pub mod pulled;
pub mod schedule;
