//! How far a voice whose level follows the input may rise above it.
//!
//! Such a voice still makes higher peaks now and then: other phases, another spectrum. On a take that is nearly clipped, or
//! in a scream, that is a burst. Here what lies above the input's own recent peak is bent, sample by sample, so that it
//! never gets further than [`MOST`] above it. Up to the input's peak nothing is changed, there is no delay, and what is
//! remembered ends after [`HELD_HOPS`] and the voice's lag.

/// Hops over which the input's peak is held beside the voice's lag: longer than a period, shorter than a pause.
const HELD_HOPS: usize = 30;
/// Highest output over the input's peak: 2.5 dB. What resampling to the host's rate adds stays within 3 dB.
const MOST: f32 = 1.333_521_4;
/// Peaks below −60 dBFS count as this: noise in pauses is not shaped.
const LEAST_PEAK: f32 = 1e-3;

/// Holds the input's peak and bends what is above it.
#[derive(Debug, Clone)]
pub struct Ceiling {
    /// Peaks of the last hops of input, in a ring.
    peaks: Vec<f32>,
    next: usize,
    /// The held peak at the end of the hop that was bent last.
    before: f32,
}

impl Ceiling {
    /// For a voice that sings a hop of input at most `lag_hops` later.
    pub fn new(lag_hops: usize) -> Self {
        Self {
            peaks: vec![0.0; HELD_HOPS + lag_hops],
            next: 0,
            before: 0.0,
        }
    }

    /// Forgets what was heard.
    pub fn reset(&mut self) {
        self.peaks.fill(0.0);
        self.before = 0.0;
    }

    /// Takes a hop of the input, the newest there is; gives the held peak.
    pub fn hear(&mut self, hop: &[f32]) -> f32 {
        self.peaks[self.next] = hop.iter().fold(0.0, |peak, s| s.abs().max(peak));
        self.next = (self.next + 1) % self.peaks.len();
        self.peaks.iter().copied().fold(LEAST_PEAK, f32::max)
    }

    /// Bends a hop of the output in place, by the peak that was `held` when its input was the newest.
    ///
    /// Where the held peak rises it holds for the whole hop, where it falls it gets there on a straight line.
    pub fn apply(&mut self, held: f32, audio: &mut [f32]) {
        let begin = self.before.max(held);
        self.before = held;
        let step = (held - begin) / audio.len().max(1) as f32;
        for (i, sample) in audio.iter_mut().enumerate() {
            let peak = begin + step * (i + 1) as f32;
            if sample.abs() > peak {
                *sample = bent(*sample / peak) * peak;
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

    fn heard(peak: f32) -> (Ceiling, f32) {
        let mut ceiling = Ceiling::new(0);
        let held = ceiling.hear(&[0.0, -peak, 0.0]);
        (ceiling, held)
    }

    fn bend(audio: &mut [f32], peak: f32) {
        let (mut ceiling, held) = heard(peak);
        ceiling.apply(held, audio);
    }

    fn sine(peak: f32) -> Vec<f32> {
        (0..480).map(|i| peak * (i as f32 * 0.1).sin()).collect()
    }

    fn peak(audio: &[f32]) -> f32 {
        audio.iter().fold(0.0, |peak, s| s.abs().max(peak))
    }

    #[test]
    fn what_is_below_the_peak_of_the_input_is_left_to_the_bit() {
        let mut audio = sine(0.4);
        bend(&mut audio, 0.4);
        assert_eq!(audio, sine(0.4));
    }

    #[test]
    fn nothing_gets_three_decibels_over_the_input() {
        for gain in [1.1f32, 1.5, 4.0, 100.0] {
            let before = sine(0.4 * gain);
            let mut audio = before.clone();
            bend(&mut audio, 0.4);
            let most = 0.4 * MOST + 1e-6;
            assert!(
                (0.4..=most).contains(&peak(&audio)),
                "{gain}: {}",
                peak(&audio)
            );
            // Order and sign stay: it bends, it does not fold.
            for (a, b) in before.windows(2).zip(audio.windows(2)) {
                assert!((a[1] - a[0]) * (b[1] - b[0]) >= 0.0);
            }
        }
    }

    #[test]
    fn a_peak_is_held_for_300_ms_beside_the_lag_and_then_forgotten() {
        for lag_hops in [0, 7] {
            let mut ceiling = Ceiling::new(lag_hops);
            ceiling.hear(&[0.8]);
            for _ in 0..HELD_HOPS + lag_hops - 1 {
                let held = ceiling.hear(&[0.1]);
                let mut audio = vec![0.8; 48];
                ceiling.apply(held, &mut audio);
                assert_eq!(audio, vec![0.8; 48]);
            }
            // On a straight line in the next hop, and from then on wholly.
            let held = ceiling.hear(&[0.1]);
            let mut falling = vec![0.8; 48];
            ceiling.apply(held, &mut falling);
            assert!(falling[0] > 0.75 && falling.is_sorted_by(|a, b| a >= b));
            let mut after = vec![0.8; 48];
            ceiling.apply(held, &mut after);
            assert!(peak(&after) <= 0.1 * MOST + 1e-6);
        }
    }

    #[test]
    fn what_was_heard_before_a_reset_counts_no_more() {
        let (mut ceiling, held) = heard(0.8);
        ceiling.apply(held, &mut [0.8]);
        ceiling.reset();
        let held = ceiling.hear(&[0.1]);
        let mut audio = vec![0.8; 48];
        ceiling.apply(held, &mut audio);
        assert!(peak(&audio) <= 0.1 * MOST + 1e-6);
    }
}
