//! How far a voice may rise above what is sung into it.
//!
//! A voice whose level follows the input still makes higher peaks now and then: other phases, another spectrum. On a take
//! that is nearly clipped, or in a scream, that is a burst. Here what lies above the input's own recent peak is bent,
//! sample by sample, so that it never gets further than [`MOST`] above it. Up to the input's peak nothing is changed, there is no
//! delay, and what is remembered ends after [`HELD_HOPS`].

/// Hops over which the input's peak is held: longer than the look-ahead and a period, shorter than a pause.
const HELD_HOPS: usize = 30;
/// Highest output over the input's peak: 2.5 dB. What resampling to the host's rate adds stays within 3 dB.
const MOST: f32 = 1.333_521_4;
/// Peaks below −60 dBFS count as this: noise in pauses is not shaped.
const LEAST_PEAK: f32 = 1e-3;

/// Holds the input's peak and bends what is above it.
#[derive(Debug, Clone, Default)]
pub struct Ceiling {
    peaks: [f32; HELD_HOPS],
    next: usize,
    /// The held peak at the end of the hop that was bent last.
    before: f32,
}

impl Ceiling {
    /// Takes a hop of the input, the newest there is.
    pub fn hear(&mut self, hop: &[f32]) {
        self.peaks[self.next] = hop.iter().fold(0.0, |peak, s| s.abs().max(peak));
        self.next = (self.next + 1) % HELD_HOPS;
    }

    /// Bends a hop of the output in place; `share` from 0 (leave it) to 1.
    ///
    /// Where the held peak rises it holds for the whole hop, where it falls it gets there on a straight line.
    pub fn apply(&mut self, share: f32, audio: &mut [f32]) {
        let held = self.peaks.iter().copied().fold(LEAST_PEAK, f32::max);
        let begin = self.before.max(held);
        self.before = held;
        if share <= 0.0 {
            return;
        }
        let step = (held - begin) / audio.len().max(1) as f32;
        for (i, sample) in audio.iter_mut().enumerate() {
            let peak = begin + step * (i + 1) as f32;
            if sample.abs() > peak {
                *sample += share * (bent(*sample / peak) * peak - *sample);
            }
        }
    }
}

/// `x` up to ±1; beyond, as smooth as a tangent, never further than [`MOST`].
fn bent(x: f32) -> f32 {
    const ROOM: f32 = MOST - 1.0;
    x.signum() * (1.0 + ROOM * ((x.abs() - 1.0) / ROOM).tanh())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(peak: f32) -> Ceiling {
        let mut ceiling = Ceiling::default();
        ceiling.hear(&[0.0, -peak, 0.0]);
        ceiling
    }

    #[test]
    fn what_is_below_the_peak_of_the_input_is_left_to_the_bit() {
        let mut audio: Vec<f32> = (0..480).map(|i| 0.4 * (i as f32 * 0.1).sin()).collect();
        let before = audio.clone();
        heard(0.4).apply(1.0, &mut audio);
        assert_eq!(audio, before);
    }

    #[test]
    fn nothing_gets_three_decibels_over_the_input() {
        for gain in [1.1f32, 1.5, 4.0, 100.0] {
            let mut audio: Vec<f32> = (0..480)
                .map(|i| 0.4 * gain * (i as f32 * 0.1).sin())
                .collect();
            let before = audio.clone();
            heard(0.4).apply(1.0, &mut audio);
            let peak = audio.iter().fold(0.0f32, |p, s| s.abs().max(p));
            assert!(peak <= 0.4 * MOST && peak > 0.4, "{gain}: {peak}");
            // Order and sign stay: it bends, it does not fold.
            for (a, b) in before.windows(2).zip(audio.windows(2)) {
                assert!((a[1] - a[0]) * (b[1] - b[0]) >= 0.0);
            }
        }
    }

    #[test]
    fn without_a_share_nothing_is_bent() {
        let mut audio = vec![0.9; 48];
        heard(0.1).apply(0.0, &mut audio);
        assert_eq!(audio, vec![0.9; 48]);
    }

    #[test]
    fn a_peak_is_held_for_300_ms_and_then_forgotten_whatever_was_before() {
        let mut ceiling = heard(0.8);
        let mut other = heard(0.3);
        for _ in 0..HELD_HOPS - 1 {
            ceiling.hear(&[0.1]);
            other.hear(&[0.1]);
        }
        let mut audio = vec![0.8; 48];
        ceiling.apply(1.0, &mut audio);
        assert_eq!(audio, vec![0.8; 48]);
        other.apply(1.0, &mut audio);
        for ceiling in [&mut ceiling, &mut other] {
            ceiling.hear(&[0.1]);
            ceiling.apply(1.0, &mut audio.clone());
        }
        let (mut a, mut b) = (vec![0.8; 48], vec![0.8; 48]);
        ceiling.apply(1.0, &mut a);
        other.apply(1.0, &mut b);
        assert_eq!(a, b);
        assert!(a.iter().all(|s| *s <= 0.1 * MOST));
    }
}
