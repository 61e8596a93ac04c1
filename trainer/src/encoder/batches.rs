//! The crops that an encoder learns from, made ahead of its steps.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use rayon::prelude::*;

use super::augment::{Crop, crop};
use super::corpus::Corpus;
use super::fit::FitConfig;
use crate::model::mel::LogMel;
use crate::random::Random;

/// Crops of a step, one after the other.
pub(super) struct Batch {
    pub(super) mel: Vec<f32>,
    pub(super) classes: Vec<i32>,
    pub(super) sets: Vec<usize>,
    pub(super) envelopes: Vec<f32>,
    pub(super) active: Vec<f32>,
    pub(super) colour: Vec<f32>,
    pub(super) understood: Vec<f32>,
}

/// Crops as a batch.
pub(super) fn gather(crops: &[Crop]) -> Batch {
    let join = |part: fn(&Crop) -> &[f32]| crops.iter().flat_map(part).copied().collect();
    Batch {
        mel: join(|c| &c.mel),
        classes: crops
            .iter()
            .flat_map(|c| c.classes.iter().copied())
            .collect(),
        sets: crops.iter().map(|c| c.set).collect(),
        envelopes: join(|c| &c.envelopes),
        active: join(|c| &c.active),
        colour: join(|c| &c.colour),
        understood: join(|c| &c.understood),
    }
}

/// Batches from `first_step` on, made ahead by a thread; batch `n` depends only on the seed and `n`.
pub(super) fn batch_stream(
    corpus: Arc<Corpus>,
    config: FitConfig,
    first_step: u64,
) -> Receiver<Batch> {
    let (sender, receiver) = sync_channel(3);
    std::thread::spawn(move || {
        let log_mel = LogMel::default();
        let tables: Vec<(f32, Vec<(usize, u64)>)> = corpus
            .sets
            .iter()
            .enumerate()
            .map(|(set, labels)| {
                // Clips by cumulative length, so that every second is as likely.
                let mut sum = 0;
                let table: Vec<(usize, u64)> = corpus
                    .clips
                    .iter()
                    .enumerate()
                    .filter(|(_, clip)| clip.set == set && !clip.held_out)
                    .map(|(i, clip)| {
                        sum += clip.samples.len() as u64;
                        (i, sum)
                    })
                    .collect();
                let weight = config
                    .weights
                    .iter()
                    .find(|(name, _)| *name == labels.name)
                    .map_or(sum as f32, |w| w.1);
                (weight, table)
            })
            .collect();
        let named = !config.weights.is_empty();
        let total: f32 = tables
            .iter()
            .filter(|t| !t.1.is_empty())
            .map(|t| if named { t.0.min(1.0) } else { t.0 })
            .sum();
        for step in first_step.. {
            let crops: Vec<Crop> = (0..config.batch as u64)
                .into_par_iter()
                .map(|row| {
                    let mut random = Random::new(config.seed, step * config.batch as u64 + row);
                    let mut pick = random.unit() * total;
                    let mut chosen = tables
                        .iter()
                        .rev()
                        .find(|t| !t.1.is_empty())
                        .expect("a corpus has clips");
                    for table in tables.iter().filter(|t| !t.1.is_empty()) {
                        let weight = if named { table.0.min(1.0) } else { table.0 };
                        if pick < weight {
                            chosen = table;
                            break;
                        }
                        pick -= weight;
                    }
                    let length = chosen.1.last().map_or(1, |t| t.1);
                    let place = random.next_u64() % length.max(1);
                    let entry = chosen.1.partition_point(|t| t.1 <= place);
                    crop(
                        &corpus.clips[chosen.1[entry].0],
                        config.frames,
                        &log_mel,
                        &mut random,
                        false,
                    )
                })
                .collect();
            if sender.send(gather(&crops)).is_err() {
                return;
            }
        }
    });
    receiver
}
