//! The index of prepared clips: `features/dataset.json` of a work folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use timbra_voice::manifest::EncoderSpec;

use super::atomic_file::write_atomically;
use super::features::{ClipFeatures, FRAMES_PER_SECOND};

/// Name of the index within the features folder.
pub const DATASET_FILE: &str = "dataset.json";

/// One feature file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClipEntry {
    /// Index into [`Dataset::speakers`].
    pub speaker: usize,
    /// Name within the speaker.
    pub name: String,
    /// Feature file, relative to the features folder.
    pub file: PathBuf,
    /// The recording it was computed from.
    pub source: PathBuf,
    /// First frame of this part in the recording.
    pub first_frame: usize,
    /// Number of frames.
    pub frames: usize,
    /// Never trained on; measures are taken on it.
    pub held_out: bool,
}

/// What the recordings of one speaker are like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpeakerSummary {
    /// Lower-case name.
    pub name: String,
    /// Minutes to train on.
    pub train_minutes: f64,
    /// Minutes held out.
    pub held_out_minutes: f64,
    /// Share of voiced frames.
    pub voiced_share: f32,
    /// Median F0 of voiced frames; 0 when nothing is voiced.
    pub f0_median_hz: f32,
    /// 5th percentile of F0.
    pub f0_low_hz: f32,
    /// 95th percentile of F0.
    pub f0_high_hz: f32,
    /// Median loudness of voiced frames in dBFS.
    pub loudness_median_db: f32,
}

/// Everything that `prepare` leaves for the other verbs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// The features folder; where the index was read from.
    #[serde(skip)]
    pub folder: PathBuf,
    /// In the order of the voice's speaker mix.
    pub speakers: Vec<SpeakerSummary>,
    /// The content encoder the features were computed with.
    pub encoder: EncoderSpec,
    /// The encoder's package.
    pub encoder_path: PathBuf,
    /// Samples per second of the stored audio.
    pub model_rate_hz: u32,
    /// Every feature file.
    pub clips: Vec<ClipEntry>,
}

impl Dataset {
    /// Reads the index of a features folder.
    ///
    /// # Errors
    /// It is missing (run `prepare` first) or damaged.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(DATASET_FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("{} is missing: run `trainer prepare` first", path.display())
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let mut dataset: Self = serde_json::from_slice(&text).with_context(|| {
            format!(
                "{} is damaged: delete it and run `trainer prepare` again",
                path.display()
            )
        })?;
        folder.clone_into(&mut dataset.folder);
        if let Some(stray) = dataset
            .clips
            .iter()
            .find(|clip| clip.speaker >= dataset.speakers.len())
        {
            bail!(
                "{}: the clip {} belongs to speaker {}, but there are {}",
                path.display(),
                stray.name,
                stray.speaker,
                dataset.speakers.len()
            );
        }
        Ok(dataset)
    }

    /// Writes the index into [`Dataset::folder`].
    ///
    /// # Errors
    /// The disk is full.
    pub fn save(&self) -> Result<()> {
        write_atomically(
            &self.folder.join(DATASET_FILE),
            &serde_json::to_vec_pretty(self)?,
        )
    }

    /// The clips to train on.
    pub fn train(&self) -> impl Iterator<Item = &ClipEntry> {
        self.clips.iter().filter(|clip| !clip.held_out)
    }

    /// The clips to measure on.
    pub fn held_out(&self) -> impl Iterator<Item = &ClipEntry> {
        self.clips.iter().filter(|clip| clip.held_out)
    }

    /// The features of one clip.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn load_clip(&self, clip: &ClipEntry) -> Result<ClipFeatures> {
        let mut features = ClipFeatures::load(&self.folder.join(&clip.file))?;
        if features.channels != self.encoder.channels
            || features.model_rate_hz != self.model_rate_hz
            || features.frames != clip.frames
        {
            bail!(
                "{} does not belong to this dataset ({} channels at {} Hz, expected {} at {} Hz); run `trainer prepare` again",
                clip.file.display(),
                features.channels,
                features.model_rate_hz,
                self.encoder.channels,
                self.model_rate_hz
            );
        }
        features.speaker = clip.speaker;
        Ok(features)
    }

    /// Index of a speaker by name.
    ///
    /// # Errors
    /// There is none; the message lists those there are.
    pub fn speaker_index(&self, name: &str) -> Result<usize> {
        self.speakers
            .iter()
            .position(|speaker| speaker.name.eq_ignore_ascii_case(name))
            .with_context(|| {
                let names: Vec<&str> = self.speakers.iter().map(|s| s.name.as_str()).collect();
                format!(
                    "no speaker is called \"{name}\"; there are: {}",
                    names.join(", ")
                )
            })
    }
}

/// Gathers a speaker's summary clip by clip.
#[derive(Debug, Clone, Default)]
pub struct SummaryBuilder {
    f0_hz: Vec<f32>,
    loudness_db: Vec<f32>,
    frames: usize,
    train_frames: usize,
    held_out_frames: usize,
}

impl SummaryBuilder {
    /// Counts a clip in.
    pub fn add(&mut self, clip: &ClipFeatures, held_out: bool) {
        self.frames += clip.frames;
        if held_out {
            self.held_out_frames += clip.frames;
        } else {
            self.train_frames += clip.frames;
        }
        for (&f0_hz, &loudness_db) in clip.f0_hz.iter().zip(&clip.loudness_db) {
            if f0_hz > 0.0 {
                self.f0_hz.push(f0_hz);
                self.loudness_db.push(loudness_db);
            }
        }
    }

    /// The summary of everything added.
    #[must_use]
    pub fn finish(mut self, name: &str) -> SpeakerSummary {
        let minutes = |frames: usize| frames as f64 / f64::from(FRAMES_PER_SECOND) / 60.0;
        let voiced = self.f0_hz.len();
        SpeakerSummary {
            name: name.to_owned(),
            train_minutes: minutes(self.train_frames),
            held_out_minutes: minutes(self.held_out_frames),
            voiced_share: voiced as f32 / self.frames.max(1) as f32,
            f0_median_hz: percentile(&mut self.f0_hz, 0.5),
            f0_low_hz: percentile(&mut self.f0_hz, 0.05),
            f0_high_hz: percentile(&mut self.f0_hz, 0.95),
            loudness_median_db: percentile(&mut self.loudness_db, 0.5),
        }
    }
}

/// The value below which `share` of `values` lie; 0 for none. Reorders `values`.
pub fn percentile(values: &mut [f32], share: f64) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let index = ((values.len() - 1) as f64 * share).round() as usize;
    *values.select_nth_unstable_by(index, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_of_a_ramp() {
        let mut values: Vec<f32> = (0..=100).rev().map(|value| value as f32).collect();
        assert_eq!(percentile(&mut values, 0.5), 50.0);
        assert_eq!(percentile(&mut values, 0.05), 5.0);
        assert_eq!(percentile(&mut values, 1.0), 100.0);
        assert_eq!(percentile(&mut [], 0.5), 0.0);
    }
}
