//! Products are what the whole numbers say, whatever instructions they are made of.

use super::*;

fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    timbra_dsp::noise::fill(seed, 0, &mut values);
    values
}

#[test]
fn results_are_within_what_rounding_allows_and_the_same_whatever_they_are_made_of() {
    for (inner, columns, block) in [(64, 16, 64), (256, 80, 128), (192, 112, 64)] {
        let weights: Vec<i8> = noise(1, inner * columns)
            .iter()
            .map(|weight| (weight * 127.0).clamp(-127.0, 127.0) as i8)
            .collect();
        // A weight of the matrix, where it lies.
        let weight = |row: usize, column: usize| {
            let group = column / COLUMNS * (inner / QUAD) + row / QUAD;
            i32::from(weights[(group * COLUMNS + column % COLUMNS) * QUAD + row % QUAD])
        };
        let scales = noise(2, inner / block * columns);
        let scale_at = |part: usize, column| own_scale_at([inner / block, columns], part, column);
        let mut sums = vec![0; inner / block * columns];
        for row in 0..inner {
            for column in 0..columns {
                sums[scale_at(row / block, column)] += weight(row, column);
            }
        }
        let bias = noise(4, columns);
        let matrix = Matrix {
            inner,
            columns,
            block,
            weights: &weights,
            scales: &scales,
            sums: &sums,
            bias: (inner > 64).then_some(&bias),
        };
        for rows in 1..=7 {
            let input = noise(3, rows * inner);
            let mut first: Option<Vec<f32>> = None;
            for instructions in Instructions::all() {
                let mut output = vec![f32::NAN; rows * columns];
                let alone: super::super::Parallel<'_> = &|count, piece| (0..count).for_each(piece);
                matrix.apply(
                    instructions,
                    Input {
                        frame: inner,
                        step: inner,
                        past: &[],
                        new: &input,
                        after: 0,
                    },
                    &mut Room::default(),
                    &mut output,
                    alone,
                );
                for (n, &found) in output.iter().enumerate() {
                    let (row, column) = (n / columns, n % columns);
                    let (mut exact, mut doubt) = (0.0, 1e-3);
                    if inner > 64 {
                        exact = f64::from(bias[column]);
                    }
                    for (part, own) in input[row * inner..][..inner].chunks(block).enumerate() {
                        let largest = own.iter().fold(0.0f32, |most, v| most.max(v.abs()));
                        for (k, &value) in own.iter().enumerate() {
                            let whole = f64::from(weight(part * block + k, column));
                            let weight = whole * f64::from(scales[scale_at(part, column)]);
                            exact += weight * f64::from(value);
                            // A byte is half a step off at the most.
                            doubt += weight.abs() * f64::from(largest) / 127.0 * 0.501;
                        }
                    }
                    let error = (exact - f64::from(found)).abs();
                    assert!(
                        error <= doubt,
                        "{instructions:?}, {n}: {error} of at most {doubt}"
                    );
                }
                let before = first.get_or_insert_with(|| output.clone());
                assert_eq!(*before, output, "{instructions:?}");
            }
        }
    }
}

#[test]
fn rows_that_overlap_are_rows_of_what_they_see() {
    // Three frames are a row: two of the past, four of this step, one of nothing.
    const STEP: usize = 64;
    const COUNT: usize = 32;
    let weights: Vec<i8> = (0..3 * STEP * COUNT).map(|n| (n * 7 % 255) as i8).collect();
    let scales = noise(2, 3 * COUNT);
    let matrix = Matrix {
        inner: 3 * STEP,
        columns: COUNT,
        block: STEP,
        weights: &weights,
        scales: &scales,
        sums: &[5; 3 * COUNT],
        bias: None,
    };
    let alone: super::super::Parallel<'_> = &|count, piece| (0..count).for_each(piece);
    let [past, new] = [noise(3, 2 * STEP), noise(4, 4 * STEP)];
    let seen = [past.clone(), new.clone(), vec![0.0; STEP]].concat();
    let apart: Vec<f32> = (0..5)
        .flat_map(|row| seen[row * STEP..][..3 * STEP].to_vec())
        .collect();
    let input = |frame, step, past, new, after| Input {
        frame,
        step,
        past,
        new,
        after,
    };
    for instructions in Instructions::all() {
        let [mut expected, mut found] = [[0.0; 5 * COUNT], [1.0; 5 * COUNT]];
        let room = &mut Room::default();
        let whole = input(3 * STEP, 3 * STEP, &[], &apart, 0);
        matrix.apply(instructions, whole, room, &mut expected, alone);
        let overlapping = input(STEP, STEP, &past, &new, 1);
        assert_eq!(matrix.rows_of(&overlapping), Some(5));
        matrix.apply(instructions, overlapping, room, &mut found, alone);
        assert_eq!(found, expected, "{instructions:?}");
        // Every second row.
        let some = input(STEP, 2 * STEP, &past, &new, 1);
        assert_eq!(matrix.rows_of(&some), Some(3));
        let mut found = [1.0; 3 * COUNT];
        matrix.apply(instructions, some, room, &mut found, alone);
        let rows = expected.chunks(COUNT).step_by(2);
        assert_eq!(
            found.to_vec(),
            rows.flatten().copied().collect::<Vec<f32>>()
        );
    }
}
