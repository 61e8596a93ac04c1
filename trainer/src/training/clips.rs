//! From prepared features to training clips, with further readings of their content.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rayon::prelude::*;
use timbra_dsp::CONTENT_RATE_HZ;
use timbra_dsp::resample::resample_all;
use timbra_engine::{Controls, Encoder, LoadedVoice, features, locate, offline};
use timbra_voice::manifest::MAX_SPEAKERS;

use super::progress::bar;
use crate::data::atomic_file::write_atomically;
use crate::data::dataset::{ClipEntry, Dataset};
use crate::data::features::ClipFeatures;
use crate::random::Random;

/// Playback speeds of the further readings: about a sixth down and up moves
/// pitch and formants as far as another adult's.
const READING_SPEEDS: [f64; 2] = [0.85, 1.17];
/// What another singer sings lies up to this far from where the speakers' medians would bring it.
const SUNG_SEMITONES: f32 = 3.0;
/// The formants of another singer are moved by up to this much: there are more throats than speakers.
const SUNG_FORMANT_SEMITONES: f32 = 2.5;
/// Keeps these draws apart from those of batches.
const SUNG_SEED: u64 = 0x7375_6e67_2062_793a;

/// One recording with its features; frame `k` is at `k` · 10 ms.
#[derive(Debug, Clone)]
pub struct VoiceClip {
    /// Speaker index.
    pub speaker: usize,
    /// Name for messages.
    pub name: String,
    /// One or more readings of the content, `[frames, C]` each: of the recording as it is, of
    /// the recording played faster or slower (other pitch and formants), and of what other singers make of it, so that
    /// what is left of the speaker in the content carries no information.
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

/// What reads clips on one thread; graphs run for one at a time.
struct Reader {
    encoder: Arc<Encoder>,
    /// Voices whose speakers sing the clips.
    singers: Vec<Arc<LoadedVoice>>,
}

/// Every clip of `dataset`. Further readings are computed once and kept beside the features: at other speeds, and as every
/// speaker of the voices `sung_by` sings the clip who is not called like the clip's own. `sung` says for each speaker whether
/// others sing their clips; empty, they sing everybody's.
///
/// # Errors
/// A feature file is damaged, the encoder or a voice cannot be loaded or run, or the disk is full.
pub fn load_clips(dataset: &Dataset, sung_by: &[PathBuf], sung: &[bool]) -> Result<Vec<VoiceClip>> {
    let reader = |_| -> Result<Reader> {
        let singers = sung_by
            .iter()
            .map(|path| LoadedVoice::load_apart(path, &locate::voice_folders()))
            .collect::<Result<_, _>>()?;
        Ok(Reader {
            encoder: Encoder::load_apart(&dataset.encoder_path)?,
            singers,
        })
    };
    let readers: Vec<Reader> = (0..rayon::current_num_threads())
        .map(reader)
        .collect::<Result<_>>()?;
    let progress = bar(dataset.clips.len() as u64, "clips read");
    let clips = dataset
        .clips
        .par_iter()
        .enumerate()
        .map(|(index, entry)| {
            let reader = &readers[rayon::current_thread_index().unwrap_or(0) % readers.len()];
            let sung = sung.get(entry.speaker).copied().unwrap_or(true);
            let clip = load_clip(dataset, entry, index as u64, reader, sung)
                .with_context(|| entry.file.display().to_string());
            progress.inc(1);
            clip
        })
        .collect();
    progress.finish_and_clear();
    clips
}

fn load_clip(
    dataset: &Dataset,
    entry: &ClipEntry,
    index: u64,
    reader: &Reader,
    sung: bool,
) -> Result<VoiceClip> {
    let features = dataset.load_clip(entry)?;
    let mut contents = vec![features.content.clone()];
    if !entry.held_out {
        for speed in READING_SPEEDS {
            let path = reading_path(dataset, entry, &format!("{:.0}", speed * 100.0));
            contents.push(kept(&path, features.content.len(), || {
                at_speed(&features, speed, &reader.encoder)
            })?);
        }
        let singers = if sung { &reader.singers[..] } else { &[] };
        for voice in singers {
            // What a voice sings does not depend on which others sing too.
            let seed = SUNG_SEED ^ u64::from_str_radix(&voice.sha256()[..16], 16)?;
            let own = &dataset.speakers[entry.speaker];
            for (singer, speaker) in voice.manifest().speakers.iter().enumerate() {
                if speaker.name == own.name {
                    continue;
                }
                let ratio = speaker.f0_median_hz / own.f0_median_hz;
                let mut random = Random::new(seed, index * MAX_SPEAKERS as u64 + singer as u64);
                let controls = as_sung_by(singer, ratio, &mut random);
                let how = format!("{}.{singer}", &voice.sha256()[..8]);
                let path = reading_path(dataset, entry, &how);
                contents.push(kept(&path, features.content.len(), || {
                    sung_content(&features, voice, controls, &reader.encoder)
                })?);
            }
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

/// Where a reading is kept; `how` tells it from the others of the clip.
fn reading_path(dataset: &Dataset, entry: &ClipEntry, how: &str) -> PathBuf {
    let encoder = &dataset.encoder.sha256[..8.min(dataset.encoder.sha256.len())];
    let file = dataset.folder.join(&entry.file);
    file.with_extension(format!("{encoder}.{how}.content"))
}

/// The reading of `count` numbers that is kept at `path`; made and kept where there is none.
fn kept(path: &Path, count: usize, make: impl FnOnce() -> Result<Vec<f32>>) -> Result<Vec<f32>> {
    if let Some(kept) = read_floats(path, count) {
        return Ok(kept);
    }
    let reading = make()?;
    let bytes: Vec<u8> = reading.iter().flat_map(|v| v.to_le_bytes()).collect();
    write_atomically(path, &bytes)?;
    Ok(reading)
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

/// The content of a clip played at `speed`, brought back to its own frames by linear interpolation.
fn at_speed(clip: &ClipFeatures, speed: f64, encoder: &Arc<Encoder>) -> Result<Vec<f32>> {
    let played_rate_hz = (f64::from(CONTENT_RATE_HZ) / speed).round() as u32;
    let played = resample_all(&clip.audio, clip.model_rate_hz, played_rate_hz)?;
    let read = features::extract(encoder, &played)?;
    let exact_speed = f64::from(CONTENT_RATE_HZ) / f64::from(played_rate_hz);
    let mut out = Vec::with_capacity(clip.frames * clip.channels);
    for k in 0..clip.frames {
        let position = k as f64 / exact_speed;
        let index = (position as usize).min(read.len().saturating_sub(1));
        let next = (index + 1).min(read.len().saturating_sub(1));
        let fraction = (position - index as f64).clamp(0.0, 1.0) as f32;
        for c in 0..clip.channels {
            let value = |i: usize| read.get(i).map_or(0.0, |frame| frame.content[c]);
            out.push(value(index) * (1.0 - fraction) + value(next) * fraction);
        }
    }
    Ok(out)
}

/// How speaker `singer` of a voice sings a clip: the speaker's median F0 is `ratio` times that of the clip's own.
fn as_sung_by(singer: usize, ratio: f32, random: &mut Random) -> Controls {
    let moved = random.uniform(-SUNG_SEMITONES, SUNG_SEMITONES);
    let register = if ratio.is_finite() && ratio > 0.0 {
        12.0 * ratio.log2()
    } else {
        0.0
    };
    let mut controls = Controls {
        pitch_semitones: (register + moved).clamp(-24.0, 24.0),
        formant_semitones: random.uniform(-SUNG_FORMANT_SEMITONES, SUNG_FORMANT_SEMITONES),
        speaker_mix: [0.0; 8],
        ..Controls::default()
    };
    controls.speaker_mix[singer] = 1.0;
    controls
}

/// The content of what `voice` makes of a clip, frame by frame that of the clip.
fn sung_content(
    clip: &ClipFeatures,
    voice: &Arc<LoadedVoice>,
    controls: Controls,
    encoder: &Arc<Encoder>,
) -> Result<Vec<f32>> {
    let rate_hz = clip.model_rate_hz;
    let audio = offline::convert(voice, &clip.audio, rate_hz, &|_| controls, &mut |_| {})?;
    let read = features::extract(encoder, &resample_all(&audio, rate_hz, CONTENT_RATE_HZ)?)?;
    let mut out: Vec<f32> = read.into_iter().flat_map(|frame| frame.content).collect();
    out.resize(clip.frames * clip.channels, 0.0);
    Ok(out)
}
