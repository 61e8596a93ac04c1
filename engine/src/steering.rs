//! What is done with F0 and level between the features and the synthesis: register, smoothing, notes, gate, envelope,
//! articulation; and how far the output may rise above the input.
//!
//! Everything here runs once per frame and depends on the frames only.

mod articulation;
mod ceiling;
mod f0_mean;
mod retune;

use std::collections::VecDeque;

pub use articulation::{Articulation, HALVES, HeardLevels};
pub use ceiling::Ceiling;
pub use f0_mean::F0Mean;
pub use retune::Retuner;
use timbra_dsp::level::db_to_linear;
use timbra_voice::manifest::{MAX_SPEAKERS, Speaker};

use crate::controls::GATE_OFF_DB;

/// Shifts the source's register to the mixed speakers' in whole semitones.
///
/// The source's register is a running mean of log F0 over voiced frames, each by its amplitude, so that what is found in the
/// noise before a phrase weighs nothing: an ordinary mean over the first three seconds of voice, then one that forgets
/// with that time constant. The shift follows when it is wrong by more than 0.6 semitones, so that it does not flutter
/// between two steps, and glides there, or jumps where nothing is voiced.
#[derive(Debug, Clone, Default)]
pub struct AutoPitch {
    mean_octaves: f32,
    mean_amplitude: f32,
    voiced_frames: u32,
    step_semitones: f32,
    shift_semitones: f32,
}

impl AutoPitch {
    /// Three seconds.
    const MEMORY_FRAMES: f32 = 300.0;
    /// A first shift is made once 100 ms of voice have been heard.
    const FIRST_FRAMES: u32 = 10;
    const HYSTERESIS_SEMITONES: f32 = 0.6;
    /// An octave takes 200 ms.
    const GLIDE_SEMITONES: f32 = 0.6;

    /// What is quieter is not a voice to be judged by.
    const QUIET_DB: f32 = -55.0;

    /// Takes F0 (0 = unvoiced) and loudness in dBFS of a frame and gives the shift in semitones; off, it listens on and
    /// glides to 0.
    pub fn push(
        &mut self,
        (f0_hz, loudness_db): (f32, f32),
        on: bool,
        speakers: &[Speaker],
        mix: &[f32; MAX_SPEAKERS],
    ) -> f32 {
        if f0_hz > 0.0 && loudness_db > Self::QUIET_DB {
            self.voiced_frames = self.voiced_frames.saturating_add(1);
            let share = 1.0 / (self.voiced_frames as f32).min(Self::MEMORY_FRAMES);
            let amplitude = db_to_linear(loudness_db);
            self.mean_amplitude += share * (amplitude - self.mean_amplitude);
            let share = share * amplitude / self.mean_amplitude;
            self.mean_octaves += share * (f0_hz.log2() - self.mean_octaves);
        }
        let known = self.voiced_frames >= Self::FIRST_FRAMES;
        if on && known {
            let wanted_octaves: f32 = speakers
                .iter()
                .zip(mix)
                .map(|(speaker, weight)| weight * speaker.f0_median_hz.log2())
                .sum();
            let wanted = 12.0 * (wanted_octaves - self.mean_octaves);
            if (wanted - self.step_semitones).abs() > Self::HYSTERESIS_SEMITONES {
                self.step_semitones = wanted.round();
            }
        }
        let target = if on { self.step_semitones } else { 0.0 };
        let way = target - self.shift_semitones;
        let most = if f0_hz > 0.0 {
            Self::GLIDE_SEMITONES
        } else {
            f32::INFINITY
        };
        self.shift_semitones += way.clamp(-most, most);
        self.shift_semitones
    }
}

/// Opens and shuts the voice by the input's loudness.
///
/// A frame's gain is reached at the frame's time, and the look-ahead lets it rise before an onset.
#[derive(Debug, Clone)]
pub struct FrameGate {
    open: bool,
    held_frames: u32,
    gain: f32,
}

impl Default for FrameGate {
    fn default() -> Self {
        Self {
            open: false,
            held_frames: 0,
            gain: 0.0,
        }
    }
}

impl FrameGate {
    /// The level must fall so far below the threshold before the gate shuts.
    const HYSTERESIS_DB: f32 = 6.0;
    /// 50 ms keep word ends.
    const HOLD_FRAMES: u32 = 5;
    /// 80 ms.
    const RELEASE_STEP: f32 = 0.125;

    /// Takes the loudness of a frame and gives its gain, 0..1.
    pub fn push(&mut self, loudness_db: f32, threshold_db: f32) -> f32 {
        if threshold_db <= GATE_OFF_DB || loudness_db >= threshold_db {
            self.open = true;
            self.held_frames = 0;
        } else if loudness_db >= threshold_db - Self::HYSTERESIS_DB {
            self.held_frames = 0;
        } else if self.open {
            self.held_frames += 1;
            self.open = self.held_frames <= Self::HOLD_FRAMES;
        }
        self.gain = if self.open {
            1.0
        } else {
            (self.gain - Self::RELEASE_STEP).max(0.0)
        };
        self.gain
    }
}

