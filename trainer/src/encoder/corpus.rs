//! A labelled corpus: `SET/SPEAKER/CLIP.wav` (16 kHz mono) beside `CLIP.lab` (HTK labels).
//!
//! Label sets (English, Japanese, …) keep their own classes: a frame is
//! judged only against the classes of its own set, so no doubtful mapping
//! between languages is needed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rayon::prelude::*;

use super::acoustics::Colour;
use super::understood::Understood;
use crate::model::mel::{HOP_SAMPLES, LogMel};

/// Class of frames without a label: they do not count.
pub const UNLABELLED: i32 = -1;
/// Clips whose name hashes below this share of 100 are held out.
const HELD_OUT_PERCENT: u64 = 4;
/// Units of HTK label times per second.
const HTK_UNITS_PER_SECOND: f64 = 1e7;

/// One labelled clip.
#[derive(Debug, Clone)]
pub struct Clip {
    /// `SET/SPEAKER/CLIP`.
    pub name: String,
    /// Index into [`Corpus::sets`].
    pub set: usize,
    /// 16 kHz mono.
    pub samples: Vec<i16>,
    /// Class per 10 ms frame, [`UNLABELLED`] where there is none.
    pub classes: Vec<i32>,
    /// What the clip sounds like as a whole.
    pub colour: Colour,
    /// Whether the clip is only for validation.
    pub held_out: bool,
    /// What a recogniser makes of it; empty until one is asked.
    pub understood: Understood,
}

/// One label set: a contiguous range of classes.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LabelSet {
    /// Folder name.
    pub name: String,
    /// First class of the set.
    pub first_class: usize,
    /// Phones, sorted; class = `first_class` + position.
    pub phones: Vec<String>,
}

/// Everything to train on.
#[derive(Debug)]
pub struct Corpus {
    /// All clips.
    pub clips: Vec<Clip>,
    /// Label sets in folder order.
    pub sets: Vec<LabelSet>,
}

struct Segment {
    start_s: f64,
    end_s: f64,
    phone: String,
}

impl Corpus {
    /// Reads every labelled clip under `root`.
    ///
    /// # Errors
    /// When the folder holds none, or a file cannot be read; the file is named.
    pub fn read(root: &Path) -> Result<Self> {
        let mut labs = Vec::new();
        find_labels(root, &mut labs)?;
        labs.sort();
        let parsed: Vec<(PathBuf, String, Vec<Segment>)> = labs
            .into_par_iter()
            .map(|path| {
                let segments = read_segments(&path)?;
                let set = path
                    .strip_prefix(root)
                    .ok()
                    .and_then(|p| p.components().next())
                    .map(|c| c.as_os_str().to_string_lossy().into_owned())
                    .unwrap_or_default();
                Ok((path, set, segments))
            })
            .collect::<Result<_>>()?;
        if parsed.is_empty() {
            bail!(
                "{}: expected labelled clips SET/SPEAKER/CLIP.wav with CLIP.lab, found none; see models/recipe/README.md",
                root.display()
            );
        }
        let mut phones: BTreeMap<String, std::collections::BTreeSet<String>> = BTreeMap::new();
        for (_, set, segments) in &parsed {
            phones
                .entry(set.clone())
                .or_default()
                .extend(segments.iter().map(|s| s.phone.clone()));
        }
        let mut sets = Vec::new();
        let mut first_class = 0;
        for (name, phones) in phones {
            let phones: Vec<String> = phones.into_iter().collect();
            let count = phones.len();
            sets.push(LabelSet {
                name,
                first_class,
                phones,
            });
            first_class += count;
        }
        let clips = parsed
            .into_par_iter()
            .map(|(path, set, segments)| {
                let set = sets
                    .iter()
                    .position(|s| s.name == set)
                    .expect("every set was collected above");
                read_clip(root, &path, set, &sets[set], &segments)
            })
            .collect::<Result<_>>()?;
        Ok(Self { clips, sets })
    }

    /// Number of classes over all sets.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.sets.iter().map(|set| set.phones.len()).sum()
    }

    /// Minutes of audio.
    #[must_use]
    pub fn minutes(&self) -> f64 {
        self.clips
            .iter()
            .map(|clip| clip.samples.len() as f64)
            .sum::<f64>()
            / 16_000.0
            / 60.0
    }
}

fn find_labels(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("{}: cannot list the corpus folder", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        if path.is_dir() {
            find_labels(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "lab")
            && path.with_extension("wav").exists()
        {
            found.push(path);
        }
    }
    Ok(())
}

fn read_segments(path: &Path) -> Result<Vec<Segment>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .enumerate()
        .map(|(number, line)| {
            let mut fields = line.split_whitespace();
            let (Some(start), Some(end), Some(phone)) =
                (fields.next(), fields.next(), fields.next())
            else {
                bail!(
                    "{} line {}: expected «start end phone» in 100 ns units, found «{line}»",
                    path.display(),
                    number + 1
                );
            };
            let seconds = |text: &str| -> Result<f64> {
                let units: f64 = text.parse().with_context(|| {
                    format!(
                        "{} line {}: «{text}» is not a time",
                        path.display(),
                        number + 1
                    )
                })?;
                Ok(units / HTK_UNITS_PER_SECOND)
            };
            Ok(Segment {
                start_s: seconds(start)?,
                end_s: seconds(end)?,
                phone: phone.to_owned(),
            })
        })
        .collect()
}

fn read_clip(
    root: &Path,
    lab: &Path,
    set: usize,
    labels: &LabelSet,
    segments: &[Segment],
) -> Result<Clip> {
    let path = lab.with_extension("wav");
    let mut reader = hound::WavReader::open(&path).with_context(|| path.display().to_string())?;
    let spec = reader.spec();
    if spec.sample_rate != 16_000 || spec.channels != 1 || spec.bits_per_sample != 16 {
        bail!(
            "{}: expected 16 kHz mono 16-bit, found {spec:?}; convert it first",
            path.display()
        );
    }
    let samples: Vec<i16> = reader
        .samples::<i16>()
        .collect::<Result<_, _>>()
        .with_context(|| path.display().to_string())?;
    let frames = samples.len() / HOP_SAMPLES;
    let mut classes = vec![UNLABELLED; frames];
    for segment in segments {
        let Ok(phone) = labels.phones.binary_search(&segment.phone) else {
            continue;
        };
        let first = (segment.start_s * 100.0).ceil().max(0.0) as usize;
        let last = ((segment.end_s * 100.0).ceil().max(0.0) as usize).min(frames);
        for class in classes.get_mut(first..last).into_iter().flatten() {
            *class = (labels.first_class + phone) as i32;
        }
    }
    let name = lab
        .strip_prefix(root)
        .unwrap_or(lab)
        .with_extension("")
        .to_string_lossy()
        .into_owned();
    let held_out = hash(&name) % 100 < HELD_OUT_PERCENT;
    let audio: Vec<f32> = samples.iter().map(|&s| f32::from(s) / 32_768.0).collect();
    Ok(Clip {
        name,
        set,
        colour: Colour::of(&LogMel::default().frames(&audio)),
        samples,
        classes,
        held_out,
        understood: Understood::default(),
    })
}

/// FNV-1a: a stable split needs a hash that never changes.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
