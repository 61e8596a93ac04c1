//! K-means with k-means++ seeding, deterministic whatever the number of threads.
//!
//! Source: Arthur, Vassilvitskii, "k-means++: the advantages of careful
//! seeding", SODA 2007; Lloyd's iteration. Ours keeps the order of all sums, so
//! that a result does not depend on scheduling, and gives a centre that lost
//! all its rows the row farthest from its own centre.

use rayon::prelude::*;

use crate::random::Random;

/// Rows looked at by one task.
const BLOCK_ROWS: usize = 2048;

/// Most rounds; content usually settles within 30.
const MAX_ROUNDS: usize = 60;

/// The rounds end when the mean distance falls by less than this share.
const MIN_GAIN: f64 = 1e-4;

/// Centres and how well they fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Clustering {
    /// `[centres, channels]`, row by row.
    pub centres: Vec<f32>,
    /// Number of centres.
    pub count: usize,
    /// Mean squared distance of a row to its centre.
    pub mean_squared_distance: f64,
    /// Rounds it took.
    pub rounds: usize,
}

/// Finds `count` centres of `rows` (`[n, channels]`, row by row); fewer when there are fewer distinct rows.
///
/// `advance` is called after each round with the mean squared distance.
///
/// # Panics
/// When `channels` is 0 or does not divide the length of `rows`.
#[must_use]
pub fn kmeans(
    rows: &[f32],
    channels: usize,
    count: usize,
    seed: u64,
    advance: &mut dyn FnMut(usize, f64),
) -> Clustering {
    assert!(
        channels > 0 && rows.len().is_multiple_of(channels),
        "whole rows"
    );
    let mut centres = seed_centres(rows, channels, count, seed);
    let mut previous = f64::INFINITY;
    let mut rounds = 0;
    loop {
        let assignment = assign(rows, channels, &centres);
        rounds += 1;
        let mean = assignment
            .iter()
            .map(|&(_, distance)| f64::from(distance))
            .sum::<f64>()
            / assignment.len().max(1) as f64;
        advance(rounds, mean);
        let settled = rounds > 1 && previous - mean <= MIN_GAIN * previous;
        if settled || rounds == MAX_ROUNDS || centres.is_empty() {
            return Clustering {
                count: centres.len() / channels,
                centres,
                mean_squared_distance: mean,
                rounds,
            };
        }
        previous = mean;
        move_centres(rows, channels, &assignment, &mut centres);
    }
}

/// Draws centres far from each other: each row with a chance proportional to its squared distance.
fn seed_centres(rows: &[f32], channels: usize, count: usize, seed: u64) -> Vec<f32> {
    let total_rows = rows.len() / channels;
    if total_rows == 0 || count == 0 {
        return Vec::new();
    }
    let mut random = Random::new(seed, 0);
    let mut centres = Vec::with_capacity(count * channels);
    let first = random.below(total_rows);
    centres.extend_from_slice(&rows[first * channels..(first + 1) * channels]);
    let mut nearest = vec![f32::INFINITY; total_rows];
    while centres.len() < count * channels {
        let newest = &centres[centres.len() - channels..];
        nearest
            .par_chunks_mut(BLOCK_ROWS)
            .zip(rows.par_chunks(BLOCK_ROWS * channels))
            .for_each(|(nearest, block)| {
                for (distance, row) in nearest.iter_mut().zip(block.chunks_exact(channels)) {
                    *distance = distance.min(squared_distance(row, newest));
                }
            });
        let total: f64 = nearest.iter().map(|&distance| f64::from(distance)).sum();
        if total <= 0.0 {
            // Every row is a centre already.
            break;
        }
        let mut draw = f64::from(random.unit()) * total;
        let mut chosen = None;
        for (index, &distance) in nearest.iter().enumerate() {
            if distance > 0.0 {
                chosen = Some(index);
                draw -= f64::from(distance);
                if draw <= 0.0 {
                    break;
                }
            }
        }
        let Some(index) = chosen else { break };
        centres.extend_from_slice(&rows[index * channels..(index + 1) * channels]);
    }
    centres
}

/// Index of the nearest centre and the squared distance to it, for every row.
fn assign(rows: &[f32], channels: usize, centres: &[f32]) -> Vec<(u32, f32)> {
    rows.par_chunks(BLOCK_ROWS * channels)
        .flat_map_iter(|block| {
            block.chunks_exact(channels).map(|row| {
                let mut best = (0, f32::INFINITY);
                for (index, centre) in centres.chunks_exact(channels).enumerate() {
                    let distance = squared_distance(row, centre);
                    if distance < best.1 {
                        best = (index as u32, distance);
                    }
                }
                best
            })
        })
        .collect()
}

