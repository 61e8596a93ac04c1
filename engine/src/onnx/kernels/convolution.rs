//! A convolution of whole numbers of 8 bits.
//!
//! What goes in is rounded to bytes with one scale a call, as ONNX's `DynamicQuantizeLinear` does, and laid out four channels at a time:
//! the bytes of four channels at one sample are a number of 32 bits. A vector of such numbers is sixteen samples that lie side by side, a
//! tap further on is the vector a few numbers further on, and four weights are the same for all of them. So nothing is copied for the
//! taps, and what comes out lies as it should: samples of a channel side by side.
//!
//! Shapes are those of ONNX's `Conv` for one recording: `[channels, samples]`.

use timbra_voice::onnx_precision::OWN_ROWS as ROWS;

use super::lanes::{Lanes, WIDEST, extremes, load_first, store_first};
#[cfg(target_arch = "x86_64")]
use super::x86;
use super::{Instructions, Parallel};

/// Channels that are rounded together.
const QUAD: usize = 4;
/// Samples of what comes out that are made for all channels before the next ones: what goes in for them stays near.
const CHUNK_SAMPLES: usize = 768;

/// What a convolution is, apart from its numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shape {
    /// Channels that go in, a multiple of four.
    pub(super) inputs: usize,
    /// Channels that come out, a multiple of [`ROWS`].
    pub(super) outputs: usize,
    /// Samples that a result sees.
    pub(super) taps: usize,
    /// How far they are apart.
    pub(super) dilation: usize,
    /// Zeros before and after what goes in.
    pub(super) pads: [usize; 2],
    /// Factor of what is below zero before anything else, at most 1.
    pub(super) slope: f32,
}

impl Shape {
    /// Samples between the first and the last that a result sees.
    fn reach(&self) -> usize {
        (self.taps - 1) * self.dilation
    }
}

/// A convolution with its numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layer<'a> {
    pub(super) shape: Shape,
    /// `[outputs / ROWS, taps, inputs / 4, ROWS, 4]`.
    pub(super) weights: &'a [i8],
    /// What a weight of 1 is, for every output.
    pub(super) scales: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    /// Of the weights of every output.
    pub(super) sums: &'a [i32],
}

/// What goes in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a> {
    /// The last samples of the past, bent already: `[inputs, past_samples]`.
    pub(super) past: &'a [f32],
    pub(super) past_samples: usize,
    /// `[inputs, samples]`.
    pub(super) new: &'a [f32],
    pub(super) samples: usize,
    /// What the new samples are multiplied with, `[samples]`; nothing below zero.
    pub(super) mask: Option<&'a [f32]>,
    /// What is added to what comes out.
    pub(super) more: Option<More<'a>>,
}

/// What is added to what comes out, from its first sample on.
#[derive(Debug, Clone, Copy)]
pub(super) struct More<'a> {
    /// The last samples of its past: `[outputs, past_samples]`.
    pub(super) past: &'a [f32],
    pub(super) past_samples: usize,
    /// `[outputs, samples]`; without a past one sample may stand for all.
    pub(super) new: &'a [f32],
    pub(super) samples: usize,
}

impl More<'_> {
    /// Whether it is enough for so many samples.
    pub(super) fn is_enough(&self, width: usize) -> bool {
        self.past_samples + self.samples >= width || self.is_one()
    }

    fn is_one(&self) -> bool {
        self.past_samples == 0 && self.samples == 1
    }

    /// `count` samples of a channel from sample `at` on, at most a vector, and zeros.
    ///
    /// # Safety
    /// As of [`Lanes`]; so many are there ([`Self::is_enough`]).
    #[inline(always)]
    unsafe fn load<L: Lanes>(&self, channel: usize, at: usize, count: usize) -> L::Float {
        // SAFETY: as of this function.
        unsafe {
            let new = self.new.as_ptr().add(channel * self.samples);
            if self.is_one() {
                return L::splat(*new);
            }
            if at >= self.past_samples {
                return load_first::<L>(new.add(at - self.past_samples), count);
            }
            let past = self.past.as_ptr().add(channel * self.past_samples);
            let mut room = [0.0; WIDEST];
            let count = count.min(L::WIDTH);
            let old = count.min(self.past_samples - at);
            past.add(at).copy_to_nonoverlapping(room.as_mut_ptr(), old);
            new.copy_to_nonoverlapping(room.as_mut_ptr().add(old), count - old);
            L::load(room.as_ptr())
        }
    }
}

