//! What training sees of one clip, and its file.
//!
//! Frame `k` describes the clip at `k` · 10 ms; the audio sample
//! `k · model_rate_hz / 100` belongs to the same moment.

mod compute;

pub use compute::{FeatureSettings, PART_FRAMES, compute_features};

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

use super::atomic_file::write_atomically;

/// Frames per second of every feature.
pub const FRAMES_PER_SECOND: u32 = 100;

/// Version of the feature files; part of the cache key.
///
/// Raise it when the meaning of a feature changes.
pub const FEATURE_VERSION: u32 = 1;

/// The features of one clip, or of one part of a long one.
///
/// Shapes: `content` is `[frames, channels]` row by row, `f0_hz` and
/// `loudness_db` have `frames` values, `audio` has `frames · model_rate_hz / 100`.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipFeatures {
    /// Index of the speaker in the dataset.
    pub speaker: usize,
    /// Name of the clip within its speaker.
    pub name: String,
    /// Output of the content encoder.
    pub content: Vec<f32>,
    /// Number of frames.
    pub frames: usize,
    /// Content channels per frame.
    pub channels: usize,
    /// Fundamental frequency, 0 where unvoiced.
    pub f0_hz: Vec<f32>,
    /// Loudness in dBFS.
    pub loudness_db: Vec<f32>,
    /// The recording itself, mono.
    pub audio: Vec<f32>,
    /// Samples per second of `audio`.
    pub model_rate_hz: u32,
}

impl ClipFeatures {
    /// Audio samples per frame.
    #[must_use]
    pub fn hop_samples(&self) -> usize {
        (self.model_rate_hz / FRAMES_PER_SECOND) as usize
    }

    /// Length in seconds.
    #[must_use]
    pub fn duration_s(&self) -> f64 {
        self.frames as f64 / f64::from(FRAMES_PER_SECOND)
    }

    /// The content of frame `k`.
    ///
    /// # Panics
    /// When `k` is not below `frames`.
    #[must_use]
    pub fn content_frame(&self, k: usize) -> &[f32] {
        &self.content[k * self.channels..(k + 1) * self.channels]
    }

