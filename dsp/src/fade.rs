//! Fade curves and a gain that never jumps.

/// Shape of a fade between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FadeShape {
    /// Gains add up to 1: for crossfading signals that are alike.
    Linear,
    /// Squared gains add up to 1: for crossfading signals that are unrelated.
    EqualPower,
}

impl FadeShape {
    /// Gains `(fading out, fading in)` at `progress` from 0 (start) to 1 (end).
    pub fn gains(self, progress: f32) -> (f32, f32) {
        let progress = progress.clamp(0.0, 1.0);
        match self {
            Self::Linear => (1.0 - progress, progress),
            Self::EqualPower => {
                let (sin, cos) = (progress * std::f32::consts::FRAC_PI_2).sin_cos();
                (cos, sin)
            }
        }
    }
}

/// Progress in the middle of step `index` of a fade `fade_samples` long: never 0, never 1, and the same backwards.
fn progress(index: usize, fade_samples: usize) -> f32 {
    (index as f32 + 0.5) / fade_samples as f32
}

/// Fades a block in over its whole length.
pub fn fade_in(block: &mut [f32], shape: FadeShape) {
    let fade_samples = block.len();
    for (index, sample) in block.iter_mut().enumerate() {
        *sample *= shape.gains(progress(index, fade_samples)).1;
    }
}

/// Fades a block out over its whole length.
pub fn fade_out(block: &mut [f32], shape: FadeShape) {
    let fade_samples = block.len();
    for (index, sample) in block.iter_mut().enumerate() {
        *sample *= shape.gains(progress(index, fade_samples)).0;
    }
}

/// Crossfades from `old` to `target` in place, over the length of the shorter.
pub fn crossfade(old: &[f32], target: &mut [f32], shape: FadeShape) {
    let fade_samples = old.len().min(target.len());
    for (index, (&from, to)) in old.iter().zip(target.iter_mut()).enumerate() {
        let (gain_out, gain_in) = shape.gains(progress(index, fade_samples));
        *to = from * gain_out + *to * gain_in;
    }
}

/// A value that moves to its target along a straight line in a fixed time.
///
/// Real-time: no allocation. The trajectory depends on the targets and the samples at which they were set, never on
/// block sizes.
#[derive(Debug, Clone)]
pub struct Ramp {
    value: f32,
    target: f32,
    step: f32,
    remaining_samples: u32,
    ramp_samples: u32,
}

impl Ramp {
    /// A ramp resting at `value` that reaches new targets in `ramp_ms`.
    pub fn new(value: f32, ramp_ms: f32, rate_hz: u32) -> Self {
        Self {
            value,
            target: value,
            step: 0.0,
            remaining_samples: 0,
            ramp_samples: (ramp_ms * 1e-3 * rate_hz as f32).round().max(1.0) as u32,
        }
    }

    /// Sets the value to move to; setting the same target again changes nothing.
    pub fn set_target(&mut self, target: f32) {
        if target != self.target {
            self.target = target;
            self.remaining_samples = self.ramp_samples;
            self.step = (target - self.value) / self.ramp_samples as f32;
        }
    }

    /// Jumps to `value` at once.
    pub fn set_value(&mut self, value: f32) {
        self.value = value;
        self.target = value;
        self.remaining_samples = 0;
    }

    /// The value for the next sample.
    pub fn advance(&mut self) -> f32 {
        if self.remaining_samples > 0 {
            self.remaining_samples -= 1;
            self.value = if self.remaining_samples == 0 {
                self.target
            } else {
                self.value + self.step
            };
        }
        self.value
    }

    /// The value of the last sample.
    pub fn value(&self) -> f32 {
        self.value
    }

    /// Whether the target is reached.
    pub fn is_settled(&self) -> bool {
        self.remaining_samples == 0
    }

    /// Multiplies a block by the moving value.
    pub fn apply(&mut self, block: &mut [f32]) {
        for sample in block {
            *sample *= self.advance();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_power_keeps_power_and_linear_keeps_amplitude() {
        for step in 0..=1000 {
            let at = step as f32 / 1000.0;
            let (out, into) = FadeShape::EqualPower.gains(at);
            assert!((out * out + into * into - 1.0).abs() < 1e-6);
            let (out, into) = FadeShape::Linear.gains(at);
            assert!((out + into - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn linear_crossfade_of_equal_signals_changes_nothing() {
        let old = [0.3f32; 100];
        let mut target = [0.3f32; 100];
        crossfade(&old, &mut target, FadeShape::Linear);
        assert!(target.iter().all(|s| (s - 0.3).abs() < 1e-6));
    }

    #[test]
    fn fade_out_is_fade_in_backwards_and_starts_without_a_step() {
        for shape in [FadeShape::Linear, FadeShape::EqualPower] {
            let (mut rising, mut falling) = ([1.0f32; 480], [1.0f32; 480]);
            fade_in(&mut rising, shape);
            fade_out(&mut falling, shape);
            assert!(rising[0] < 0.01 && falling[479] < 0.01);
            assert!(rising.windows(2).all(|w| w[1] >= w[0]));
            assert!(
                rising
                    .iter()
                    .zip(falling.iter().rev())
                    .all(|(a, b)| (a - b).abs() < 1e-6)
            );
        }
    }

    #[test]
    fn ramp_arrives_exactly_and_never_jumps() {
        let mut ramp = Ramp::new(0.0, 10.0, 48_000);
        ramp.set_target(1.0);
        let values: Vec<f32> = (0..600).map(|_| ramp.advance()).collect();
        assert_eq!(values[479], 1.0);
        assert!(values[478] < 1.0 && ramp.is_settled());
        let steepest = values
            .windows(2)
            .map(|w| (w[1] - w[0]).abs())
            .fold(0.0, f32::max);
        assert!(steepest < 1.1 / 480.0);
    }
}
