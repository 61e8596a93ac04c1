//! From folders of recordings to a [`Dataset`] of features: parallel, and resumable after a kill.
//!
//! The features of a recording are stored under a key made from its content,
//! the encoder's hash, the model's rate and the feature version, with a small
//! record written last. A recording whose record exists is done; nothing else
//! has to be remembered between runs.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use timbra_engine::Encoder;

use super::atomic_file::write_atomically;
use super::audio::{NonFinite, ReadOptions, header_duration_s};
use super::clips::{SpeakerClips, clip_name};
use super::dataset::{ClipEntry, Dataset, SpeakerSummary, SummaryBuilder};
use super::features::{ClipFeatures, FEATURE_VERSION, FeatureSettings, compute_features};
use crate::progress::AudioProgress;

/// What `prepare` works with.
#[derive(Debug, Clone)]
pub struct PrepareSettings {
    /// Package of the content encoder.
    pub encoder_path: PathBuf,
    /// Rate of the voice to be trained, a multiple of 100 Hz.
    pub model_rate_hz: u32,
    /// Share of each speaker's clips that is held out, 0..0.5.
    pub held_out_share: f64,
    /// What to do about NaN in recordings.
    pub non_finite: NonFinite,
}

/// Shorter clips teach nothing: less than a syllable.
const MIN_CLIP_MS: u32 = 200;

/// The parts of one finished recording.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    source: PathBuf,
    /// SHA-256 of the recording's content; decides on which side of the split it falls.
    source_sha256: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Part {
    name: String,
    file: PathBuf,
    frames: usize,
}

/// Computes the features of every recording that has none yet and writes the index.
///
/// Unusable recordings are named, counted and left out.
///
/// # Errors
/// The encoder cannot be loaded, a speaker has no usable recording, or the disk is full.
pub fn prepare(
    speakers: &[SpeakerClips],
    features_folder: &Path,
    settings: &PrepareSettings,
) -> Result<Dataset> {
    ensure!(
        (0.0..=0.5).contains(&settings.held_out_share),
        "the held-out share is {}; expected 0 to 0.5",
        settings.held_out_share
    );
    let encoder = Encoder::load(&settings.encoder_path).with_context(|| {
        format!(
            "cannot load the content encoder {}",
            settings.encoder_path.display()
        )
    })?;
    let pool = SettingsPool::new(&encoder, settings)?;
    let jobs: Vec<Job<'_>> = speakers
        .iter()
        .enumerate()
        .flat_map(|(index, speaker)| {
            speaker.clips.iter().map(move |source| Job {
                speaker: index,
                speaker_name: &speaker.name,
                name: clip_name(&speaker.folder, source),
                source,
            })
        })
        .collect();
    let durations_s: Vec<f64> = jobs
        .par_iter()
        .map(|job| header_duration_s(job.source))
        .collect();
    let progress = AudioProgress::new("prepare", durations_s.iter().sum());
    let results: Vec<Result<Record>> = jobs
        .par_iter()
        .zip(&durations_s)
        .map(|(job, &duration_s)| {
            let record = job.run(features_folder, pool.of_this_thread());
            progress.add(duration_s, &format!("{}/{}", job.speaker_name, job.name));
            if let Err(error) = &record {
                progress.say(&format!("left out: {error:#}"));
                tracing::warn!("left out: {error:#}");
            }
            record
        })
        .collect();
    let speed = progress.finish();
    tracing::info!("prepared at {speed:.1} × real time");

    let dataset = assemble(
        speakers,
        &jobs,
        results,
        features_folder,
        settings,
        &encoder,
    )?;
    // Unchanged, it keeps its date: `build` makes tables anew only when they are older.
    if Dataset::load(features_folder).ok().as_ref() != Some(&dataset) {
        dataset.save()?;
    }
    Ok(dataset)
}

/// One set of settings per thread: an encoder's graph runs for one thread at a time.
struct SettingsPool(Vec<FeatureSettings>);

impl SettingsPool {
    fn new(first: &Arc<Encoder>, settings: &PrepareSettings) -> Result<Self> {
        let mut encoders = vec![Arc::clone(first)];
        while encoders.len() < rayon::current_num_threads() {
            encoders.push(Encoder::load_apart(&settings.encoder_path)?);
        }
        let with = |encoder| FeatureSettings {
            encoder,
            model_rate_hz: settings.model_rate_hz,
            read: ReadOptions {
                non_finite: settings.non_finite,
                min_ms: MIN_CLIP_MS,
            },
        };
        Ok(Self(encoders.into_iter().map(with).collect()))
    }

    fn of_this_thread(&self) -> &FeatureSettings {
        let index = rayon::current_thread_index().unwrap_or(0);
        &self.0[index % self.0.len()]
    }
}

