//! The input at the rate of the output.

use std::path::Path;

use anyhow::Result;
use timbra_dsp::resample::StreamResampler;

use crate::data::audio::{AudioReader, ReadOptions};

/// Rates from here on hold all that is heard: a conversion keeps them.
const FULL_BAND_RATE_HZ: u32 = 44_100;

/// The rate to write unless one is asked for: the input's, or the voice's where that hears more.
#[must_use]
pub fn output_rate_hz(input_rate_hz: u32, voice_rate_hz: u32) -> u32 {
    if input_rate_hz >= FULL_BAND_RATE_HZ.min(voice_rate_hz) {
        input_rate_hz
    } else {
        voice_rate_hz
    }
}

/// Samples that `samples` at one rate last at another.
#[must_use]
pub fn samples_at(samples: u64, input_rate_hz: u32, output_rate_hz: u32) -> u64 {
    let (samples, input, output) = (
        u128::from(samples),
        u128::from(input_rate_hz),
        u128::from(output_rate_hz),
    );
    u64::try_from((samples * output + input / 2) / input).unwrap_or(u64::MAX)
}

/// A recording, packet by packet, brought to another rate in bounded memory; in time with itself to half a sample.
pub struct Source {
    reader: AudioReader,
    /// One per channel; none where the rate stays.
    resamplers: Vec<StreamResampler>,
    packet: Vec<Vec<f32>>,
    scratch: Vec<f32>,
    /// Samples still to be left out at the start, the resampler's delay.
    early_samples: usize,
    remaining_samples: u64,
    ended: bool,
}

/// Input samples of silence given at a time to get the last samples out of a resampler.
const FLUSH_SAMPLES: usize = 1024;

impl Source {
    /// Opens `path`, which holds `samples` samples per channel.
    ///
    /// # Errors
    /// The file cannot be read, or a rate is not supported.
    pub fn open(
        path: &Path,
        options: ReadOptions,
        channels: usize,
        samples: u64,
        rates_hz: (u32, u32),
    ) -> Result<Self> {
        let (input_rate_hz, output_rate_hz) = rates_hz;
        let count = if input_rate_hz == output_rate_hz {
            0
        } else {
            channels
        };
        let resamplers = (0..count)
            .map(|_| StreamResampler::new(input_rate_hz, output_rate_hz))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            reader: AudioReader::open(path, options)?,
            early_samples: resamplers
                .first()
                .map_or(0, |r| r.delay_output_samples().round() as usize),
            resamplers,
            packet: vec![Vec::new(); channels],
            scratch: Vec::new(),
            remaining_samples: samples_at(samples, input_rate_hz, output_rate_hz),
            ended: false,
        })
    }

    /// The next samples of every channel; `None` at the end.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn next_packet(&mut self) -> Result<Option<&[Vec<f32>]>> {
        if self.resamplers.is_empty() {
            return Ok(self.reader.next_packet()?);
        }
        if self.remaining_samples == 0 {
            return Ok(None);
        }
        let silence;
        let input: &[Vec<f32>] = match if self.ended {
            None
        } else {
            self.reader.next_packet()?
        } {
            Some(packet) => packet,
            None => {
                self.ended = true;
                silence = vec![vec![0.0; FLUSH_SAMPLES]; self.packet.len()];
                &silence
            }
        };
        let mut given = 0;
        for ((resampler, input), output) in
            self.resamplers.iter_mut().zip(input).zip(&mut self.packet)
        {
            self.scratch
                .resize(resampler.max_output_samples(input.len()), 0.0);
            let count = resampler.push(input, &mut self.scratch);
            let late = count.saturating_sub(self.early_samples);
            let kept = usize::try_from(self.remaining_samples)
                .unwrap_or(usize::MAX)
                .min(late);
            output.clear();
            output.extend_from_slice(&self.scratch[count - late..count - late + kept]);
            given = count;
        }
        self.early_samples = self.early_samples.saturating_sub(given);
        self.remaining_samples -= self.packet[0].len() as u64;
        Ok(Some(&self.packet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_band_rate_stays_and_a_narrow_one_becomes_the_voices() {
        assert_eq!(output_rate_hz(16_000, 48_000), 48_000);
        assert_eq!(output_rate_hz(44_100, 48_000), 44_100);
        assert_eq!(output_rate_hz(96_000, 48_000), 96_000);
        assert_eq!(output_rate_hz(32_000, 32_000), 32_000);
        assert_eq!(samples_at(16_001, 16_000, 48_000), 48_003);
        assert_eq!(samples_at(3, 48_000, 44_100), 3);
    }
}
