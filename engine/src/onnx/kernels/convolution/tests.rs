//! Results are what the bytes say, whatever instructions they are made of.

use super::*;

const ALONE: Parallel<'static> = &|count, piece| (0..count).for_each(piece);

/// What a layer's results are made of, and room for others.
struct Case {
    shape: Shape,
    samples: usize,
    past_samples: usize,
    has_bias: bool,
    has_mask: bool,
    /// Samples of what is added, of its past and new; 0 for nothing.
    more_samples: [usize; 2],
}

impl Case {
    fn new(inputs: usize, outputs: usize, taps: usize, dilation: usize, samples: usize) -> Self {
        let shape = Shape {
            inputs,
            outputs,
            taps,
            dilation,
            pads: [0, 0],
            slope: 1.0,
        };
        Self {
            shape,
            samples,
            past_samples: shape.reach(),
            has_bias: true,
            has_mask: false,
            more_samples: [3, samples],
        }
    }

    /// Asserts that all instructions give the same, to the bit, and what the bytes say.
    fn check(&self) {
        let Shape {
            inputs,
            outputs,
            taps,
            dilation,
            pads,
            slope,
        } = self.shape;
        let noise = |seed: u64, count: usize, level: f32| {
            let mut values = vec![0.0; count];
            timbra_dsp::noise::fill(seed, 0, &mut values);
            values.iter_mut().for_each(|value| *value *= level);
            values
        };
        let weights: Vec<i8> = noise(1, inputs * outputs * taps, 64.0)
            .iter()
            .map(|weight| weight.clamp(-64.0, 64.0) as i8)
            .collect();
        let sums: Vec<i32> = (0..outputs)
            .map(|output| {
                let mine = weights
                    .iter()
                    .enumerate()
                    .filter(|(n, _)| n / (taps * inputs * ROWS) * ROWS + n / QUAD % ROWS == output);
                mine.map(|(_, &weight)| i32::from(weight)).sum()
            })
            .collect();
        let scales = noise(2, outputs, 0.01);
        let bias = noise(3, outputs, 1.0);
        let new = noise(4, inputs * self.samples, 2.0);
        let past = noise(5, inputs * self.past_samples, 1.0);
        let [more_past_samples, more_samples] = self.more_samples;
        let more = noise(6, outputs * more_samples, 1.0);
        let more_past = noise(7, outputs * more_past_samples, 1.0);
        let mask: Vec<f32> = (0..self.samples)
            .map(|n| f32::from(u8::from(n >= 3)))
            .collect();
        let layer = Layer {
            shape: self.shape,
            weights: &weights,
            scales: &scales,
            bias: self.has_bias.then_some(&bias),
            sums: &sums,
        };
        let input = Input {
            past: &past,
            past_samples: self.past_samples,
            new: &new,
            samples: self.samples,
            mask: self.has_mask.then_some(&mask),
            more: (more_samples > 0).then_some(More {
                past: &more_past,
                past_samples: more_past_samples,
                new: &more,
                samples: more_samples,
            }),
        };
        let width = Layer::samples_after(&self.shape, &input).expect("enough samples");
        let bent = |value: f32| if value < 0.0 { slope * value } else { value };
        let masked = |n: usize| if self.has_mask { mask[n] } else { 1.0 };
        // What is seen by a channel, in float32 and before it is rounded.
        let seen: Vec<Vec<f32>> = (0..inputs)
            .map(|channel| {
                let own = &new[channel * self.samples..][..self.samples];
                let mut seen = vec![0.0; pads[0]];
                seen.extend(&past[channel * self.past_samples..][..self.past_samples]);
                seen.extend(own.iter().enumerate().map(|(n, &v)| bent(v) * masked(n)));
                seen.extend(vec![0.0; pads[1]]);
                seen
            })
            .collect();
        let (low, high) = seen
            .iter()
            .flatten()
            .fold((0.0f32, 0.0f32), |(low, high), &v| {
                (low.min(v), high.max(v))
            });
        let step = f64::from(high - low) / 255.0;
        let mut first: Option<Vec<f32>> = None;
        for instructions in Instructions::all() {
            let mut output = vec![f32::NAN; outputs * width];
            layer.apply(instructions, input, &mut vec![7; 3], &mut output, ALONE);
            for (n, &found) in output.iter().enumerate() {
                let (channel, at) = (n / width, n % width);
                let (mut exact, mut doubt) = (
                    f64::from(if self.has_bias { bias[channel] } else { 0.0 }),
                    1e-4,
                );
                for tap in 0..taps {
                    for (input, seen) in seen.iter().enumerate() {
                        let place =
                            ((channel / ROWS * taps + tap) * (inputs / QUAD) + input / QUAD) * ROWS;
                        let weight = weights[(place + channel % ROWS) * QUAD + input % QUAD];
                        let weight = f64::from(weight) * f64::from(scales[channel]);
                        exact += weight * f64::from(seen[at + tap * dilation]);
                        // A byte is half a step off at the most, and one whole where rounding has moved zero.
                        doubt += weight.abs() * step;
                    }
                }
                let added = match at.checked_sub(more_past_samples) {
                    _ if more_samples == 0 => 0.0,
                    _ if self.more_samples == [0, 1] => more[channel],
                    Some(at) => more[channel * more_samples + at],
                    None => more_past[channel * more_past_samples + at],
                };
                exact += f64::from(added);
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

#[test]
fn results_are_within_what_rounding_allows_and_the_same_whatever_they_are_made_of() {
    for (inputs, outputs, taps, dilation) in [
        (4, 8, 1, 1),
        (16, 16, 3, 1),
        (64, 24, 7, 3),
        (32, 48, 11, 5),
    ] {
        for samples in [1, 7, 16, 31, 48, 50, 97] {
            Case::new(inputs, outputs, taps, dilation, samples).check();
        }
    }
}

#[test]
fn long_inputs_are_made_in_chunks() {
    Case::new(8, 16, 3, 1, 2 * CHUNK_SAMPLES + 5).check();
}

#[test]
fn zeros_around_slopes_and_what_is_added() {
    let mut case = Case::new(8, 16, 5, 2, 20);
    case.shape.pads = [3, 6];
    case.shape.slope = 0.1;
    for past_samples in [0, 1, 17] {
        let all = 21 + past_samples;
        for (has_bias, more_samples) in [
            (false, [0, 0]),
            (true, [0, 1]),
            (true, [0, all]),
            (true, [19, all]),
        ] {
            case.past_samples = past_samples;
            (case.has_bias, case.more_samples) = (has_bias, more_samples);
            case.has_mask = !case.has_mask;
            case.check();
        }
    }
}

#[test]
fn silence_is_silence() {
    let shape = Case::new(4, 8, 1, 1, 5).shape;
    let layer = Layer {
        shape,
        weights: &[64; 32],
        scales: &[1.0; 8],
        bias: None,
        sums: &[256; 8],
    };
    let input = Input {
        past: &[],
        past_samples: 0,
        new: &[0.0; 20],
        samples: 5,
        mask: None,
        more: None,
    };
    for instructions in Instructions::all() {
        let mut output = [1.0; 40];
        layer.apply(instructions, input, &mut Vec::new(), &mut output, ALONE);
        assert_eq!(output, [0.0; 40], "{instructions:?}");
    }
}