/// Brings the envelope of what was made to that of what was sung.
///
/// The power of the last three hops that were made is compared with the loudness of the input at the same time, and
/// the gain follows the difference with a time constant of about 30 ms, within −24..18 dB. Where either is silent the
/// gain stays: noise is not pulled up.
#[derive(Debug, Clone)]
pub struct EnvelopeMatch {
    /// Loudness of the input, newest first.
    inputs_db: VecDeque<f32>,
    /// Mean squares of the hops made, newest first.
    powers: [f32; 3],
    /// How far the middle of the three hops lies behind the newest frame, in frames.
    lag_frames: f32,
    correction_db: f32,
}

impl EnvelopeMatch {
    const QUIET_DB: f32 = -70.0;
    const SHARE: f32 = 0.3;

    /// For a synthesis that lags by `delay_samples` with `hop_samples` per frame.
    pub fn new(delay_samples: usize, hop_samples: usize) -> Self {
        let lag_frames = 1.5 + delay_samples as f32 / hop_samples as f32;
        let depth = lag_frames as usize + 2;
        Self {
            inputs_db: std::iter::repeat_n(GATE_OFF_DB, depth).collect(),
            powers: [0.0; 3],
            lag_frames,
            correction_db: 0.0,
        }
    }

    /// Takes a frame's input loudness and the hop made for it; gives the gain for `amount` 0..1.
    pub fn push(&mut self, loudness_db: f32, hop: &[f32], amount: f32) -> f32 {
        self.inputs_db.rotate_right(1);
        self.inputs_db[0] = loudness_db;
        self.powers.rotate_right(1);
        self.powers[0] =
            hop.iter().map(|sample| sample * sample).sum::<f32>() / hop.len().max(1) as f32;
        let made_db = 10.0 * (self.powers.iter().sum::<f32>() / 3.0 + 1e-10).log10();
        let whole = self.lag_frames as usize;
        let part = self.lag_frames - whole as f32;
        let sung_db = self.inputs_db[whole] * (1.0 - part) + self.inputs_db[whole + 1] * part;
        if sung_db > Self::QUIET_DB && made_db > Self::QUIET_DB {
            let wanted_db = (sung_db - made_db).clamp(-24.0, 18.0);
            self.correction_db += Self::SHARE * (wanted_db - self.correction_db);
        }
        if amount > 0.0 {
            db_to_linear(amount * self.correction_db)
        } else {
            1.0
        }
    }
}

/// A gain given once per frame, applied on straight lines at the times the frames are heard.
#[derive(Debug, Clone)]
pub struct GainLine {
    /// Newest first.
    gains: VecDeque<f32>,
    delay_samples: usize,
    begun: bool,
}

impl GainLine {
    /// For a synthesis that lags by `delay_samples` with `hop_samples` per frame.
    pub fn new(delay_samples: usize, hop_samples: usize) -> Self {
        let depth = delay_samples / hop_samples + 3;
        Self {
            gains: std::iter::repeat_n(1.0, depth).collect(),
            delay_samples,
            begun: false,
        }
    }

