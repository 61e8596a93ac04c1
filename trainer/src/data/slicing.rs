//! Long takes into clips, cut at their silences, in bounded memory.
//!
//! Two passes over the file: the first keeps one level per 10 ms (4 MB for
//! three hours), [`plan`] decides on it alone, the second writes the clips.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::audio::{AudioReader, AudioScan, ReadOptions, SampleKind, WavFile, mix_to_mono, scan};
use super::features::FRAMES_PER_SECOND;

/// How takes are cut.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SliceSettings {
    /// Level in dBFS below which a frame is silence; found from the take unless given.
    pub threshold_db: Option<f32>,
    /// Shorter clips are dropped.
    pub min_s: f32,
    /// Longer sounds are cut at their quietest moment.
    pub max_s: f32,
    /// Shorter silences stay inside a clip.
    pub pause_s: f32,
    /// Silence kept before and after a sound.
    pub margin_s: f32,
}

impl Default for SliceSettings {
    fn default() -> Self {
        Self {
            threshold_db: None,
            min_s: 1.0,
            max_s: 15.0,
            pause_s: 0.35,
            margin_s: 0.1,
        }
    }
}

impl SliceSettings {
    /// Whether the numbers can be meant together.
    ///
    /// # Errors
    /// Says which cannot.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.min_s > 0.0 && self.max_s >= 2.0 * self.min_s && self.max_s <= 600.0,
            "clips of {} s to {} s; expected the longest to be at least twice the shortest and at most 600 s",
            self.min_s,
            self.max_s
        );
        ensure!(
            self.pause_s >= 0.02 && self.margin_s >= 0.0 && self.margin_s * 2.0 <= self.pause_s,
            "a pause of {} s with margins of {} s; expected margins of at most half the pause",
            self.pause_s,
            self.margin_s
        );
        Ok(())
    }
}

/// A stretch of frames, `start..end`, 10 ms each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// First frame.
    pub start: usize,
    /// One past the last.
    pub end: usize,
}

impl Stretch {
    /// Number of frames.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.end - self.start
    }
}

/// The level of every 10 ms of the mono signal in dBFS.
///
/// # Errors
/// The recording is unusable.
pub fn frame_levels(path: &Path, about: &AudioScan, options: ReadOptions) -> Result<Vec<f32>> {
    let weights = about.mono_weights();
    let mut reader = AudioReader::open(path, options)?;
    let mut mono = Vec::new();
    let mut levels = Vec::new();
    let (mut energy, mut position) = (0.0_f64, 0_u64);
    let mut frame_start = 0_u64;
    let rate_hz = u64::from(about.rate_hz);
    let end_of = |frames: usize| (frames as u64 + 1) * rate_hz / u64::from(FRAMES_PER_SECOND);
    let mut frame_end = end_of(0);
    while let Some(packet) = reader.next_packet()? {
        mono.clear();
        mix_to_mono(packet, &weights, &mut mono);
        for &sample in &mono {
            energy += f64::from(sample) * f64::from(sample);
            position += 1;
            if position == frame_end {
                let mean = energy / (frame_end - frame_start) as f64;
                levels.push((10.0 * (mean + 1e-12).log10()) as f32);
                energy = 0.0;
                frame_start = frame_end;
                frame_end = end_of(levels.len());
            }
        }
    }
    Ok(levels)
}

/// What is quieter than this is silence in any take: the hiss of a microphone lies there.
const SILENCE_DB: f32 = -60.0;

/// Level below which a frame of this take counts as silence.
///
/// The take's own noise (its 10th percentile) plus 8 dB, but between 50 dB and
/// 25 dB below its loud parts (95th percentile): a take without pauses must
/// not lose its quiet notes, nor a noisy one count its noise as sound. At
/// least [`SILENCE_DB`].
#[must_use]
pub fn automatic_threshold_db(levels_db: &[f32]) -> f32 {
    let mut levels = levels_db.to_vec();
    let noise_db = super::dataset::percentile(&mut levels, 0.10);
    let loud_db = super::dataset::percentile(&mut levels, 0.95);
    (noise_db + 8.0)
        .clamp(loud_db - 50.0, loud_db - 25.0)
        .max(SILENCE_DB)
}

/// Decides where to cut.
///
/// Every sound of the take lies in exactly one stretch or in none if it is
/// shorter than the shortest clip; no stretch is longer than the longest.
#[must_use]
pub fn plan(levels_db: &[f32], settings: &SliceSettings) -> Vec<Stretch> {
    let frames = |seconds: f32| (seconds * FRAMES_PER_SECOND as f32).round() as usize;
    let threshold_db = settings
        .threshold_db
        .unwrap_or_else(|| automatic_threshold_db(levels_db));
    let margin = frames(settings.margin_s);
    let mut sounds: Vec<Stretch> = Vec::new();
    for (frame, &level_db) in levels_db.iter().enumerate() {
        if level_db < threshold_db {
            continue;
        }
        match sounds.last_mut() {
            Some(sound) if frame - sound.end < frames(settings.pause_s) => sound.end = frame + 1,
            _ => sounds.push(Stretch {
                start: frame,
                end: frame + 1,
            }),
        }
    }
    let shortest = frames(settings.min_s);
    let longest = frames(settings.max_s);
    let mut clips = Vec::new();
    for sound in sounds {
        let mut rest = Stretch {
            start: sound.start.saturating_sub(margin),
            end: (sound.end + margin).min(levels_db.len()),
        };
        while rest.frames() > longest {
            let cut = quietest(
                levels_db,
                rest.start + shortest,
                (rest.start + longest).min(rest.end - shortest),
            );
            clips.push(Stretch {
                start: rest.start,
                end: cut,
            });
            rest.start = cut;
        }
        if rest.frames() >= shortest {
            clips.push(rest);
        }
    }
    clips
}

