//! A product with a matrix of whole numbers of 8 bits.
//!
//! Rows of what goes in are rounded in blocks, each with a scale of its own, as are the columns of the matrix: what ONNX Runtime's
//! `MatMulNBits` computes. Sixteen columns lie side by side, four of their weights together, so that a vector of weights meets four
//! bytes of a row; every weight is read once for up to six rows. Four times sixteen are one piece of work, and their scales lie together.
//!
//! A row may be several frames, those of the past and of a step one after the other: then the next row begins one or some frames later,
//! and every frame is rounded once.

#[cfg(target_arch = "aarch64")]
use super::arm;
use super::lanes::{Lanes, WIDEST, extremes};
#[cfg(target_arch = "x86_64")]
use super::x86;
use super::{Instructions, Place};

use timbra_voice::onnx_precision::own_scale_at;
pub(super) use timbra_voice::onnx_precision::{OWN_COLUMNS as COLUMNS, OWN_PIECE as PIECE};

/// Weights that lie together.
const QUAD: usize = 4;
/// Bytes of weights that are fetched ahead: reading them is what a product of few rows costs.
const AHEAD: usize = 1024;
/// Largest whole number of what goes in.
const MOST: f32 = 127.0;

/// A matrix `[inner, columns]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) inner: usize,
    /// A multiple of [`COLUMNS`].
    pub(super) columns: usize,
    /// Numbers that share a scale; a multiple of [`WIDEST`] that divides `inner`.
    pub(super) block: usize,
    /// `[columns / COLUMNS, inner / 4, COLUMNS, 4]`.
    pub(super) weights: &'a [i8],
    /// What a weight of 1 is, by [`PIECE`] columns: `[inner / block, at most PIECE]` of each.
    pub(super) scales: &'a [f32],
    /// Of the weights of every block and column, in the order of the scales.
    pub(super) sums: &'a [i32],
    /// What is added to every row, `[columns]`.
    pub(super) bias: Option<&'a [f32]>,
}

/// What goes in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a> {
    /// Numbers of a frame, whole blocks: as many as a row has, or fewer where rows are several frames.
    pub(super) frame: usize,
    /// Numbers from one row to the next, whole frames.
    pub(super) step: usize,
    /// Whole frames.
    pub(super) past: &'a [f32],
    /// Whole frames.
    pub(super) new: &'a [f32],
    /// Frames of nothing after that.
    pub(super) after: usize,
}

/// Room that is used again.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// `[frames, frame]`.
    bytes: Vec<u8>,
    /// `[frames, frame / block]`.
    scales: Vec<f32>,
}

/// A piece of work; with its vectors inside, so that it is compiled for the instructions it is made of.
pub(super) enum Work<'a> {
    /// Rounds whole blocks.
    Round {
        from: &'a [f32],
        bytes: &'a mut [u8],
        scales: &'a mut [f32],
    },
    /// [`PIECE`] columns, or as many as there are, for all rows.
    Sum {
        first: usize,
        rows: usize,
        step: usize,
        room: &'a Room,
        to: *mut f32,
    },
}

