//! Held-out clips through the engine, measured.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use timbra_dsp::CONTENT_RATE_HZ;
use timbra_dsp::resample::resample_all;
use timbra_engine::{
    Controls, Encoder, LatencyPlan, LoadedVoice, Tier, VoiceTiming, features, offline,
};
use timbra_voice::manifest::{Certificate, MAX_SPEAKERS, Manifest};

use super::measures::{Timbre, compare_f0, content_distance, f0_track_hz, similarity};
use crate::data::audio::{SampleKind, write_wav};
use crate::data::dataset::{ClipEntry, Dataset};
use crate::data::features::ClipFeatures;
use crate::plot::{Panel, draw_spectrograms};
use crate::progress::AudioProgress;

/// Content is compared where a frame is less than this below the speaker's median loudness.
const QUIET_BELOW_MEDIAN_DB: f32 = 30.0;

/// Frames of a clip that are measured at most (30 s).
const MAX_FRAMES: usize = 3_000;

/// What to measure and where to put it.
#[derive(Debug, Clone)]
pub struct ReportOptions {
    /// Folder for pictures and sound.
    pub folder: PathBuf,
    /// Most clips per speaker.
    pub clips_per_speaker: usize,
    /// Clips per speaker that are drawn and kept as sound.
    pub drawn_per_speaker: usize,
}

/// The measures of one clip against its resynthesis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClipReport {
    /// Speaker.
    pub speaker: String,
    /// Clip.
    pub name: String,
    /// Length in seconds.
    pub duration_s: f64,
    /// Timbre of the resynthesis against the speaker's other recordings, 0..1; see [`similarity`].
    pub similarity: f64,
    /// The same for the recording itself: what can be reached.
    pub similarity_of_recording: f64,
    /// Mean difference of log-mel bands to the recording in dB.
    pub mel_distance_db: f64,
    /// Median F0 difference in cents.
    pub f0_cents: f64,
    /// Correlation of log F0.
    pub f0_correlation: f64,
    /// Share of frames with another voicing.
    pub voicing_error: f64,
    /// Mean `1 − cosine` of content.
    pub content_distance: f64,
    /// Compute seconds per audio second.
    pub load: f64,
}

/// Medians over the clips of one speaker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpeakerReport {
    /// Speaker.
    pub speaker: String,
    /// Clips measured.
    pub clips: usize,
    /// As in [`ClipReport`].
    pub similarity: f64,
    /// As in [`ClipReport`].
    pub similarity_of_recording: f64,
    /// As in [`ClipReport`].
    pub mel_distance_db: f64,
    /// As in [`ClipReport`].
    pub f0_cents: f64,
    /// As in [`ClipReport`].
    pub f0_correlation: f64,
    /// As in [`ClipReport`].
    pub voicing_error: f64,
    /// As in [`ClipReport`].
    pub content_distance: f64,
}

/// Everything measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Identity of the voice.
    pub voice_sha256: String,
    /// Medians per speaker.
    pub speakers: Vec<SpeakerReport>,
    /// Each clip.
    pub clips: Vec<ClipReport>,
    /// What goes into the voice.
    pub certificate: Certificate,
}

/// Resynthesises held-out clips with their own speaker and measures them.
///
/// # Errors
/// Nothing is held out, the voice does not belong to the dataset, or it fails.
pub fn evaluate(
    dataset: &Dataset,
    voice_path: &Path,
    encoder_folders: &[PathBuf],
    options: &ReportOptions,
) -> Result<Report> {
    let voice = LoadedVoice::load(voice_path, encoder_folders)
        .with_context(|| format!("cannot use the voice {}", voice_path.display()))?;
    let manifest = voice.manifest();
    ensure!(
        manifest.encoder.sha256 == dataset.encoder.sha256,
        "the voice {} was trained on the content encoder {}, the features are of {}",
        manifest.name,
        manifest.encoder.id,
        dataset.encoder.id
    );
    let encoder = Encoder::load(&dataset.encoder_path)
        .with_context(|| format!("cannot load the encoder {}", dataset.encoder_path.display()))?;
    let chosen = choose_clips(dataset, manifest, options.clips_per_speaker);
    ensure!(
        !chosen.is_empty(),
        "no clip of the voice's speakers is held out; run `trainer prepare` with a --held-out share above 0"
    );
    let total_s = chosen
        .iter()
        .map(|clip| clip.frames.min(MAX_FRAMES) as f64 / 100.0)
        .sum();
    let progress = AudioProgress::new("evaluate", total_s);
    let references = speaker_references(dataset)?;
    let mut measured = Measured {
        dataset,
        voice: &voice,
        encoder: &encoder,
        references: &references,
        options,
        drawn: vec![0; dataset.speakers.len()],
    };
    let mut clips = Vec::new();
    for clip in chosen {
        let report = measured.clip(clip)?;
        progress.add(report.duration_s, &report.name);
        clips.push(report);
    }
    progress.finish();
    let speakers: Vec<SpeakerReport> = dataset
        .speakers
        .iter()
        .filter_map(|speaker| speaker_report(&speaker.name, &clips))
        .collect();
    let certificate = certificate(&clips, &voice)?;
    Ok(Report {
        voice_sha256: voice.sha256().to_owned(),
        speakers,
        clips,
        certificate,
    })
}

