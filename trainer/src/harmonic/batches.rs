//! The crops that a harmonic voice learns from, made ahead of its steps.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use super::dataset::{Singing, VoiceBatch};
use super::fit::VoiceFitConfig;
use crate::model::excitation::Analyser;
use crate::model::harmonic::REFERENCE_F0_HZ;
use crate::random::Random;
use crate::training::clips::VoiceClip;

/// F0 of a crop that another speaker sings is moved by the speakers' medians and up to this much more or less.
const CROSSING_SEMITONES: f32 = 3.0;
/// Keeps the draws of crossed crops apart from those of the others.
const CROSSING_SEED: u64 = 0x6372_6f73_7365_6421;

/// Crops of a step.
pub(super) struct Batch {
    pub(super) own: VoiceBatch,
    /// The first of them, each sung by another speaker.
    pub(super) crossed: Option<VoiceBatch>,
}

/// Median F0 of a speaker's clips; that of the reference where nothing is voiced.
fn median_f0_hz(clips: &[VoiceClip], speaker: usize) -> f32 {
    let own = clips.iter().filter(|c| c.speaker == speaker && !c.held_out);
    let mut voiced: Vec<f32> = own
        .flat_map(|clip| clip.f0_hz.iter().copied())
        .filter(|&f0| f0 > 0.0)
        .collect();
    voiced.sort_by(f32::total_cmp);
    voiced
        .get(voiced.len() / 2)
        .copied()
        .unwrap_or(REFERENCE_F0_HZ)
}

