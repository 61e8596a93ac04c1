//! One pass over a recording without keeping it.

use std::path::Path;

use super::{AudioError, AudioReader, ReadOptions};

/// Peak and energy of one channel.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ChannelLevel {
    /// Largest magnitude.
    pub peak: f32,
    /// Sum of squares.
    pub energy: f64,
    /// Samples counted.
    pub samples: u64,
}

impl ChannelLevel {
    /// The level of a whole channel.
    #[must_use]
    pub fn of(channel: &[f32]) -> Self {
        let mut level = Self::default();
        level.add(channel);
        level
    }

    /// Counts further samples in.
    pub fn add(&mut self, channel: &[f32]) {
        for &sample in channel {
            self.peak = self.peak.max(sample.abs());
            self.energy += f64::from(sample) * f64::from(sample);
        }
        self.samples += channel.len() as u64;
    }

    /// Root mean square in dBFS, −200 dB at the least.
    #[must_use]
    pub fn rms_db(&self) -> f32 {
        let mean = self.energy / self.samples.max(1) as f64;
        (10.0 * (mean + 1e-20).log10()) as f32
    }

    /// Peak in dBFS, −200 dB at the least.
    #[must_use]
    pub fn peak_db(&self) -> f32 {
        20.0 * self.peak.max(1e-10).log10()
    }
}

/// What a recording holds.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioScan {
    /// Samples per second.
    pub rate_hz: u32,
    /// Samples per channel, counted.
    pub samples: u64,
    /// One entry per channel.
    pub levels: Vec<ChannelLevel>,
    /// NaN and infinite samples that were replaced.
    pub replaced_samples: u64,
}

impl AudioScan {
    /// Length in seconds.
    #[must_use]
    pub fn duration_s(&self) -> f64 {
        self.samples as f64 / f64::from(self.rate_hz)
    }

    /// Shares of the channels in the mono signal, see [`super::mono_weights`].
    #[must_use]
    pub fn mono_weights(&self) -> Vec<f32> {
        super::mono_weights(&self.levels)
    }
}

/// Decodes a file once and reports its length and levels; memory stays bounded.
///
/// # Errors
/// As [`super::read_audio`].
pub fn scan(path: &Path, options: ReadOptions) -> Result<AudioScan, AudioError> {
    let mut reader = AudioReader::open(path, options)?;
    let mut levels = vec![ChannelLevel::default(); reader.channels()];
    while let Some(packet) = reader.next_packet()? {
        for (level, channel) in levels.iter_mut().zip(packet) {
            level.add(channel);
        }
    }
    Ok(AudioScan {
        rate_hz: reader.rate_hz(),
        samples: reader.samples_read(),
        levels,
        replaced_samples: reader.replaced_samples(),
    })
}

/// Length by the header alone, for progress bars; 0 where it does not say.
#[must_use]
pub fn header_duration_s(path: &Path) -> f64 {
    let Ok(reader) = AudioReader::open(path, ReadOptions::default()) else {
        return 0.0;
    };
    let samples = reader.expected_samples().unwrap_or(0);
    // A broken header must not make the bar stand still for the rest.
    (samples as f64 / f64::from(reader.rate_hz())).min(1e6)
}
