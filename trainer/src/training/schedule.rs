//! Learning rates.

use serde::{Deserialize, Serialize};

/// How a learning rate falls after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// A half cosine down to a twentieth at the last step.
    Cosine,
    /// Times this, once every so many steps.
    Exponential {
        /// Factor.
        factor: f64,
        /// Steps between.
        steps: u64,
    },
}

impl Schedule {
    /// The rate of `step` of `steps`, after a linear rise over `warm_up` steps.
    #[must_use]
    pub fn rate(self, peak: f64, step: u64, warm_up: u64, steps: u64) -> f64 {
        match self {
            Self::Cosine => cosine(peak, step, warm_up, steps),
            _ if step < warm_up => peak * (step + 1) as f64 / warm_up as f64,
            Self::Exponential {
                factor,
                steps: every,
            } => peak * factor.powf(((step - warm_up) / every.max(1)) as f64),
        }
    }
}

/// Linear warm-up, then a half cosine down to a twentieth.
///
/// `step` counts from 0 to `steps`.
#[must_use]
pub fn cosine(peak: f64, step: u64, warm_up: u64, steps: u64) -> f64 {
    if step < warm_up {
        return peak * (step + 1) as f64 / warm_up as f64;
    }
    let progress =
        ((step - warm_up) as f64 / (steps.saturating_sub(warm_up)).max(1) as f64).min(1.0);
    peak * (0.05 + 0.95 * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()))
}

#[cfg(test)]
mod tests {
    use super::{Schedule, cosine};

    #[test]
    fn exponential_falls_once_an_epoch() {
        let schedule = Schedule::Exponential {
            factor: 0.5,
            steps: 10,
        };
        let rates: Vec<f64> = [0, 1, 4, 11, 12, 22]
            .map(|step| schedule.rate(1.0, step, 2, 100))
            .to_vec();
        assert_eq!(rates, [0.5, 1.0, 1.0, 1.0, 0.5, 0.25]);
    }

    #[test]
    fn cosine_rises_then_falls_to_a_twentieth() {
        assert!(cosine(1.0, 0, 10, 100) < 0.2);
        assert!((cosine(1.0, 10, 10, 100) - 1.0).abs() < 1e-9);
        assert!((cosine(1.0, 100, 10, 100) - 0.05).abs() < 1e-9);
    }
}