fn move_centres(rows: &[f32], channels: usize, assignment: &[(u32, f32)], centres: &mut [f32]) {
    let count = centres.len() / channels;
    let mut sums = vec![0.0_f64; count * channels];
    let mut members = vec![0_u32; count];
    // One thread: a pass over the rows costs a `count`-th of finding the nearest centres.
    for (row, &(centre, _)) in rows.chunks_exact(channels).zip(assignment) {
        let centre = centre as usize;
        members[centre] += 1;
        let sum = &mut sums[centre * channels..(centre + 1) * channels];
        for (total, &value) in sum.iter_mut().zip(row) {
            *total += f64::from(value);
        }
    }
    let mut by_distance: Vec<usize> = Vec::new();
    if members.contains(&0) {
        by_distance = (0..assignment.len()).collect();
        by_distance.sort_by(|&a, &b| assignment[a].1.total_cmp(&assignment[b].1).then(b.cmp(&a)));
    }
    for (index, centre) in centres.chunks_exact_mut(channels).enumerate() {
        if members[index] > 0 {
            let sum = &sums[index * channels..(index + 1) * channels];
            for (value, total) in centre.iter_mut().zip(sum) {
                *value = (total / f64::from(members[index])) as f32;
            }
        } else if let Some(row) = by_distance.pop() {
            centre.copy_from_slice(&rows[row * channels..(row + 1) * channels]);
        }
    }
}

fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    // Eight running sums let the compiler use vector instructions without reordering a single one.
    let mut sums = [0.0_f32; 8];
    let (a_blocks, a_rest) = a.as_chunks::<8>();
    let (b_blocks, b_rest) = b.as_chunks::<8>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..8 {
            let difference = a[lane] - b[lane];
            sums[lane] += difference * difference;
        }
    }
    let rest: f32 = a_rest
        .iter()
        .zip(b_rest)
        .map(|(a, b)| (a - b) * (a - b))
        .sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three clouds around (0,0,0), (10,0,0) and (0,10,0).
    fn clouds(per_cloud: usize) -> Vec<f32> {
        let mut random = Random::new(7, 1);
        let mut rows = Vec::new();
        for index in 0..3 * per_cloud {
            let centre = [[0.0, 0.0, 0.0], [10.0, 0.0, 0.0], [0.0, 10.0, 0.0]][index % 3];
            rows.extend(
                centre
                    .iter()
                    .map(|&value: &f32| value + random.uniform(-1.0, 1.0)),
            );
        }
        rows
    }

    #[test]
    fn finds_the_clouds() {
        let found = kmeans(&clouds(2000), 3, 3, 1, &mut |_, _| {});
        let mut centres: Vec<[i32; 3]> = found
            .centres
            .as_chunks::<3>()
            .0
            .iter()
            .map(|centre| centre.map(|value| value.round() as i32))
            .collect();
        centres.sort_unstable();
        assert_eq!(centres, vec![[0, 0, 0], [0, 10, 0], [10, 0, 0]]);
        assert!(found.mean_squared_distance < 1.1, "{found:?}");
    }

    #[test]
    fn same_seed_same_centres_on_any_number_of_threads() {
        let rows = clouds(3000);
        let with_threads = |threads| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap()
                .install(|| kmeans(&rows, 3, 17, 5, &mut |_, _| {}))
        };
        assert_eq!(with_threads(1), with_threads(4));
    }

    #[test]
    fn no_more_centres_than_distinct_rows() {
        let rows = [1.0, 2.0].repeat(50);
        let found = kmeans(&rows, 2, 8, 0, &mut |_, _| {});
        assert_eq!(
            (found.count, found.centres.as_slice()),
            (1, &[1.0, 2.0][..])
        );
        assert_eq!(kmeans(&[], 2, 8, 0, &mut |_, _| {}).count, 0);
    }

    #[test]
    fn more_centres_fit_better() {
        let rows = clouds(500);
        let fit = |count| kmeans(&rows, 3, count, 3, &mut |_, _| {}).mean_squared_distance;
        assert!(fit(64) < 0.5 * fit(3));
    }
}