/// How what goes in was rounded: `scale · (byte − zero)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rounding {
    scale: f32,
    zero: f32,
}

/// Where bytes and results are, for several threads that each write their own.
struct Place<T>(*mut T);
// SAFETY: pieces of work write to places of their own.
unsafe impl<T> Sync for Place<T> {}

impl<T> Place<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

/// A piece of work; with its vectors inside, so that it is compiled for the instructions it is made of.
pub(super) enum Work<'a> {
    /// The smallest and largest number.
    Extremes(&'a [f32], &'a mut [f32; 2]),
    /// Four channels.
    Round {
        quad: usize,
        input: Input<'a>,
        rounding: Rounding,
        to: &'a mut [u8],
    },
    /// [`ROWS`] channels of what comes out, for a chunk of its samples.
    Sum {
        first: usize,
        samples: [usize; 2],
        rounding: Rounding,
        bytes: &'a [u8],
        input: Input<'a>,
        to: *mut f32,
        width: usize,
    },
}

impl Layer<'_> {
    /// Samples that come out of an input; `None` if there are fewer than a result sees.
    pub(super) fn samples_after(shape: &Shape, input: &Input<'_>) -> Option<usize> {
        let seen = shape.pads[0] + input.past_samples + input.samples + shape.pads[1];
        seen.checked_sub(shape.reach())
    }

    /// Fills `output` `[outputs, samples]`; `bytes` is room that is used again.
    pub(super) fn apply(
        &self,
        instructions: Instructions,
        input: Input<'_>,
        bytes: &mut Vec<u8>,
        output: &mut [f32],
        parallel: Parallel<'_>,
    ) {
        let shape = &self.shape;
        let Some(width) = Self::samples_after(shape, &input).filter(|&width| width > 0) else {
            return;
        };
        let quads = shape.inputs / QUAD;
        // A vector may be read a whole block beyond the last sample.
        let stride = QUAD * (width + shape.reach() + 4 * WIDEST);
        bytes.resize(stride * quads, 0);
        assert!(
            shape.inputs == quads * QUAD && shape.outputs.is_multiple_of(ROWS) && shape.taps > 0
        );
        assert_eq!(
            self.weights.len(),
            shape.outputs * shape.taps * shape.inputs
        );
        assert_eq!(self.scales.len(), shape.outputs);
        assert_eq!(self.sums.len(), shape.outputs);
        assert!(self.bias.is_none_or(|bias| bias.len() == shape.outputs));
        assert_eq!(input.past.len(), shape.inputs * input.past_samples);
        assert_eq!(input.new.len(), shape.inputs * input.samples);
        assert!(input.mask.is_none_or(|mask| mask.len() == input.samples));
        assert_eq!(output.len(), shape.outputs * width);
        if let Some(more) = input.more {
            assert_eq!(more.past.len(), shape.outputs * more.past_samples);
            assert_eq!(more.new.len(), shape.outputs * more.samples);
            assert!(more.is_enough(width));
        }

        let rounding = self.rounding(instructions, &input);
        let place = Place(bytes.as_mut_ptr());
        parallel(quads, &|quad| {
            // SAFETY: every quad has bytes of its own.
            let to =
                unsafe { std::slice::from_raw_parts_mut(place.get().add(quad * stride), stride) };
            let work = Work::Round {
                quad,
                input,
                rounding,
                to,
            };
            self.work(instructions, work);
        });
        let groups = shape.outputs / ROWS;
        let place = Place(output.as_mut_ptr());
        let bytes = &bytes[..];
        parallel(groups * width.div_ceil(CHUNK_SAMPLES), &|unit| {
            let start = unit / groups * CHUNK_SAMPLES;
            let work = Work::Sum {
                first: unit % groups * ROWS,
                samples: [start, width.min(start + CHUNK_SAMPLES)],
                rounding,
                bytes,
                input,
                to: place.get(),
                width,
            };
            self.work(instructions, work);
        });
    }

    /// The scale that covers what goes in, and zero.
    fn rounding(&self, instructions: Instructions, input: &Input<'_>) -> Rounding {
        let extremes = |values: &[f32]| {
            let mut found = [0.0f32; 2];
            self.work(instructions, Work::Extremes(values, &mut found));
            found
        };
        let ([low, high], [past_low, past_high]) = (extremes(input.new), extremes(input.past));
        let (low, high) = ((low * self.shape.slope).min(past_low), high.max(past_high));
        let scale = (high - low) / 255.0;
        // Infinities and NaN come out as they would in float32: the scale is none either.
        let scale = if scale == 0.0 { 1.0 } else { scale };
        let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0);
        Rounding { scale, zero }
    }

    fn work(&self, instructions: Instructions, work: Work<'_>) {
        match instructions {
            // SAFETY: the processor has been asked (`Instructions::all`).
            #[cfg(target_arch = "x86_64")]
            Instructions::Vnni512 => unsafe { x86::convolution_vnni_512(self, work) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Instructions::Vnni256 => unsafe { x86::convolution_vnni_256(self, work) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => unsafe { x86::convolution_avx2(self, work) },
        }
    }

    /// A piece of work, with blocks of `R` channels and at most `N` vectors.
    ///
    /// # Safety
    /// The processor has the instructions of `L`, and [`Self::apply`] has checked the extents.
    #[inline(always)]
    pub(super) unsafe fn run<L: Lanes, const R: usize, const N: usize>(&self, work: Work<'_>) {
        // SAFETY: as of this function.
        unsafe {
            match work {
                Work::Extremes(values, found) => *found = extremes::<L>(values),
                Work::Round {
                    quad,
                    input,
                    rounding,
                    to,
                } => self.round::<L>(quad, &input, rounding, to),
                Work::Sum {
                    first,
                    samples: [start, end],
                    rounding,
                    bytes,
                    input,
                    to,
                    width,
                } => {
                    let stride = bytes.len() / (self.shape.inputs / QUAD);
                    for half in (0..ROWS).step_by(R) {
                        let mut block = Block {
                            first: first + half,
                            at: start,
                            end,
                            rounding,
                            bytes: bytes.as_ptr(),
                            stride,
                            more: input.more,
                            to,
                            width,
                        };
                        while block.at < end {
                            block.at += match (end - block.at).div_ceil(L::WIDTH) {
                                left if left >= N => self.block::<L, R, N>(&block),
                                1 => self.block::<L, R, 1>(&block),
                                _ => self.block::<L, R, 2>(&block),
                            };
                        }
                    }
                }
            }
        }
    }

    /// Four channels in bytes: zeros, the past, what is new, zeros.
    #[inline(always)]
    unsafe fn round<L: Lanes>(
        &self,
        quad: usize,
        input: &Input<'_>,
        rounding: Rounding,
        to: &mut [u8],
    ) {
        let Rounding { scale, zero } = rounding;
        let nothing = zero as u8;
        let mut at = QUAD * self.shape.pads[0];
        to[..at].fill(nothing);
        let parts = [
            (input.past, input.past_samples, 1.0, None),
            (input.new, input.samples, self.shape.slope, input.mask),
        ];
        for (values, samples, slope, mask) in parts {
            let rows = &values[quad * QUAD * samples..][..QUAD * samples];
            // No closures here or in blocks: they would be compiled without the instructions of `L`, and not always inlined.
            // SAFETY: what is written reaches at most a vector beyond the samples, which the room has; what comes after them is written
            // later.
            unsafe {
                let curve = Curve::<L> {
                    straight: L::splat(1.0 / scale),
                    bent: L::splat(slope / scale),
                    zero: L::splat(zero),
                };
                for start in (0..samples).step_by(L::WIDTH) {
                    let (from, count) = (rows.as_ptr().add(start), samples - start);
                    let factor = match mask {
                        Some(mask) => load_first::<L>(mask.as_ptr().add(start), count),
                        None => L::splat(1.0),
                    };
                    let bytes = L::quads([
                        curve.bytes(from, count, factor),
                        curve.bytes(from.add(samples), count, factor),
                        curve.bytes(from.add(2 * samples), count, factor),
                        curve.bytes(from.add(3 * samples), count, factor),
                    ]);
                    L::store_bytes(to.as_mut_ptr().add(at + QUAD * start), bytes);
                }
            }
            at += QUAD * samples;
        }
        to[at..].fill(nothing);
    }

    /// `R` channels of `N` vectors; how many samples that are.
    #[inline(always)]
    unsafe fn block<L: Lanes, const R: usize, const N: usize>(&self, block: &Block<'_>) -> usize {
        let Shape {
            inputs,
            taps,
            dilation,
            ..
        } = self.shape;
        let group = block.first / ROWS * ROWS;
        // SAFETY: as of this function; what is read reaches at most a block beyond the samples, which the bytes have.
        unsafe {
            let mut sums = [[L::zeros(); N]; R];
            let mut weights = self
                .weights
                .as_ptr()
                .add(group * taps * inputs + (block.first - group) * QUAD);
            for tap in 0..taps {
                let mut from = block.bytes.add(QUAD * (block.at + tap * dilation));
                for _ in 0..inputs / QUAD {
                    let mut bytes = [L::zeros(); N];
                    for (n, bytes) in bytes.iter_mut().enumerate() {
                        *bytes = L::load_bytes(from.add(QUAD * n * L::WIDTH));
                    }
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let weight = L::spread(weights.add(QUAD * row));
                        for (sum, &bytes) in sums.iter_mut().zip(&bytes) {
                            *sum = L::add_products(*sum, bytes, weight);
                        }
                    }
                    from = from.add(block.stride);
                    weights = weights.add(QUAD * ROWS);
                }
            }
            // From here on in memory: where sums are picked by number, they would be there all the time.
            let mut done = [[[0i32; WIDEST]; N]; R];
            for row in 0..R {
                for n in 0..N {
                    L::store_bytes(done[row][n].as_mut_ptr().cast(), sums[row][n]);
                }
            }
            for (row, done) in done.iter().enumerate() {
                let output = block.first + row;
                let factor = L::splat(block.rounding.scale * *self.scales.get_unchecked(output));
                let bias = self.bias.map_or(0.0, |bias| *bias.get_unchecked(output));
                let nothing = block.rounding.zero as i32 * *self.sums.get_unchecked(output);
                for (n, done) in done.iter().enumerate() {
                    let at = block.at + n * L::WIDTH;
                    if at >= block.end {
                        break;
                    }
                    let count = block.end - at;
                    let whole = L::load_bytes(done.as_ptr().cast());
                    let whole = L::floats(L::minus(whole, nothing));
                    let mut result = L::multiply_add(whole, factor, L::splat(bias));
                    if let Some(more) = &block.more {
                        result = L::add(result, more.load::<L>(output, at, count));
                    }
                    let at = output * block.width + at;
                    store_first::<L>(block.to.add(at), result, count);
                }
            }
        }
        N * L::WIDTH
    }
}

