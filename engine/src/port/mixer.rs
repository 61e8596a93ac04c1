//! What is heard: wet, dry, and what fills a gap; never with a jump.

use super::dry::MixControls;

/// Time in which the wet signal comes back after a gap, and the fallback and the bypass come and go.
const FADE_S: f32 = 0.005;
/// Time in which the last wet sample goes to zero when a gap begins unannounced.
const RELEASE_S: f32 = 0.002;

/// Gains that move from sample to sample.
#[derive(Debug)]
pub(crate) struct Mixer {
    fade_step: f32,
    release_step: f32,
    /// Gain of the wet signal: 0 in a gap, back to 1 on a line.
    wet_gain: f32,
    /// Gain of the fallback.
    fallback_gain: f32,
    /// Share of the bypass.
    bypass: f32,
    /// The last wet sample before a gap, on its way to zero.
    held: f32,
    release: f32,
    last_wet: f32,
}

/// Gains of one sample, the same for all channels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gains {
    wet: f32,
    dry: f32,
    fallback: f32,
    gain: f32,
    bypass: f32,
}

impl Mixer {
    pub fn new(host_rate_hz: u32) -> Self {
        let rate = host_rate_hz as f32;
        Self {
            fade_step: 1.0 / (FADE_S * rate),
            release_step: 1.0 / (RELEASE_S * rate),
            wet_gain: 1.0,
            fallback_gain: 0.0,
            bypass: 0.0,
            held: 0.0,
            release: 0.0,
            last_wet: 0.0,
        }
    }

    /// Forgets what was heard. The bypass stays where it is: it is no signal.
    pub fn reset(&mut self) {
        self.wet_gain = 1.0;
        self.fallback_gain = 0.0;
        self.held = 0.0;
        self.release = 0.0;
        self.last_wet = 0.0;
    }

    /// Takes the bypass to where the controls are, without a fade: for the first sample of a stream.
    pub fn settle(&mut self, controls: &MixControls) {
        self.bypass = if controls.bypass { 1.0 } else { 0.0 };
    }

    /// The gains at the next sample; `wet` is the worker's sample, if there is one.
    pub fn next(&mut self, wet: Option<f32>, controls: &MixControls) -> Gains {
        let fallback_target = if wet.is_some() { 0.0 } else { 1.0 };
        step_to(&mut self.fallback_gain, fallback_target, self.fade_step);
        step_to(
            &mut self.bypass,
            if controls.bypass { 1.0 } else { 0.0 },
            self.fade_step,
        );
        let heard = match wet {
            Some(sample) => {
                let heard = sample * self.wet_gain;
                step_to(&mut self.wet_gain, 1.0, self.fade_step);
                // What the gap began with may still be on its way when the gap is over.
                heard + self.released()
            }
            None => {
                if self.wet_gain > 0.0 {
                    self.held = self.last_wet;
                    self.release = 1.0;
                    self.wet_gain = 0.0;
                }
                self.released()
            }
        };
        self.last_wet = heard;
        Gains {
            wet: heard * controls.dry_wet,
            dry: 1.0 - controls.dry_wet,
            fallback: if controls.fallback_dry {
                self.fallback_gain * controls.dry_wet
            } else {
                0.0
            },
            gain: controls.gain,
            bypass: self.bypass,
        }
    }

    fn released(&mut self) -> f32 {
        if self.release <= 0.0 {
            return 0.0;
        }
        self.release = (self.release - self.release_step).max(0.0);
        self.held * self.release
    }
}

impl Gains {
    /// What is heard of a channel whose dry sample is `dry`.
    pub fn mix(&self, dry: f32) -> f32 {
        let mixed = (self.wet + dry * (self.dry + self.fallback)) * self.gain;
        if self.bypass == 0.0 {
            mixed
        } else if self.bypass == 1.0 {
            dry
        } else {
            mixed * (1.0 - self.bypass) + dry * self.bypass
        }
    }
}

fn step_to(value: &mut f32, target: f32, step: f32) {
    *value = if *value < target {
        (*value + step).min(target)
    } else {
        (*value - step).max(target)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const WET: MixControls = MixControls {
        dry_wet: 1.0,
        gain: 1.0,
        bypass: false,
        fallback_dry: false,
    };

    fn run(
        mixer: &mut Mixer,
        wet: impl Fn(usize) -> Option<f32>,
        controls: MixControls,
        dry: f32,
    ) -> Vec<f32> {
        (0..2000)
            .map(|index| mixer.next(wet(index), &controls).mix(dry))
            .collect()
    }

    fn largest_step(samples: &[f32]) -> f32 {
        samples
            .windows(2)
            .map(|pair| (pair[0] - pair[1]).abs())
            .fold(0.0, f32::max)
    }

    #[test]
    fn a_gap_in_a_constant_has_no_jump_with_either_fallback() {
        for (fallback_dry, floor) in [(false, 0.0), (true, 0.25)] {
            let controls = MixControls {
                fallback_dry,
                ..WET
            };
            let wet = |index| (!(500..1200).contains(&index)).then_some(0.5);
            let heard = run(&mut Mixer::new(48_000), wet, controls, 0.25);
            assert!(largest_step(&heard) < 0.011, "{}", largest_step(&heard));
            assert_eq!((heard[499], heard[1999]), (0.5, 0.5));
            assert!((heard[1100] - floor).abs() < 1e-6);
        }
    }

    #[test]
    fn fully_wet_is_the_wet_sample_bit_for_bit() {
        let heard = run(
            &mut Mixer::new(48_000),
            |index| Some(index as f32 * 1e-3 + 0.1),
            WET,
            0.7,
        );
        assert!(
            heard
                .iter()
                .enumerate()
                .all(|(index, &sample)| sample == index as f32 * 1e-3 + 0.1)
        );
    }

    #[test]
    fn bypass_is_dry_bit_for_bit_after_a_fade() {
        let mut mixer = Mixer::new(48_000);
        run(&mut mixer, |_| Some(0.9), WET, 0.3);
        let heard = run(
            &mut mixer,
            |_| Some(0.9),
            MixControls {
                bypass: true,
                gain: 2.0,
                ..WET
            },
            0.3,
        );
        assert!(largest_step(&heard[1..]) < 0.011);
        assert_eq!(heard[300], 0.3);
    }
}