    /// Writes the clip, whole or not at all.
    ///
    /// Audio is stored in 16 bits scaled to the clip's peak, so that the
    /// rounding lies 98 dB below the peak of even the quietest clip.
    ///
    /// # Errors
    /// The lengths contradict each other, or the disk is full.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.check()
            .with_context(|| format!("cannot write {}", path.display()))?;
        let peak = self
            .audio
            .iter()
            .fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
        let scale = if peak > 0.0 { peak / 32_767.0 } else { 1.0 };
        let audio: Vec<u8> = self
            .audio
            .iter()
            .flat_map(|sample| ((sample / scale).round() as i16).to_le_bytes())
            .collect();
        let content = little_endian(&self.content);
        let f0_hz = little_endian(&self.f0_hz);
        let loudness_db = little_endian(&self.loudness_db);
        let tensors = [
            (
                "content",
                view(Dtype::F32, &[self.frames, self.channels], &content)?,
            ),
            ("f0_hz", view(Dtype::F32, &[self.frames], &f0_hz)?),
            (
                "loudness_db",
                view(Dtype::F32, &[self.frames], &loudness_db)?,
            ),
            ("audio", view(Dtype::I16, &[self.audio.len()], &audio)?),
        ];
        let about = HashMap::from([
            ("feature_version".to_owned(), FEATURE_VERSION.to_string()),
            ("speaker".to_owned(), self.speaker.to_string()),
            ("name".to_owned(), self.name.clone()),
            ("model_rate_hz".to_owned(), self.model_rate_hz.to_string()),
            // As bits: a decimal would have to be proven to round-trip.
            ("audio_scale_bits".to_owned(), scale.to_bits().to_string()),
        ]);
        let bytes = serialize(tensors, Some(about))
            .with_context(|| format!("cannot write {}", path.display()))?;
        write_atomically(path, &bytes)
    }

    /// Reads what [`ClipFeatures::save`] wrote.
    ///
    /// # Errors
    /// The file is missing, damaged, or of another version.
    pub fn load(path: &Path) -> Result<Self> {
        let damaged = || {
            format!(
                "{} is not a feature file of this version; delete it and run prepare again",
                path.display()
            )
        };
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).with_context(damaged)?;
        let about = header.metadata().clone().unwrap_or_default();
        let field = |name: &str| {
            about
                .get(name)
                .with_context(|| format!("no field {name}"))
                .with_context(damaged)
        };
        let version = field("feature_version")?;
        if *version != FEATURE_VERSION.to_string() {
            bail!("{}: found version {version}", damaged());
        }
        let tensors = SafeTensors::deserialize(&bytes).with_context(damaged)?;
        let content = tensors.tensor("content").with_context(damaged)?;
        let &[frames, channels] = content.shape() else {
            bail!("{}", damaged());
        };
        let audio_tensor = tensors.tensor("audio").with_context(damaged)?;
        let scale = f32::from_bits(field("audio_scale_bits")?.parse().with_context(damaged)?);
        let audio = match audio_tensor.dtype() {
            Dtype::I16 => audio_tensor
                .data()
                .as_chunks::<2>()
                .0
                .iter()
                .map(|&bytes| f32::from(i16::from_le_bytes(bytes)) * scale)
                .collect(),
            _ => bail!("{}", damaged()),
        };
        let clip = Self {
            speaker: field("speaker")?.parse().with_context(damaged)?,
            name: field("name")?.clone(),
            content: floats(&content).with_context(damaged)?,
            frames,
            channels,
            f0_hz: floats(&tensors.tensor("f0_hz").with_context(damaged)?).with_context(damaged)?,
            loudness_db: floats(&tensors.tensor("loudness_db").with_context(damaged)?)
                .with_context(damaged)?,
            audio,
            model_rate_hz: field("model_rate_hz")?.parse().with_context(damaged)?,
        };
        clip.check().with_context(damaged)?;
        Ok(clip)
    }

    fn check(&self) -> Result<()> {
        ensure!(
            self.content.len() == self.frames * self.channels
                && self.f0_hz.len() == self.frames
                && self.loudness_db.len() == self.frames
                && self.audio.len() == self.frames * self.hop_samples(),
            "the features of {} contradict each other: {} frames of {} channels, but {} content values, {} F0 values, \
             {} loudness values and {} audio samples",
            self.name,
            self.frames,
            self.channels,
            self.content.len(),
            self.f0_hz.len(),
            self.loudness_db.len(),
            self.audio.len()
        );
        Ok(())
    }
}

fn view<'data>(dtype: Dtype, shape: &[usize], bytes: &'data [u8]) -> Result<TensorView<'data>> {
    Ok(TensorView::new(dtype, shape.to_vec(), bytes)?)
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn floats(tensor: &TensorView<'_>) -> Result<Vec<f32>> {
    ensure!(
        tensor.dtype() == Dtype::F32,
        "expected 32-bit floats, found {:?}",
        tensor.dtype()
    );
    Ok(tensor
        .data()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip() -> ClipFeatures {
        let frames = 3;
        ClipFeatures {
            speaker: 1,
            name: "a clip".to_owned(),
            content: (0..frames * 2).map(|value| value as f32 * 0.1).collect(),
            frames,
            channels: 2,
            f0_hz: vec![0.0, 220.5, 221.0],
            loudness_db: vec![-90.0, -20.0, -19.5],
            audio: (0..frames * 480)
                .map(|sample| (sample as f32 * 0.01).sin() * 1e-3)
                .collect(),
            model_rate_hz: 48_000,
        }
    }

    #[test]
    fn a_saved_clip_comes_back() {
        let folder = std::env::temp_dir().join(format!("timbra-features-{}", std::process::id()));
        let path = folder.join("clip.safetensors");
        let before = clip();
        before.save(&path).unwrap();
        let after = ClipFeatures::load(&path).unwrap();
        let loudest = after
            .audio
            .iter()
            .zip(&before.audio)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0_f32, f32::max);
        assert!(loudest <= 1e-3 / 32_767.0, "rounding of {loudest}");
        assert_eq!(after.content, before.content);
        assert_eq!(after.f0_hz, before.f0_hz);
        assert_eq!(after.loudness_db, before.loudness_db);
        assert_eq!((after.speaker, after.name), (before.speaker, before.name));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn contradicting_lengths_are_refused() {
        let mut broken = clip();
        broken.f0_hz.pop();
        let path = std::env::temp_dir().join("timbra-never-written.safetensors");
        assert!(broken.save(&path).is_err());
        assert!(!path.exists());
    }
}
