//! The same sound in another room and through another microphone.

use realfft::RealFftPlanner;
use timbra_dsp::mel::hz_to_mel;

use crate::random::Random;

/// Slope of a microphone's response over the whole range, up to so many dB at either end.
const TILT_DB: f32 = 6.0;
/// Height of each of the two ripples in a microphone's response.
const RIPPLE_DB: f32 = 3.0;
/// Level of a recording against another of the same.
const LEVEL_DB: (f32, f32) = (-14.0, 8.0);
/// Share of recordings in a room that is heard.
const ROOMS: f32 = 0.5;
/// How far noise lies below a recording.
const NOISE_DB: (f32, f32) = (15.0, 50.0);

/// Makes of mono `samples` at `rate_hz` what another recording of them might have been: another microphone and level, at times
/// a room, always some noise. Nothing comes later than it was.
pub fn recorded_elsewhere(samples: &mut [f32], rate_hz: u32, random: &mut Random) {
    through_a_microphone(samples, rate_hz, random);
    if random.chance(ROOMS) {
        reverberate(samples, rate_hz, random);
    }
    let (low, high) = NOISE_DB;
    add_noise(samples, random.uniform(low, high), random);
}

/// A level, a tilt and two slow ripples over frequency, without delay.
fn through_a_microphone(samples: &mut [f32], rate_hz: u32, random: &mut Random) {
    if samples.is_empty() {
        return;
    }
    let level_db = random.uniform(LEVEL_DB.0, LEVEL_DB.1);
    let tilt_db = random.uniform(-TILT_DB, TILT_DB);
    let ripples: [(f32, f32, f32); 2] = std::array::from_fn(|_| {
        (
            random.uniform(0.0, RIPPLE_DB),
            random.uniform(0.5, 3.0),
            random.uniform(0.0, std::f32::consts::TAU),
        )
    });
    // Twice the length, so that nothing from the end reaches the beginning.
    let length = (2 * samples.len()).next_power_of_two();
    let mut planner = RealFftPlanner::<f32>::new();
    let (forward, inverse) = (
        planner.plan_fft_forward(length),
        planner.plan_fft_inverse(length),
    );
    let mut time = forward.make_input_vec();
    let mut bins = forward.make_output_vec();
    time[..samples.len()].copy_from_slice(samples);
    forward
        .process(&mut time, &mut bins)
        .expect("buffers of the plan's own lengths");
    let top = hz_to_mel(f64::from(rate_hz) / 2.0);
    for (bin, value) in bins.iter_mut().enumerate() {
        let hz = bin as f64 * f64::from(rate_hz) / length as f64;
        let x = (hz_to_mel(hz) / top) as f32;
        let ripple: f32 = ripples
            .iter()
            .map(|(db, periods, phase)| db * (std::f32::consts::TAU * periods * x + phase).sin())
            .sum();
        let gain_db = level_db + tilt_db * (2.0 * x - 1.0) + ripple;
        *value *= 10f32.powf(gain_db / 20.0) / length as f32;
    }
    inverse
        .process(&mut bins, &mut time)
        .expect("buffers of the plan's own lengths");
    samples.copy_from_slice(&time[..samples.len()]);
}

/// A handful of decaying echoes.
pub fn reverberate(samples: &mut [f32], rate_hz: u32, random: &mut Random) {
    let decay_s = random.uniform(0.05, 0.25);
    let level = random.uniform(0.1, 0.5);
    let dry = samples.to_vec();
    for _ in 0..24 {
        let delay_s = random.uniform(0.003, 0.2);
        let delay = (delay_s * rate_hz as f32) as usize;
        let sign = if random.chance(0.5) { 1.0 } else { -1.0 };
        let gain = sign * level * (-3.0 * delay_s / decay_s).exp();
        for (wet, dry) in samples.iter_mut().skip(delay).zip(&dry) {
            *wet += gain * dry;
        }
    }
}

/// White or low-passed noise, `snr_db` below the samples.
pub fn add_noise(samples: &mut [f32], snr_db: f32, random: &mut Random) {
    let power: f32 = samples.iter().map(|s| s * s).sum::<f32>() / samples.len().max(1) as f32;
    let amplitude = (power * 10f32.powf(-snr_db / 10.0)).sqrt();
    let smooth = random.uniform(0.0, 0.95);
    // Keeps the noise's power while `smooth` colours it.
    let gain = amplitude * (1.0 - smooth * smooth).sqrt();
    let mut state = 0.0;
    for sample in samples {
        state = smooth * state + random.normal();
        *sample += gain * state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: u32 = 16_000;

    /// Half a second of silence, then a burst of noise, then silence.
    fn burst() -> Vec<f32> {
        let mut random = Random::new(3, 0);
        (0..24_000)
            .map(|i| {
                let sounds = (8_000..10_000).contains(&i);
                f32::from(u8::from(sounds)) * 0.1 * random.normal()
            })
            .collect()
    }

    fn power(samples: &[f32]) -> f32 {
        samples.iter().map(|s| s * s).sum::<f32>() / samples.len() as f32
    }

    #[test]
    fn another_microphone_colours_what_is_there_where_it_is() {
        for seed in 0..8 {
            let (before, mut after) = (burst(), burst());
            through_a_microphone(&mut after, RATE_HZ, &mut Random::new(1, seed));
            let db = 10.0 * (power(&after) / power(&before)).log10();
            assert!((-26.0..=20.0).contains(&db), "seed {seed}: {db} dB");
            // Its response is short: what lies before the sound and after it stays all but silent.
            let around = power(&after[..7_500]) + power(&after[10_500..]);
            assert!(around < 1e-4 * power(&after), "seed {seed}: {around}");
            // And without delay: it is most like the sound where that was.
            let product = |delay: isize| -> f32 {
                (8_100..9_900)
                    .map(|i| before[i] * after[(i as isize + delay) as usize])
                    .sum()
            };
            let best = (-40..=40).max_by(|&a, &b| product(a).total_cmp(&product(b)));
            assert_eq!(best, Some(0), "seed {seed}");
        }
    }

    #[test]
    fn noise_lies_as_far_below_as_asked() {
        for (seed, snr_db) in [(0, 15.0), (1, 30.0)] {
            let (before, mut after) = (burst(), burst());
            add_noise(&mut after, snr_db, &mut Random::new(2, seed));
            let noise: Vec<f32> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
            let found = 10.0 * (power(&before) / power(&noise)).log10();
            assert!((found - snr_db).abs() < 1.0, "{found} dB for {snr_db}");
        }
    }

    #[test]
    fn the_same_draw_is_the_same_recording_and_another_is_another() {
        let made = |seed| {
            let mut samples = burst();
            recorded_elsewhere(&mut samples, RATE_HZ, &mut Random::new(4, seed));
            samples
        };
        assert_eq!(made(0), made(0));
        assert_ne!(made(0), made(1));
        assert!(made(0).iter().all(|s| s.is_finite()));
        let mut nothing: Vec<f32> = Vec::new();
        recorded_elsewhere(&mut nothing, RATE_HZ, &mut Random::new(4, 0));
        assert!(nothing.is_empty());
    }
}
