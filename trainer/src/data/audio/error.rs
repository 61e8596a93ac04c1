//! What can be wrong with a recording.

use std::path::PathBuf;

use thiserror::Error;

/// Why a recording cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AudioError {
    /// The file cannot be opened or read.
    #[error("cannot read {}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// A folder where a file was expected.
    #[error("{} is a folder; expected an audio file", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// No bytes, or a header without a single sample.
    #[error("{} is empty: expected audio, found {found}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What is in it instead.
        found: &'static str,
    },
    /// The format is not one of those read here.
    #[error(
        "{} is not readable as audio ({reason}); expected WAV, FLAC, OGG Vorbis, MP3 or AIFF, found a file starting with {start}",
        path.display()
    )]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
        /// First bytes, printable.
        start: String,
    },
    /// The header promises something that cannot be.
    #[error("{}: {what} is {found}, expected {expected}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// The field.
        what: &'static str,
        /// The allowed values.
        expected: &'static str,
        /// The value in the file.
        found: String,
    },
    /// Nothing but damaged packets.
    #[error("{} is damaged: none of its {packets} packets can be decoded ({reason})", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Packets tried.
        packets: u64,
        /// What the decoder said about the first.
        reason: String,
    },
    /// The decoder panicked.
    #[error("{} cannot be decoded: the decoder stopped on an internal error ({reason})", path.display())]
    Decoder {
        /// The file.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// A sample that is no finite number.
    #[error(
        "{}: sample {sample} of channel {channel} ({time_s:.4} s) is {value}; expected a finite number (--replace-nan puts silence there)",
        path.display()
    )]
    NonFinite {
        /// The file.
        path: PathBuf,
        /// Channel, from 1.
        channel: usize,
        /// Sample within the channel, from 0.
        sample: u64,
        /// The same as time.
        time_s: f64,
        /// NaN, inf or -inf.
        value: f32,
    },
    /// Too little audio to compute one frame from.
    #[error("{} is {found_ms:.2} ms long; expected at least {expected_ms} ms", path.display())]
    TooShort {
        /// The file.
        path: PathBuf,
        /// Its length.
        found_ms: f64,
        /// The shortest accepted.
        expected_ms: u32,
    },
    /// More than is held in memory at once.
    #[error("{} holds more than {most} samples in all channels; cut it into clips (trainer slice)", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The most accepted.
        most: usize,
    },
}
