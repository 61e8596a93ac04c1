//! From a recording to [`ClipFeatures`], in bounded memory.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use timbra_dsp::resample::{StreamResampler, resample_all};
use timbra_dsp::{CONTENT_HOP_SAMPLES, CONTENT_RATE_HZ};
use timbra_engine::{Encoder, FeatureExtractor, FeatureFrame};

use super::super::audio::{AudioReader, ReadOptions, mix_to_mono, scan};
use super::{ClipFeatures, FRAMES_PER_SECOND};

/// Frames of a part of a long recording (60 s); the last part may be half as long again.
///
/// A whole number of seconds, so that a part begins on a sample at every rate.
pub const PART_FRAMES: usize = 6_000;

/// Context on both sides of a part when it is resampled: far more than the filter is long.
const MARGIN_S: u64 = 1;

/// Everything besides the recording that the features depend on.
#[derive(Clone)]
pub struct FeatureSettings {
    /// The content encoder.
    pub encoder: Arc<Encoder>,
    /// Rate of the stored audio; a multiple of 100 Hz.
    pub model_rate_hz: u32,
    /// Treatment of NaN, shortest clip.
    pub read: ReadOptions,
}

impl std::fmt::Debug for FeatureSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FeatureSettings")
            .field("encoder", &self.encoder.spec().id)
            .field("model_rate_hz", &self.model_rate_hz)
            .field("read", &self.read)
            .finish()
    }
}

/// Computes the features of a recording with the engine's own streaming extractor.
///
/// A recording longer than 90 s is handed to `sink` in parts of 60 s named
/// `NAME.p000`, `NAME.p001`, …; encoder and F0 tracker run through without a
/// restart. Returns the number of frames, `floor(duration · 100)`.
///
/// # Errors
/// The recording is unusable (see [`super::super::audio::AudioError`]), a graph
/// fails, or `sink` does.
pub fn compute_features(
    source: &Path,
    speaker: usize,
    name: &str,
    settings: &FeatureSettings,
    sink: &mut dyn FnMut(ClipFeatures) -> Result<()>,
) -> Result<usize> {
    ensure!(
        settings.model_rate_hz.is_multiple_of(FRAMES_PER_SECOND) && settings.model_rate_hz > 0,
        "the model rate is {} Hz; expected a multiple of {FRAMES_PER_SECOND} Hz",
        settings.model_rate_hz
    );
    let about = scan(source, settings.read)?;
    let rate_hz = u64::from(about.rate_hz);
    let total_frames = usize::try_from(about.samples * u64::from(FRAMES_PER_SECOND) / rate_hz)?;
    let weights = about.mono_weights();
    let mut reader = AudioReader::open(source, settings.read)?;
    let mut frames = FrameStream::new(about.rate_hz, &settings.encoder, total_frames)
        .with_context(|| format!("cannot analyse {}", source.display()))?;
    let mut parts = PartWriter {
        speaker,
        name,
        settings,
        rate_hz,
        split: total_frames > PART_FRAMES + PART_FRAMES / 2,
        index: 0,
        mono: Vec::new(),
        mono_start: 0,
        first_frame: 0,
        sink,
    };
    while let Some(packet) = reader.next_packet()? {
        let start = parts.mono.len();
        mix_to_mono(packet, &weights, &mut parts.mono);
        frames.push(&parts.mono[start..])?;
        while frames.ready.len() >= PART_FRAMES + PART_FRAMES / 2 && parts.has_audio(PART_FRAMES) {
            parts.write(frames.ready.drain(..PART_FRAMES).collect())?;
        }
    }
    frames.finish()?;
    while frames.ready.len() > PART_FRAMES + PART_FRAMES / 2 {
        parts.write(frames.ready.drain(..PART_FRAMES).collect())?;
    }
    parts.write(std::mem::take(&mut frames.ready))?;
    Ok(total_frames)
}

/// Native rate in, frames out.
struct FrameStream {
    resampler: StreamResampler,
    resampled: Vec<f32>,
    /// Resampled samples that lie before the clip because of the resampler's delay.
    to_skip: usize,
    pending: Vec<f32>,
    extractor: FeatureExtractor,
    ready: Vec<FeatureFrame>,
    received: usize,
    total_frames: usize,
}

impl FrameStream {
    fn new(rate_hz: u32, encoder: &Arc<Encoder>, total_frames: usize) -> Result<Self> {
        let resampler = StreamResampler::new(rate_hz, CONTENT_RATE_HZ)?;
        Ok(Self {
            to_skip: resampler.delay_output_samples().round() as usize,
            resampler,
            resampled: Vec::new(),
            pending: Vec::new(),
            extractor: FeatureExtractor::new(Arc::clone(encoder))?,
            ready: Vec::new(),
            received: 0,
            total_frames,
        })
    }

