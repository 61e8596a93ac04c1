//! Batches of clips: of like lengths, fair to every speaker, the same for the same seed and step.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use anyhow::{Context, Result};
use timbra_dsp::f0::bridge_unvoiced;
use timbra_dsp::resample::resample_all;

use super::config::VitsFitConfig;
use super::spectrum::LinearSpectrum;
use crate::data::features::FRAMES_PER_SECOND;
use crate::random::Random;
use crate::training::clips::VoiceClip;

/// Lengths are sorted into this many buckets; clips of one batch come from one.
const BUCKETS: usize = 4;
/// The auto-F0 decoder sees F0 lines scaled between these.
const F0_FACTORS: (f32, f32) = (0.8, 1.2);
/// Quieter than this is this loud.
const SILENCE_DB: f32 = -120.0;

/// A batch as flat arrays.
#[derive(Debug, Clone, Default)]
pub struct VitsBatch {
    /// Clips (B).
    pub size: usize,
    /// Frames of the longest (T).
    pub frames: usize,
    /// Frames of each.
    pub lengths: Vec<usize>,
    /// Speaker of each.
    pub speakers: Vec<usize>,
    /// `[B, C, T]`.
    pub content: Vec<f32>,
    /// Hz; where there is no voice going on or 0, as the voice wants it, `[B, 1, T]`.
    pub f0_hz: Vec<f32>,
    /// `[B, 1, T]`.
    pub voiced: Vec<f32>,
    /// Amplitude, `[B, 1, T]`.
    pub loudness: Vec<f32>,
    /// Linear spectrogram, `[B, bins, T]`.
    pub spectrum: Vec<f32>,
    /// Normal noise of the posterior, `[B, inter, T]`.
    pub posterior_noise: Vec<f32>,
    /// Factor of the F0 line the auto-F0 decoder sees, `[B, 1, 1]`.
    pub f0_factor: Vec<f32>,
    /// First frame of the part of each that is sung.
    pub segments: Vec<usize>,
    /// The recording of that part, `[B, 1, segment · hop]`.
    pub audio: Vec<f32>,
    /// Normal noise of the source, `[B, 1, segment · hop]`.
    pub source_noise: Vec<f32>,
}

/// A part of a clip, read at the frames of the voice.
#[derive(Debug, Clone)]
pub struct Part {
    /// `[T, C]`.
    pub content: Vec<f32>,
    /// Hz, 0 where unvoiced.
    pub f0_hz: Vec<f32>,
    /// dBFS.
    pub loudness_db: Vec<f32>,
    /// `T · hop` samples.
    pub audio: Vec<f32>,
}

/// How a part is read.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Which of the clip's readings of its content.
    pub content: usize,
    /// Playback speed; above 1 is shorter and higher.
    pub speed: f64,
    /// Gain in dB.
    pub gain_db: f32,
}

impl Reading {
    /// The recording as it is.
    pub const PLAIN: Self = Self {
        content: 0,
        speed: 1.0,
        gain_db: 0.0,
    };
}

/// `frames` frames of `clip` from frame `first` of the voice on. What lies beyond the clip is silent.
///
/// # Errors
/// The speed makes a rate that cannot be resampled.
pub fn read(
    clip: &VoiceClip,
    first: usize,
    frames: usize,
    (rate_hz, hop): (u32, usize),
    reading: Reading,
) -> Result<Part> {
    let channels = clip.contents[0].len() / clip.frames().max(1);
    let content = &clip.contents[reading.content.min(clip.contents.len() - 1)];
    let start = first * hop;
    let last = clip.frames().saturating_sub(1);
    let per_sample = f64::from(FRAMES_PER_SECOND) / f64::from(rate_hz);
    let mut part = Part {
        content: Vec::with_capacity(frames * channels),
        f0_hz: Vec::with_capacity(frames),
        loudness_db: Vec::with_capacity(frames),
        audio: Vec::new(),
    };
    for frame in 0..frames {
        let sample = start as f64 + (frame * hop) as f64 * reading.speed;
        let place = (sample * per_sample).min(last as f64);
        let below = place as usize;
        let above = (below + 1).min(last);
        let share = (place - below as f64) as f32;
        let line = |a: f32, b: f32| a + share * (b - a);
        part.content.extend(
            (0..channels)
                .map(|c| line(content[below * channels + c], content[above * channels + c])),
        );
        let (a, b) = (clip.f0_hz[below], clip.f0_hz[above]);
        let f0_hz = if a > 0.0 && b > 0.0 {
            a * (b / a).powf(share)
        } else if share < 0.5 {
            a
        } else {
            b
        };
        part.f0_hz.push(f0_hz * reading.speed as f32);
        let db = line(clip.loudness_db[below], clip.loudness_db[above]);
        part.loudness_db.push(db + reading.gain_db);
    }
    let samples = frames * hop;
    let span = (samples as f64 * reading.speed).ceil() as usize;
    let from = start.min(clip.audio.len());
    let recorded = &clip.audio[from..(start + span).min(clip.audio.len())];
    part.audio = if reading.speed == 1.0 {
        recorded.to_vec()
    } else {
        let played_hz = (f64::from(rate_hz) * reading.speed).round() as u32;
        resample_all(recorded, played_hz, rate_hz)?
    };
    part.audio.resize(samples, 0.0);
    let gain = 10f32.powf(reading.gain_db / 20.0);
    part.audio.iter_mut().for_each(|sample| *sample *= gain);
    Ok(part)
}

