//! Pulling the content towards the speaker's own: k-means centres or retrieved frames.

use timbra_voice::manifest::MAX_SPEAKERS;
use timbra_voice::tables::{SpeakerTables, Table};

use crate::controls::{ClusterMethod, Controls};
use crate::model::LoadedVoice;

/// Rows a retrieved frame is made of.
const NEIGHBOURS: usize = 8;

/// How far a frame's content is pulled, and to whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pull {
    to_centres: f32,
    to_neighbours: f32,
    mix: [f32; MAX_SPEAKERS],
}

impl Pull {
    /// What the controls ask for, on top of the share `own` that the voice wants by itself.
    pub fn new(controls: &Controls, own: f32) -> Self {
        let (to_centres, to_neighbours) = match controls.cluster_method {
            ClusterMethod::KMeans => (controls.cluster_ratio, 0.0),
            ClusterMethod::Retrieval => (0.0, controls.cluster_ratio),
        };
        Self {
            to_centres,
            to_neighbours: own + (1.0 - own) * to_neighbours,
            mix: controls.speaker_mix,
        }
    }
}

/// Blends content frames with a voice's tables.
#[derive(Debug, Default)]
pub struct Blender {
    target: Vec<f32>,
}

impl Blender {
    /// Pulls `content` by the tables that `voice` has.
    pub(crate) fn pull(&mut self, content: &mut [f32], voice: &LoadedVoice, pull: &Pull) {
        if let Some(tables) = voice.retrieval() {
            self.towards_neighbours(content, tables, &pull.mix, pull.to_neighbours);
        }
        if let Some(tables) = voice.clusters() {
            self.towards_centres(content, tables, &pull.mix, pull.to_centres);
        }
    }

    /// Moves `content` towards the nearest centre of each mixed speaker, `ratio` (0..1) of the way.
    pub fn towards_centres(
        &mut self,
        content: &mut [f32],
        tables: &SpeakerTables,
        mix: &[f32; MAX_SPEAKERS],
        ratio: f32,
    ) {
        self.blend(
            content,
            tables,
            mix,
            ratio,
            |content, table, weight, target| {
                let nearest = nearest_rows::<1>(content, table);
                add(target, table.row(nearest[0].1), weight);
            },
        );
    }

    /// Moves `content` towards a mean of the eight nearest frames of each mixed speaker, `ratio` (0..1) of the way.
    ///
    /// The frames are weighted by the inverse of their squared distance.
    pub fn towards_neighbours(
        &mut self,
        content: &mut [f32],
        tables: &SpeakerTables,
        mix: &[f32; MAX_SPEAKERS],
        ratio: f32,
    ) {
        self.blend(
            content,
            tables,
            mix,
            ratio,
            |content, table, weight, target| {
                let mut nearest = nearest_rows::<NEIGHBOURS>(content, table);
                let found = NEIGHBOURS.min(table.rows);
                let mut total = 0.0;
                for (distance, _) in &mut nearest[..found] {
                    *distance = 1.0 / (*distance + 1e-6);
                    total += *distance;
                }
                for (share, row) in &nearest[..found] {
                    add(target, table.row(*row), weight * share / total);
                }
            },
        );
    }

    fn blend(
        &mut self,
        content: &mut [f32],
        tables: &SpeakerTables,
        mix: &[f32; MAX_SPEAKERS],
        ratio: f32,
        pull: impl Fn(&[f32], &Table, f32, &mut [f32]),
    ) {
        if ratio <= 0.0 {
            return;
        }
        self.target.clear();
        self.target.resize(content.len(), 0.0);
        for (table, &weight) in tables.tables.iter().zip(mix) {
            if weight <= 0.0 {
                continue;
            }
            match table {
                Some(table) => pull(content, table, weight, &mut self.target),
                // A speaker without a table leaves its share as it is.
                None => add(&mut self.target, content, weight),
            }
        }
        for (value, target) in content.iter_mut().zip(&self.target) {
            *value += ratio * (target - *value);
        }
    }
}

