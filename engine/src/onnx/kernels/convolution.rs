//! A convolution of whole numbers of 8 bits.
//!
//! What goes in is rounded to bytes with one scale a call, as ONNX's `DynamicQuantizeLinear` does, and laid out four channels at a time:
//! the bytes of four channels at one sample are a number of 32 bits. A vector of such numbers is sixteen samples that lie side by side, a
//! tap further on is the vector a few numbers further on, and four weights are the same for all of them. So nothing is copied for the
//! taps, and what comes out lies as it should: samples of a channel side by side.
//!
//! Shapes are those of ONNX's `Conv` for one recording: `[channels, samples]`.

use timbra_voice::onnx_precision::OWN_ROWS as ROWS;

#[cfg(target_arch = "aarch64")]
use super::arm;
use super::lanes::{Lanes, WIDEST, extremes, load_first, store_first};
#[cfg(target_arch = "x86_64")]
use super::x86;
use super::{Instructions, Parallel, Place};

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
            let past = self.past.as_ptr().add(channel * self.past_samples + at);
            let count = count.min(L::WIDTH);
            let old = self.past_samples - at;
            if old >= count {
                return load_first::<L>(past, count);
            }
            let mut room = [0.0; WIDEST];
            past.copy_to_nonoverlapping(room.as_mut_ptr(), old);
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
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => unsafe { arm::convolution(self, work) },
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
        let nothing = (zero as u8).wrapping_sub(L::LESS);
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
            // Weights of the next channels, a part with every block of these: so few samples may see them that they come too late.
            let next = self
                .weights
                .as_ptr()
                .wrapping_add((group + ROWS) * taps * inputs);
            let mut fetched = (block.first - group) / R * taps * (inputs / QUAD);
            for tap in 0..taps {
                let mut from = block.bytes.add(QUAD * (block.at + tap * dilation));
                for _ in 0..inputs / QUAD {
                    L::soon(next.wrapping_add(fetched / (ROWS / R) * QUAD * ROWS));
                    fetched += 1;
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
                let zero = block.rounding.zero as i32 - i32::from(L::LESS);
                let nothing = zero * *self.sums.get_unchecked(output);
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
mod tests;