struct Job<'a> {
    speaker: usize,
    speaker_name: &'a str,
    name: String,
    source: &'a Path,
}

impl Job<'_> {
    fn run(&self, features_folder: &Path, settings: &FeatureSettings) -> Result<Record> {
        let source_sha256 = sha256_of(self.source)?;
        let key = cache_key(&source_sha256, settings);
        let folder = PathBuf::from(self.speaker_name);
        let stem = format!("{}.{}", self.name, &key[..12]);
        let record_path = features_folder.join(&folder).join(format!("{stem}.json"));
        if let Some(record) = finished_record(&record_path, features_folder) {
            return Ok(record);
        }
        let mut parts = Vec::new();
        compute_features(
            self.source,
            self.speaker,
            &self.name,
            settings,
            &mut |clip| {
                let file = folder.join(format!("{stem}.{:03}.safetensors", parts.len()));
                clip.save(&features_folder.join(&file))?;
                parts.push(Part {
                    name: clip.name,
                    file,
                    frames: clip.frames,
                });
                Ok(())
            },
        )?;
        let record = Record {
            source: self.source.to_path_buf(),
            source_sha256,
            parts,
        };
        write_atomically(&record_path, &serde_json::to_vec_pretty(&record)?)?;
        Ok(record)
    }
}

/// The record of a recording that is done; `None` when anything of it is missing or unreadable.
fn finished_record(path: &Path, features_folder: &Path) -> Option<Record> {
    let text = std::fs::read(path).ok()?;
    let record: Record = serde_json::from_slice(&text).ok()?;
    record
        .parts
        .iter()
        .all(|part| features_folder.join(&part.file).is_file())
        .then_some(record)
}