impl Matrix<'_> {
    fn blocks(&self) -> usize {
        self.inner / self.block
    }

    /// Rows of an input; `None` if it has no whole one.
    pub(super) fn rows_of(&self, input: &Input<'_>) -> Option<usize> {
        let all = input.past.len() + input.new.len() + input.after * input.frame;
        Some(all.checked_sub(self.inner)? / input.step + 1)
    }

    /// Fills `output` `[rows, columns]` from `input`.
    pub(super) fn apply(
        &self,
        instructions: Instructions,
        input: Input<'_>,
        room: &mut Room,
        output: &mut [f32],
        parallel: super::Parallel<'_>,
    ) {
        let (frame, step) = (input.frame, input.step);
        let Some(rows) = self.rows_of(&input) else {
            return;
        };
        assert!(self.columns.is_multiple_of(COLUMNS) && self.block.is_multiple_of(WIDEST));
        assert_eq!(self.inner, self.blocks() * self.block);
        assert_eq!(self.weights.len(), self.inner * self.columns);
        assert_eq!(self.scales.len(), self.blocks() * self.columns);
        assert_eq!(self.sums.len(), self.scales.len());
        assert!(self.bias.is_none_or(|bias| bias.len() == self.columns));
        assert!(frame > 0 && frame.is_multiple_of(self.block));
        assert!(step > 0 && step.is_multiple_of(frame) && self.inner.is_multiple_of(frame));
        assert!(
            [input.past, input.new]
                .iter()
                .all(|part| part.len().is_multiple_of(frame))
        );
        assert_eq!(output.len(), rows * self.columns);
        let count = input.past.len() + input.new.len();
        let all = count + input.after * frame;
        room.bytes.resize(all, 0);
        room.scales.resize(all / self.block, 0.0);
        let (mut bytes, nothing) = room.bytes.split_at_mut(count);
        // Whatever the bytes are.
        nothing.fill(0);
        let (mut scales, nothing) = room.scales.split_at_mut(count / self.block);
        nothing.fill(0.0);
        for from in [input.past, input.new] {
            let (own_bytes, own_scales);
            (own_bytes, bytes) = bytes.split_at_mut(from.len());
            (own_scales, scales) = scales.split_at_mut(from.len() / self.block);
            let work = Work::Round {
                from,
                bytes: own_bytes,
                scales: own_scales,
            };
            self.work(instructions, work);
        }
        let place = Place(output.as_mut_ptr());
        let room = &*room;
        parallel(self.columns.div_ceil(PIECE), &|piece| {
            let work = Work::Sum {
                first: piece * PIECE,
                rows,
                step,
                room,
                to: place.get(),
            };
            self.work(instructions, work);
        });
    }

    fn work(&self, instructions: Instructions, work: Work<'_>) {
        match instructions {
            // SAFETY: the processor has been asked (`Instructions::all`).
            #[cfg(target_arch = "x86_64")]
            Instructions::Vnni512 => unsafe { x86::product_vnni_512(self, work) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Instructions::Vnni256 => unsafe { x86::product_vnni_256(self, work) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => unsafe { x86::product_avx2(self, work) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => unsafe { arm::product(self, work) },
        }
    }

    /// A piece of work, with blocks of at most `R` rows and `N` vectors of columns.
    ///
    /// # Safety
    /// The processor has the instructions of `L`, and [`Self::apply`] has checked the extents.
    #[inline(always)]
    pub(super) unsafe fn run<L: Lanes, const R: usize, const N: usize>(&self, work: Work<'_>) {
        // SAFETY: as of this function.
        unsafe {
            match work {
                Work::Round {
                    from,
                    bytes,
                    scales,
                } => self.round::<L>(from, bytes, scales),
                Work::Sum {
                    first,
                    rows,
                    step,
                    room,
                    to,
                } => {
                    let end = self.columns.min(first + PIECE);
                    let mut column = first;
                    while column < end {
                        // As many columns side by side as there are, so that memory is read in several places at once.
                        let vectors = match (end - column) / L::WIDTH {
                            left if left >= N => N,
                            left => left.min(2),
                        };
                        let mut row = 0;
                        while row < rows {
                            let block = Block {
                                row,
                                column,
                                step,
                                room,
                                to,
                            };
                            row += match vectors {
                                1 => self.some_rows::<L, R, 1>(&block, rows - row),
                                vectors if vectors == N => {
                                    self.some_rows::<L, R, N>(&block, rows - row)
                                }
                                _ => self.some_rows::<L, R, 2>(&block, rows - row),
                            };
                        }
                        column += L::WIDTH * vectors;
                    }
                }
            }
        }
    }

    /// As many rows at once as there are, at most `R`; how many that were.
    #[inline(always)]
    unsafe fn some_rows<L: Lanes, const R: usize, const N: usize>(
        &self,
        block: &Block<'_>,
        left: usize,
    ) -> usize {
        // SAFETY: as of this function.
        unsafe {
            match left {
                left if left >= R => self.block::<L, R, N>(block),
                1 => self.block::<L, 1, N>(block),
                2 => self.block::<L, 2, N>(block),
                _ if R > 3 => self.block::<L, 3, N>(block),
                _ => self.block::<L, 2, N>(block),
            }
        }
    }

    #[inline(always)]
    unsafe fn round<L: Lanes>(&self, from: &[f32], bytes: &mut [u8], scales: &mut [f32]) {
        let blocks = from
            .chunks_exact(self.block)
            .zip(bytes.chunks_exact_mut(self.block));
        for ((from, bytes), scale) in blocks.zip(scales) {
            // SAFETY: as of this function.
            let [low, high] = unsafe { extremes::<L>(from) };
            let largest = high.max(-low);
            *scale = largest / MOST;
            let factor = if largest > 0.0 { MOST / largest } else { 0.0 };
            // SAFETY: a block is whole vectors.
            unsafe {
                let (factor, middle) = (L::splat(factor), L::splat(f32::from(L::MIDDLE)));
                for start in (0..from.len()).step_by(L::WIDTH) {
                    let value = L::load(from.as_ptr().add(start));
                    let whole = L::rounded(L::multiply_add(value, factor, middle));
                    L::store_lowest(bytes.as_mut_ptr().add(start), whole);
                }
            }
        }
    }

    /// `R` rows of `N` vectors of columns; how many rows that are.
    #[inline(always)]
    unsafe fn block<L: Lanes, const R: usize, const N: usize>(&self, block: &Block<'_>) -> usize {
        let (quads, blocks) = (self.inner / QUAD, self.blocks());
        let Block {
            row,
            column,
            step,
            room,
            to,
        } = *block;
        let blocks_apart = step / self.block;
        // SAFETY: as of this function; the extents have been checked, and so many rows and columns are there.
        unsafe {
            let mut results = [[L::splat(0.0); N]; R];
            if let Some(bias) = self.bias {
                for results in &mut results {
                    for (n, result) in results.iter_mut().enumerate() {
                        *result = L::load(bias.as_ptr().add(column + n * L::WIDTH));
                    }
                }
            }
            let mut from = [room.bytes.as_ptr(); R];
            for (r, from) in from.iter_mut().enumerate() {
                *from = from.add((row + r) * step);
            }
            // Vectors of columns may lie in different groups.
            let mut weights = [self.weights.as_ptr(); N];
            for (n, weights) in weights.iter_mut().enumerate() {
                let column = column + n * L::WIDTH;
                let group = column / COLUMNS * quads * COLUMNS + column % COLUMNS;
                *weights = weights.add(group * QUAD);
            }
            for number in 0..blocks {
                let place = own_scale_at([blocks, self.columns], number, column);
                let mut sums = [[L::zeros(); N]; R];
                let mut at = number * self.block;
                for _ in 0..self.block / QUAD {
                    let mut own = [L::zeros(); N];
                    for (own, weights) in own.iter_mut().zip(&mut weights) {
                        *own = L::load_bytes(weights.cast());
                        L::soon(weights.wrapping_add(AHEAD));
                        *weights = weights.add(COLUMNS * QUAD);
                    }
                    for (sums, from) in sums.iter_mut().zip(&from) {
                        let bytes = L::spread(from.add(at).cast());
                        for (sum, &own) in sums.iter_mut().zip(&own) {
                            *sum = L::add_signed_products(*sum, bytes, own);
                        }
                    }
                    at += QUAD;
                }
                for n in 0..N {
                    let scales = L::load(self.scales.as_ptr().add(place + n * L::WIDTH));
                    let nothing =
                        L::load_bytes(self.sums.as_ptr().add(place + n * L::WIDTH).cast());
                    for r in 0..R {
                        let scale = *room.scales.get_unchecked((row + r) * blocks_apart + number);
                        let whole = L::floats(L::without_middle(sums[r][n], nothing));
                        let scaled = L::multiply(scales, L::splat(scale));
                        results[r][n] = L::multiply_add(whole, scaled, results[r][n]);
                    }
                }
            }
            for (r, results) in results.iter().enumerate() {
                for (n, &result) in results.iter().enumerate() {
                    let at = (row + r) * self.columns + column + n * L::WIDTH;
                    L::store(to.add(at), result);
                }
            }
        }
        R
    }
}

/// What a block is of.
struct Block<'a> {
    /// Its first row and column.
    row: usize,
    column: usize,
    step: usize,
    room: &'a Room,
    to: *mut f32,
}

#[cfg(test)]
mod tests;
