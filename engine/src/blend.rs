//! Pulling the content towards the speaker's own: k-means centres or retrieved frames.

mod search;
mod sketch;

use timbra_voice::manifest::{Family, MAX_SPEAKERS, Manifest};

use crate::controls::{ClusterMethod, Controls};

use search::SearchTable;
pub use search::SearchTables;

/// Rows a retrieved frame is made of.
const NEIGHBOURS: usize = 8;

/// By what the neighbours of a frame count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nearness {
    /// The inverse of their squared distance.
    SquaredDistance,
    /// The square of that, as RVC and so-vits-svc weigh them.
    FourthPower,
}

/// How far a frame's content is pulled, and to whom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pull {
    to_centres: f32,
    to_neighbours: f32,
    nearness: Nearness,
    mix: [f32; MAX_SPEAKERS],
}

impl Pull {
    /// What the controls ask for, on top of what the voice wants by itself, for a frame that is `voiced` or not.
    pub fn new(controls: &Controls, manifest: &Manifest, voiced: bool) -> Self {
        let own = manifest.retrieval_ratio;
        let share = if voiced {
            1.0
        } else {
            manifest.retrieval_unvoiced
        };
        // A voice that has one kind of table is pulled by that one.
        let method = match (&manifest.clusters, &manifest.retrieval) {
            (Some(_), None) => ClusterMethod::KMeans,
            (None, Some(_)) => ClusterMethod::Retrieval,
            _ => controls.cluster_method,
        };
        let (to_centres, to_neighbours) = match method {
            ClusterMethod::KMeans => (controls.cluster_ratio, 0.0),
            ClusterMethod::Retrieval => (0.0, controls.cluster_ratio),
        };
        Self {
            to_centres,
            to_neighbours: share * (own + (1.0 - own) * to_neighbours),
            nearness: match manifest.family {
                Family::Vits => Nearness::FourthPower,
                _ => Nearness::SquaredDistance,
            },
            mix: controls.speaker_mix,
        }
    }
}

/// Blends content frames with a voice's tables.
#[derive(Debug, Default)]
pub struct Blender {
    target: Vec<f32>,
    last: Option<Last>,
}

/// What became of the last frame: an encoder of 20 ms gives every frame twice.
#[derive(Debug, Default)]
struct Last {
    pull: Option<Pull>,
    content: Vec<f32>,
    pulled: Vec<f32>,
}

impl Blender {
    /// Pulls `content` by the tables a voice has, neighbours first.
    pub(crate) fn pull(
        &mut self,
        content: &mut [f32],
        retrieval: Option<&SearchTables>,
        clusters: Option<&SearchTables>,
        pull: &Pull,
    ) {
        if pull.to_neighbours <= 0.0 && pull.to_centres <= 0.0 {
            return;
        }
        let mut last = self.last.take().unwrap_or_default();
        if last.pull.as_ref() == Some(pull) && last.content == content {
            content.copy_from_slice(&last.pulled);
            self.last = Some(last);
            return;
        }
        last.content.clear();
        last.content.extend_from_slice(content);
        if let Some(tables) = retrieval {
            let ratio = pull.to_neighbours;
            self.towards_neighbours(content, tables, &pull.mix, ratio, pull.nearness);
        }
        if let Some(tables) = clusters {
            self.towards_centres(content, tables, &pull.mix, pull.to_centres);
        }
        last.pulled.clear();
        last.pulled.extend_from_slice(content);
        last.pull = Some(*pull);
        self.last = Some(last);
    }

    /// Moves `content` towards the nearest centre of each mixed speaker, `ratio` (0..1) of the way.
    pub fn towards_centres(
        &mut self,
        content: &mut [f32],
        tables: &SearchTables,
        mix: &[f32; MAX_SPEAKERS],
        ratio: f32,
    ) {
        self.blend(
            content,
            tables,
            mix,
            ratio,
            |content, table, weight, target| {
                let nearest = table.nearest::<1>(content);
                add(target, table.row(nearest[0].1), weight);
            },
        );
    }