    fn push(&mut self, samples: &[f32]) -> Result<()> {
        let room = self.resampler.max_output_samples(samples.len());
        self.resampled.resize(room.max(self.resampled.len()), 0.0);
        let written = self.resampler.push(samples, &mut self.resampled);
        let skipped = self.to_skip.min(written);
        self.to_skip -= skipped;
        self.pending
            .extend_from_slice(&self.resampled[skipped..written]);
        let mut hops = self.pending.as_chunks::<CONTENT_HOP_SAMPLES>().0.iter();
        for hop in &mut hops {
            if let Some(frame) = self.extractor.push_hop(hop)?
                && self.received < self.total_frames
            {
                self.received += 1;
                self.ready.push(frame);
            }
        }
        let used = self.pending.len() / CONTENT_HOP_SAMPLES * CONTENT_HOP_SAMPLES;
        self.pending.drain(..used);
        Ok(())
    }

    /// Silence until every frame of the clip is out.
    fn finish(&mut self) -> Result<()> {
        let silence = vec![0.0; 4096];
        // One second of silence at the lowest rate is far more than any look-ahead; the bound
        // turns a broken extractor into an error instead of an endless loop.
        for _ in 0..1_000 {
            if self.received == self.total_frames {
                return Ok(());
            }
            self.push(&silence)?;
        }
        anyhow::bail!(
            "the feature extractor gave {} of {} frames",
            self.received,
            self.total_frames
        );
    }
}

/// Cuts the native audio to parts and brings it to the model's rate.
struct PartWriter<'a> {
    speaker: usize,
    name: &'a str,
    settings: &'a FeatureSettings,
    rate_hz: u64,
    split: bool,
    index: usize,
    mono: Vec<f32>,
    /// Position of `mono[0]` in the recording.
    mono_start: u64,
    first_frame: u64,
    sink: &'a mut dyn FnMut(ClipFeatures) -> Result<()>,
}

impl PartWriter<'_> {
    fn native_position(&self, frame: u64) -> u64 {
        frame * self.rate_hz / u64::from(FRAMES_PER_SECOND)
    }

    /// Whether the audio of the next `frames` frames and its margin are in.
    fn has_audio(&self, frames: usize) -> bool {
        let end = self.native_position(self.first_frame + frames as u64) + MARGIN_S * self.rate_hz;
        self.mono_start + self.mono.len() as u64 >= end
    }

    fn write(&mut self, frames: Vec<FeatureFrame>) -> Result<()> {
        let count = frames.len();
        let channels = self.settings.encoder.spec().channels;
        let start = self.native_position(self.first_frame);
        let end = self.native_position(self.first_frame + count as u64) + MARGIN_S * self.rate_hz;
        let end_index = ((end - self.mono_start) as usize).min(self.mono.len());
        let resampled = resample_all(
            &self.mono[..end_index],
            self.rate_hz as u32,
            self.settings.model_rate_hz,
        )?;
        let hop_samples = (self.settings.model_rate_hz / FRAMES_PER_SECOND) as usize;
        // A whole number of seconds lies in front of the part, so this is exact.
        let front = ((start - self.mono_start) * u64::from(self.settings.model_rate_hz)
            / self.rate_hz) as usize;
        let mut audio: Vec<f32> = resampled
            .into_iter()
            .skip(front)
            .take(count * hop_samples)
            .collect();
        // The last frame may end a fraction of a sample after the recording does.
        audio.resize(count * hop_samples, 0.0);
        let clip = ClipFeatures {
            speaker: self.speaker,
            name: if self.split {
                format!("{}.p{:03}", self.name, self.index)
            } else {
                self.name.to_owned()
            },
            content: frames
                .iter()
                .flat_map(|frame| frame.content.iter().copied())
                .collect(),
            frames: count,
            channels,
            f0_hz: frames.iter().map(|frame| frame.f0_hz).collect(),
            loudness_db: frames.iter().map(|frame| frame.loudness_db).collect(),
            audio,
            model_rate_hz: self.settings.model_rate_hz,
        };
        self.index += 1;
        self.first_frame += count as u64;
        let keep_from = self
            .native_position(self.first_frame)
            .saturating_sub(MARGIN_S * self.rate_hz);
        let done = ((keep_from - self.mono_start) as usize).min(self.mono.len());
        self.mono.drain(..done);
        self.mono_start += done as u64;
        (self.sink)(clip)
    }
}
