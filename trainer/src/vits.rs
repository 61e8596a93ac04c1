//! Training voices of the family `vits`.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | sizes of networks, settings of a run |
//! | [`batch`] | bucketed, augmented, seeded batches |
//! | [`spectrum`] | the linear spectrogram the posterior sees, the mel spectrogram the loss compares |
//! | [`network`] | one pass of a batch through prior, posterior, flow and decoder |
//! | [`critics`] | multi-period and multi-scale discriminators |
//! | [`losses`] | what the critics and the singer lower |
//! | [`start`] | the first weights: random, or of an imported base |
//! | [`held_out`] | similarity, F0 and words on recordings it does not learn from |
//! | [`stepper`] | one step of the critics and of the voice |
//! | [`peers`] | several devices that take steps together |
//! | [`fit`] | the training loop |
//! | [`watch`] | notices when a training fails, and when it is done |
//! | [`checkpoints`] | what is saved, and what becomes of it: voices, smaller files, mixtures |

pub mod batch;
pub mod checkpoints;
pub mod config;
pub mod critics;
pub mod fit;
pub mod held_out;
pub mod losses;
pub mod network;
pub mod peers;
#[cfg(test)]
mod small;
pub mod spectrum;
pub mod start;
pub mod stepper;
pub mod watch;
