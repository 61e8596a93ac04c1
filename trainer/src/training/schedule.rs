//! Learning rates.

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
    use super::cosine;

    #[test]
    fn cosine_rises_then_falls_to_a_twentieth() {
        assert!(cosine(1.0, 0, 10, 100) < 0.2);
        assert!((cosine(1.0, 10, 10, 100) - 1.0).abs() < 1e-9);
        assert!((cosine(1.0, 100, 10, 100) - 0.05).abs() < 1e-9);
    }
}
