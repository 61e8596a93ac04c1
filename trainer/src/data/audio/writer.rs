//! WAV out, streaming and whole-or-not-at-all.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result, bail};
use hound::{SampleFormat, WavSpec, WavWriter};

use super::super::atomic_file::AtomicFile;

/// How samples are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SampleKind {
    /// 32-bit floating point: nothing clips.
    #[default]
    Float32,
    /// 24-bit integer; values outside −1..1 are clipped.
    Int24,
    /// 16-bit integer; values outside −1..1 are clipped.
    Int16,
}

impl SampleKind {
    fn bytes(self) -> u64 {
        match self {
            Self::Float32 => 4,
            Self::Int24 => 3,
            Self::Int16 => 2,
        }
    }
}

/// A WAV file's length fields have 32 bits; the header takes less than 128 bytes.
const MAX_DATA_BYTES: u64 = u32::MAX as u64 - 128;

/// A WAV file that grows while it is written and appears under its name when finished.
pub struct WavFile {
    /// Writes through its own handle; `file` keeps the name.
    writer: WavWriter<BufWriter<File>>,
    file: AtomicFile,
    channels: usize,
    kind: SampleKind,
    bytes: u64,
    clipped: u64,
}

impl WavFile {
    /// Starts a file of `channels` channels.
    ///
    /// # Errors
    /// The folder is not writable, or the format cannot be expressed in WAV.
    pub fn create(path: &Path, rate_hz: u32, channels: usize, kind: SampleKind) -> Result<Self> {
        let channel_count = u16::try_from(channels)
            .ok()
            .filter(|&count| count > 0)
            .with_context(|| format!("cannot write {channels} channels to {}", path.display()))?;
        let spec = WavSpec {
            channels: channel_count,
            sample_rate: rate_hz,
            bits_per_sample: (kind.bytes() * 8) as u16,
            sample_format: match kind {
                SampleKind::Float32 => SampleFormat::Float,
                SampleKind::Int24 | SampleKind::Int16 => SampleFormat::Int,
            },
        };
        let mut file = AtomicFile::create(path)?;
        let handle = file
            .file()
            .try_clone()
            .with_context(|| format!("cannot write {}", path.display()))?;
        let writer = WavWriter::new(BufWriter::new(handle), spec)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            writer,
            file,
            channels,
            kind,
            bytes: 0,
            clipped: 0,
        })
    }

    /// Refuses what will not fit before hours of work go into it.
    ///
    /// # Errors
    /// `samples` per channel would pass WAV's 4 GiB.
    pub fn check_length(&self, samples: u64) -> Result<()> {
        let bytes = samples
            .saturating_mul(self.channels as u64)
            .saturating_mul(self.kind.bytes());
        if bytes > MAX_DATA_BYTES {
            bail!(
                "{} would be {:.1} GB long, more than the 4.29 GB a WAV file holds; \
                 choose fewer bits (--bits 24 or 16) or convert it in parts",
                self.file.destination().display(),
                bytes as f64 * 1e-9
            );
        }
        Ok(())
    }

    /// Appends equally long channels.
    ///
    /// # Errors
    /// The disk is full, or the file would pass WAV's 4 GiB.
    pub fn write<C: AsRef<[f32]>>(&mut self, channels: &[C]) -> Result<()> {
        let samples = channels.first().map_or(0, |channel| channel.as_ref().len());
        let same_length = channels
            .iter()
            .all(|channel| channel.as_ref().len() == samples);
        if channels.len() != self.channels || !same_length {
            bail!(
                "expected {} equally long channels for {}",
                self.channels,
                self.file.destination().display()
            );
        }
        let bytes = (samples * self.channels) as u64 * self.kind.bytes();
        if self.bytes + bytes > MAX_DATA_BYTES {
            self.check_length(u64::MAX)?;
        }
        self.bytes += bytes;
        for index in 0..samples {
            for channel in channels {
                let sample = channel.as_ref()[index];
                let full_scale = match self.kind {
                    SampleKind::Float32 => {
                        self.writer.write_sample(sample)?;
                        continue;
                    }
                    SampleKind::Int24 => 8_388_608.0_f32,
                    SampleKind::Int16 => 32_768.0,
                };
                let scaled = (sample * full_scale).round();
                let limited = scaled.clamp(-full_scale, full_scale - 1.0);
                self.clipped += u64::from(limited != scaled);
                self.writer.write_sample(limited as i32)?;
            }
        }
        Ok(())
    }

    /// Samples per channel so far.
    #[must_use]
    pub fn samples_written(&self) -> u64 {
        self.bytes / (self.channels as u64 * self.kind.bytes())
    }

    /// Samples that were outside −1..1 and are clipped.
    #[must_use]
    pub fn clipped_samples(&self) -> u64 {
        self.clipped
    }

    /// Completes the header and gives the file its name.
    ///
    /// # Errors
    /// The disk is full; nothing appears under the name then.
    pub fn finish(self) -> Result<()> {
        let name = self.file.destination().display().to_string();
        self.writer
            .finalize()
            .with_context(|| format!("cannot finish {name}"))?;
        if self.clipped > 0 {
            tracing::warn!("{name}: {} samples are clipped", self.clipped);
        }
        self.file.commit()
    }
}

impl std::fmt::Debug for WavFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("WavFile")
            .field("destination", &self.file.destination())
            .field("channels", &self.channels)
            .field("kind", &self.kind)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// Writes a whole clip.
///
/// # Errors
/// As [`WavFile::create`], [`WavFile::write`] and [`WavFile::finish`].
pub fn write_wav<C: AsRef<[f32]>>(
    path: &Path,
    rate_hz: u32,
    channels: &[C],
    kind: SampleKind,
) -> Result<()> {
    let mut file = WavFile::create(path, rate_hz, channels.len(), kind)?;
    file.check_length(channels.first().map_or(0, |channel| channel.as_ref().len()) as u64)?;
    file.write(channels)?;
    file.finish()
}
