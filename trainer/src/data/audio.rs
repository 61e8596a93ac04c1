//! Recordings in and out: WAV, FLAC, OGG Vorbis, MP3 and AIFF of any rate and channel count.
//!
//! [`AudioReader`] hands out one decoded packet after the other and is what
//! long clips go through; [`read_audio`] collects a whole clip; [`scan`] reads
//! a file once without keeping it, which tells its true length, its levels and
//! whether it holds anything that is no number.

mod error;
mod reader;
mod scan;
mod writer;

pub use error::AudioError;
pub use reader::{AudioReader, NonFinite, ReadOptions};
pub use scan::{AudioScan, ChannelLevel, header_duration_s, scan};
pub use writer::{SampleKind, WavFile, write_wav};

use std::path::Path;

/// A whole clip in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Audio {
    /// Samples per second of each channel.
    pub rate_hz: u32,
    /// One vector per channel, all equally long.
    pub channels: Vec<Vec<f32>>,
}

impl Audio {
    /// Samples in each channel.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.channels.first().map_or(0, Vec::len)
    }

    /// Length in seconds.
    #[must_use]
    pub fn duration_s(&self) -> f64 {
        self.samples() as f64 / f64::from(self.rate_hz)
    }

    /// One channel: the mean of those that are not silent.
    ///
    /// A recording with the voice on one side only keeps its level that way;
    /// see [`mono_weights`] for what counts as silent.
    #[must_use]
    pub fn to_mono(&self) -> Vec<f32> {
        let levels: Vec<ChannelLevel> = self
            .channels
            .iter()
            .map(|channel| ChannelLevel::of(channel))
            .collect();
        let mut mono = Vec::new();
        mix_to_mono(&self.channels, &mono_weights(&levels), &mut mono);
        mono
    }
}

/// A channel this far below the loudest one is hum or crosstalk, not a second microphone.
///
/// Stereo vocals differ by a few dB between the sides; the crosstalk of cheap
/// converters lies at −50 dB to −70 dB.
const SILENT_BELOW_LOUDEST_DB: f32 = 45.0;

/// The share of each channel in the mono signal: equal for those that sound, 0 for silent ones.
///
/// All channels silent gives equal shares.
#[must_use]
pub fn mono_weights(levels: &[ChannelLevel]) -> Vec<f32> {
    let loudest_db = levels
        .iter()
        .map(ChannelLevel::rms_db)
        .fold(f32::NEG_INFINITY, f32::max);
    let sounding: Vec<bool> = levels
        .iter()
        .map(|level| level.rms_db() >= loudest_db - SILENT_BELOW_LOUDEST_DB)
        .collect();
    let count = sounding.iter().filter(|&&sounds| sounds).count().max(1);
    sounding
        .iter()
        .map(|&sounds| if sounds { 1.0 / count as f32 } else { 0.0 })
        .collect()
}

/// Appends the weighted sum of `channels` to `mono`.
///
/// # Panics
/// When there are more channels than weights.
pub fn mix_to_mono(channels: &[Vec<f32>], weights: &[f32], mono: &mut Vec<f32>) {
    assert!(channels.len() <= weights.len(), "one weight per channel");
    let start = mono.len();
    mono.resize(start + channels.first().map_or(0, Vec::len), 0.0);
    for (channel, &weight) in channels.iter().zip(weights) {
        if weight == 0.0 {
            continue;
        }
        for (sum, &sample) in mono[start..].iter_mut().zip(channel) {
            *sum += weight * sample;
        }
    }
}

/// Most samples of a whole clip, in all channels: 1 GiB of memory, 46 minutes of stereo at 48 kHz.
///
/// A FLAC file of 60 KB can hold a gigabyte of silence.
pub const MAX_CLIP_SAMPLES: usize = 1 << 28;

/// Reads a whole clip; every sample of it is a finite number.
///
/// Memory grows with the clip. For anything that may be hours long use
/// [`AudioReader`].
///
/// # Errors
/// The file is missing, empty, shorter than 10 ms, longer than [`MAX_CLIP_SAMPLES`], in no known format, damaged
/// throughout, or holds NaN or infinite samples; the message says where.
pub fn read_audio(path: &Path) -> Result<Audio, AudioError> {
    read_audio_with(path, ReadOptions::default())
}

/// [`read_audio`] with a choice of what to do about NaN.
///
/// # Errors
/// As [`read_audio`].
pub fn read_audio_with(path: &Path, options: ReadOptions) -> Result<Audio, AudioError> {
    collect(AudioReader::open(path, options)?, MAX_CLIP_SAMPLES)
}

fn collect(mut reader: AudioReader, most: usize) -> Result<Audio, AudioError> {
    let mut channels = vec![Vec::new(); reader.channels()];
    while let Some(packet) = reader.next_packet()? {
        for (channel, samples) in channels.iter_mut().zip(packet) {
            channel.extend_from_slice(samples);
        }
        let samples: usize = channels.iter().map(Vec::len).sum();
        if samples > most {
            let path = reader.path().to_path_buf();
            return Err(AudioError::TooLong { path, most });
        }
    }
    Ok(Audio {
        rate_hz: reader.rate_hz(),
        channels,
    })
}

/// File extensions that [`AudioReader`] is tried on when a folder is searched.
pub const AUDIO_EXTENSIONS: [&str; 9] = [
    "wav", "wave", "flac", "ogg", "oga", "mp3", "aif", "aiff", "aifc",
];

/// Whether the name looks like a recording (by extension only).
#[must_use]
pub fn is_audio_name(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| {
            AUDIO_EXTENSIONS
                .iter()
                .any(|known| extension.eq_ignore_ascii_case(known))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_side_does_not_halve_the_level() {
        let audio = Audio {
            rate_hz: 48_000,
            channels: vec![vec![0.5, -0.5, 0.25], vec![0.0; 3]],
        };
        assert_eq!(audio.to_mono(), vec![0.5, -0.5, 0.25]);
    }

    #[test]
    fn a_clip_is_not_collected_beyond_its_bound() {
        let path = std::env::temp_dir().join(format!("timbra-bound-{}.wav", std::process::id()));
        write_wav(&path, 8_000, &[[0.5; 100]; 2], SampleKind::Int16).unwrap();
        let collected = |most| {
            let reader = AudioReader::open(&path, ReadOptions::default()).unwrap();
            collect(reader, most)
        };
        assert_eq!(collected(200).unwrap().samples(), 100);
        assert!(matches!(
            collected(199),
            Err(AudioError::TooLong { most: 199, .. })
        ));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn two_sounding_sides_are_averaged() {
        let audio = Audio {
            rate_hz: 48_000,
            channels: vec![vec![0.5, -0.5], vec![0.25, -0.5]],
        };
        assert_eq!(audio.to_mono(), vec![0.375, -0.5]);
    }

    #[test]
    fn silence_on_both_sides_stays_silence_and_finite() {
        let audio = Audio {
            rate_hz: 48_000,
            channels: vec![vec![0.0; 4], vec![0.0; 4]],
        };
        assert_eq!(audio.to_mono(), vec![0.0; 4]);
    }
}
