//! Controls over time from a CSV file, and speaker mixes in words.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use timbra_engine::Controls;
use timbra_engine::controls::{
    HeldNote, MAX_F0_SMOOTHING_MS, MAX_NOISE_SCALE, MAX_RETUNE_MS, REFERENCE_HZ, RetuneMode,
};
use timbra_voice::manifest::{MAX_SPEAKERS, Manifest};

use crate::config::WrongArgument;

/// Most rows of a timeline: one per 10 ms for three hours.
const MAX_ROWS: usize = 1_100_000;

/// Controls as a function of time: straight lines between the rows, constant before and after them. Keys and notes hold
/// until the next row.
#[derive(Debug, Clone)]
pub struct Timeline {
    /// At least one, times strictly rising.
    rows: Vec<(f64, Controls)>,
}

/// A column of the file.
#[derive(Debug, Clone, Copy)]
enum Column {
    Speaker(usize),
    Pitch,
    Formant,
    ClusterRatio,
    LoudnessMatch,
    Articulation,
    AutoF0,
    F0Smoothing,
    NoiseScale,
    Key,
    Note,
    RetuneMs,
    Humanise,
    RetuneAmount,
    Reference,
    Gain,
    DryWet,
}

impl Timeline {
    /// The same controls all the time.
    #[must_use]
    pub fn constant(controls: Controls) -> Self {
        Self {
            rows: vec![(0.0, controls)],
        }
    }

    /// Reads a timeline; what it has no column for is as in `base`.
    ///
    /// The first line names the columns: `time_s` first, then any of the
    /// voice's speakers and `pitch`, `formant`, `cluster-ratio`,
    /// `loudness-match`, `articulation`, `auto-f0`, `f0-smoothing`, `noise-scale`, `key`,
    /// `note`, `retune-ms`, `humanise`, `retune-amount`, `reference`, `gain`,
    /// `dry-wet`. With a speaker among the columns, the ones that are not have
    /// weight 0. `key` is the root of the scale that `base` has, 0 = C; with
    /// `note` F0 goes to MIDI numbers instead, 0 being none. Empty lines and
    /// lines starting with `#` are passed over.
    ///
    /// # Errors
    /// The file is missing or a line cannot be meant; the message names it.
    pub fn read(path: &Path, manifest: &Manifest, base: Controls) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text, manifest, base).with_context(|| path.display().to_string())
    }

    fn parse(text: &str, manifest: &Manifest, base: Controls) -> Result<Self> {
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line.trim()))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let (_, header) = lines
            .next()
            .context("the timeline is empty; expected a line like: time_s,anna,bela")?;
        let mut names = header.split(',').map(str::trim);
        let first = names.next().unwrap_or_default();
        ensure!(
            first == "time_s",
            "the first column is \"{first}\"; expected time_s"
        );
        let columns = names
            .map(|name| column(name, manifest))
            .collect::<Result<Vec<Column>>>()?;
        ensure!(!columns.is_empty(), "there is no column beside time_s");
        let mixes = columns
            .iter()
            .any(|column| matches!(column, Column::Speaker(_)));
        let by_notes = columns.iter().any(|column| matches!(column, Column::Note));
        let has_scale = base.retune.mode == RetuneMode::Scale;
        ensure!(
            !(by_notes && has_scale),
            "the column note and --scale both say which notes are sung; leave out one"
        );
        ensure!(
            has_scale || !columns.iter().any(|column| matches!(column, Column::Key)),
            "the column key is the root of a scale; give one with --scale"
        );
        let mut rows: Vec<(f64, Controls)> = Vec::new();
        for (number, line) in lines {
            let values = line
                .split(',')
                .map(|value| value.trim().parse::<f64>().ok().filter(|v| v.is_finite()))
                .collect::<Option<Vec<f64>>>()
                .with_context(|| format!("line {number}: \"{line}\" is not all numbers"))?;
            ensure!(
                values.len() == columns.len() + 1,
                "line {number} has {} values; expected {}",
                values.len(),
                columns.len() + 1
            );
            let time_s = values[0];
            if let Some(&(last, _)) = rows.last() {
                ensure!(
                    time_s > last,
                    "line {number} is at {time_s} s, the one before at {last} s; times must rise"
                );
            }
            ensure!(
                rows.len() < MAX_ROWS,
                "line {number}: more than {MAX_ROWS} lines"
            );
            let mut controls = base;
            if by_notes {
                controls.retune.mode = RetuneMode::Midi;
            }
            if mixes {
                controls.speaker_mix = [0.0; MAX_SPEAKERS];
            }
            for (&column, &value) in columns.iter().zip(&values[1..]) {
                put(column, value as f32, &mut controls)
                    .with_context(|| format!("line {number}"))?;
            }
            if mixes && controls.speaker_mix.iter().sum::<f32>() <= 0.0 {
                bail!("line {number}: all weights are 0");
            }
            rows.push((time_s, controls));
        }
        ensure!(!rows.is_empty(), "the timeline has no line of values");
        Ok(Self { rows })
    }

    /// The controls at a time in seconds.
    #[must_use]
    pub fn at(&self, time_s: f64) -> Controls {
        let next = self.rows.partition_point(|&(row_s, _)| row_s <= time_s);
        if next == 0 {
            return self.rows[0].1;
        }
        let (from_s, from) = self.rows[next - 1];
        match self.rows.get(next) {
            None => from,
            Some(&(to_s, to)) => Controls {
                note: from.note,
                ..from.towards(&to, ((time_s - from_s) / (to_s - from_s)) as f32)
            },
        }
    }
}

