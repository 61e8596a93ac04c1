//! Streaming decoder: one packet in memory at a time.

use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use symphonia::core::codecs::audio::well_known::{CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3};
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as DecodeError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;

use super::AudioError;

/// What to do about samples that are NaN or infinite.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// Refuse the file and say where the first one is.
    #[default]
    Refuse,
    /// Put silence in their place and warn once.
    Silence,
}

/// How a recording is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    /// Treatment of NaN and infinities.
    pub non_finite: NonFinite,
    /// Shorter clips are refused.
    pub min_ms: u32,
}

impl Default for ReadOptions {
    /// NaN is refused, and anything below 10 ms: less than one content frame.
    fn default() -> Self {
        Self {
            non_finite: NonFinite::Refuse,
            min_ms: 10,
        }
    }
}

/// Rates outside of this are a broken header, not a recording.
const RATE_RANGE_HZ: std::ops::RangeInclusive<u32> = 1_000..=768_000;
/// More channels than this are a broken header, not a microphone set-up.
const MAX_CHANNELS: usize = 64;
/// A damaged packet is replaced by this much silence at most, whatever its header claims.
const MAX_PACKET_SAMPLES: u64 = 1 << 17;

/// Decodes a recording packet by packet.
///
/// Memory is bounded by one packet (a few thousand samples), whatever the file
/// claims about its length. A file cut off in the middle is read up to the cut,
/// with a warning.
pub struct AudioReader {
    path: PathBuf,
    options: ReadOptions,
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: AudioTrack,
    rate_hz: u32,
    packet: Vec<Vec<f32>>,
    expected_samples: Option<u64>,
    samples: u64,
    packets: u64,
    damaged_packets: u64,
    first_damage: String,
    replaced_samples: u64,
    ended: bool,
}

impl AudioReader {
    /// Opens a file and finds its first audio track.
    ///
    /// # Errors
    /// Missing, empty or unreadable file, unknown format, impossible header.
    pub fn open(path: &Path, options: ReadOptions) -> Result<Self, AudioError> {
        let io = |reason| AudioError::Io {
            path: path.to_path_buf(),
            reason,
        };
        let about = std::fs::metadata(path).map_err(io)?;
        if about.is_dir() {
            return Err(AudioError::Folder {
                path: path.to_path_buf(),
            });
        }
        if about.is_file() && about.len() == 0 {
            return Err(AudioError::Empty {
                path: path.to_path_buf(),
                found: "no bytes at all",
            });
        }
        let unrecognised = |reason: String| AudioError::Unrecognised {
            path: path.to_path_buf(),
            reason,
            start: first_bytes(path),
        };
        let mut hint = Hint::new();
        if let Some(extension) = path.extension().and_then(|extension| extension.to_str()) {
            hint.with_extension(extension);
        }
        let file = File::open(path).map_err(io)?;
        let format = guarded(path, || probe(file, &hint))?
            .map_err(|error| unrecognised(error.to_string()))?;
        let track = AudioTrack::of(&*format).map_err(|reason| unrecognised(reason.to_owned()))?;
        let decoder =
            guarded(path, || track.decoder())?.map_err(|error| unrecognised(error.to_string()))?;
        let parameters = &track.parameters;
        let rate_hz = parameters.sample_rate.unwrap_or(0);
        let header = |what, expected, found: String| AudioError::Header {
            path: path.to_path_buf(),
            what,
            expected,
            found,
        };
        if !RATE_RANGE_HZ.contains(&rate_hz) {
            let expected = "1000 to 768000 Hz";
            return Err(header("the sample rate", expected, format!("{rate_hz} Hz")));
        }
        let mut reader = Self {
            path: path.to_path_buf(),
            options,
            format,
            decoder,
            rate_hz,
            packet: Vec::new(),
            expected_samples: track.samples,
            samples: 0,
            packets: 0,
            damaged_packets: 0,
            first_damage: String::new(),
            replaced_samples: 0,
            ended: false,
            track,
        };
        let channels = match &reader.track.parameters.channels {
            Some(channels) => channels.count(),
            // Some containers leave it to the first packet.
            None => guarded(path, || reader.channels_of_first_packet())??,
        };
        if channels == 0 || channels > MAX_CHANNELS {
            return Err(header("the channel count", "1 to 64", channels.to_string()));
        }
        reader.packet = vec![Vec::new(); channels];
        Ok(reader)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Samples per second of each channel.
    #[must_use]
    pub fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Number of channels.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.packet.len()
    }