/// dBFS to amplitude, as the exported graph has it.
#[must_use]
pub fn amplitude(db: f32) -> f32 {
    10f32.powf(db.max(SILENCE_DB) / 20.0)
}

/// What every batch of a run is made with.
#[derive(Debug, Clone)]
pub struct BatchMaker {
    clips: Arc<Vec<VoiceClip>>,
    config: VitsFitConfig,
    spectrum: LinearSpectrum,
    /// By bucket and speaker: clips with the sum of lengths up to and with them.
    tables: Vec<Vec<Vec<(usize, usize)>>>,
    /// By bucket: frames of all its clips.
    weights: Vec<usize>,
}

impl BatchMaker {
    /// From the clips that are not held out and long enough for a segment; `None` when there is none.
    #[must_use]
    pub fn new(clips: Arc<Vec<VoiceClip>>, config: &VitsFitConfig) -> Option<Self> {
        let hop = config.network.hop_samples();
        let mut tables = vec![vec![Vec::new(); config.network.speakers]; BUCKETS];
        let mut weights = vec![0; BUCKETS];
        for (index, clip) in clips.iter().enumerate() {
            let frames = clip.audio.len() / hop;
            if clip.held_out || frames < config.segment_frames || clip.frames() == 0 {
                continue;
            }
            let length = frames.min(config.frames);
            let bucket = (length * BUCKETS / config.frames).min(BUCKETS - 1);
            let table: &mut Vec<(usize, usize)> = &mut tables[bucket][clip.speaker];
            let sum = table.last().map_or(0, |&(_, sum)| sum) + frames;
            table.push((index, sum));
            weights[bucket] += frames;
        }
        weights.iter().any(|&weight| weight > 0).then_some(Self {
            clips,
            config: config.clone(),
            spectrum: LinearSpectrum::new(hop),
            tables,
            weights,
        })
    }

    /// The batch that one of several devices takes in a step; one device is `(0, 1)`.
    ///
    /// # Errors
    /// As [`read`].
    pub fn batch(&self, step: u64, (device, devices): (u64, u64)) -> Result<VitsBatch> {
        let config = &self.config;
        let mut random = Random::new(config.seed, step * devices + device);
        let mut place = random.below(self.weights.iter().sum());
        let bucket = self.weights.iter().position(|&weight| {
            let here = place < weight;
            place = place.saturating_sub(weight);
            here
        });
        let tables: Vec<&Vec<(usize, usize)>> = self.tables[bucket.unwrap_or(BUCKETS - 1)]
            .iter()
            .filter(|table| !table.is_empty())
            .collect();
        let chosen: Vec<&VoiceClip> = (0..config.batch)
            .map(|_| {
                let table = tables[random.below(tables.len())];
                let place = random.below(table.last().map_or(1, |&(_, sum)| sum));
                &self.clips[table[table.partition_point(|&(_, sum)| sum <= place)].0]
            })
            .collect();
        self.assemble(&chosen, &mut random)
    }

