//! Augmentation: the same words in another throat, room and microphone.
//!
//! Playing a clip faster or slower moves pitch and formants together; the
//! spectral tilt and ripple stand for microphones and vocal-tract detail; noise
//! and a decaying tail for rooms.

use super::acoustics::{self, envelope, level};
use super::corpus::{Clip, UNLABELLED};
use crate::model::mel::{BANDS, HOP_SAMPLES, LogMel, UNITS_PER_DB};
use crate::random::Random;

/// Range of playback speed; its logarithm is uniform. Chosen so that a male
/// voice reaches female formants and the reverse (about ±20 %), with a margin.
const SPEED: (f32, f32) = (0.74, 1.35);

/// A crop ready for a batch.
#[derive(Debug)]
pub struct Crop {
    /// `[frames, BANDS]`.
    pub mel: Vec<f32>,
    /// Class per frame.
    pub classes: Vec<i32>,
    /// Label set of the clip.
    pub set: usize,
    /// How the envelopes of the clip as it was differ from their mean, `[frames, acoustics::BANDS]`.
    pub envelopes: Vec<f32>,
    /// 1 for a frame whose envelope counts, else 0.
    pub active: Vec<f32>,
    /// What the clip sounds like as a whole, `acoustics::COLOUR` numbers.
    pub colour: Vec<f32>,
    /// What a recogniser makes of the clip as it was, `[frames, channels]`; empty where none was asked.
    pub understood: Vec<f32>,
}

/// `frames` frames of `clip` from a random place, augmented unless `plain`.
#[must_use]
pub fn crop(
    clip: &Clip,
    frames: usize,
    log_mel: &LogMel,
    random: &mut Random,
    plain: bool,
) -> Crop {
    let speed = if plain {
        1.0
    } else {
        (random.uniform(SPEED.0.ln(), SPEED.1.ln())).exp()
    };
    let needed = (frames as f32 * HOP_SAMPLES as f32 * speed) as usize + 2;
    let start = random.below(clip.samples.len().saturating_sub(needed) + 1);
    let mut samples = vec![0.0f32; frames * HOP_SAMPLES];
    for (i, sample) in samples.iter_mut().enumerate() {
        let position = start as f32 + i as f32 * speed;
        let index = position as usize;
        if let (Some(&a), Some(&b)) = (clip.samples.get(index), clip.samples.get(index + 1)) {
            let fraction = position - index as f32;
            *sample = (f32::from(a) * (1.0 - fraction) + f32::from(b) * fraction) / 32_768.0;
        }
    }
    let classes = (0..frames)
        .map(|n| {
            let position =
                (start as f32 + n as f32 * HOP_SAMPLES as f32 * speed) / HOP_SAMPLES as f32;
            clip.classes
                .get(position.round() as usize)
                .copied()
                .unwrap_or(UNLABELLED)
        })
        .collect();
    let (envelopes, active) = envelopes(clip, start, frames, speed, log_mel);
    let mut understood = Vec::new();
    if clip.understood.channels() > 0 {
        for n in 0..frames {
            let position = start as f32 + (n * HOP_SAMPLES) as f32 * speed;
            clip.understood.push_at(position, &mut understood);
        }
    }
    let mut crop = Crop {
        mel: Vec::new(),
        classes,
        set: clip.set,
        envelopes,
        active,
        colour: clip.colour.numbers.clone(),
        understood,
    };
    if plain {
        crop.mel = log_mel.frames(&samples);
        return crop;
    }
    if random.chance(0.3) {
        reverberate(&mut samples, random);
    }
    add_noise(&mut samples, random);
    crop.mel = log_mel.frames(&samples);
    equalise(&mut crop.mel, random);
    mask(&mut crop.mel, frames, random);
    crop
}

