//! Signal maths of Timbra: no threads, no files, no networks.
//!
//! Streaming parts (`bands`, `f0`, `loudness`, `noise`, `resample`, `delay`, `gate`, `envelope`, `fade`) allocate in their
//! constructors only. Offline parts (`stft`, `mel`, [`resample::resample_all`]) serve training, plots and certificates.
//!
//! Frames follow one convention everywhere: content rate 16 kHz, one frame every 160 samples, frame `k` describes the
//! signal *around* sample `160·k`. A streaming extractor returns frame `k` from the push that brings the number of
//! samples received to at least `160·k` and its look-ahead ([`Lookahead`]).

pub mod bands;
pub mod delay;
pub mod envelope;
pub mod f0;
pub mod fade;
pub mod gate;
pub mod level;
mod lookahead;
pub mod loudness;
pub mod mel;
pub mod noise;
pub mod resample;
pub mod stft;

pub use lookahead::Lookahead;

/// Rate of the signal every feature is computed from, in Hz.
pub const CONTENT_RATE_HZ: u32 = 16_000;

/// Samples of the content-rate signal per frame (10 ms).
pub const CONTENT_HOP_SAMPLES: usize = 160;