    /// Takes the gain of a frame and applies the line to the hop made for it, which covers the time from the frame
    /// before to this one, later by the delay.
    pub fn apply(&mut self, gain: f32, hop: &mut [f32]) {
        if !std::mem::replace(&mut self.begun, true) {
            // Before the first frame it was what it is there: what begins below a gate's threshold is not heard at all.
            self.gains.iter_mut().for_each(|before| *before = gain);
        }
        self.gains.rotate_right(1);
        self.gains[0] = gain;
        if self.gains.iter().all(|&gain| gain == 1.0) {
            return;
        }
        let hop_samples = hop.len() as f32;
        for (index, sample) in hop.iter_mut().enumerate() {
            // Frames back from the newest.
            let back = 1.0 + (self.delay_samples as f32 - index as f32) / hop_samples;
            let whole = back as usize;
            let part = back - whole as f32;
            *sample *= self.gains[whole] * (1.0 - part) + self.gains[whole + 1] * part;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn speaker(f0_median_hz: f32) -> Speaker {
        Speaker {
            name: "s".into(),
            languages: vec![],
            licence: String::new(),
            attribution: String::new(),
            consent: String::new(),
            f0_median_hz,
            f0_low_hz: 100.0,
            f0_high_hz: 400.0,
            loudness_median_db: -20.0,
            articulation: 0.0,
        }
    }

    #[test]
    fn auto_pitch_settles_on_whole_semitones_and_stays() {
        let speakers = [speaker(220.0)];
        let mut mix = [0.0; MAX_SPEAKERS];
        mix[0] = 1.0;
        let mut auto = AutoPitch::default();
        let mut shifts = Vec::new();
        for frame in 0..1000 {
            let vibrato = 1.0 + 0.02 * (frame as f32 * 0.3).sin();
            shifts.push(auto.push((112.0 * vibrato, -20.0), true, &speakers, &mix));
        }
        assert_eq!(shifts[0], 0.0);
        assert_eq!(shifts.last(), Some(&12.0));
        assert!(shifts[100..].iter().all(|&shift| shift == 12.0));
        assert!(
            (0..60).any(|_| auto.push((112.0, -20.0), false, &speakers, &mix) == 0.0),
            "off: glides back"
        );
    }

    #[test]
    fn what_is_found_in_the_noise_before_a_phrase_does_not_move_its_register() {
        let speakers = [speaker(220.0)];
        let mut mix = [0.0; MAX_SPEAKERS];
        mix[0] = 1.0;
        for noise_db in [-70.0, -45.0] {
            let mut auto = AutoPitch::default();
            for _ in 0..30 {
                auto.push((900.0, noise_db), true, &speakers, &mix);
            }
            for _ in 0..10 {
                auto.push((0.0, noise_db), true, &speakers, &mix);
            }
            let shifts: Vec<f32> = (0..100)
                .map(|_| auto.push((110.0, -15.0), true, &speakers, &mix))
                .collect();
            // What is too quiet does not count at all; the rest is glided over, and weighs next to nothing.
            let (there, wrong) = if noise_db < -55.0 {
                (30, 0.0)
            } else {
                (70, 1.0)
            };
            assert!(
                shifts[there..]
                    .iter()
                    .all(|&shift| (shift - 12.0).abs() <= wrong),
                "{noise_db}: {shifts:?}"
            );
        }
        let mut auto = AutoPitch::default();
        for _ in 0..20 {
            auto.push((110.0, -15.0), true, &speakers, &mix);
        }
        assert_eq!(
            auto.push((0.0, -80.0), true, &speakers, &mix),
            12.0,
            "a jump where nothing is voiced"
        );
    }

    #[test]
    fn gate_shuts_after_the_hold_and_opens_at_once() {
        let mut gate = FrameGate::default();
        let quiet: Vec<f32> = (0..40).map(|_| gate.push(-60.0, -40.0)).collect();
        assert_eq!(quiet, [0.0; 40], "nothing is let through before it opens");
        assert_eq!(gate.push(-30.0, -40.0), 1.0);
        let falling: Vec<f32> = (0..20).map(|_| gate.push(-60.0, -40.0)).collect();
        assert_eq!(falling[..5], [1.0; 5], "held for 50 ms");
        assert!(falling.windows(2).all(|pair| pair[0] - pair[1] <= 0.125));
        assert_eq!(FrameGate::default().push(-100.0, GATE_OFF_DB), 1.0, "off");
    }

    #[test]
    fn envelope_match_removes_a_constant_difference() {
        let mut follower = EnvelopeMatch::new(240, 480);
        let hop = [0.1; 480];
        let gain = (0..100)
            .map(|_| follower.push(-14.0, &hop, 1.0))
            .last()
            .unwrap();
        assert!((gain - 2.0).abs() < 0.02, "{gain}");
        assert_eq!(follower.push(-14.0, &hop, 0.0), 1.0);
    }

    #[test]
    fn a_gain_line_begins_with_the_first_gain() {
        for delay_samples in [0, 250] {
            let mut line = GainLine::new(delay_samples, 100);
            for gain in [0.0, 0.0] {
                let mut hop = vec![1.0; 100];
                line.apply(gain, &mut hop);
                assert_eq!(hop, [0.0; 100]);
            }
        }
    }

    #[test]
    fn gain_line_is_continuous_and_reaches_the_gain_at_the_frame() {
        for delay_samples in [0, 100, 250] {
            let mut line = GainLine::new(delay_samples, 100);
            let gains = [1.0, 0.0, 0.0, 0.5, 1.0, 1.0, 1.0, 1.0];
            let mut curve = Vec::new();
            for gain in gains {
                let mut hop = vec![1.0; 100];
                line.apply(gain, &mut hop);
                curve.extend(hop);
            }
            assert!(
                curve
                    .windows(2)
                    .all(|pair| (pair[0] - pair[1]).abs() < 0.011)
            );
            // Frame 1 (gain 0) is heard at the end of hop 1, later by the delay.
            assert!(
                curve[200 + delay_samples].abs() < 1e-3,
                "delay {delay_samples}"
            );
        }
    }
}