    /// Samples per channel the header promises, where it does; a hint for progress bars only.
    #[must_use]
    pub fn expected_samples(&self) -> Option<u64> {
        self.expected_samples
    }

    /// Samples per channel handed out so far.
    #[must_use]
    pub fn samples_read(&self) -> u64 {
        self.samples
    }

    /// Samples that were NaN or infinite and are silence now.
    #[must_use]
    pub fn replaced_samples(&self) -> u64 {
        self.replaced_samples
    }

    /// The next samples, one slice per channel; `None` at the end.
    ///
    /// # Errors
    /// A sample is not finite and [`NonFinite::Refuse`] holds, the clip turns
    /// out shorter than asked for, or nothing of it can be decoded.
    pub fn next_packet(&mut self) -> Result<Option<&[Vec<f32>]>, AudioError> {
        while !self.ended {
            let packet = match guarded(&self.path, || self.format.next_packet())? {
                Ok(Some(packet)) => packet,
                Ok(None) => return self.end(false),
                Err(DecodeError::ResetRequired) => {
                    // Files joined end to end: the next one has a track of its own.
                    self.expected_samples = None;
                    self.track = AudioTrack::of(&*self.format)
                        .map_err(|reason| self.unrecognised(reason.to_owned()))?;
                    self.restart_decoder()?;
                    continue;
                }
                Err(DecodeError::IoError(error))
                    if error.kind() != std::io::ErrorKind::UnexpectedEof =>
                {
                    return Err(AudioError::Io {
                        path: self.path.clone(),
                        reason: error,
                    });
                }
                Err(_) => return self.end(true),
            };
            if packet.track_id != self.track.id {
                continue;
            }
            self.packets += 1;
            match guarded(&self.path, || self.decoder.decode(&packet))? {
                Ok(decoded) => {
                    if decoded.spec().rate() != self.rate_hz
                        || decoded.num_planes() != self.packet.len()
                    {
                        return Err(AudioError::Header {
                            path: self.path.clone(),
                            what: "the format in the middle of the file",
                            expected: "the one it began with",
                            found: format!(
                                "{} channels at {} Hz",
                                decoded.num_planes(),
                                decoded.spec().rate()
                            ),
                        });
                    }
                    decoded.copy_to_vecs_planar(&mut self.packet);
                }
                Err(DecodeError::ResetRequired) => {
                    self.restart_decoder()?;
                    continue;
                }
                Err(error) => {
                    // Silence of the same length keeps everything after it in time.
                    if self.damaged_packets == 0 {
                        self.first_damage = error.to_string();
                    }
                    self.damaged_packets += 1;
                    let samples = packet.dur.get().min(MAX_PACKET_SAMPLES) as usize;
                    for channel in &mut self.packet {
                        channel.clear();
                        channel.resize(samples, 0.0);
                    }
                }
            }
            if self.packet[0].is_empty() {
                continue;
            }
            self.check_finite()?;
            self.samples += self.packet[0].len() as u64;
            return Ok(Some(&self.packet));
        }
        Ok(None)
    }

    fn check_finite(&mut self) -> Result<(), AudioError> {
        for (index, channel) in self.packet.iter_mut().enumerate() {
            let Some(first) = channel.iter().position(|sample| !sample.is_finite()) else {
                continue;
            };
            let at = self.samples + first as u64;
            let time_s = at as f64 / f64::from(self.rate_hz);
            if self.options.non_finite == NonFinite::Refuse {
                return Err(AudioError::NonFinite {
                    path: self.path.clone(),
                    channel: index + 1,
                    sample: at,
                    time_s,
                    value: channel[first],
                });
            }
            if self.replaced_samples == 0 {
                tracing::warn!(
                    "{}: samples that are no numbers become silence, the first at {time_s:.4} s",
                    self.path.display()
                );
            }
            for sample in channel.iter_mut().filter(|sample| !sample.is_finite()) {
                *sample = 0.0;
                self.replaced_samples += 1;
            }
        }
        Ok(())
    }

    fn end(&mut self, cut_off: bool) -> Result<Option<&[Vec<f32>]>, AudioError> {
        self.ended = true;
        if self.packets > 0 && self.damaged_packets == self.packets {
            return Err(AudioError::Damaged {
                path: self.path.clone(),
                packets: self.packets,
                reason: self.first_damage.clone(),
            });
        }
        if self.samples == 0 {
            return Err(AudioError::Empty {
                path: self.path.clone(),
                found: "a header without samples",
            });
        }
        let found_ms = self.samples as f64 * 1e3 / f64::from(self.rate_hz);
        if found_ms < f64::from(self.options.min_ms) {
            return Err(AudioError::TooShort {
                path: self.path.clone(),
                found_ms,
                expected_ms: self.options.min_ms,
            });
        }
        if self.damaged_packets > 0 {
            tracing::warn!(
                "{}: {} of {} packets are damaged and silent now ({})",
                self.path.display(),
                self.damaged_packets,
                self.packets,
                self.first_damage
            );
        }
        let expected = self.expected_samples.unwrap_or(0);
        if cut_off || self.samples < expected {
            tracing::warn!(
                "{} is cut off: {} samples of {expected} are there and used",
                self.path.display(),
                self.samples
            );
        }
        Ok(None)
    }