/// What becomes of a number before it is a byte: two lines that meet at zero.
struct Curve<L: Lanes> {
    straight: L::Float,
    bent: L::Float,
    zero: L::Float,
}

impl<L: Lanes> Curve<L> {
    /// The first `count` numbers of a vector times `factor`, as bytes.
    #[inline(always)]
    unsafe fn bytes(&self, from: *const f32, count: usize, factor: L::Float) -> L::Whole {
        // SAFETY: as of `round`.
        unsafe {
            let value = L::multiply(load_first::<L>(from, count), factor);
            let value = L::max(
                L::multiply_add(value, self.straight, self.zero),
                L::multiply_add(value, self.bent, self.zero),
            );
            L::rounded(L::min(L::max(value, L::splat(0.0)), L::splat(255.0)))
        }
    }
}

/// What a block is of.
struct Block<'a> {
    /// Its first channel and sample, and the one after the last there may be.
    first: usize,
    at: usize,
    end: usize,
    rounding: Rounding,
    /// `[inputs / 4, samples, 4]`, of which each of the first is `stride` bytes.
    bytes: *const u8,
    stride: usize,
    more: Option<More<'a>>,
    to: *mut f32,
    width: usize,
}

#[cfg(test)]
mod tests {
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
        fn new(
            inputs: usize,
            outputs: usize,
            taps: usize,
            dilation: usize,
            samples: usize,
        ) -> Self {
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
                    let mine = weights.iter().enumerate().filter(|(n, _)| {
                        n / (taps * inputs * ROWS) * ROWS + n / QUAD % ROWS == output
                    });
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
                            let place = ((channel / ROWS * taps + tap) * (inputs / QUAD)
                                + input / QUAD)
                                * ROWS;
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
}