/// Batches from `first_step` on, made ahead by a thread; batch `n` depends only on the seed and `n`.
pub(super) fn batch_stream(
    clips: Arc<Vec<VoiceClip>>,
    config: VoiceFitConfig,
    first_step: u64,
) -> Receiver<Batch> {
    let (sender, receiver) = sync_channel(2);
    std::thread::spawn(move || {
        let analyser = Analyser::default();
        let speakers = config.network.speakers;
        // Clips of each speaker by cumulative length.
        let tables: Vec<Vec<(usize, usize)>> = (0..speakers)
            .map(|speaker| {
                let mut sum = 0;
                clips
                    .iter()
                    .enumerate()
                    .filter(|(_, clip)| {
                        clip.speaker == speaker && !clip.held_out && clip.frames() > 0
                    })
                    .map(|(i, clip)| {
                        sum += clip.frames();
                        (i, sum)
                    })
                    .collect()
            })
            .collect();
        let weights: Vec<f32> = (0..speakers)
            .map(|s| {
                if tables[s].is_empty() {
                    0.0
                } else {
                    config.speaker_weights.get(s).copied().unwrap_or(1.0)
                }
            })
            .collect();
        let total: f32 = weights.iter().sum();
        let median_hz: Vec<f32> = (0..speakers).map(|s| median_f0_hz(&clips, s)).collect();
        for step in first_step.. {
            let mut batch = VoiceBatch::new(config.frames);
            let mut crossed = VoiceBatch::new(config.frames);
            let singers = weights.iter().filter(|&&w| w > 0.0).count();
            let crosses = step >= config.critics_from && singers > 1;
            for row in 0..config.batch as u64 {
                let mut random = Random::new(config.seed, step * config.batch as u64 + row);
                let mut pick = random.unit() * total;
                let speaker = weights.iter().position(|&w| {
                    pick -= w;
                    w > 0.0 && pick < 0.0
                });
                let table = &tables[speaker.unwrap_or_else(|| {
                    weights
                        .iter()
                        .position(|&w| w > 0.0)
                        .expect("some speaker has clips")
                })];
                let place = random.below(table.last().map_or(1, |t| t.1));
                let clip = &clips[table[table.partition_point(|t| t.1 <= place)].0];
                let first = random.below(clip.frames().saturating_sub(config.frames) + 1);
                batch.push(clip, first, &analyser, &mut random, false);
                if crosses && row < config.crossed_crops as u64 {
                    let seed = config.seed ^ CROSSING_SEED;
                    let mut random = Random::new(seed, step * config.batch as u64 + row);
                    let others: Vec<usize> = (0..speakers)
                        .filter(|&s| s != clip.speaker && weights[s] > 0.0)
                        .collect();
                    let named = others.iter().filter(|s| config.crossing.contains(s));
                    let named: Vec<usize> = named.copied().collect();
                    let singers = if named.is_empty() { &others } else { &named };
                    let singer = singers[random.below(singers.len())];
                    let moved = random.uniform(-CROSSING_SEMITONES, CROSSING_SEMITONES);
                    let registers = median_hz[singer] / median_hz[clip.speaker];
                    let singing = Singing {
                        speaker: singer,
                        f0_ratio: registers * (moved / 12.0).exp2(),
                    };
                    crossed.push_sung_by(singing, clip, first, &analyser, &mut random, false);
                }
            }
            let crossed = (crossed.size > 0).then_some(crossed);
            if sender
                .send(Batch {
                    own: batch,
                    crossed,
                })
                .is_err()
            {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::harmonic::HOP_SAMPLES;

    /// Two seconds that never repeat, sung at `f0_hz`.
    fn clip(speaker: usize, f0_hz: f32) -> VoiceClip {
        let frames = 200;
        let mut random = Random::new(7, speaker as u64);
        VoiceClip {
            speaker,
            name: speaker.to_string(),
            contents: vec![(0..frames * 2).map(|_| random.normal()).collect()],
            f0_hz: vec![f0_hz; frames],
            loudness_db: vec![-20.0; frames],
            audio: (0..frames * HOP_SAMPLES).map(|_| random.normal()).collect(),
            held_out: false,
        }
    }

    #[test]
    fn a_crossed_crop_is_the_same_place_sung_by_another_in_their_register() {
        let config = VoiceFitConfig {
            batch: 4,
            frames: 20,
            critics_from: 1,
            crossed_crops: 3,
            ..VoiceFitConfig::standard(2, 3)
        };
        // The third speaker has no recordings: nobody to take a register from, so nobody to sing.
        let clips = Arc::new(vec![clip(0, 100.0), clip(1, 400.0)]);
        let batches = batch_stream(clips, config, 0);
        assert!(batches.recv().unwrap().crossed.is_none(), "no critics yet");
        for _ in 0..8 {
            let Batch { own, crossed } = batches.recv().unwrap();
            let crossed = crossed.unwrap();
            assert_eq!((own.size, crossed.size), (4, 3));
            for row in 0..crossed.size {
                assert_eq!(crossed.speakers[row], 1 - own.speakers[row]);
                let samples = |batch: &VoiceBatch| {
                    let count = batch.frames * HOP_SAMPLES;
                    batch.audio[row * count..(row + 1) * count].to_vec()
                };
                let (a, b) = (samples(&own), samples(&crossed));
                let product = |a: &[f32], b: &[f32]| -> f64 {
                    let products = a.iter().zip(b).map(|(a, b)| f64::from(a * b));
                    products.sum()
                };
                let alike = product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt();
                assert!(alike > 0.999, "{alike}");
                // Two octaves between the registers, up to half a one between the two views of F0, a quarter of the draw.
                let pitch = |batch: &VoiceBatch| batch.pitch[row * batch.frames * 2];
                let octaves = pitch(&crossed) - pitch(&own);
                let between = if own.speakers[row] == 0 { 2.0 } else { -2.0 };
                assert!((octaves - between).abs() <= 0.76, "{octaves}");
            }
        }
    }

    #[test]
    fn of_a_crowd_those_who_are_named_sing_and_their_own_crops_are_sung_by_the_others() {
        let config = VoiceFitConfig {
            batch: 4,
            frames: 20,
            critics_from: 0,
            crossed_crops: 4,
            crossing: vec![1],
            ..VoiceFitConfig::standard(2, 3)
        };
        let clips = Arc::new(vec![clip(0, 100.0), clip(1, 200.0), clip(2, 300.0)]);
        let batches = batch_stream(clips, config, 0);
        let mut seen = [0; 3];
        for _ in 0..8 {
            let Batch { own, crossed } = batches.recv().unwrap();
            for (&own, &singer) in own.speakers.iter().zip(&crossed.unwrap().speakers) {
                assert!(own != singer && (own == 1 || singer == 1), "{own} {singer}");
                seen[own] += 1;
            }
        }
        assert!(seen.iter().all(|&crops| crops > 0), "{seen:?}");
    }
}
