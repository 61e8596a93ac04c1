//! How loud a frame is beside what has been heard before.

use crate::CONTENT_RATE_HZ;

/// Corner of the rumble filter: 50 and 60 Hz hum is lowered by 6 and 4 dB, voices stay.
const CORNER_HZ: f32 = 70.0;

/// Second-order Butterworth high-pass. Only levels are read from it: its phase does not matter.
#[derive(Debug, Clone)]
pub(super) struct RumbleFilter {
    gain: f32,
    feedback: [f32; 2],
    inputs: [f32; 2],
    outputs: [f32; 2],
}

impl RumbleFilter {
    pub(super) fn new() -> Self {
        // Bilinear transform of s² / (s² + √2·s + 1).
        let warped = (std::f32::consts::PI * CORNER_HZ / CONTENT_RATE_HZ as f32).tan();
        let damping = std::f32::consts::SQRT_2 * warped;
        let gain = 1.0 / (1.0 + damping + warped * warped);
        Self {
            gain,
            feedback: [
                2.0 * (warped * warped - 1.0) * gain,
                (1.0 - damping + warped * warped) * gain,
            ],
            inputs: [0.0; 2],
            outputs: [0.0; 2],
        }
    }

    pub(super) fn push(&mut self, sample: f32) -> f32 {
        let forward = self.gain * (sample - 2.0 * self.inputs[0] + self.inputs[1]);
        let output =
            forward - self.feedback[0] * self.outputs[0] - self.feedback[1] * self.outputs[1];
        // Far below hearing: no denormals.
        let output = if output.abs() < 1e-15 { 0.0 } else { output };
        self.inputs = [sample, self.inputs[0]];
        self.outputs = [output, self.outputs[0]];
        output
    }
}

/// Peak taken for the loudest at the start of a stream: a quiet voice (−26 dBFS).
const FIRST_PEAK: f32 = 0.05;
/// The loudest is never taken to be lower (−40 dBFS): noise in a silent room is not a voice.
const LOWEST_PEAK: f32 = 0.01;
/// How it is forgotten, per frame: half in 35 s.
const FORGETTING: f32 = 0.9998;

/// Remembers the loudest peak.
#[derive(Debug, Clone)]
pub(super) struct Loudest {
    peak: f32,
}

impl Loudest {
    pub(super) fn new() -> Self {
        Self { peak: FIRST_PEAK }
    }

    /// Takes the peak of a frame and returns it relative to the loudest.
    pub(super) fn push(&mut self, peak: f32) -> f32 {
        self.peak = (self.peak * FORGETTING).max(LOWEST_PEAK).max(peak);
        peak / self.peak
    }

    /// A peak relative to the loudest, without remembering it.
    pub(super) fn relative(&self, peak: f32) -> f32 {
        peak / self.peak.max(peak)
    }
}
