//! From prepared features to training clips, with further readings of their content.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rayon::prelude::*;
use timbra_dsp::CONTENT_RATE_HZ;
use timbra_dsp::resample::resample_all;
use timbra_engine::Encoder;

use super::progress::bar;
use crate::data::atomic_file::write_atomically;
use crate::data::dataset::{ClipEntry, Dataset};

/// Playback speeds of the further readings: about a sixth down and up moves
/// pitch and formants as far as another adult's.
const READING_SPEEDS: [f64; 2] = [0.85, 1.17];

/// One recording with its features; frame `k` is at `k` · 10 ms.
#[derive(Debug, Clone)]
pub struct VoiceClip {
    /// Speaker index.
    pub speaker: usize,
    /// Name for messages.
    pub name: String,
    /// One or more readings of the content, `[frames, C]` each: of the recording as it is, and of
    /// the recording played faster or slower (other pitch and formants), so that what is left of
    /// the speaker in the content carries no information.
    pub contents: Vec<Vec<f32>>,
    /// F0 per frame, 0 = unvoiced.
    pub f0_hz: Vec<f32>,
    /// dBFS per frame.
    pub loudness_db: Vec<f32>,
    /// Mono, at the rate of the dataset.
    pub audio: Vec<f32>,
    /// Only for validation.
    pub held_out: bool,
}

impl VoiceClip {
    /// Number of frames.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.f0_hz.len()
    }
}

/// Every clip of `dataset`; further readings are computed once and kept beside the features.
///
/// # Errors
/// A feature file is damaged, the encoder cannot be loaded or run, or the disk is full.
pub fn load_clips(dataset: &Dataset) -> Result<Vec<VoiceClip>> {
    let mut encoders = vec![Encoder::load(&dataset.encoder_path)?];
    while encoders.len() < rayon::current_num_threads() {
        encoders.push(Encoder::load(&dataset.encoder_path)?);
    }
    let progress = bar(dataset.clips.len() as u64, "clips read");
    let clips = dataset
        .clips
        .par_iter()
        .map(|entry| {
            let encoder = &encoders[rayon::current_thread_index().unwrap_or(0) % encoders.len()];
            let clip = load_clip(dataset, entry, encoder)
                .with_context(|| entry.file.display().to_string());
            progress.inc(1);
            clip
        })
        .collect();
    progress.finish_and_clear();
    clips
}

fn load_clip(dataset: &Dataset, entry: &ClipEntry, encoder: &Arc<Encoder>) -> Result<VoiceClip> {
    let features = dataset.load_clip(entry)?;
    let mut contents = vec![features.content.clone()];
    if !entry.held_out {
        for speed in READING_SPEEDS {
            let path = reading_path(dataset, entry, speed);
            contents.push(match read_floats(&path, features.content.len()) {
                Some(kept) => kept,
                None => {
                    let reading = reading(
                        &features.audio,
                        features.model_rate_hz,
                        features.frames,
                        features.channels,
                        speed,
                        encoder,
                    )?;
                    let bytes: Vec<u8> = reading.iter().flat_map(|v| v.to_le_bytes()).collect();
                    write_atomically(&path, &bytes)?;
                    reading
                }
            });
        }
    }
    Ok(VoiceClip {
        speaker: features.speaker,
        name: features.name,
        contents,
        f0_hz: features.f0_hz,
        loudness_db: features.loudness_db,
        audio: features.audio,
        held_out: entry.held_out,
    })
}

fn reading_path(dataset: &Dataset, entry: &ClipEntry, speed: f64) -> PathBuf {
    let encoder = &dataset.encoder.sha256[..8.min(dataset.encoder.sha256.len())];
    let file = dataset.folder.join(&entry.file);
    file.with_extension(format!("{encoder}.{:.0}.content", speed * 100.0))
}

fn read_floats(path: &Path, count: usize) -> Option<Vec<f32>> {
    let bytes = std::fs::read(path).ok()?;
    (bytes.len() == count * 4).then(|| {
        bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect()
    })
}

/// The content of `audio` played at `speed`, brought back to its own frames by linear interpolation.
fn reading(
    audio: &[f32],
    rate_hz: u32,
    frames: usize,
    channels: usize,
    speed: f64,
    encoder: &Arc<Encoder>,
) -> Result<Vec<f32>> {
    let played_rate_hz = (f64::from(CONTENT_RATE_HZ) / speed).round() as u32;
    let played = resample_all(audio, rate_hz, played_rate_hz)?;
    let read = timbra_engine::features::extract(encoder, &played)?;
    let exact_speed = f64::from(CONTENT_RATE_HZ) / f64::from(played_rate_hz);
    let mut out = Vec::with_capacity(frames * channels);
    for k in 0..frames {
        let position = k as f64 / exact_speed;
        let index = (position as usize).min(read.len().saturating_sub(1));
        let next = (index + 1).min(read.len().saturating_sub(1));
        let fraction = (position - index as f64).clamp(0.0, 1.0) as f32;
        for c in 0..channels {
            let value = |i: usize| read.get(i).map_or(0.0, |frame| frame.content[c]);
            out.push(value(index) * (1.0 - fraction) + value(next) * fraction);
        }
    }
    Ok(out)
}