    /// Moves `content` towards a mean of the eight nearest frames of each mixed speaker, `ratio` (0..1) of the way.
    ///
    /// The frames are weighted by their `nearness`.
    pub fn towards_neighbours(
        &mut self,
        content: &mut [f32],
        tables: &SearchTables,
        mix: &[f32; MAX_SPEAKERS],
        ratio: f32,
        nearness: Nearness,
    ) {
        self.blend(
            content,
            tables,
            mix,
            ratio,
            |content, table, weight, target| {
                let mut nearest = table.nearest::<NEIGHBOURS>(content);
                let found = NEIGHBOURS.min(table.rows());
                let mut total = 0.0;
                for (distance, _) in &mut nearest[..found] {
                    *distance = 1.0 / (*distance + 1e-6);
                    if nearness == Nearness::FourthPower {
                        *distance *= *distance;
                    }
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
        tables: &SearchTables,
        mix: &[f32; MAX_SPEAKERS],
        ratio: f32,
        pull: impl Fn(&[f32], &SearchTable, f32, &mut [f32]),
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

#[cfg(test)]
mod tests {
    use timbra_voice::tables::{SpeakerTables, Table};

    use super::*;

    fn tables() -> SearchTables {
        let table = |data: &[f32]| {
            Some(Table {
                rows: data.len() / 2,
                channels: 2,
                data: data.to_vec(),
            })
        };
        SearchTables::from(SpeakerTables {
            tables: vec![table(&[0.0, 0.0, 10.0, 10.0]), table(&[-4.0, 0.0]), None],
        })
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
    fn a_frame_that_comes_again_is_not_searched_again_unless_something_else_is_wanted() {
        let pull = |to_centres| Pull {
            to_centres,
            to_neighbours: 0.0,
            nearness: Nearness::FourthPower,
            mix: mix(&[1.0]),
        };
        let mut blender = Blender::default();
        let mut pulled = |frame: [f32; 2], tables: Option<&SearchTables>, ratio| {
            let mut content = frame;
            blender.pull(&mut content, None, tables, &pull(ratio));
            content
        };
        let tables = tables();
        let first = pulled([7.0, 8.0], Some(&tables), 1.0);
        assert_eq!(first, [10.0, 10.0]);
        // Without tables a search would find nothing: this is what was found before.
        assert_eq!(pulled([7.0, 8.0], None, 1.0), first);
        assert_eq!(pulled([7.0, 8.0], Some(&tables), 0.5), [8.5, 9.0]);
        assert_eq!(pulled([1.0, 0.0], Some(&tables), 0.5), [0.5, 0.0]);
        assert_eq!(pulled([1.0, 0.0], Some(&tables), 0.0), [1.0, 0.0]);
    }

    #[test]
    fn neighbours_are_weighted_by_their_nearness() {
        let pull = |content: [f32; 2], nearness| {
            let mut content = content;
            let mut blender = Blender::default();
            blender.towards_neighbours(&mut content, &tables(), &mix(&[1.0]), 1.0, nearness);
            content
        };
        for nearness in [Nearness::SquaredDistance, Nearness::FourthPower] {
            let half_way = pull([5.0, 5.0], nearness);
            assert!((half_way[0] - 5.0).abs() < 1e-3, "{half_way:?}");
            assert!(pull([0.0, 0.0], nearness)[0].abs() < 1e-3, "on a row");
        }
        // Squared distances of 8 and 128: shares of 16 to 1, or of 256 to 1.
        let shares = [Nearness::SquaredDistance, Nearness::FourthPower].map(|nearness| {
            let [first, _] = pull([2.0, 2.0], nearness);
            first / 10.0
        });
        assert!((shares[0] - 1.0 / 17.0).abs() < 1e-4, "{shares:?}");
        assert!((shares[1] - 1.0 / 257.0).abs() < 1e-4, "{shares:?}");
    }
}
