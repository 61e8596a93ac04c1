//! Envelope follower.

/// Follows the root-mean-square level of a signal with separate attack and release times.
///
/// The squared signal runs through a one-pole low-pass whose coefficient is that of the attack while the level rises
/// and that of the release while it falls.
///
/// Real-time: no allocation. Denormals: the state is cut to zero below −200 dB.
#[derive(Debug, Clone)]
pub struct EnvelopeFollower {
    mean_square: f32,
    attack: f32,
    release: f32,
}

impl EnvelopeFollower {
    /// A follower at rest; each time is the time constant in which 63 % of a step in power is covered.
    pub fn new(attack_ms: f32, release_ms: f32, rate_hz: u32) -> Self {
        Self {
            mean_square: 0.0,
            attack: coefficient(attack_ms, rate_hz),
            release: coefficient(release_ms, rate_hz),
        }
    }

    /// Takes one sample and returns the level (linear RMS). A sample that is not finite counts as silence.
    pub fn push(&mut self, sample: f32) -> f32 {
        let power = sample * sample;
        let power = if power.is_finite() { power } else { 0.0 };
        let rate = if power > self.mean_square {
            self.attack
        } else {
            self.release
        };
        self.mean_square += rate * (power - self.mean_square);
        if self.mean_square < 1e-20 {
            self.mean_square = 0.0;
        }
        self.level()
    }

    /// The level after the last sample (linear RMS).
    pub fn level(&self) -> f32 {
        self.mean_square.sqrt()
    }

    /// Back to silence.
    pub fn reset(&mut self) {
        self.mean_square = 0.0;
    }
}

/// Coefficient of a one-pole low-pass with the given time constant.
fn coefficient(time_ms: f32, rate_hz: u32) -> f32 {
    let time_samples = time_ms * 1e-3 * rate_hz as f32;
    if time_samples <= 0.0 {
        1.0
    } else {
        1.0 - (-1.0 / time_samples).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_sine_reads_its_rms_within_half_a_decibel() {
        let mut follower = EnvelopeFollower::new(20.0, 20.0, 48_000);
        let mut level = 0.0;
        for i in 0..48_000 {
            level =
                follower.push(0.5 * (i as f32 * std::f32::consts::TAU * 440.0 / 48_000.0).sin());
        }
        let expected = 0.5 / 2f32.sqrt();
        assert!((20.0 * (level / expected).log10()).abs() < 0.5);
    }

    #[test]
    fn attack_and_release_take_their_times() {
        let mut follower = EnvelopeFollower::new(5.0, 50.0, 48_000);
        for _ in 0..240 {
            follower.push(1.0);
        }
        assert!((follower.level().powi(2) - 0.632).abs() < 0.01);
        for _ in 0..48_000 {
            follower.push(1.0);
        }
        for _ in 0..2400 {
            follower.push(0.0);
        }
        assert!((follower.level().powi(2) - 0.368).abs() < 0.01);
    }

    #[test]
    fn silence_decays_to_exact_zero_and_nan_does_not_stick() {
        let mut follower = EnvelopeFollower::new(1.0, 1.0, 48_000);
        follower.push(f32::NAN);
        assert_eq!(follower.level(), 0.0);
        follower.push(1.0);
        for _ in 0..48_000 {
            follower.push(0.0);
        }
        assert_eq!(follower.level(), 0.0);
    }
}
