//! WAV files in and out, as planar floats.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

/// A sound in memory: one vector per channel, all of the same length.
#[derive(Debug, Clone, PartialEq)]
pub struct Sound {
    /// Samples per second.
    pub rate_hz: u32,
    /// One or more channels.
    pub channels: Vec<Vec<f32>>,
}

impl Sound {
    /// Length in samples.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.channels.first().map_or(0, Vec::len)
    }

    /// The mean of the channels.
    #[must_use]
    pub fn mono(&self) -> Vec<f32> {
        let count = self.channels.len().max(1) as f32;
        (0..self.samples())
            .map(|n| self.channels.iter().map(|c| c[n]).sum::<f32>() / count)
            .collect()
    }

    /// The same sound with `count` channels: mixed down, or the first one repeated.
    #[must_use]
    pub fn with_channels(self, count: usize) -> Self {
        let channels = match (self.channels.len(), count) {
            (have, want) if have == want => self.channels,
            (_, 1) => vec![self.mono()],
            (1, want) => vec![self.channels[0].clone(); want],
            (_, want) => self.channels.into_iter().take(want).collect(),
        };
        Self {
            rate_hz: self.rate_hz,
            channels,
        }
    }
}

/// Reads any WAV that hound understands.
///
/// # Errors
/// When the file is missing, malformed or empty.
pub fn read(path: &Path) -> Result<Sound> {
    let reader = WavReader::open(path).with_context(|| {
        format!(
            "cannot read {}: expected a WAV; `trainer convert` reads FLAC, OGG and MP3 too",
            path.display()
        )
    })?;
    let spec = reader.spec();
    let interleaved: Vec<f32> = match spec.sample_format {
        SampleFormat::Float => reader.into_samples::<f32>().collect::<Result<_, _>>()?,
        SampleFormat::Int => {
            let full_scale = (1i64 << (spec.bits_per_sample - 1)) as f32;
            let samples = reader.into_samples::<i32>();
            samples
                .map(|s| s.map(|v| v as f32 / full_scale))
                .collect::<Result<_, _>>()?
        }
    };
    ensure!(
        !interleaved.is_empty(),
        "{} holds no sample",
        path.display()
    );
    let count = usize::from(spec.channels);
    let channels = (0..count)
        .map(|channel| {
            interleaved
                .iter()
                .skip(channel)
                .step_by(count)
                .copied()
                .collect()
        })
        .collect();
    Ok(Sound {
        rate_hz: spec.sample_rate,
        channels,
    })
}

/// Writes 32-bit float.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, sound: &Sound) -> Result<()> {
    let spec = WavSpec {
        channels: u16::try_from(sound.channels.len())?,
        sample_rate: sound.rate_hz,
        bits_per_sample: 32,
        sample_format: SampleFormat::Float,
    };
    let mut writer = WavWriter::create(path, spec)
        .with_context(|| format!("cannot write {}", path.display()))?;
    for n in 0..sound.samples() {
        for channel in &sound.channels {
            writer.write_sample(channel[n])?;
        }
    }
    Ok(writer.finalize()?)
}