/// The envelopes of `clip` from sample `start` on as they were before it was played at `speed`, less their mean, at the
/// times of the `frames` frames that are heard; and which of them count.
fn envelopes(
    clip: &Clip,
    start: usize,
    frames: usize,
    speed: f32,
    log_mel: &LogMel,
) -> (Vec<f32>, Vec<f32>) {
    // One hop more in front: a frame's window begins a hop before its centre.
    let count = (frames as f32 * speed) as usize + 3;
    let samples: Vec<f32> = (0..count * HOP_SAMPLES)
        .map(|i| {
            (start + i)
                .checked_sub(HOP_SAMPLES)
                .and_then(|position| clip.samples.get(position))
                .map_or(0.0, |&s| f32::from(s) / 32_768.0)
        })
        .collect();
    let mel = log_mel.frames(&samples);
    let mut shapes = Vec::with_capacity(frames * acoustics::BANDS);
    let mut active = Vec::with_capacity(frames);
    for n in 0..frames {
        let position = n as f32 * speed + 1.0;
        let index = position as usize;
        let fraction = position - index as f32;
        let row = |k: usize| &mel[k * BANDS..(k + 1) * BANDS];
        let (a, b) = (envelope(row(index)), envelope(row(index + 1)));
        let means = &clip.colour.numbers[..acoustics::BANDS];
        let between = |(a, b): (f32, f32)| a * (1.0 - fraction) + b * fraction;
        shapes.extend(
            a.into_iter()
                .zip(b)
                .zip(means)
                .map(|(ab, mean)| between(ab) - mean),
        );
        let loudness = between((level(row(index)), level(row(index + 1))));
        active.push(f32::from(loudness >= clip.colour.active_level));
    }
    (shapes, active)
}

/// A handful of decaying echoes.
fn reverberate(samples: &mut [f32], random: &mut Random) {
    let decay_s = random.uniform(0.05, 0.25);
    let level = random.uniform(0.1, 0.5);
    let dry = samples.to_vec();
    for _ in 0..24 {
        let delay_s = random.uniform(0.003, 0.2);
        let delay = (delay_s * 16_000.0) as usize;
        let sign = if random.chance(0.5) { 1.0 } else { -1.0 };
        let gain = sign * level * (-3.0 * delay_s / decay_s).exp();
        for (wet, dry) in samples.iter_mut().skip(delay).zip(&dry) {
            *wet += gain * dry;
        }
    }
}

