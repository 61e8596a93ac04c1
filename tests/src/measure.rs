//! Measurements on signals.

use realfft::RealFftPlanner;

/// Index of the largest magnitude; 0 for an empty signal.
#[must_use]
pub fn peak_position(signal: &[f32]) -> usize {
    let mut best = 0;
    for (n, sample) in signal.iter().enumerate() {
        if sample.abs() > signal[best].abs() {
            best = n;
        }
    }
    best
}

/// Largest magnitude.
#[must_use]
pub fn peak(signal: &[f32]) -> f32 {
    signal.iter().fold(0.0, |peak, s| peak.max(s.abs()))
}

/// Largest step from one sample to the next.
#[must_use]
pub fn steepest(signal: &[f32]) -> f32 {
    signal
        .windows(2)
        .fold(0.0, |most, pair| most.max((pair[1] - pair[0]).abs()))
}

/// Root mean square.
#[must_use]
pub fn rms(signal: &[f32]) -> f32 {
    let power: f64 = signal.iter().map(|s| f64::from(*s).powi(2)).sum();
    (power / signal.len().max(1) as f64).sqrt() as f32
}

/// Samples by which `late` follows `early`, by the largest circular
/// cross-correlation of the two (zero-padded, so lags do not wrap).
#[must_use]
pub fn lag_samples(early: &[f32], late: &[f32]) -> i64 {
    let size = (early.len() + late.len()).next_power_of_two();
    let mut planner = RealFftPlanner::<f32>::new();
    let forward = planner.plan_fft_forward(size);
    let spectrum = |signal: &[f32]| {
        let mut padded = signal.to_vec();
        padded.resize(size, 0.0);
        let mut out = forward.make_output_vec();
        forward
            .process(&mut padded, &mut out)
            .expect("lengths come from the plan");
        out
    };
    let (a, b) = (spectrum(early), spectrum(late));
    let mut product: Vec<_> = a.iter().zip(&b).map(|(a, b)| a.conj() * b).collect();
    // The ends of a real spectrum are real; rounding must not say otherwise.
    product[0].im = 0.0;
    if let Some(last) = product.last_mut() {
        last.im = 0.0;
    }
    let mut correlation = vec![0.0; size];
    let inverse = planner.plan_fft_inverse(size);
    inverse
        .process(&mut product, &mut correlation)
        .expect("lengths come from the plan");
    let best = (0..size)
        .max_by(|&a, &b| correlation[a].total_cmp(&correlation[b]))
        .unwrap_or(0);
    if best > size / 2 {
        best as i64 - size as i64
    } else {
        best as i64
    }
}

/// Stretches of at least `shortest` exact zeros inside `signal`, as (start, length).
#[must_use]
pub fn zero_runs(signal: &[f32], shortest: usize) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut start = None;
    for (n, sample) in signal.iter().chain([&1.0]).enumerate() {
        match (*sample == 0.0, start) {
            (true, None) => start = Some(n),
            (false, Some(from)) => {
                if n - from >= shortest {
                    runs.push((from, n - from));
                }
                start = None;
            }
            _ => {}
        }
    }
    runs
}

/// Index of the first sample at which the signals differ by more than `tolerance`.
#[must_use]
pub fn first_difference(a: &[f32], b: &[f32], tolerance: f32) -> Option<usize> {
    let common = a
        .iter()
        .zip(b)
        .position(|(a, b)| (a - b).abs() > tolerance || a.is_nan() != b.is_nan());
    common.or((a.len() != b.len()).then_some(a.len().min(b.len())))
}

/// Where a signal first passes `level`, between samples.
#[must_use]
pub fn crossing(signal: &[f32], level: f32) -> Option<f64> {
    let at = signal
        .windows(2)
        .position(|pair| (pair[0] < level) != (pair[1] < level))?;
    let (before, after) = (f64::from(signal[at]), f64::from(signal[at + 1]));
    Some(at as f64 + (f64::from(level) - before) / (after - before))
}

/// Power of `signal` further than `aside_hz` from `tone_hz`, in dB of all of it.
#[must_use]
pub fn splatter_db(signal: &[f32], rate_hz: f32, tone_hz: f32, aside_hz: f32) -> f32 {
    // Side lobes of this window lie below -92 dB (F. J. Harris, "On the use of windows", 1978).
    let window = |way: f64| {
        let harmonics = [0.35875, -0.48829, 0.14128, -0.01168];
        (0..4)
            .map(|k| harmonics[k] * (std::f64::consts::TAU * way * k as f64).cos())
            .sum::<f64>()
    };
    let length = signal.len() as f64;
    let mut windowed: Vec<f32> = signal
        .iter()
        .enumerate()
        .map(|(n, sample)| sample * window(n as f64 / length) as f32)
        .collect();
    let forward = RealFftPlanner::<f32>::new().plan_fft_forward(signal.len());
    let mut spectrum = forward.make_output_vec();
    forward
        .process(&mut windowed, &mut spectrum)
        .expect("lengths come from the plan");
    let (mut aside, mut all) = (0.0f64, 0.0f64);
    for (bin, value) in spectrum.iter().enumerate() {
        let power = f64::from(value.norm_sqr());
        all += power;
        if (bin as f32 * rate_hz / signal.len() as f32 - tone_hz).abs() > aside_hz {
            aside += power;
        }
    }
    (10.0 * (aside / all).log10()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_has_sign_and_size() {
        let noise: Vec<f32> = (0..4000)
            .map(|n| timbra_dsp::noise::uniform(1, n))
            .collect();
        assert_eq!(lag_samples(&noise[100..3000], &noise[..2900]), 100);
        assert_eq!(lag_samples(&noise[..2900], &noise[100..3000]), -100);
    }

    #[test]
    fn zero_runs_are_found_at_the_ends_too() {
        let signal = [0.0, 0.0, 1.0, 0.0, 2.0, 0.0, 0.0, 0.0];
        assert_eq!(zero_runs(&signal, 2), [(0, 2), (5, 3)]);
    }
}