/// Frame with the lowest level over 50 ms in `from..=to`; later ones win ties, for longer clips.
fn quietest(levels_db: &[f32], from: usize, to: usize) -> usize {
    let around = |frame: usize| {
        let start = frame.saturating_sub(2);
        let end = (frame + 3).min(levels_db.len());
        levels_db[start..end].iter().sum::<f32>() / (end - start) as f32
    };
    let mut best = (from, f32::INFINITY);
    for frame in from..=to.max(from) {
        let level_db = around(frame);
        if level_db <= best.1 {
            best = (frame, level_db);
        }
    }
    best.0
}

/// Cuts a take into mono clips `FOLDER/NAME_0001.wav`, … at its own rate; returns them.
///
/// Clips that are there already are written anew, whole or not at all.
///
/// # Errors
/// The recording is unusable or the disk full.
pub fn slice(
    path: &Path,
    folder: &Path,
    name: &str,
    settings: &SliceSettings,
    options: ReadOptions,
    advance: &mut dyn FnMut(f64),
) -> Result<Vec<PathBuf>> {
    settings.check()?;
    let about = scan(path, options)?;
    let levels_db = frame_levels(path, &about, options)?;
    let stretches = plan(&levels_db, settings);
    let rate_hz = u64::from(about.rate_hz);
    let sample_at = |frame: usize| frame as u64 * rate_hz / u64::from(FRAMES_PER_SECOND);
    let weights = about.mono_weights();
    let mut reader = AudioReader::open(path, options)?;
    let mut mono = Vec::new();
    let mut written = Vec::new();
    let mut open: Option<(WavFile, PathBuf)> = None;
    let mut next = 0;
    let mut position = 0_u64;
    while let Some(packet) = reader.next_packet()? {
        mono.clear();
        mix_to_mono(packet, &weights, &mut mono);
        let packet_end = position + mono.len() as u64;
        let mut at = position;
        while at < packet_end && next < stretches.len() {
            let stretch = stretches[next];
            let (start, end) = (sample_at(stretch.start), sample_at(stretch.end));
            if start >= packet_end {
                break;
            }
            let from = at.max(start);
            let to = end.min(packet_end);
            if open.is_none() {
                let clip = folder.join(format!("{name}_{:04}.wav", next + 1));
                open = Some((
                    WavFile::create(&clip, about.rate_hz, 1, SampleKind::Float32)?,
                    clip,
                ));
            }
            if let Some((file, _)) = &mut open {
                file.write(&[&mono[(from - position) as usize..(to - position) as usize]])?;
            }
            at = to;
            if to == end {
                if let Some((file, clip)) = open.take() {
                    file.finish()?;
                    written.push(clip);
                }
                next += 1;
            }
        }
        advance(mono.len() as f64 / rate_hz as f64);
        position = packet_end;
    }
    if let Some((file, clip)) = open.take() {
        file.finish()?;
        written.push(clip);
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(pattern: &[(usize, f32)]) -> Vec<f32> {
        pattern
            .iter()
            .flat_map(|&(frames, level_db)| std::iter::repeat_n(level_db, frames))
            .collect()
    }

    #[test]
    fn sounds_are_cut_at_pauses_and_keep_a_margin() {
        let levels = take(&[
            (100, -70.0),
            (300, -20.0),
            (20, -70.0),
            (100, -20.0),
            (100, -70.0),
            (200, -20.0),
        ]);
        let clips = plan(&levels, &SliceSettings::default());
        assert_eq!(
            clips,
            vec![
                Stretch {
                    start: 90,
                    end: 530
                },
                Stretch {
                    start: 610,
                    end: 820
                }
            ]
        );
    }

    #[test]
    fn a_long_sound_is_cut_at_its_quietest_moment() {
        let mut levels = take(&[(100, -70.0), (2000, -20.0), (100, -70.0)]);
        levels[1200..1210].fill(-32.0);
        let clips = plan(&levels, &SliceSettings::default());
        assert_eq!(clips.len(), 2);
        assert!((1200..1210).contains(&clips[0].end), "{clips:?}");
        assert_eq!(clips[0].end, clips[1].start);
    }

    #[test]
    fn no_clip_is_longer_or_shorter_than_asked() {
        let settings = SliceSettings::default();
        // Hours of steady sound: every cut is a tie.
        let levels = take(&[(50, -80.0), (123_457, -20.0), (50, -80.0)]);
        let clips = plan(&levels, &settings);
        assert!(
            clips
                .iter()
                .all(|clip| (100..=1500).contains(&clip.frames()))
        );
        let covered: usize = clips.iter().map(Stretch::frames).sum();
        assert!(covered >= 123_457, "{covered} frames are in clips");
    }

    #[test]
    fn clicks_are_dropped_and_silence_gives_nothing() {
        let settings = SliceSettings::default();
        let levels = take(&[(200, -70.0), (3, -10.0), (200, -70.0)]);
        assert_eq!(plan(&levels, &settings), vec![]);
        assert_eq!(plan(&[], &settings), vec![]);
    }
}
