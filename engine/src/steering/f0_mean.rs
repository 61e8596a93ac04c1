//! Smooths F0 over a few frames: a contour that jumps from frame to frame makes a voice hoarse.

/// Frames per millisecond.
const FRAMES_PER_MS: f32 = 0.1;
/// Frames of the past that are kept: the whole of the widest span, where nothing of the future is known.
const PAST_FRAMES: usize = (crate::controls::MAX_F0_SMOOTHING_MS * FRAMES_PER_MS) as usize;

/// The mean of F0 over a span of time inside a voiced stretch.
///
/// The mean is one of semitones (of logarithms), so that it lies as far from a note above as from one below, and takes
/// only frames that are voiced without a break up to this one: voicing stays as it is, and a note does not pull at the
/// one after a consonant. The span lies around the frame as far as F0 of the future is known (what the voice's content
/// encoder sees of it beyond what F0 itself needs) and before it for the rest, so nothing waits for it. Where half of the
/// span is known ahead, the contour is not delayed; where nothing is, it comes later by half of the span.
///
/// Between whole frames the outermost weigh by their share, so that the span can be automated without steps.
#[derive(Debug, Clone, Default)]
pub struct F0Mean {
    /// Logarithms of the last frames of this voiced stretch, newest first, and how many there are.
    past_octaves: [f32; PAST_FRAMES],
    past: usize,
    last_index: Option<u64>,
}

impl F0Mean {
    /// Takes F0 of frame `index` (0 = unvoiced) and what is known of the frames after it; gives the mean over `span_ms`,
    /// the time between its first and its last frame. A frame that does not follow the one before begins anew.
    ///
    /// Real-time: no allocation.
    pub fn push(
        &mut self,
        index: u64,
        f0_hz: f32,
        ahead_hz: impl ExactSizeIterator<Item = f32>,
        span_ms: f32,
    ) -> f32 {
        if self.last_index.replace(index).map(|last| last + 1) != Some(index) {
            self.past = 0;
        }
        if f0_hz <= 0.0 {
            self.past = 0;
            return 0.0;
        }
        let octaves = f0_hz.log2();
        let mean_hz = if span_ms > 0.0 {
            self.mean_octaves(octaves, ahead_hz, span_ms * FRAMES_PER_MS)
                .exp2()
        } else {
            f0_hz
        };
        self.past_octaves.rotate_right(1);
        self.past_octaves[0] = octaves;
        self.past = (self.past + 1).min(PAST_FRAMES);
        mean_hz
    }

