//! What a speech recogniser makes of the corpus: what else content can be made good for in training.
//!
//! Labels say which phone a frame is of, the recogniser how likely it is to be understood as what: it has heard very many more
//! people than a corpus has, and labels are wrong at times. So a matrix must give, from the content of a frame that was played
//! at another speed and through another microphone, what the recogniser makes of the clip as it was at that time.
//!
//! Source: Hinton et al., distilling a network (1503.02531); for features of speech networks, Chang et al., DistilHuBERT
//! (2110.01900).

use std::path::Path;

use anyhow::Result;
use burn::tensor::backend::Backend;

use super::corpus::Clip;
use crate::model::causal::{from_vec, to_vec};
use crate::model::recogniser::{self, FIRST_CENTRE, FRAME_SAMPLES, Recogniser};
use crate::training::progress::bar;

/// Clips are heard in pieces of at most this length: attention costs the square of it.
const PIECE_SAMPLES: usize = 30 * recogniser::RATE_HZ;
/// Parts of a standard deviation that are kept.
const STEPS: f32 = 32.0;

/// Frames of a clip, each channel in standard deviations of the whole corpus.
#[derive(Debug, Clone, Default)]
pub struct Understood {
    /// `[frames, channels]`, in [`STEPS`].
    rows: Vec<i8>,
    channels: usize,
}

impl Understood {
    /// Channels of a frame.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Appends what is made of the clip around sample `position`.
    pub fn push_at(&self, position: f32, out: &mut Vec<f32>) {
        let count = self.rows.len() / self.channels.max(1);
        if count == 0 {
            out.extend((0..self.channels).map(|_| 0.0));
            return;
        }
        let place = (position - FIRST_CENTRE as f32) / FRAME_SAMPLES as f32;
        let place = place.clamp(0.0, (count - 1) as f32);
        let (first, share) = (place as usize, place.fract());
        let row = |k: usize| {
            let from = k.min(count - 1) * self.channels;
            self.rows[from..from + self.channels].iter()
        };
        out.extend(
            row(first)
                .zip(row(first + 1))
                .map(|(&a, &b)| (f32::from(a) + share * (f32::from(b) - f32::from(a))) / STEPS),
        );
    }
}

/// What the recogniser in the file `weights` makes of every clip.
///
/// # Errors
/// The file, which is named, cannot be read or is no recogniser.
pub fn understood<B: Backend>(
    clips: &[Clip],
    weights: &Path,
    device: &B::Device,
) -> Result<Vec<Understood>> {
    let recogniser = Recogniser::<B>::read(weights, device)?;
    let progress = bar(clips.len() as u64, "clips understood");
    let mut channels = 0;
    let heard: Vec<Vec<f32>> = clips
        .iter()
        .map(|clip| {
            let mut rows = Vec::new();
            for piece in clip.samples.chunks(PIECE_SAMPLES) {
                let mut audio: Vec<f32> = piece.iter().map(|&s| f32::from(s) / 32_768.0).collect();
                // So many that there is a frame for every 384 samples.
                let frames = piece.len().div_ceil(FRAME_SAMPLES);
                audio.resize(
                    (frames - 1) * FRAME_SAMPLES + recogniser::LEAST_SAMPLES,
                    0.0,
                );
                let length = audio.len();
                let last = recogniser.heard(from_vec(audio, [1, length], device)).pop();
                let last = last.expect("a recogniser has layers");
                channels = last.dims()[2];
                rows.extend(to_vec(last));
            }
            progress.inc(1);
            rows
        })
        .collect();
    progress.finish_and_clear();
    Ok(in_deviations(&heard, channels))
}

/// Frames in standard deviations of each channel over all of them.
fn in_deviations(heard: &[Vec<f32>], channels: usize) -> Vec<Understood> {
    let channels = channels.max(1);
    let (mut sums, mut squares) = (vec![0.0f64; channels], vec![0.0f64; channels]);
    let mut count = 0.0f64;
    for row in heard.iter().flat_map(|rows| rows.chunks_exact(channels)) {
        count += 1.0;
        for ((sum, square), &value) in sums.iter_mut().zip(&mut squares).zip(row) {
            *sum += f64::from(value);
            *square += f64::from(value).powi(2);
        }
    }
    let mean: Vec<f64> = sums.iter().map(|sum| sum / count.max(1.0)).collect();
    let scale: Vec<f64> = squares
        .iter()
        .zip(&mean)
        .map(|(square, mean)| {
            let variance = square / count.max(1.0) - mean * mean;
            f64::from(STEPS) / variance.max(1e-8).sqrt()
        })
        .collect();
    heard
        .iter()
        .map(|rows| Understood {
            rows: rows
                .iter()
                .enumerate()
                .map(|(i, &value)| {
                    let channel = i % channels;
                    ((f64::from(value) - mean[channel]) * scale[channel]).round() as i8
                })
                .collect(),
            channels,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_clip_without_samples_nothing_is_known() {
        let found = in_deviations(&[vec![1.0, 2.0, 3.0, 4.0], Vec::new()], 2);
        let mut out = Vec::new();
        found[1].push_at(1_000.0, &mut out);
        assert_eq!(out, [0.0, 0.0]);
    }

    #[test]
    fn frames_are_in_deviations_of_the_corpus_and_lie_where_they_were_heard() {
        // Two channels; the second is the first, ten times as large and moved.
        let ramp = |from: f32| -> Vec<f32> {
            (0..5)
                .flat_map(|n| [from + n as f32, 10.0 * (from + n as f32) - 3.0])
                .collect()
        };
        let found = in_deviations(&[ramp(0.0), ramp(5.0)], 2);
        // 0 to 9: mean 4.5, deviation 2.872.
        let at = |clip: usize, frame: f32| {
            let mut out = Vec::new();
            found[clip].push_at(FIRST_CENTRE as f32 + frame * FRAME_SAMPLES as f32, &mut out);
            out
        };
        for (clip, frame, value) in [
            (0, 0.0, 0.0),
            (0, 2.0, 2.0),
            (0, 2.5, 2.5),
            (1, 1.0, 6.0),
            (1, 4.0, 9.0),
            // Before the first and after the last there is nothing else.
            (0, -3.0, 0.0),
            (1, 7.0, 9.0),
        ] {
            let expected = (value - 4.5) / 2.872;
            for found in at(clip, frame) {
                assert!(
                    (found - expected).abs() < 0.03,
                    "{clip} {frame}: {found}, expected {expected}"
                );
            }
        }
    }
}
