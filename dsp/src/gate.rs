//! Noise gate.

use crate::envelope::EnvelopeFollower;
use crate::level::db_to_linear;

/// How a [`Gate`] behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GateConfig {
    /// Level (RMS, dBFS) above which the gate opens.
    pub open_db: f32,
    /// How far below `open_db` the level must fall before the gate closes, in dB.
    pub hysteresis_db: f32,
    /// Time from shut to fully open, in ms.
    pub attack_ms: f32,
    /// Time the gate stays open after the level has fallen, in ms.
    pub hold_ms: f32,
    /// Time from open to fully shut, in ms.
    pub release_ms: f32,
}

impl Default for GateConfig {
    /// Times that keep word ends and consonants of a sung line; chosen by ear conventions for vocals, not tuned.
    fn default() -> Self {
        Self {
            open_db: -60.0,
            hysteresis_db: 6.0,
            attack_ms: 2.0,
            hold_ms: 50.0,
            release_ms: 80.0,
        }
    }
}

/// Level-triggered gate with hysteresis; its gain moves on straight lines.
///
/// Real-time: no allocation. The gain depends on the samples and thresholds only, never on block sizes.
#[derive(Debug, Clone)]
pub struct Gate {
    follower: EnvelopeFollower,
    open_level: f32,
    close_level: f32,
    hysteresis_db: f32,
    attack_step: f32,
    release_step: f32,
    hold_samples: u32,
    held_samples: u32,
    open: bool,
    gain: f32,
}

impl Gate {
    /// A closed gate.
    pub fn new(config: GateConfig, rate_hz: u32) -> Self {
        let samples = |time_ms: f32| (time_ms * 1e-3 * rate_hz as f32).round().max(1.0);
        let mut gate = Self {
            // 5 ms: longer than a period of most voices, shorter than an onset.
            follower: EnvelopeFollower::new(5.0, 10.0, rate_hz),
            open_level: 0.0,
            close_level: 0.0,
            hysteresis_db: config.hysteresis_db.max(0.0),
            attack_step: 1.0 / samples(config.attack_ms),
            release_step: 1.0 / samples(config.release_ms),
            hold_samples: samples(config.hold_ms) as u32,
            held_samples: 0,
            open: false,
            gain: 0.0,
        };
        gate.set_open_db(config.open_db);
        gate
    }

    /// Moves the threshold; at −100 dBFS or below the gate is always open.
    pub fn set_open_db(&mut self, open_db: f32) {
        if open_db <= crate::level::SILENCE_DB {
            self.open_level = 0.0;
            self.close_level = 0.0;
        } else {
            self.open_level = db_to_linear(open_db);
            self.close_level = db_to_linear(open_db - self.hysteresis_db);
        }
    }

    /// Takes one sample of the signal to listen to and returns the gain, 0 to 1, for that moment.
    pub fn push(&mut self, sample: f32) -> f32 {
        let level = self.follower.push(sample);
        if level >= self.open_level {
            self.open = true;
            self.held_samples = 0;
        } else if self.open {
            if level >= self.close_level {
                self.held_samples = 0;
            } else if self.held_samples < self.hold_samples {
                self.held_samples += 1;
            } else {
                self.open = false;
            }
        }
        self.gain = if self.open {
            (self.gain + self.attack_step).min(1.0)
        } else {
            (self.gain - self.release_step).max(0.0)
        };
        self.gain
    }

    /// Gates a block by its own level, in place.
    pub fn process(&mut self, block: &mut [f32]) {
        for sample in block {
            *sample *= self.push(*sample);
        }
    }

    /// Whether the gate is open or on its way there.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Shuts the gate and forgets the level.
    pub fn reset(&mut self) {
        self.follower.reset();
        self.open = false;
        self.held_samples = 0;
        self.gain = 0.0;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const RATE_HZ: u32 = 48_000;

    fn tone(level_db: f32, duration_s: f32) -> Vec<f32> {
        let amplitude = db_to_linear(level_db) * 2f32.sqrt();
        let total_samples = (duration_s * RATE_HZ as f32) as usize;
        (0..total_samples)
            .map(|i| amplitude * (i as f32 * std::f32::consts::TAU * 300.0 / RATE_HZ as f32).sin())
            .collect()
    }

    #[test]
    fn opens_above_shuts_below_and_hysteresis_holds_between() {
        let mut gate = Gate::new(
            GateConfig {
                open_db: -40.0,
                ..GateConfig::default()
            },
            RATE_HZ,
        );
        let last =
            |gate: &mut Gate, block: &[f32]| block.iter().map(|&s| gate.push(s)).last().unwrap();
        assert_eq!(last(&mut gate, &tone(-46.0, 0.3)), 0.0, "below: shut");
        assert_eq!(last(&mut gate, &tone(-36.0, 0.3)), 1.0, "above: open");
        assert_eq!(
            last(&mut gate, &tone(-43.0, 0.5)),
            1.0,
            "inside the hysteresis: stays open"
        );
        assert_eq!(last(&mut gate, &tone(-52.0, 0.5)), 0.0, "far below: shuts");
        assert_eq!(
            last(&mut gate, &tone(-43.0, 0.5)),
            0.0,
            "inside the hysteresis: stays shut"
        );
    }

    #[test]
    fn gain_moves_no_faster_than_attack_and_release() {
        let mut gate = Gate::new(
            GateConfig {
                open_db: -40.0,
                ..GateConfig::default()
            },
            RATE_HZ,
        );
        let signal = [tone(-20.0, 0.2), vec![0.0; 20_000]].concat();
        let gains: Vec<f32> = signal.iter().map(|&s| gate.push(s)).collect();
        let up = gains.windows(2).map(|w| w[1] - w[0]).fold(0.0, f32::max);
        let down = gains.windows(2).map(|w| w[0] - w[1]).fold(0.0, f32::max);
        assert!(up <= 1.01 / 96.0 && up > 0.9 / 96.0);
        assert!(down <= 1.01 / 3840.0 && down > 0.9 / 3840.0);
        assert_eq!(gains.last(), Some(&0.0));
    }

    #[test]
    fn off_passes_everything() {
        let mut gate = Gate::new(
            GateConfig {
                open_db: -100.0,
                ..GateConfig::default()
            },
            RATE_HZ,
        );
        for _ in 0..1000 {
            gate.push(0.0);
        }
        assert_eq!(gate.push(0.0), 1.0);
    }
}
