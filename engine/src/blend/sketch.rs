//! A small picture of many rows, in which those are found that may be the nearest.
//!
//! An index of RVC has tens of thousands of rows of 768 numbers: to read them all for every frame takes more than a core.
//! Nearly all of what distinguishes them lies in few directions. So a row is kept as its place along the 96 in which the
//! rows differ most, and the length of what is left; distances there say which rows to compare with in full.
//!
//! Source: the directions are principal components, found by subspace iteration (Golub and Van Loan, Matrix Computations,
//! 8.2.4) on a sample of the rows.

use std::collections::BinaryHeap;

use timbra_dsp::noise;
use timbra_voice::tables::Table;

use super::add;

/// Directions a row is kept along.
const DIRECTIONS: usize = 96;
/// Smaller tables are read whole.
const LEAST_ROWS: usize = 1024;
const LEAST_CHANNELS: usize = 2 * DIRECTIONS;
/// Rows the directions are found from.
const SAMPLE_ROWS: usize = 2048;
/// Rounds in which they are found.
const ROUNDS: usize = 4;
/// Rows to be compared with in full.
const CANDIDATES: usize = 256;
/// Largest place of a row along a direction, in units of the sketch, and of a frame.
const ROW_MOST: f32 = 1800.0;
/// The square of the sum of both, 96 times, is below 2³¹.
const FRAME_MOST: f32 = 2800.0;
/// Numbers that are added in turn, so that a processor makes them at once.
const LANES: usize = 16;

/// The rows of a table along a few directions.
#[derive(Debug)]
pub(super) struct Sketch {
    /// The middle of the rows, C numbers.
    middle: Vec<f32>,
    /// [`DIRECTIONS`] rows of C numbers, of length 1 and at right angles.
    directions: Vec<f32>,
    /// Units of the sketch in one of the content.
    scale: f32,
    /// Places along the directions, row after row.
    places: Vec<[i16; DIRECTIONS]>,
    /// Squares of the lengths of what is left, in squared units.
    rest: Vec<u32>,
}

impl Sketch {
    /// A sketch of `table`; `None` where that is small.
    pub fn of(table: &Table) -> Option<Self> {
        let channels = table.channels;
        if table.rows < LEAST_ROWS || channels < LEAST_CHANNELS {
            return None;
        }
        let step = table.rows.div_ceil(SAMPLE_ROWS);
        let mut sample: Vec<f32> = (0..table.rows)
            .step_by(step)
            .flat_map(|row| table.row(row))
            .copied()
            .collect();
        let middle = middle(&sample, channels);
        for row in sample.chunks_exact_mut(channels) {
            subtract(row, &middle);
        }
        let directions = directions(&sample, channels);

        let mut row = vec![0.0; channels];
        let mut places = Vec::with_capacity(table.rows * DIRECTIONS);
        let mut rest = Vec::with_capacity(table.rows);
        for index in 0..table.rows {
            row.copy_from_slice(table.row(index));
            subtract(&mut row, &middle);
            let from = places.len();
            places.extend(directions.chunks_exact(channels).map(|d| dot(d, &row)));
            let along: f32 = places[from..].iter().map(|place| place * place).sum();
            rest.push((dot(&row, &row) - along).max(0.0));
        }
        let most = places.iter().fold(1e-9f32, |most, p| p.abs().max(most));
        let scale = ROW_MOST / most;
        let rounded =
            |places: &[f32; DIRECTIONS]| places.map(|place| (place * scale).round() as i16);
        Some(Self {
            places: places.as_chunks().0.iter().map(rounded).collect(),
            rest: rest
                .into_iter()
                .map(|rest| (rest * scale * scale) as u32)
                .collect(),
            middle,
            directions,
            scale,
        })
    }

    /// Rows among which the nearest to `content` are, in no order.
    pub fn candidates(&self, content: &[f32]) -> Vec<usize> {
        let mut from_middle = content.to_vec();
        subtract(&mut from_middle, &self.middle);
        let mut place = [0i16; DIRECTIONS];
        let directions = self.directions.chunks_exact(content.len());
        for (place, direction) in place.iter_mut().zip(directions) {
            let units = self.scale * dot(direction, &from_middle);
            *place = units.clamp(-FRAME_MOST, FRAME_MOST) as i16;
        }
        let mut nearest: BinaryHeap<(u32, usize)> = BinaryHeap::with_capacity(CANDIDATES + 1);
        for (row, (other, &rest)) in self.places.iter().zip(&self.rest).enumerate() {
            let distance = rest.saturating_add(squared_distance(&place, other));
            if nearest.len() < CANDIDATES {
                nearest.push((distance, row));
            } else if nearest.peek().is_some_and(|&(most, _)| distance < most) {
                nearest.pop();
                nearest.push((distance, row));
            }
        }
        nearest.into_iter().map(|(_, row)| row).collect()
    }
}

