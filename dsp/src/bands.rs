//! Broad bands: how loud a sound is in each of them, and how to make it otherwise.
//!
//! Speech is understood by no more than four bands (Shannon et al., "Speech recognition with primarily temporal cues",
//! Science 270, 1995); a throat is known by finer things. These are eight, evenly spaced in critical bands.

mod filter;
mod meter;

pub use filter::BandFilter;
pub use meter::{BandLevels, BandMeter};

/// How many bands.
pub const BANDS: usize = 8;

/// Where the lowest begins and the highest ends, in Hz. Each rises from its lower neighbour's centre and falls to its upper
/// neighbour's.
const EDGES_HZ: (f64, f64) = (80.0, 7_500.0);

/// Critical bands (ERB) below `hz`: Glasberg and Moore, "Derivation of auditory filter shapes from notched-noise data",
/// Hearing Research 47, 1990.
fn erbs(hz: f64) -> f64 {
    21.4 * (1.0 + 0.004_37 * hz).log10()
}

/// Where `hz` lies among the centres: 0 at the lowest, `BANDS - 1` at the highest; −1 and `BANDS` at the edges.
fn position(hz: f64) -> f64 {
    let (low, high) = (erbs(EDGES_HZ.0), erbs(EDGES_HZ.1));
    let width = (high - low) / (BANDS + 1) as f64;
    (erbs(hz) - low) / width - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centres_lie_evenly_between_the_edges() {
        assert!((position(EDGES_HZ.0) + 1.0).abs() < 1e-9);
        assert!((position(EDGES_HZ.1) - BANDS as f64).abs() < 1e-9);
        // Half of the critical bands from 80 Hz to 7.5 kHz lie below 1.316 kHz.
        assert!(
            (position(1_316.0) - 3.5).abs() < 0.001,
            "{}",
            position(1_316.0)
        );
    }
}