struct Measured<'a> {
    dataset: &'a Dataset,
    voice: &'a Arc<LoadedVoice>,
    encoder: &'a Arc<Encoder>,
    references: &'a [[f64; 20]],
    options: &'a ReportOptions,
    drawn: Vec<usize>,
}

impl Measured<'_> {
    fn clip(&mut self, entry: &ClipEntry) -> Result<ClipReport> {
        let mut clip = self.dataset.load_clip(entry)?;
        truncate(&mut clip);
        let rate_hz = clip.model_rate_hz;
        let speaker = &self.dataset.speakers[entry.speaker];
        let controls = Controls {
            speaker_mix: self.mix_of(&speaker.name)?,
            ..Controls::default()
        };
        let started = Instant::now();
        let output =
            offline::convert(self.voice, &clip.audio, rate_hz, &|_| controls, &mut |_| {})?;
        let load = started.elapsed().as_secs_f64() / clip.duration_s();

        let f0 = compare_f0(&clip.f0_hz, &f0_track_hz(&output, rate_hz)?);
        let recording = Timbre::of(&clip.audio, rate_hz)?;
        let resynthesis = Timbre::of(&output, rate_hz)?;
        let reference = &self.references[entry.speaker];
        let content: Vec<f32> = features::extract(
            self.encoder,
            &resample_all(&output, rate_hz, CONTENT_RATE_HZ)?,
        )?
        .into_iter()
        .flat_map(|frame| frame.content)
        .collect();
        let report = ClipReport {
            speaker: speaker.name.clone(),
            name: entry.name.clone(),
            duration_s: clip.duration_s(),
            similarity: similarity(reference, &resynthesis.mean_cepstrum()),
            similarity_of_recording: similarity(reference, &recording.mean_cepstrum()),
            mel_distance_db: recording.distance_db(&resynthesis),
            f0_cents: f0.cents,
            f0_correlation: f0.correlation,
            voicing_error: f0.voicing_error,
            content_distance: content_distance(
                &clip.content,
                &content,
                clip.channels,
                &clip.loudness_db,
                speaker.loudness_median_db - QUIET_BELOW_MEDIAN_DB,
            ),
            load,
        };
        if self.drawn[entry.speaker] < self.options.drawn_per_speaker {
            self.drawn[entry.speaker] += 1;
            self.keep(&report, &clip, &output)?;
        }
        Ok(report)
    }

    fn mix_of(&self, speaker: &str) -> Result<[f32; MAX_SPEAKERS]> {
        let manifest = self.voice.manifest();
        let index = manifest
            .speakers
            .iter()
            .position(|known| known.name == speaker)
            .with_context(|| format!("the voice {} has no speaker \"{speaker}\"", manifest.name))?;
        let mut mix = [0.0; MAX_SPEAKERS];
        mix[index] = 1.0;
        Ok(mix)
    }

    /// Picture and sound of a clip beside its resynthesis.
    fn keep(&self, report: &ClipReport, clip: &ClipFeatures, output: &[f32]) -> Result<()> {
        let stem = format!("{}_{}", report.speaker, report.name);
        let at = |suffix: &str| self.options.folder.join(format!("{stem}{suffix}"));
        let rate_hz = clip.model_rate_hz;
        write_wav(
            &at("_recording.wav"),
            rate_hz,
            &[&clip.audio[..]],
            SampleKind::Int24,
        )?;
        write_wav(
            &at("_resynthesis.wav"),
            rate_hz,
            &[output],
            SampleKind::Int24,
        )?;
        draw_spectrograms(
            &at(".png"),
            &[
                Panel::new("recording", &clip.audio, rate_hz),
                Panel::new("resynthesis", output, rate_hz),
            ],
        )
    }
}