    fn restart_decoder(&mut self) -> Result<(), AudioError> {
        self.decoder = guarded(&self.path, || self.track.decoder())?
            .map_err(|error| self.unrecognised(error.to_string()))?;
        Ok(())
    }

    fn unrecognised(&self, reason: String) -> AudioError {
        AudioError::Unrecognised {
            path: self.path.clone(),
            reason,
            start: first_bytes(&self.path),
        }
    }

    /// Decodes one packet of a second handle, so that this one still starts at the beginning.
    fn channels_of_first_packet(&self) -> Result<usize, AudioError> {
        let empty = || AudioError::Empty {
            path: self.path.clone(),
            found: "a header that names no channels",
        };
        let file = File::open(&self.path).map_err(|reason| AudioError::Io {
            path: self.path.clone(),
            reason,
        })?;
        let mut format = probe(file, &Hint::new()).map_err(|_| empty())?;
        let mut decoder = self.track.decoder().map_err(|_| empty())?;
        while let Ok(Some(packet)) = format.next_packet() {
            if packet.track_id == self.track.id
                && let Ok(decoded) = decoder.decode(&packet)
            {
                return Ok(decoded.num_planes());
            }
        }
        Err(empty())
    }
}

impl std::fmt::Debug for AudioReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AudioReader")
            .field("path", &self.path)
            .field("rate_hz", &self.rate_hz)
            .field("channels", &self.packet.len())
            .field("samples", &self.samples)
            .finish_non_exhaustive()
    }
}

/// Runs a step of the decoders, which are other people's: a panic in one is the file's fault, not the end of a command
/// that has a thousand clips to go through. Nothing of a decoder that panicked is used again.
fn guarded<T>(path: &Path, step: impl FnOnce() -> T) -> Result<T, AudioError> {
    catch_unwind(AssertUnwindSafe(step)).map_err(|panic| AudioError::Decoder {
        path: path.to_path_buf(),
        reason: panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default(),
    })
}

fn probe(file: File, hint: &Hint) -> Result<Box<dyn FormatReader>, DecodeError> {
    symphonia::default::get_probe().probe(
        hint,
        MediaSourceStream::new(Box::new(file), Default::default()),
        FormatOptions::default(),
        MetadataOptions::default(),
    )
}

/// The track of a file that is read.
struct AudioTrack {
    id: u32,
    parameters: AudioCodecParameters,
    /// How many samples there are, where the file says so.
    samples: Option<u64>,
    /// Whether its length is a guess: what lies beyond it belongs to the recording all the same.
    guessed: bool,
}

impl AudioTrack {
    /// The first of a file, or why there is none.
    fn of(format: &dyn FormatReader) -> Result<Self, &'static str> {
        let track = format
            .default_track(TrackType::Audio)
            .ok_or("no audio track")?;
        let parameters = track
            .codec_params
            .as_ref()
            .and_then(|parameters| parameters.audio())
            .cloned()
            .ok_or("the audio track has no codec")?;
        // Without an encoder's tag the length of an MP3 is guessed from its first frames, and it would be cut there.
        let guessed = matches!(parameters.codec, CODEC_ID_MP1 | CODEC_ID_MP2 | CODEC_ID_MP3)
            && track.delay.is_none()
            && track.padding.is_none();
        Ok(Self {
            id: track.id,
            parameters,
            samples: track.num_frames.filter(|_| !guessed),
            guessed,
        })
    }

    fn decoder(&self) -> Result<Box<dyn AudioDecoder>, DecodeError> {
        let options = AudioDecoderOptions::default().gapless(!self.guessed);
        symphonia::default::get_codecs().make_audio_decoder(&self.parameters, &options)
    }
}

fn first_bytes(path: &Path) -> String {
    let mut start = [0_u8; 8];
    let read = File::open(path)
        .and_then(|mut file| file.read(&mut start))
        .unwrap_or(0);
    format!("\"{}\"", start[..read].escape_ascii())
}
