//! Readings of clips as retrieval pulls them when the voice is played.
//!
//! What is played is pulled towards frames of the speaker (`timbra_engine::blend`): some of who sang goes, and so does some of
//! how it was sung. A voice that has heard contents like these can be pulled a little further before words are lost. kNN-VC trains
//! its vocoder so ("prematched"), with the pull all the way.
//!
//! Source: M. Baas, B. van Niekerk, H. Kamper, "Voice Conversion With Just Nearest Neighbors", Interspeech 2023.

use rayon::prelude::*;
use timbra_engine::blend::{Blender, Nearness, SearchTables};
use timbra_voice::manifest::MAX_SPEAKERS;
use timbra_voice::tables::{SpeakerTables, Table};

use super::clips::VoiceClip;
use super::progress::bar;

/// Most frames of other clips that a clip is pulled to: what a voice's table has.
const MOST_ROWS: usize = 6_000;
/// A speaker with fewer in other clips is not pulled: 15 s, of which most sounds are missing.
const LEAST_ROWS: usize = 1_500;
/// Frames this far below a clip's loudest are silence and say nothing about the voice.
const SILENCE_DB: f32 = 50.0;

/// Adds to every clip that is not held out what each of its readings, of `channels` numbers a frame, is when it is pulled `ratio` (0..1)
/// of the way to frames of the speaker's other clips. Its own would be nearest, and are not there when others sing.
///
/// Speakers with little in other clips stay as they are.
pub fn add_pulled(clips: &mut [VoiceClip], channels: usize, ratio: f32) {
    if channels == 0 || ratio <= 0.0 {
        return;
    }
    let speakers = clips.iter().map(|clip| clip.speaker + 1).max().unwrap_or(0);
    let sounding: Vec<Sounding> = (0..speakers)
        .map(|speaker| Sounding::of(clips, speaker, channels))
        .collect();
    let progress = bar(clips.len() as u64, "clips pulled");
    let pulled: Vec<Vec<Vec<f32>>> = clips
        .par_iter()
        .enumerate()
        .map(|(index, clip)| {
            let readings = sounding[clip.speaker]
                .without(index)
                .filter(|_| !clip.held_out)
                .map(|tables| {
                    let readings = clip.contents.iter();
                    let pulled = readings.map(|reading| pull(reading, channels, &tables, ratio));
                    pulled.collect()
                });
            progress.inc(1);
            readings.unwrap_or_default()
        })
        .collect();
    progress.finish_and_clear();
    for (clip, pulled) in clips.iter_mut().zip(pulled) {
        clip.contents.extend(pulled);
    }
}

/// Frames of one speaker that sound, with the clips they come from.
struct Sounding {
    channels: usize,
    clips: Vec<usize>,
    rows: Vec<f32>,
}

impl Sounding {
    fn of(clips: &[VoiceClip], speaker: usize, channels: usize) -> Self {
        let own = |clip: &VoiceClip| clip.speaker == speaker && !clip.held_out;
        let total: usize = clips
            .iter()
            .filter(|clip| own(clip))
            .map(VoiceClip::frames)
            .sum();
        // Evenly over all of them.
        let every = total.div_ceil(MOST_ROWS).max(1);
        let mut found = Self {
            channels,
            clips: Vec::new(),
            rows: Vec::new(),
        };
        let mut passed = 0;
        for (index, clip) in clips.iter().enumerate().filter(|(_, clip)| own(clip)) {
            let loudest_db = clip.loudness_db.iter().copied().fold(f32::MIN, f32::max);
            let frames = clip
                .contents
                .first()
                .map_or(&[][..], |content| &content[..]);
            for (row, &loudness_db) in frames.chunks_exact(channels).zip(&clip.loudness_db) {
                passed += 1;
                if passed % every == 0 && loudness_db > loudest_db - SILENCE_DB {
                    found.clips.push(index);
                    found.rows.extend_from_slice(row);
                }
            }
        }
        found
    }

    /// The table of what does not come from clip `index`; `None` when that is little.
    fn without(&self, index: usize) -> Option<SearchTables> {
        let rows = self.rows.chunks_exact(self.channels).zip(&self.clips);
        let data: Vec<f32> = rows
            .filter(|(_, clip)| **clip != index)
            .flat_map(|(row, _)| row)
            .copied()
            .collect();
        let rows = data.len() / self.channels;
        (rows >= LEAST_ROWS).then(|| {
            SearchTables::from(SpeakerTables {
                tables: vec![Some(Table {
                    rows,
                    channels: self.channels,
                    data,
                })],
            })
        })
    }
}

fn pull(reading: &[f32], channels: usize, tables: &SearchTables, ratio: f32) -> Vec<f32> {
    let mut mix = [0.0; MAX_SPEAKERS];
    mix[0] = 1.0;
    let mut blender = Blender::default();
    let mut pulled = reading.to_vec();
    for frame in pulled.chunks_exact_mut(channels) {
        blender.towards_neighbours(frame, tables, &mix, ratio, Nearness::SquaredDistance);
    }
    pulled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(speaker: usize, value: f32, frames: usize) -> VoiceClip {
        VoiceClip {
            speaker,
            name: String::new(),
            contents: vec![vec![value; 2 * frames], vec![value + 10.0; 2 * frames]],
            f0_hz: vec![0.0; frames],
            loudness_db: vec![-20.0; frames],
            audio: Vec::new(),
            held_out: false,
        }
    }

    #[test]
    fn every_reading_is_pulled_to_the_speakers_other_clips_and_never_to_its_own() {
        let held_out = VoiceClip {
            held_out: true,
            ..clip(0, 5.0, 100)
        };
        let mut clips = [
            clip(0, 0.0, 2_000),
            clip(0, 4.0, 2_000),
            held_out,
            clip(1, 1.0, 9_000),
        ];
        add_pulled(&mut clips, 2, 0.25);
        let of = |index: usize| clips[index].contents.iter().map(|reading| reading[0]);
        let of = |index: usize| of(index).collect::<Vec<f32>>();
        assert_eq!(of(0), [0.0, 10.0, 1.0, 8.5]);
        assert_eq!(of(1), [4.0, 14.0, 3.0, 10.5]);
        // It is judged as it is, and who has one clip has nothing to be pulled to.
        assert_eq!(of(2), [5.0, 15.0]);
        assert_eq!(of(3), [1.0, 11.0]);
    }

    #[test]
    fn silence_is_in_no_table() {
        let mut silent = clip(0, 100.0, 2_000);
        silent.loudness_db[1..].fill(-90.0);
        let mut clips = [clip(0, 0.0, 2_000), clip(0, 1.0, 2_000), silent];
        add_pulled(&mut clips, 2, 1.0);
        assert!((clips[0].contents[2][0] - 1.0).abs() < 1e-3);
        assert!(clips[2].contents[2][0] < 2.0);
    }
}
