//! The rows of a table that are nearest to a frame.

use timbra_voice::tables::{SpeakerTables, Table};

use super::sketch::Sketch;

/// The tables of a voice, ready to be searched: one per speaker, in the order of the manifest.
#[derive(Debug)]
pub struct SearchTables {
    pub(super) tables: Vec<Option<SearchTable>>,
}

impl From<SpeakerTables> for SearchTables {
    /// Takes about a second where a table has a hundred thousand rows.
    fn from(tables: SpeakerTables) -> Self {
        let ready = |table| SearchTable {
            sketch: Sketch::of(&table),
            table,
        };
        Self {
            tables: tables
                .tables
                .into_iter()
                .map(|table| table.map(ready))
                .collect(),
        }
    }
}

/// One table, with a sketch where it is large.
#[derive(Debug)]
pub(super) struct SearchTable {
    table: Table,
    sketch: Option<Sketch>,
}

impl SearchTable {
    pub fn rows(&self) -> usize {
        self.table.rows
    }

    pub fn row(&self, index: usize) -> &[f32] {
        self.table.row(index)
    }

    /// The `N` nearest rows by squared distance, nearest first; places that are not filled have infinite distance.
    pub fn nearest<const N: usize>(&self, content: &[f32]) -> [(f32, usize); N] {
        match &self.sketch {
            None => nearest_of(content, &self.table, 0..self.table.rows),
            Some(sketch) => nearest_of(content, &self.table, sketch.candidates(content)),
        }
    }
}

/// Sums that are added to in turn, so that a processor makes them at once.
const LANES: usize = 16;

pub(super) fn squared_distance(row: &[f32], content: &[f32]) -> f32 {
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

fn nearest_of<const N: usize>(
    content: &[f32],
    table: &Table,
    rows: impl IntoIterator<Item = usize>,
) -> [(f32, usize); N] {
    let mut nearest = [(f32::INFINITY, 0); N];
    for row in rows {
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

    #[test]
    fn nearest_rows_are_sorted() {
        let table = Table {
            rows: 5,
            channels: 1,
            data: vec![9.0, 1.0, 5.0, 2.0, 7.0],
        };
        let nearest = nearest_of::<3>(&[0.0], &table, 0..5);
        assert_eq!(nearest.map(|(_, row)| row), [1, 3, 2]);
    }
}