/// White or low-passed noise, 8 to 50 dB below the clip.
fn add_noise(samples: &mut [f32], random: &mut Random) {
    let power: f32 = samples.iter().map(|s| s * s).sum::<f32>() / samples.len().max(1) as f32;
    let snr_db = random.uniform(8.0, 50.0);
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

/// Level, tilt and two slow ripples over the bands, constant in time.
fn equalise(mel: &mut [f32], random: &mut Random) {
    let gain_db = random.uniform(-20.0, 12.0);
    let tilt_db = random.uniform(-8.0, 8.0);
    let ripples: Vec<(f32, f32, f32)> = (0..2)
        .map(|_| {
            (
                random.uniform(0.0, 4.0),
                random.uniform(0.5, 3.0),
                random.uniform(0.0, std::f32::consts::TAU),
            )
        })
        .collect();
    let curve: Vec<f32> = (0..BANDS)
        .map(|band| {
            let x = band as f32 / BANDS as f32;
            let ripple: f32 = ripples
                .iter()
                .map(|(db, periods, phase)| {
                    db * (std::f32::consts::TAU * periods * x + phase).sin()
                })
                .sum();
            (gain_db + tilt_db * (x - 0.5) * 2.0 + ripple) * UNITS_PER_DB
        })
        .collect();
    for row in mel.chunks_exact_mut(BANDS) {
        for (value, offset) in row.iter_mut().zip(&curve) {
            *value += offset;
        }
    }
}

/// Blanks up to two bands of time and one of frequency (SpecAugment, 1904.08779, mild).
fn mask(mel: &mut [f32], frames: usize, random: &mut Random) {
    for _ in 0..random.below(3) {
        let width = random.below(12);
        let first = random.below(frames.saturating_sub(width));
        mel[first * BANDS..(first + width) * BANDS].fill(-1.5);
    }
    if random.chance(0.5) {
        let width = random.below(10);
        let first = random.below(BANDS - width);
        for row in mel.chunks_exact_mut(BANDS) {
            row[first..first + width].fill(-1.5);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::acoustics::Colour;
    use crate::encoder::understood::Understood;

    /// A buzz whose formant glides up, one second, with noise of its own.
    fn clip() -> Clip {
        let mut random = Random::new(7, 0);
        let samples: Vec<i16> = (0..16_000)
            .map(|i| {
                let t = i as f32 / 16_000.0;
                let formant = 500.0 + 2_000.0 * t;
                let sum: f32 = (1..30)
                    .map(|k| {
                        let hz = 120.0 * k as f32;
                        (-((hz - formant) / 300.0).powi(2)).exp()
                            * (std::f32::consts::TAU * hz * t).sin()
                    })
                    .sum();
                ((0.1 * sum + 0.001 * random.normal()) * 32_767.0) as i16
            })
            .collect();
        let audio: Vec<f32> = samples.iter().map(|&s| f32::from(s) / 32_768.0).collect();
        Clip {
            name: "set/speaker/clip".to_owned(),
            set: 0,
            classes: vec![0; 100],
            colour: Colour::of(&LogMel::default().frames(&audio)),
            samples,
            held_out: false,
            understood: Understood::default(),
        }
    }

    #[test]
    fn the_envelopes_of_a_plain_crop_are_those_of_its_frames() {
        let (clip, log_mel) = (clip(), LogMel::default());
        // Not to the very end: the last sample of a clip has none after it to be interpolated with.
        let crop = crop(&clip, 98, &log_mel, &mut Random::new(1, 0), true);
        let means = &clip.colour.numbers[..acoustics::BANDS];
        for (frame, shape) in crop
            .mel
            .chunks_exact(BANDS)
            .zip(crop.envelopes.chunks_exact(acoustics::BANDS))
            // Before the crop the first frame hears silence, and its envelope is that of the clip.
            .skip(1)
        {
            for ((a, mean), b) in envelope(frame).iter().zip(means).zip(shape) {
                assert!((a - mean - b).abs() < 1e-4, "{a} {mean} {b}");
            }
        }
    }

    #[test]
    fn the_envelopes_asked_for_are_those_of_the_clip_as_it_was_whatever_was_done_to_it() {
        let (clip, log_mel) = (clip(), LogMel::default());
        let whole = crop(&clip, 100, &log_mel, &mut Random::new(1, 0), true).envelopes;
        for seed in 0..8 {
            let altered = crop(&clip, 60, &log_mel, &mut Random::new(2, seed), false);
            // The formant tells the time: every envelope must be near to one of the clip, in their order.
            let mut last = 0;
            for (n, shape) in altered
                .envelopes
                .chunks_exact(acoustics::BANDS)
                .enumerate()
                .filter(|&(n, _)| altered.active[n] == 1.0 && n > 0)
            {
                let distance = |row: &[f32]| -> f32 {
                    row.iter()
                        .zip(shape)
                        .map(|(a, b)| (a - b).abs())
                        .sum::<f32>()
                        / acoustics::BANDS as f32
                };
                let (nearest, least) = whole
                    .chunks_exact(acoustics::BANDS)
                    .map(distance)
                    .enumerate()
                    .min_by(|a, b| a.1.total_cmp(&b.1))
                    .expect("the clip has frames");
                assert!(least < 0.12, "seed {seed}, frame {n}: {least}");
                assert!(
                    nearest + 3 >= last,
                    "seed {seed}, frame {n}: {nearest} after {last}"
                );
                last = nearest;
            }
        }
    }
}