fn middle(rows: &[f32], channels: usize) -> Vec<f32> {
    let mut middle = vec![0.0f64; channels];
    for row in rows.chunks_exact(channels) {
        for (sum, &value) in middle.iter_mut().zip(row) {
            *sum += f64::from(value);
        }
    }
    let count = (rows.len() / channels) as f64;
    middle.into_iter().map(|sum| (sum / count) as f32).collect()
}

/// The directions in which the rows differ most.
fn directions(rows: &[f32], channels: usize) -> Vec<f32> {
    let mut directions = vec![0.0; DIRECTIONS * channels];
    noise::fill(0x736b_6574_6368, 0, &mut directions);
    for _ in 0..ROUNDS {
        at_right_angles(&mut directions, channels);
        let mut next = vec![0.0; directions.len()];
        for row in rows.chunks_exact(channels) {
            let towards = directions.chunks_exact(channels);
            for (direction, next) in towards.zip(next.chunks_exact_mut(channels)) {
                add(next, row, dot(direction, row));
            }
        }
        directions = next;
    }
    at_right_angles(&mut directions, channels);
    directions
}

/// Makes directions of length 1 at right angles to those before (Gram and Schmidt, twice because numbers are rounded). One
/// in which nothing differs is left at zero.
fn at_right_angles(directions: &mut [f32], channels: usize) {
    for index in 0..directions.len() / channels {
        let (before, rest) = directions.split_at_mut(index * channels);
        let this = &mut rest[..channels];
        for _ in 0..2 {
            let length = dot(this, this).sqrt();
            let unit = if length > 1e-20 { 1.0 / length } else { 0.0 };
            this.iter_mut().for_each(|value| *value *= unit);
            for other in before.chunks_exact(channels) {
                let along = dot(other, this);
                add(this, other, -along);
            }
        }
        let length = dot(this, this).sqrt();
        let unit = if length > 1e-3 { 1.0 / length } else { 0.0 };
        this.iter_mut().for_each(|value| *value *= unit);
    }
}

fn subtract(row: &mut [f32], other: &[f32]) {
    add(row, other, -1.0);
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (these, rest_a) = a.as_chunks::<LANES>();
    let (those, rest_b) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in these.iter().zip(those) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

fn squared_distance(a: &[i16; DIRECTIONS], b: &[i16; DIRECTIONS]) -> u32 {
    let mut sum = 0i32;
    for (a, b) in a.iter().zip(b) {
        let difference = i32::from(a - b);
        sum += difference * difference;
    }
    sum as u32
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::blend::search::squared_distance as exact;

    const CHANNELS: usize = 320;

    /// Rows that differ in `spread` directions, in each less than in the one before, and a little in all.
    fn table(rows: usize, spread: usize) -> Table {
        let mut base = vec![0.0; spread * CHANNELS];
        noise::fill_normal(1, 0, &mut base);
        let mut data = vec![0.0; rows * CHANNELS];
        noise::fill_normal(2, 0, &mut data);
        for (index, row) in data.chunks_exact_mut(CHANNELS).enumerate() {
            row.iter_mut().for_each(|value| *value = 3.0 + 0.3 * *value);
            let mut shares = vec![0.0; spread];
            noise::fill_normal(3, (index * spread) as u64, &mut shares);
            for (n, (share, base)) in shares.iter().zip(base.chunks_exact(CHANNELS)).enumerate() {
                add(row, base, share / (1.0 + 0.1 * n as f32));
            }
        }
        Table {
            rows,
            channels: CHANNELS,
            data,
        }
    }

    #[test]
    fn the_nearest_rows_are_among_the_candidates() {
        let all = table(4000, 40);
        let (known, asked) = all.data.split_at(3800 * CHANNELS);
        let table = Table {
            rows: 3800,
            channels: CHANNELS,
            data: known.to_vec(),
        };
        let sketch = Sketch::of(&table).unwrap();
        let mut found = 0;
        for content in asked.chunks_exact(CHANNELS) {
            let mut rows: Vec<usize> = (0..table.rows).collect();
            let distance = |row: &usize| exact(table.row(*row), content);
            rows.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
            let candidates = sketch.candidates(content);
            assert_eq!(candidates.len(), CANDIDATES);
            assert!(candidates.contains(&rows[0]));
            found += rows[..8].iter().filter(|r| candidates.contains(r)).count();
        }
        assert!(found >= 1590, "{found} of 1600");
    }

    #[test]
    fn a_frame_far_from_all_rows_and_rows_that_are_all_alike_do_no_harm() {
        let sketch = Sketch::of(&table(1500, 3)).unwrap();
        assert_eq!(sketch.candidates(&[1e6; CHANNELS]).len(), CANDIDATES);
        assert_eq!(sketch.candidates(&[f32::MAX; CHANNELS]).len(), CANDIDATES);
        let alike = Table {
            rows: 1024,
            channels: CHANNELS,
            data: vec![0.5; 1024 * CHANNELS],
        };
        let sketch = Sketch::of(&alike).unwrap();
        assert_eq!(sketch.candidates(&[0.5; CHANNELS]).len(), CANDIDATES);
    }

    #[test]
    fn small_tables_have_none() {
        assert!(Sketch::of(&table(1000, 3)).is_none());
    }
}
