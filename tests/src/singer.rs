//! A small singer for demonstrations and tests: every sample is computed here,
//! so the project owns the vocal it demonstrates itself with.
//!
//! Harmonics of a gliding, vibrating F0 are weighted by a glottal slope and the
//! resonances of a vowel, which is alias-free by construction; consonants are
//! shaped noise and closures. The source idea is that of formant synthesis
//! (G. Fant, Acoustic Theory of Speech Production, 1960); formant frequencies
//! are rounded averages for an adult voice.

use std::f64::consts::TAU;

/// Frequencies of the first four resonances in Hz.
type Formants = [f64; 4];

const BANDWIDTHS_HZ: Formants = [80.0, 100.0, 130.0, 200.0];
const A: Formants = [760.0, 1220.0, 2640.0, 3600.0];
const E: Formants = [520.0, 1880.0, 2600.0, 3700.0];
const I: Formants = [310.0, 2300.0, 3050.0, 3800.0];
const O: Formants = [470.0, 860.0, 2550.0, 3500.0];
const U: Formants = [340.0, 750.0, 2450.0, 3500.0];
const NASAL: Formants = [270.0, 1100.0, 2300.0, 3400.0];
const LIQUID: Formants = [380.0, 1050.0, 2750.0, 3600.0];

/// How a syllable begins.
#[derive(Clone, Copy)]
enum Onset {
    Vowel,
    /// Voiced resonances of the mouth or nose.
    Murmur(Formants),
    /// Noise around a centre frequency with a bandwidth, in Hz.
    Hiss(f64, f64),
    /// Closure, then a burst around a frequency in Hz.
    Burst(f64),
}

struct Note {
    onset: Onset,
    vowel: Formants,
    /// Semitones from A4.
    pitch_semitones: f64,
    seconds: f64,
}

/// Two lines made up for this project.
fn song() -> Vec<Note> {
    let note = |onset, vowel, pitch_semitones, seconds| Note {
        onset,
        vowel,
        pitch_semitones,
        seconds,
    };
    let (m, l) = (Onset::Murmur(NASAL), Onset::Murmur(LIQUID));
    let (s, sh, h) = (
        Onset::Hiss(6800.0, 2600.0),
        Onset::Hiss(3400.0, 1800.0),
        Onset::Hiss(1600.0, 2600.0),
    );
    let (t, k) = (Onset::Burst(4200.0), Onset::Burst(1900.0));
    vec![
        note(s, I, -9.0, 0.45),
        note(l, A, -5.0, 0.45),
        note(m, O, -2.0, 0.60),
        note(t, E, -4.0, 0.35),
        note(h, A, -5.0, 1.15),
        note(Onset::Vowel, U, -7.0, 0.40),
        note(k, A, -5.0, 0.45),
        note(m, I, 0.0, 0.75),
        note(l, E, -2.0, 0.40),
        note(sh, O, -9.0, 1.50),
    ]
}

/// Magnitude of the resonances at `frequency_hz`, 1 at 0 Hz.
fn resonance(formants: &Formants, frequency_hz: f64) -> f64 {
    // Two fixed resonances stand for those above the vowel's own.
    let upper = [(4600.0, 300.0), (5800.0, 400.0)];
    let own = formants.iter().copied().zip(BANDWIDTHS_HZ);
    own.chain(upper).fold(1.0, |gain, (centre, width)| {
        let (f2, c2, w2) = (frequency_hz * frequency_hz, centre * centre, width * width);
        gain * (c2 + w2 / 4.0) / (((f2 - c2).powi(2)) + w2 * f2).sqrt().max(1.0)
    })
}

fn blend(a: &Formants, b: &Formants, ratio: f64) -> Formants {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * ratio)
}

/// Rises from 0 to 1 between `from` and `to`.
fn smooth(t: f64, from: f64, to: f64) -> f64 {
    let x = ((t - from) / (to - from)).clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}

/// Noise that is the same on every machine.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        // Constants of Knuth's MMIX generator (TAOCP vol. 2, 3.3.4).
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(1u32 << 30) - 1.0
    }
}

/// A two-pole band-pass whose centre can change (state-variable form).
#[derive(Default)]
struct BandPass {
    low: f64,
    band: f64,
}

impl BandPass {
    fn step(&mut self, input: f64, centre_hz: f64, width_hz: f64, rate_hz: f64) -> f64 {
        // Andrew Simper's trapezoidal form, stable at any centre below Nyquist.
        let g = (std::f64::consts::PI * (centre_hz / rate_hz).min(0.49)).tan();
        let damping = width_hz / centre_hz;
        let a1 = 1.0 / (1.0 + g * (g + damping));
        let v1 = a1 * (self.band + g * (input - self.low));
        let v2 = self.low + g * v1;
        self.band = 2.0 * v1 - self.band;
        self.low = 2.0 * v2 - self.low;
        v1 * damping
    }
}