    fn assemble(&self, chosen: &[&VoiceClip], random: &mut Random) -> Result<VitsBatch> {
        let config = &self.config;
        let spec = &config.network;
        let (hop, segment) = (spec.hop_samples(), config.segment_frames);
        let readings: Vec<Reading> = chosen
            .iter()
            .map(|clip| Reading {
                content: random.below(clip.contents.len()),
                speed: 2f64.powf(
                    f64::from(random.uniform(-config.pitch_semitones, config.pitch_semitones))
                        / 12.0,
                ),
                gain_db: random.uniform(-config.gain_db, config.gain_db),
            })
            .collect();
        let lengths: Vec<usize> = chosen
            .iter()
            .zip(&readings)
            .map(|(clip, reading)| {
                let frames = (clip.audio.len() as f64 / reading.speed) as usize / hop;
                frames.clamp(segment, config.frames)
            })
            .collect();
        let frames = lengths.iter().copied().max().unwrap_or(segment);
        let size = chosen.len();
        let mut batch = VitsBatch {
            size,
            frames,
            content: vec![0.0; size * spec.content_channels * frames],
            spectrum: vec![0.0; size * spec.spectrum_bins * frames],
            ..VitsBatch::default()
        };
        for (row, ((clip, &reading), &length)) in
            chosen.iter().zip(&readings).zip(&lengths).enumerate()
        {
            let all = (clip.audio.len() as f64 / reading.speed) as usize / hop;
            let first = random.below(all.saturating_sub(length) + 1);
            // The first frame counts in frames of the recording as it is.
            let first = ((first as f64 * reading.speed) as usize).min(clip.audio.len() / hop);
            let mut part = read(clip, first, length, (spec.rate_hz, hop), reading)
                .with_context(|| clip.name.clone())?;
            for (frame, content) in part.content.chunks_exact(spec.content_channels).enumerate() {
                for (channel, &value) in content.iter().enumerate() {
                    let row = (row * spec.content_channels + channel) * frames;
                    batch.content[row + frame] = value;
                }
            }
            let spectrum = self.spectrum.of(&part.audio);
            for (bin, line) in spectrum.chunks_exact(length).enumerate() {
                let row = (row * spec.spectrum_bins + bin) * frames;
                batch.spectrum[row..row + length].copy_from_slice(line);
            }
            let padded = |values: &mut dyn Iterator<Item = f32>| {
                let mut line: Vec<f32> = values.collect();
                line.resize(frames, 0.0);
                line
            };
            let voiced = part.f0_hz.iter().map(|&f0| f32::from(f0 > 0.0));
            batch.voiced.extend(padded(&mut { voiced }));
            if spec.continuous_f0 {
                bridge_unvoiced(&mut part.f0_hz, 0.0);
            }
            batch.f0_hz.extend(padded(&mut part.f0_hz.iter().copied()));
            let loudness = part.loudness_db.iter().map(|&db| amplitude(db));
            batch.loudness.extend(padded(&mut { loudness }));
            let start = random.below(length - segment + 1);
            batch.segments.push(start);
            batch
                .audio
                .extend_from_slice(&part.audio[start * hop..(start + segment) * hop]);
            batch.speakers.push(clip.speaker);
            batch
                .f0_factor
                .push(random.uniform(F0_FACTORS.0, F0_FACTORS.1));
        }
        let mut normal = |count: usize| (0..count).map(|_| random.normal()).collect();
        batch.posterior_noise = normal(size * spec.inter_channels * frames);
        batch.source_noise = normal(size * segment * hop);
        batch.lengths = lengths;
        Ok(batch)
    }
}