fn column(name: &str, manifest: &Manifest) -> Result<Column> {
    if let Some(index) = speaker_index(name, manifest) {
        return Ok(Column::Speaker(index));
    }
    Ok(match name {
        "pitch" => Column::Pitch,
        "formant" => Column::Formant,
        "cluster-ratio" => Column::ClusterRatio,
        "loudness-match" => Column::LoudnessMatch,
        "articulation" => Column::Articulation,
        "auto-f0" => Column::AutoF0,
        "f0-smoothing" => Column::F0Smoothing,
        "noise-scale" => Column::NoiseScale,
        "key" => Column::Key,
        "note" => Column::Note,
        "retune-ms" => Column::RetuneMs,
        "humanise" => Column::Humanise,
        "retune-amount" => Column::RetuneAmount,
        "reference" => Column::Reference,
        "gain" => Column::Gain,
        "dry-wet" => Column::DryWet,
        _ => bail!(
            "the column \"{name}\" is neither a speaker ({}) nor pitch, formant, cluster-ratio, loudness-match, articulation, \
             auto-f0, f0-smoothing, noise-scale, key, note, retune-ms, humanise, retune-amount, reference, gain or \
             dry-wet",
            speaker_names(manifest)
        ),
    })
}

fn put(column: Column, value: f32, controls: &mut Controls) -> Result<()> {
    let (mut key, mut note) = (0.0, 0.0);
    let retune = &mut controls.retune;
    let (slot, low, high) = match column {
        Column::Key => (&mut key, 0.0, 11.0),
        Column::Note => (&mut note, 0.0, 127.0),
        Column::RetuneMs => (&mut retune.speed_ms, 0.0, MAX_RETUNE_MS),
        Column::Humanise => (&mut retune.humanise, 0.0, 1.0),
        Column::RetuneAmount => (&mut retune.amount, 0.0, 1.0),
        Column::Reference => (&mut retune.reference_hz, REFERENCE_HZ.0, REFERENCE_HZ.1),
        Column::Speaker(index) => (&mut controls.speaker_mix[index], 0.0, 1.0),
        Column::Pitch => (&mut controls.pitch_semitones, -24.0, 24.0),
        Column::Formant => (&mut controls.formant_semitones, -12.0, 12.0),
        Column::ClusterRatio => (&mut controls.cluster_ratio, 0.0, 1.0),
        Column::LoudnessMatch => (&mut controls.loudness_match, 0.0, 1.0),
        Column::Articulation => (&mut controls.articulation, -1.0, 1.0),
        Column::AutoF0 => (&mut controls.auto_f0, 0.0, 1.0),
        Column::F0Smoothing => (&mut controls.f0_smoothing_ms, 0.0, MAX_F0_SMOOTHING_MS),
        Column::NoiseScale => (&mut controls.noise_scale, 0.0, MAX_NOISE_SCALE),
        Column::Gain => (&mut controls.output_gain_db, -60.0, 12.0),
        Column::DryWet => (&mut controls.dry_wet, 0.0, 1.0),
    };
    ensure!(
        (low..=high).contains(&value),
        "{value} is outside of {low} to {high}"
    );
    *slot = value;
    match column {
        Column::Key | Column::Note if value.fract() != 0.0 => {
            bail!("{value} is between two notes; expected a whole number");
        }
        Column::Key => controls.retune.key = value as u8,
        Column::Note if value > 0.0 => controls.note = HeldNote::of(value as u8),
        Column::Note => controls.note = HeldNote::NONE,
        _ => {}
    }
    Ok(())
}

/// Weights from `NAME` or `NAME=W,NAME=W,…`, divided by their sum.
///
/// # Errors
/// The voice has no such speaker, a name comes twice, or the weights cannot be meant; a [`WrongArgument`].
pub fn mix_of(text: &str, manifest: &Manifest) -> Result<[f32; MAX_SPEAKERS]> {
    let wrong = |message: String| anyhow::Error::from(WrongArgument(message));
    let mut mix = [0.0; MAX_SPEAKERS];
    // Names of imported voices may have any sign in them.
    if let Some(index) = speaker_index(text.trim(), manifest) {
        mix[index] = 1.0;
        return Ok(mix);
    }
    let mut given = [false; MAX_SPEAKERS];
    for part in text.split(',') {
        let (name, weight) = match part.split_once('=') {
            None => (part.trim(), 1.0),
            Some((name, weight)) => {
                let number = weight.trim().parse::<f32>().ok();
                let number = number.filter(|value| value.is_finite() && *value >= 0.0);
                let message = || {
                    format!(
                        "\"{}\" is no weight of {name}; expected a number from 0",
                        weight.trim()
                    )
                };
                (name.trim(), number.ok_or_else(|| wrong(message()))?)
            }
        };
        let index = speaker_index(name, manifest).ok_or_else(|| {
            wrong(format!(
                "the voice {} has no speaker \"{name}\"; it has: {}",
                manifest.name,
                speaker_names(manifest)
            ))
        })?;
        if std::mem::replace(&mut given[index], true) {
            return Err(wrong(format!("\"{name}\" is given twice")));
        }
        mix[index] = weight;
    }
    // In double precision: the sum of weights that are finite is finite too.
    let total: f64 = mix.iter().map(|&weight| f64::from(weight)).sum();
    if total <= 0.0 {
        return Err(wrong(format!("the weights in \"{text}\" are all 0")));
    }
    Ok(mix.map(|weight| (f64::from(weight) / total) as f32))
}

fn speaker_index(name: &str, manifest: &Manifest) -> Option<usize> {
    manifest
        .speakers
        .iter()
        .position(|speaker| speaker.name.eq_ignore_ascii_case(name))
}

fn speaker_names(manifest: &Manifest) -> String {
    let names: Vec<&str> = manifest
        .speakers
        .iter()
        .map(|speaker| speaker.name.as_str())
        .collect();
    names.join(", ")
}