fn add(sum: &mut [f32], row: &[f32], weight: f32) {
    for (sum, value) in sum.iter_mut().zip(row) {
        *sum += weight * value;
    }
}

/// Sums that are added to in turn, so that a processor makes them at once.
const LANES: usize = 16;

fn squared_distance(row: &[f32], content: &[f32]) -> f32 {
    let (rows, row_rest) = row.as_chunks::<LANES>();
    let (contents, content_rest) = content.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (row, content) in rows.iter().zip(contents) {
        for ((sum, a), b) in sums.iter_mut().zip(row).zip(content) {
            *sum += (a - b) * (a - b);
        }
    }
    let rest = row_rest.iter().zip(content_rest);
    let rest: f32 = rest.map(|(a, b)| (a - b) * (a - b)).sum();
    sums.iter().sum::<f32>() + rest
}

/// The `N` nearest rows by squared distance, nearest first; places that are not filled have infinite distance.
fn nearest_rows<const N: usize>(content: &[f32], table: &Table) -> [(f32, usize); N] {
    let mut nearest = [(f32::INFINITY, 0); N];
    for row in 0..table.rows {
        let distance = squared_distance(table.row(row), content);
        if distance < nearest[N - 1].0 {
            let place = nearest.partition_point(|(other, _)| *other <= distance);
            nearest[place..].rotate_right(1);
            nearest[place] = (distance, row);
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> SpeakerTables {
        let table = |data: &[f32]| {
            Some(Table {
                rows: data.len() / 2,
                channels: 2,
                data: data.to_vec(),
            })
        };
        SpeakerTables {
            tables: vec![table(&[0.0, 0.0, 10.0, 10.0]), table(&[-4.0, 0.0]), None],
        }
    }

    fn mix(weights: &[f32]) -> [f32; MAX_SPEAKERS] {
        let mut mix = [0.0; MAX_SPEAKERS];
        mix[..weights.len()].copy_from_slice(weights);
        mix
    }

    #[test]
    fn ratio_one_gives_the_nearest_centre_and_zero_nothing() {
        let mut content = [7.0, 8.0];
        Blender::default().towards_centres(&mut content, &tables(), &mix(&[1.0]), 1.0);
        assert_eq!(content, [10.0, 10.0]);
        Blender::default().towards_centres(&mut content, &tables(), &mix(&[0.0, 1.0]), 0.0);
        assert_eq!(content, [10.0, 10.0]);
    }

    #[test]
    fn centres_of_mixed_speakers_are_mixed() {
        let mut content = [1.0, 1.0];
        Blender::default().towards_centres(&mut content, &tables(), &mix(&[0.5, 0.5]), 1.0);
        assert_eq!(content, [-2.0, 0.0]);
    }

    #[test]
    fn a_speaker_without_a_table_leaves_its_share() {
        let mut content = [2.0, 2.0];
        Blender::default().towards_centres(&mut content, &tables(), &mix(&[0.5, 0.0, 0.5]), 1.0);
        assert_eq!(content, [1.0, 1.0]);
    }

    #[test]
    fn neighbours_are_weighted_by_inverse_squared_distance() {
        let mut content = [5.0, 5.0];
        Blender::default().towards_neighbours(&mut content, &tables(), &mix(&[1.0]), 1.0);
        assert!(
            (content[0] - 5.0).abs() < 1e-3,
            "half way between two rows: {content:?}"
        );
        let mut content = [0.0, 0.0];
        Blender::default().towards_neighbours(&mut content, &tables(), &mix(&[1.0]), 1.0);
        assert!(content[0].abs() < 1e-3, "on a row: {content:?}");
    }

    #[test]
    fn nearest_rows_are_sorted() {
        let table = Table {
            rows: 5,
            channels: 1,
            data: vec![9.0, 1.0, 5.0, 2.0, 7.0],
        };
        let nearest = nearest_rows::<3>(&[0.0], &table);
        assert_eq!(nearest.map(|(_, row)| row), [1, 3, 2]);
    }
}
