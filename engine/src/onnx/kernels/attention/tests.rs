//! What is seen is what the definition says, whatever instructions it is made of.

use super::*;

fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    timbra_dsp::noise::fill(seed, 0, &mut values);
    values
}

#[test]
fn what_is_seen_is_what_the_definition_says() {
    // Width 48 is no whole number of the vectors that are summed together.
    let cases = [
        (2, 64, 150, None),
        (3, 16, 0, None),
        (1, 48, 7, None),
        (2, 128, 33, None),
        (2, 96, 40, Some(4)),
        (3, 16, 2, Some(2)),
        (1, 48, 0, Some(0)),
    ];
    for (heads, width, past, window) in cases {
        let channels = heads * width;
        let count = 2 * window.unwrap_or(0) + 1;
        let [key_table, value_table] = [6, 7].map(|seed| noise(seed, width * count));
        // The row of the tables for a place, seen from a frame.
        let row_of = |place: usize, frame: usize| {
            let row = (place + window?).checked_sub(past + frame)?;
            (row < count).then_some(row)
        };
        for frames in 1..=6 {
            let [queries, keys, values] = [1, 2, 3].map(|seed| noise(seed, frames * channels));
            let [old_keys, old_values] = [4, 5].map(|seed| noise(seed, past * channels));
            // Two rows that were not written yet.
            let shade: Vec<f32> = (0..past + frames)
                .map(|n| if n < past.min(2) { -1e4 } else { 0.0 })
                .collect();
            let step = Step {
                heads,
                width,
                frames,
                past,
                queries: &queries,
                keys: &keys,
                values: &values,
                old_keys: &old_keys,
                old_values: &old_values,
                shade: &shade,
                scale: 0.7,
                near: window.map(|window| Near {
                    window,
                    keys: &key_table,
                    values: &value_table,
                }),
            };
            let place = |n: usize, head: usize, channel: usize, new: bool| {
                if new {
                    n * channels + head * width + channel
                } else {
                    (head * past + n) * width + channel
                }
            };
            let either = |old: &[f32], new: &[f32], n: usize, head: usize, channel: usize| {
                f64::from(if n < past {
                    old[place(n, head, channel, false)]
                } else {
                    new[place(n - past, head, channel, true)]
                })
            };
            let mut expected = vec![0.0; frames * channels];
            for frame in 0..frames {
                for head in 0..heads {
                    let scores: Vec<f64> = (0..past + frames)
                        .map(|n| {
                            let products = (0..width).map(|channel| {
                                f64::from(queries[place(frame, head, channel, true)])
                                    * (either(&old_keys, &keys, n, head, channel)
                                        + row_of(n, frame).map_or(0.0, |row| {
                                            f64::from(key_table[channel * count + row])
                                        }))
                            });
                            products.sum::<f64>() * 0.7f32 as f64 + f64::from(shade[n])
                        })
                        .collect();
                    let most = scores.iter().copied().fold(f64::MIN, f64::max);
                    let weights: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
                    let all: f64 = weights.iter().sum();
                    for channel in 0..width {
                        let seen = weights.iter().enumerate().map(|(n, weight)| {
                            let near = row_of(n, frame)
                                .map_or(0.0, |row| f64::from(value_table[row * width + channel]));
                            weight / all * (either(&old_values, &values, n, head, channel) + near)
                        });
                        expected[place(frame, head, channel, true)] = seen.sum::<f64>();
                    }
                }
            }
            for instructions in Instructions::all() {
                let mut output = vec![f32::NAN; frames * channels];
                let alone: Parallel<'_> = &|count, piece| (0..count).for_each(piece);
                step.apply(instructions, &mut Vec::new(), &mut output, alone);
                for (n, (found, expected)) in output.iter().zip(&expected).enumerate() {
                    let error = (f64::from(*found) - expected).abs();
                    assert!(
                        error < 3e-6,
                        "{instructions:?}, {heads} x {width}, {past} + {frames}, {n}: {error}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_frame_whose_query_is_no_number_sees_none_and_the_others_what_they_saw() {
    const WIDTH: usize = 64;
    const FRAMES: usize = 3;
    const PAST: usize = 20;
    let [mut queries, keys, values] = [1, 2, 3].map(|seed| noise(seed, FRAMES * WIDTH));
    let [old_keys, old_values] = [4, 5].map(|seed| noise(seed, PAST * WIDTH));
    let shade = [0.0; PAST + FRAMES];
    queries[WIDTH + 5] = f32::NAN;
    let step = Step {
        heads: 1,
        width: WIDTH,
        frames: FRAMES,
        past: PAST,
        queries: &queries,
        keys: &keys,
        values: &values,
        old_keys: &old_keys,
        old_values: &old_values,
        shade: &shade,
        scale: 0.7,
        near: None,
    };
    for instructions in Instructions::all() {
        let mut output = vec![0.0; FRAMES * WIDTH];
        let alone: Parallel<'_> = &|count, piece| (0..count).for_each(piece);
        step.apply(instructions, &mut Vec::new(), &mut output, alone);
        for (n, found) in output.iter().enumerate() {
            let expected = n / WIDTH == 1;
            assert_eq!(found.is_nan(), expected, "{instructions:?}, {n}: {found}");
        }
    }
}