/// The held-out clips that are measured, the same ones every time: of the speakers that the voice has.
fn choose_clips<'a>(
    dataset: &'a Dataset,
    voice: &Manifest,
    per_speaker: usize,
) -> Vec<&'a ClipEntry> {
    let has = |name: &str| voice.speakers.iter().any(|speaker| speaker.name == name);
    (0..dataset.speakers.len())
        .filter(|&speaker| has(&dataset.speakers[speaker].name))
        .flat_map(|speaker| {
            dataset
                .held_out()
                .filter(move |clip| clip.speaker == speaker)
                .take(per_speaker)
        })
        .collect()
}

/// Mean cepstrum of each speaker's recordings that were trained on, up to 40 clips.
fn speaker_references(dataset: &Dataset) -> Result<Vec<[f64; 20]>> {
    const CLIPS: usize = 40;
    (0..dataset.speakers.len())
        .map(|speaker| {
            let clips: Vec<&ClipEntry> = dataset
                .train()
                .filter(|clip| clip.speaker == speaker)
                .collect();
            let step = clips.len().div_ceil(CLIPS).max(1);
            let mut sums = [0.0; 20];
            let mut count = 0.0_f64;
            for clip in clips.into_iter().step_by(step) {
                let mut features = dataset.load_clip(clip)?;
                truncate(&mut features);
                let timbre = Timbre::of(&features.audio, features.model_rate_hz)?;
                for (sum, value) in sums.iter_mut().zip(timbre.mean_cepstrum()) {
                    *sum += value;
                }
                count += 1.0;
            }
            Ok(sums.map(|sum| sum / count.max(1.0)))
        })
        .collect()
}

fn truncate(clip: &mut ClipFeatures) {
    let frames = clip.frames.min(MAX_FRAMES);
    clip.audio.truncate(frames * clip.hop_samples());
    clip.content.truncate(frames * clip.channels);
    clip.f0_hz.truncate(frames);
    clip.loudness_db.truncate(frames);
    clip.frames = frames;
}

fn speaker_report(speaker: &str, clips: &[ClipReport]) -> Option<SpeakerReport> {
    let of: Vec<&ClipReport> = clips
        .iter()
        .filter(|clip| clip.speaker == speaker)
        .collect();
    let median =
        |value: fn(&ClipReport) -> f64| median(of.iter().map(|clip| value(clip)).collect());
    (!of.is_empty()).then(|| SpeakerReport {
        speaker: speaker.to_owned(),
        clips: of.len(),
        similarity: median(|clip| clip.similarity),
        similarity_of_recording: median(|clip| clip.similarity_of_recording),
        mel_distance_db: median(|clip| clip.mel_distance_db),
        f0_cents: median(|clip| clip.f0_cents),
        f0_correlation: median(|clip| clip.f0_correlation),
        voicing_error: median(|clip| clip.voicing_error),
        content_distance: median(|clip| clip.content_distance),
    })
}

fn certificate(clips: &[ClipReport], voice: &LoadedVoice) -> Result<Certificate> {
    const RATE_HZ: u32 = 48_000;
    let median = |value: fn(&ClipReport) -> f64| median(clips.iter().map(value).collect());
    let timing = VoiceTiming::of(voice.manifest());
    let plan = LatencyPlan::new(&timing, Tier::Live, RATE_HZ, 0)?;
    Ok(Certificate {
        similarity: median(|clip| clip.similarity),
        f0_cents: median(|clip| clip.f0_cents),
        voicing_error: median(|clip| clip.voicing_error),
        content_distance: median(|clip| clip.content_distance),
        latency_ms: f64::from(plan.latency_samples) * 1e3 / f64::from(RATE_HZ),
        load: median(|clip| clip.load),
        machine: machine_name(),
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => 0.5 * (values[count / 2 - 1] + values[count / 2]),
    }
}

/// Name of the processor, for the certificate.
#[must_use]
pub fn machine_name() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let processor = std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    format!("{processor}, {cores} cores, {}", std::env::consts::OS)
}