    fn mean_octaves(
        &self,
        octaves: f32,
        ahead_hz: impl ExactSizeIterator<Item = f32>,
        span_frames: f32,
    ) -> f32 {
        let after_frames = (span_frames / 2.0).min(ahead_hz.len() as f32);
        let before_frames = span_frames - after_frames;
        let (mut sum, mut weights) = (octaves, 1.0);
        let mut add = |reach_frames: f32, distance: usize, octaves: f32| {
            let weight = (reach_frames - distance as f32).clamp(0.0, 1.0);
            sum += weight * octaves;
            weights += weight;
        };
        for (distance, &octaves) in self.past_octaves[..self.past].iter().enumerate() {
            add(before_frames, distance, octaves);
        }
        let wanted = after_frames.ceil() as usize;
        let stretch = ahead_hz.take(wanted).take_while(|&f0_hz| f0_hz > 0.0);
        for (distance, f0_hz) in stretch.enumerate() {
            add(after_frames, distance, f0_hz.log2());
        }
        sum / weights
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// The contour smoothed over `span_ms` with `known` frames of the future.
    fn smoothed(contour_hz: &[f32], known: usize, span_ms: f32) -> Vec<f32> {
        let mut mean = F0Mean::default();
        (0..contour_hz.len())
            .map(|n| {
                // Beyond the end there is silence.
                let ahead: Vec<f32> = (n + 1..=n + known)
                    .map(|m| contour_hz.get(m).copied().unwrap_or(0.0))
                    .collect();
                mean.push(n as u64, contour_hz[n], ahead.into_iter(), span_ms)
            })
            .collect()
    }

    fn semitones(of_hz: f32, over_hz: f32) -> f32 {
        12.0 * (of_hz / over_hz).log2()
    }

    #[test]
    fn off_it_leaves_every_bit() {
        let contour: Vec<f32> = (0..200).map(|n| 100.0 + (n * n % 97) as f32).collect();
        assert_eq!(smoothed(&contour, 7, 0.0), contour);
    }

    #[test]
    fn a_glide_is_late_by_half_the_span_and_not_at_all_where_the_future_is_known() {
        // A semitone every 10 ms: 0.1 semitones are a millisecond.
        let glide: Vec<f32> = (0..24).map(|n| 200.0 * (n as f32 / 12.0).exp2()).collect();
        for (span_ms, known, late_ms) in [
            (20.0, 0, 10.0),
            (50.0, 0, 25.0),
            (100.0, 0, 50.0),
            (33.0, 0, 16.5),
            (20.0, 1, 0.0),
            (50.0, 3, 0.0),
            (100.0, 5, 0.0),
            (40.0, 1, 10.0),
        ] {
            let found = smoothed(&glide, known, span_ms);
            let late = 10.0 * semitones(glide[13], found[13]);
            // The outermost frames lie nearer than the span says where it is no whole number of frames.
            let within = if span_ms == 33.0 { 0.7 } else { 0.01 };
            assert!(
                (late - late_ms).abs() < within,
                "{span_ms} ms, {known} known: {late} ms late"
            );
        }
    }

    #[test]
    fn jitter_shrinks_by_what_a_mean_promises() {
        let rough: Vec<f32> = (0..40)
            .map(|n| 220.0 * (0.5 * [1.0, -1.0][n % 2] / 12.0_f32).exp2())
            .collect();
        // Three frames of +d −d +d leave a third of it.
        let depth = |hz: &f32| semitones(*hz, 220.0).abs();
        for known in [0, 1] {
            let found = smoothed(&rough, known, 20.0);
            let worst = found[4..36].iter().map(depth).fold(0.0, f32::max);
            assert!((worst - 0.5 / 3.0).abs() < 1e-3, "{worst}");
        }
    }

    #[test]
    fn nothing_crosses_a_pause_in_the_voice() {
        let mut contour = vec![200.0; 10];
        contour.extend([0.0; 2]);
        contour.extend([300.0; 10]);
        for known in [0, 5] {
            let found = smoothed(&contour, known, 100.0);
            for (n, (found, wanted)) in found.iter().zip(&contour).enumerate() {
                assert!((found - wanted).abs() < 1e-3, "frame {n}: {found}");
            }
        }
    }

    #[test]
    fn frames_that_were_left_out_are_not_bridged() {
        let mut mean = F0Mean::default();
        mean.push(0, 100.0, [].into_iter(), 100.0);
        let next = mean.push(1, 200.0, [].into_iter(), 100.0);
        assert!((next - 100.0 * 2.0_f32.sqrt()).abs() < 1e-3, "{next}");
        let later = mean.push(7, 300.0, [].into_iter(), 100.0);
        assert!((later - 300.0).abs() < 1e-3, "{later}");
    }

    #[test]
    fn the_span_can_be_turned_without_a_step() {
        let contour: Vec<f32> = (0..40).map(|n| 200.0 + (n * n * 7 % 31) as f32).collect();
        let mut before: Option<f32> = None;
        for tenth in 0..1000u16 {
            let found = smoothed(&contour, 2, f32::from(tenth) / 10.0)[25];
            if let Some(before) = before {
                assert!((found - before).abs() < 0.2, "at {tenth} tenths of a ms");
            }
            before = Some(found);
        }
    }
}