/// Sings the song at `rate_hz`, about seven seconds, peak near 0.6.
#[must_use]
pub fn sing(rate_hz: u32) -> Vec<f32> {
    let rate = f64::from(rate_hz);
    let notes = song();
    let lead_in_s = 0.25;
    let total_s: f64 = notes.iter().map(|n| n.seconds).sum::<f64>() + lead_in_s + 0.5;
    let samples = (total_s * rate) as usize;
    let mut output = vec![0.0f64; samples];
    let mut noise = Noise(20_261);
    let mut breath = BandPass::default();
    let mut phase = 0.0f64;
    let mut pitch_now = notes[0].pitch_semitones;
    let mut start_s = lead_in_s;
    let mut previous = notes[0].vowel;
    // Harmonic weights are computed on a 4 ms grid and follow smoothly.
    let (mut weights, mut target): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    let grid = (rate * 0.004) as usize;
    let top_hz = 9_000.0f64.min(rate * 0.45);
    for (index, note) in notes.iter().enumerate() {
        let last = index + 1 == notes.len();
        let (from, to) = (
            (start_s * rate) as usize,
            ((start_s + note.seconds) * rate) as usize,
        );
        let mut band = BandPass::default();
        for (n, sung) in output.iter_mut().enumerate().take(to).skip(from) {
            let t = (n - from) as f64 / rate;
            // Glide in 60 ms; vibrato of ±30 cents at 5.6 Hz fades in on held notes.
            pitch_now += (note.pitch_semitones - pitch_now) * (1.0 - (-1.0 / (0.030 * rate)).exp());
            let vibrato = 0.30 * smooth(t, 0.25, 0.60) * (TAU * 5.6 * t).sin();
            let f0_hz = 440.0 * ((pitch_now + vibrato) / 12.0).exp2();
            phase = (phase + f0_hz / rate).fract();
            let (consonant_s, voicing) = match note.onset {
                Onset::Vowel => (0.0, 1.0),
                Onset::Murmur(_) => (0.09, 1.0),
                Onset::Hiss(..) => (0.13, smooth(t, 0.11, 0.16)),
                Onset::Burst(_) => (0.08, smooth(t, 0.07, 0.10)),
            };
            let release = 1.0 - smooth(t, note.seconds - 0.07, note.seconds - 0.005);
            let ends =
                if last || matches!(notes[index + 1].onset, Onset::Hiss(..) | Onset::Burst(_)) {
                    release
                } else {
                    1.0
                };
            let swell = 0.75 + 0.25 * smooth(t, 0.05, (note.seconds * 0.5).max(0.1));
            if (n - from).is_multiple_of(grid) {
                let formants = match note.onset {
                    Onset::Murmur(murmur) => {
                        let into = blend(&previous, &murmur, smooth(t, 0.0, 0.04));
                        blend(
                            &into,
                            &note.vowel,
                            smooth(t, consonant_s, consonant_s + 0.06),
                        )
                    }
                    _ => blend(
                        &previous,
                        &note.vowel,
                        smooth(t, consonant_s, consonant_s + 0.05),
                    ),
                };
                let murmur = match note.onset {
                    Onset::Murmur(_) => 0.45 + 0.55 * smooth(t, consonant_s, consonant_s + 0.05),
                    _ => 1.0,
                };
                let count = (top_hz / f0_hz) as usize;
                target.clear();
                target.extend((1..=count).map(|h| {
                    let frequency = h as f64 * f0_hz;
                    // Glottal flow falls by 12 dB an octave, lip radiation gives 6 back.
                    let slope = 1.0 / (1.0 + frequency / 900.0);
                    swell * murmur * slope * resonance(&formants, frequency) * 0.05
                }));
                // What rose above the top fades out instead of stopping.
                target.resize(count.max(weights.len()), 0.0);
                weights.resize(target.len(), 0.0);
            }
            let mut voiced = 0.0;
            for (h, (weight, wanted)) in weights.iter_mut().zip(&target).enumerate() {
                *weight += (wanted - *weight) * (0.4 / grid as f64);
                voiced += *weight * (TAU * (h + 1) as f64 * phase).sin();
            }
            let white = noise.next();
            let fricative = match note.onset {
                Onset::Hiss(centre, width) => {
                    let shape = smooth(t, 0.0, 0.04) * (1.0 - smooth(t, 0.10, 0.15));
                    0.22 * shape * band.step(white, centre, width, rate)
                }
                Onset::Burst(centre) => {
                    let shape = smooth(t, 0.050, 0.053) * (-(t - 0.053).max(0.0) / 0.012).exp();
                    0.55 * shape * band.step(white, centre, 1500.0, rate)
                }
                _ => 0.0,
            };
            let air = 0.006 * breath.step(white, 2800.0, 3500.0, rate);
            *sung = (voiced + air) * voicing * ends + fricative;
        }
        previous = note.vowel;
        start_s += note.seconds;
    }
    let peak = output.iter().fold(1e-9f64, |p, s| p.max(s.abs()));
    output.iter().map(|s| (s / peak * 0.6) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_song_is_the_same_every_time_and_stays_in_range() {
        let once = sing(48_000);
        assert_eq!(once, sing(48_000));
        assert!(once.len() > 48_000 * 6, "{} samples", once.len());
        assert!(once.iter().all(|s| s.is_finite() && s.abs() <= 0.6001));
    }
}
