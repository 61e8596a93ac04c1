//! Decibels and linear gain.

/// The level, in dB, that stands for silence where a finite number is needed.
pub const SILENCE_DB: f32 = -100.0;

/// Linear gain of a level in dB: 0 dB is 1, −20 dB is 0.1.
pub fn db_to_linear(level_db: f32) -> f32 {
    (level_db * (std::f32::consts::LN_10 / 20.0)).exp()
}

/// Level in dB of a linear gain, never below [`SILENCE_DB`].
pub fn linear_to_db(gain: f32) -> f32 {
    if gain > 0.0 {
        (20.0 * gain.log10()).max(SILENCE_DB)
    } else {
        SILENCE_DB
    }
}

/// Root mean square of a block; 0 for an empty one.
pub fn rms(block: &[f32]) -> f32 {
    if block.is_empty() {
        return 0.0;
    }
    let energy: f64 = block.iter().map(|&s| f64::from(s) * f64::from(s)).sum();
    (energy / block.len() as f64).sqrt() as f32
}

/// Largest absolute value of a block; 0 for an empty one. NaN samples are ignored.
pub fn peak(block: &[f32]) -> f32 {
    block.iter().fold(0.0, |top, &s| top.max(s.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decibels_and_gains_are_inverse() {
        for tenths in -990..=600 {
            let level_db = tenths as f32 / 10.0;
            assert!((linear_to_db(db_to_linear(level_db)) - level_db).abs() < 1e-4);
        }
        assert!((db_to_linear(-20.0) - 0.1).abs() < 1e-7);
        assert!((db_to_linear(6.020_6) - 2.0).abs() < 1e-5);
    }

    #[test]
    fn silence_and_nonsense_give_the_floor() {
        assert_eq!(linear_to_db(0.0), SILENCE_DB);
        assert_eq!(linear_to_db(-1.0), SILENCE_DB);
        assert_eq!(linear_to_db(f32::NAN), SILENCE_DB);
        assert_eq!(linear_to_db(1e-30), SILENCE_DB);
    }

    #[test]
    fn rms_of_a_sine_is_its_amplitude_over_root_two() {
        let sine: Vec<f32> = (0..16_000).map(|i| 0.5 * (i as f32 * 0.1).sin()).collect();
        assert!((rms(&sine) - 0.5 / 2f32.sqrt()).abs() < 1e-3);
        assert_eq!(rms(&[]), 0.0);
        assert_eq!(peak(&[0.1, f32::NAN, -0.7]), 0.7);
    }
}