fn assemble(
    speakers: &[SpeakerClips],
    jobs: &[Job<'_>],
    results: Vec<Result<Record>>,
    features_folder: &Path,
    settings: &PrepareSettings,
    encoder: &Encoder,
) -> Result<Dataset> {
    let mut clips = Vec::new();
    let mut seen = HashSet::new();
    let mut left_out = 0;
    for (speaker, clips_of) in speakers.iter().enumerate() {
        let mut records: Vec<&Record> = Vec::new();
        let mut last_error = None;
        for (job, result) in jobs.iter().zip(&results) {
            match result {
                _ if job.speaker != speaker => {}
                Ok(record) if seen.insert((speaker, record.source_sha256.as_str())) => {
                    records.push(record);
                }
                Ok(record) => {
                    tracing::warn!("left out, a copy: {}", record.source.display());
                    left_out += 1;
                }
                Err(error) => {
                    last_error = Some(error);
                    left_out += 1;
                }
            }
        }
        if records.is_empty() {
            let reason = last_error.map_or_else(String::new, |error| format!(": {error:#}"));
            bail!(
                "none of the {} recordings of {} is usable{reason}",
                clips_of.clips.len(),
                clips_of.name
            );
        }
        append_speaker(speaker, &records, settings.held_out_share, &mut clips);
    }
    if left_out > 0 {
        eprintln!("{left_out} recordings were left out");
    }
    let spec = encoder.spec().clone();
    let unchanged = Dataset::load(features_folder).ok().filter(|old| {
        old.clips == clips
            && old.encoder == spec
            && old
                .speakers
                .iter()
                .map(|speaker| &speaker.name)
                .eq(speakers.iter().map(|speaker| &speaker.name))
    });
    let summaries = match unchanged {
        Some(old) => old.speakers,
        None => summarise(speakers, &clips, features_folder)?,
    };
    Ok(Dataset {
        folder: features_folder.to_path_buf(),
        speakers: summaries,
        encoder: spec,
        encoder_path: settings.encoder_path.clone(),
        model_rate_hz: settings.model_rate_hz,
        clips,
    })
}

/// Splits one speaker's recordings and appends their parts.
fn append_speaker(
    speaker: usize,
    records: &[&Record],
    held_out_share: f64,
    clips: &mut Vec<ClipEntry>,
) {
    let recordings: Vec<(&str, usize)> = records
        .iter()
        .map(|record| {
            let frames = record.parts.iter().map(|part| part.frames).sum();
            (record.source_sha256.as_str(), frames)
        })
        .collect();
    let held_out_records = split(&recordings, held_out_share);
    for (record, held_out) in records.iter().zip(held_out_records) {
        let mut first_frame = 0;
        for (index, part) in record.parts.iter().enumerate() {
            // A single long take is split in time: its last part is held out.
            let only_take = records.len() == 1 && record.parts.len() > 1 && held_out_share > 0.0;
            clips.push(ClipEntry {
                speaker,
                name: part.name.clone(),
                file: part.file.clone(),
                source: record.source.clone(),
                first_frame,
                frames: part.frames,
                held_out: held_out || (only_take && index + 1 == record.parts.len()),
            });
            first_frame += part.frames;
        }
    }
}

/// Which of the recordings are held out, given their hashes and frames.
///
/// They are taken in the order of their hashes until their length reaches
/// `share` of the whole: the choice depends on the recordings alone, not on
/// their names or order. At least one is held out of two or more, and at least
/// one remains to train on.
fn split(recordings: &[(&str, usize)], share: f64) -> Vec<bool> {
    let mut held_out = vec![false; recordings.len()];
    if share <= 0.0 || recordings.len() < 2 {
        return held_out;
    }
    let total: usize = recordings.iter().map(|&(_, frames)| frames).sum();
    let mut by_hash: Vec<usize> = (0..recordings.len()).collect();
    by_hash.sort_by_key(|&index| recordings[index].0);
    let mut held_frames = 0;
    for &index in &by_hash[..recordings.len() - 1] {
        held_out[index] = true;
        held_frames += recordings[index].1;
        if held_frames as f64 >= share * total as f64 {
            break;
        }
    }
    held_out
}

fn summarise(
    speakers: &[SpeakerClips],
    clips: &[ClipEntry],
    features_folder: &Path,
) -> Result<Vec<SpeakerSummary>> {
    speakers
        .par_iter()
        .enumerate()
        .map(|(index, speaker)| {
            let mut summary = SummaryBuilder::default();
            for clip in clips.iter().filter(|clip| clip.speaker == index) {
                let features = ClipFeatures::load(&features_folder.join(&clip.file))?;
                summary.add(&features, clip.held_out);
            }
            Ok(summary.finish(&speaker.name))
        })
        .collect()
}

fn cache_key(source_sha256: &str, settings: &FeatureSettings) -> String {
    let mut hasher = Sha256::new();
    hasher.update(source_sha256);
    hasher.update(&settings.encoder.spec().sha256);
    hasher.update(settings.model_rate_hz.to_le_bytes());
    hasher.update(FEATURE_VERSION.to_le_bytes());
    hasher.update([u8::from(settings.read.non_finite == NonFinite::Silence)]);
    hex(&hasher.finalize())
}

fn sha256_of(path: &Path) -> Result<String> {
    let cannot = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 16];
    loop {
        let read = file.read(&mut buffer).with_context(cannot)?;
        if read == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(count: usize) -> Vec<String> {
        (0..count)
            .map(|index| hex(&Sha256::digest(index.to_le_bytes())))
            .collect()
    }

    fn recordings(hashes: &[String]) -> Vec<(&str, usize)> {
        let frames = |hash: &String| 100 + usize::from(hash.as_bytes()[0]) * 10;
        hashes
            .iter()
            .map(|hash| (hash.as_str(), frames(hash)))
            .collect()
    }

    #[test]
    fn the_asked_share_of_the_length_is_held_out() {
        for (count, share) in [(2000, 0.05), (50, 0.05), (10, 0.3)] {
            let hashes = hashes(count);
            let recordings = recordings(&hashes);
            let held = split(&recordings, share);
            let of = |wanted: bool| -> usize {
                let kept = recordings
                    .iter()
                    .zip(&held)
                    .filter(|(_, held)| wanted || **held);
                kept.map(|((_, frames), _)| frames).sum()
            };
            let (held_frames, all) = (of(false) as f64, of(true) as f64);
            assert!(held_frames >= share * all && held_frames <= share * all + 1_200.0);
        }
    }

    #[test]
    fn the_order_of_the_recordings_does_not_matter() {
        let hashes = hashes(100);
        let mut recordings = recordings(&hashes);
        let held: HashSet<&str> = held_of(&recordings);
        recordings.reverse();
        assert_eq!(held_of(&recordings), held);
    }

    fn held_of<'a>(recordings: &[(&'a str, usize)]) -> HashSet<&'a str> {
        let held = split(recordings, 0.1);
        let with_held = recordings.iter().zip(held);
        with_held
            .filter(|(_, held)| *held)
            .map(|((hash, _), _)| *hash)
            .collect()
    }

    #[test]
    fn two_recordings_give_one_to_each_side_and_one_is_trained_on() {
        let hashes = hashes(2);
        let recordings = recordings(&hashes);
        let count = |held: Vec<bool>| held.into_iter().filter(|&held| held).count();
        assert_eq!(count(split(&recordings, 0.05)), 1);
        assert_eq!(count(split(&recordings, 0.5)), 1);
        assert_eq!(split(&recordings[..1], 0.05), vec![false]);
        assert_eq!(split(&recordings, 0.0), vec![false, false]);
    }
}