/// Batches from `first_step` on, made ahead by a thread; it ends with the first that cannot be made.
#[must_use]
pub fn stream(
    maker: BatchMaker,
    first_step: u64,
    device: (u64, u64),
) -> Receiver<Result<VitsBatch>> {
    let (sender, receiver) = sync_channel(2);
    std::thread::spawn(move || {
        for step in first_step.. {
            let batch = maker.batch(step, device);
            let failed = batch.is_err();
            if sender.send(batch).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::super::config::{Size, VoiceShape, spec};
    use super::*;

    fn clip(speaker: usize, frames: usize, f0_hz: f32) -> VoiceClip {
        let rate = 24_000.0;
        let turn = std::f32::consts::TAU * f0_hz / rate;
        VoiceClip {
            speaker,
            name: format!("clip of {frames}"),
            contents: vec![(0..frames * 4).map(|n| (n / 4) as f32).collect()],
            f0_hz: vec![f0_hz; frames],
            loudness_db: vec![-20.0; frames],
            audio: (0..frames * 240)
                .map(|n| 0.1 * (turn * n as f32).sin())
                .collect(),
            held_out: false,
        }
    }

    fn config() -> VitsFitConfig {
        let shape = VoiceShape {
            content_channels: 4,
            speakers: 2,
            rate_hz: 24_000,
            loudness: true,
            auto_f0: false,
        };
        VitsFitConfig {
            batch: 4,
            ..VitsFitConfig::standard(Size::Tiny, spec(Size::Tiny, shape).unwrap())
        }
    }

    #[test]
    fn a_part_is_read_where_it_is() {
        let clip = clip(0, 100, 200.0);
        let part = read(&clip, 7, 10, (24_000, 240), Reading::PLAIN).unwrap();
        assert_eq!(part.content[0], 7.0);
        assert_eq!(part.content[9 * 4], 16.0);
        assert_eq!(part.audio, clip.audio[7 * 240..17 * 240]);
        // Another hop: frame 10 of 512 samples at 44.1 kHz is 116.1 ms.
        let part = read(&clip, 0, 11, (44_100, 512), Reading::PLAIN).unwrap();
        assert!((part.content[10 * 4] - 11.61).abs() < 0.01);
    }

    #[test]
    fn louder_is_louder_in_the_sound_and_in_what_is_said_of_it() {
        let clip = clip(0, 100, 200.0);
        let plain = read(&clip, 0, 40, (24_000, 240), Reading::PLAIN).unwrap();
        let reading = Reading {
            gain_db: 6.0,
            ..Reading::PLAIN
        };
        let part = read(&clip, 0, 40, (24_000, 240), reading).unwrap();
        for (louder, sample) in part.audio.iter().zip(&plain.audio) {
            assert!((louder - 1.995_262 * sample).abs() < 1e-6);
        }
        assert_eq!(part.loudness_db, [-14.0; 40]);
        assert_eq!((part.f0_hz, part.content), (plain.f0_hz, plain.content));
        // A run draws both: no two batches are as loud.
        let maker = BatchMaker::new(Arc::new(vec![clip]), &config()).unwrap();
        let level = |step| maker.batch(step, (0, 1)).unwrap().loudness[0];
        let levels: Vec<f32> = (0..8).map(level).collect();
        let (least, most) = (amplitude(-28.0), amplitude(-12.0));
        assert!(
            levels.iter().all(|level| (least..=most).contains(level)),
            "{levels:?}"
        );
        assert!(
            levels.windows(2).all(|pair| pair[0] != pair[1]),
            "{levels:?}"
        );
    }

    #[test]
    fn faster_is_higher_and_reads_on_faster() {
        let clip = clip(0, 100, 200.0);
        let reading = Reading {
            speed: 1.25,
            ..Reading::PLAIN
        };
        let part = read(&clip, 0, 40, (24_000, 240), reading).unwrap();
        assert_eq!(part.f0_hz[5], 250.0);
        assert_eq!(part.content[8 * 4], 10.0);
        let middle = &part.audio[2_000..6_800];
        let crossings = middle
            .windows(2)
            .filter(|w| w[0] < 0.0 && w[1] >= 0.0)
            .count();
        assert!(
            (49..=51).contains(&crossings),
            "{crossings} periods in 200 ms"
        );
    }

    #[test]
    fn batches_repeat_and_are_of_like_lengths_and_fair() {
        let config = config();
        let mut clips: Vec<_> = (0..9).map(|_| clip(0, 400, 200.0)).collect();
        clips.push(clip(1, 400, 100.0));
        clips.push(clip(0, 60, 200.0));
        clips.push(clip(1, 10, 100.0));
        let maker = BatchMaker::new(Arc::new(clips), &config).unwrap();
        let (mut second, mut short) = (0, 0);
        for step in 0..40 {
            let batch = maker.batch(step, (0, 1)).unwrap();
            assert_eq!(batch.audio, maker.batch(step, (0, 1)).unwrap().audio);
            let (low, high) = (batch.lengths.iter().min(), batch.lengths.iter().max());
            assert!(high.unwrap() - low.unwrap() <= config.frames / BUCKETS);
            second += batch
                .speakers
                .iter()
                .filter(|&&speaker| speaker == 1)
                .count();
            short += usize::from(batch.frames == 60);
            assert_eq!(
                batch.spectrum.len(),
                4 * config.network.spectrum_bins * batch.frames
            );
        }
        assert!(
            (50..110).contains(&second),
            "{second} of 160 of the speaker with a tenth of the clips"
        );
        assert!(short < 8, "{short} batches of the only short clip");
    }
}
