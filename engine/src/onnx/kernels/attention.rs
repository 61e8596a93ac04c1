//! Attention to what is carried and to a step's own frames.
//!
//! Where distances do not count, keys and values of the past lie in whatever order; where they do, the last one is the frame before the
//! step, and tables say what is added for frames that are near. Nothing is turned or joined; every key and value is read once for up to
//! four frames.
//!
//! Source: Shaw et al., Self-Attention with Relative Position Representations (1803.02155).

#[cfg(target_arch = "aarch64")]
use super::arm;
use super::lanes::{Lanes, WIDEST, exponential};
#[cfg(target_arch = "x86_64")]
use super::x86;
use super::{Instructions, Parallel, Place};

/// Frames that are looked from at the same time.
const MOST_ROWS: usize = 4;
/// Vectors of a value that are summed at the same time.
const VECTORS: usize = 4;
/// Floats of the past that are fetched ahead: reading it is what a step of few frames costs.
const AHEAD: usize = 512;
/// What fills up scores to whole vectors: so little that its share is none.
const NOTHING: f32 = -1e30;

/// What is looked at, from where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) heads: usize,
    /// Of a head; a multiple of [`WIDEST`].
    pub(super) width: usize,
    /// Frames of this step.
    pub(super) frames: usize,
    /// Frames that are carried.
    pub(super) past: usize,
    /// `[frames, heads · width]`, as are the next two.
    pub(super) queries: &'a [f32],
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
    /// `[heads, past, width]`, as is the next.
    pub(super) old_keys: &'a [f32],
    pub(super) old_values: &'a [f32],
    /// What is added to scores, `[past + frames]`.
    pub(super) shade: &'a [f32],
    /// Factor of scores.
    pub(super) scale: f32,
    pub(super) near: Option<Near<'a>>,
}

/// What is added where distances count, the same for all heads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Near<'a> {
    /// Frames before and after one that are near it; no more than there are of the past.
    pub(super) window: usize,
    /// By distance, `[width, 2 · window + 1]`.
    pub(super) keys: &'a [f32],
    /// `[2 · window + 1, width]`.
    pub(super) values: &'a [f32],
}

/// A head of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    step: &'a Step<'a>,
    number: usize,
}

/// What a head fills.
pub(super) struct Rows {
    /// Room, `[MOST_ROWS, Step::places]`.
    scores: *mut f32,
    /// Of all heads: `[frames, heads · width]`.
    to: *mut f32,
}

impl Step<'_> {
    /// Scores of a frame, filled up to whole vectors.
    fn places(&self) -> usize {
        let beyond = self.near.map_or(0, |near| near.window);
        (self.past + self.frames + beyond).next_multiple_of(WIDEST)
    }

    /// Fills `output` `[frames, heads · width]`; `room` is used again.
    pub(super) fn apply(
        &self,
        instructions: Instructions,
        room: &mut Vec<f32>,
        output: &mut [f32],
        parallel: Parallel<'_>,
    ) {
        let channels = self.heads * self.width;
        assert!(self.width.is_multiple_of(WIDEST));
        for rows in [self.queries, self.keys, self.values] {
            assert_eq!(rows.len(), self.frames * channels);
        }
        for ring in [self.old_keys, self.old_values] {
            assert_eq!(ring.len(), self.past * channels);
        }
        assert_eq!(self.shade.len(), self.past + self.frames);
        if let Some(near) = &self.near {
            let count = 2 * near.window + 1;
            assert!(near.window <= self.past);
            assert_eq!(
                [near.keys.len(), near.values.len()],
                [count * self.width; 2]
            );
        }
        assert_eq!(output.len(), self.frames * channels);
        let scores = MOST_ROWS * self.places();
        room.resize(self.heads * scores, 0.0);
        let (room, to) = (Place(room.as_mut_ptr()), Place(output.as_mut_ptr()));
        parallel(self.heads, &|number| {
            let head = Head { step: self, number };
            let rows = Rows {
                // SAFETY: every head has scores of its own.
                scores: unsafe { room.get().add(number * scores) },
                to: to.get(),
            };
            match instructions {
                // SAFETY: the processor has been asked (`Instructions::all`).
                #[cfg(target_arch = "x86_64")]
                Instructions::Vnni512 => unsafe { x86::attention_512(&head, rows) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Instructions::Vnni256 | Instructions::Avx2 => unsafe {
                    x86::attention_256(&head, rows);
                },
                // SAFETY: as above.
                #[cfg(target_arch = "aarch64")]
                Instructions::Neon => unsafe { arm::attention(&head, rows) },
            }
        });
    }
}

impl Head<'_> {
    /// All frames of the step.
    ///
    /// # Safety
    /// The processor has the instructions of `L`, and [`Step::apply`] has checked the extents.
    #[inline(always)]
    pub(super) unsafe fn run<L: Lanes>(&self, rows: Rows) {
        let mut row = 0;
        while row < self.step.frames {
            // SAFETY: as of this function; so many frames are there.
            row += unsafe {
                match self.step.frames - row {
                    1 => self.some::<L, 1>(row, &rows),
                    2 => self.some::<L, 2>(row, &rows),
                    3 => self.some::<L, 3>(row, &rows),
                    _ => self.some::<L, MOST_ROWS>(row, &rows),
                }
            };
        }
    }

    /// `R` frames from `row` on; how many that are.
    #[inline(always)]
    unsafe fn some<L: Lanes, const R: usize>(&self, row: usize, rows: &Rows) -> usize {
        let step = self.step;
        let (width, past, places) = (step.width, step.past, step.places());
        let channels = step.heads * width;
        let (own, ring) = (self.number * width, self.number * past * width);
        // SAFETY: as of `run`.
        unsafe {
            let scores = rows.scores;
            let queries = step.queries.as_ptr().add(row * channels + own);
            let old = step.old_keys.as_ptr().add(ring);
            let new = step.keys.as_ptr().add(own);
            for (keys, apart, count, first) in
                [(old, width, past, 0), (new, channels, step.frames, past)]
            {
                for n in 0..count {
                    let key = keys.add(n * apart);
                    let mut sums = [L::splat(0.0); R];
                    for at in (0..width).step_by(L::WIDTH) {
                        L::soon(key.wrapping_add(at + AHEAD).cast());
                        let key = L::load(key.add(at));
                        for (r, sum) in sums.iter_mut().enumerate() {
                            let query = L::load(queries.add(r * channels + at));
                            *sum = L::multiply_add(query, key, *sum);
                        }
                    }
                    let shade = *step.shade.get_unchecked(first + n);
                    for (r, &sum) in sums.iter().enumerate() {
                        *scores.add(r * places + first + n) = L::sum(sum) * step.scale + shade;
                    }
                }
            }
            if let Some(near) = &step.near {
                for r in 0..R {
                    let first = past + row + r - near.window;
                    let query = std::slice::from_raw_parts(queries.add(r * channels), width);
                    let own =
                        std::slice::from_raw_parts_mut(scores.add(r * places), past + step.frames);
                    let own = &mut own[first..];
                    for (query, table) in query
                        .iter()
                        .zip(near.keys.chunks_exact(2 * near.window + 1))
                    {
                        let query = query * step.scale;
                        own.iter_mut()
                            .zip(table)
                            .for_each(|(score, key)| *score += query * key);
                    }
                }
            }
            let mut shares = [0.0; R];
            for (r, share) in shares.iter_mut().enumerate() {
                *share = 1.0 / weigh::<L>(scores.add(r * places), past + step.frames, places);
            }
            let window = step.near.as_ref().map_or(0, |near| near.window);
            let mut parts = [
                (step.old_values.as_ptr().add(ring), width, past, 0),
                (step.values.as_ptr().add(own), channels, step.frames, past),
                (scores.cast_const(), 0, 0, 0),
            ]
            .map(|(values, apart, count, first)| Values {
                values,
                apart,
                count,
                scores: scores.add(first),
                places,
            });
            if let Some(near) = &step.near {
                // What is near a frame lies one place further on for the next one.
                parts[2] = Values {
                    values: near.values.as_ptr(),
                    apart: width,
                    count: 2 * window + 1,
                    scores: scores.add(past + row - window),
                    places: places + 1,
                };
            }
            let to = rows.to.add(row * channels + own);
            let mut at = 0;
            while at < width {
                let to = to.add(at);
                at += if width - at >= VECTORS * L::WIDTH {
                    sum_up::<L, R, VECTORS>(&parts, at, &shares, to, channels)
                } else {
                    sum_up::<L, R, 1>(&parts, at, &shares, to, channels)
                };
            }
        }
        R
    }
}

/// Makes scores weights that are not shared out yet; their sum.
///
/// # Safety
/// As of [`Lanes`]; `places` scores are there, of which `count` count.
#[inline(always)]
unsafe fn weigh<L: Lanes>(scores: *mut f32, count: usize, places: usize) -> f32 {
    // SAFETY: as of this function.
    unsafe {
        for place in count..places {
            *scores.add(place) = NOTHING;
        }
        let mut most = L::splat(NOTHING);
        for at in (0..places).step_by(L::WIDTH) {
            most = L::max(L::load(scores.add(at)), most);
        }
        let mut highest = [NOTHING; WIDEST];
        L::store(highest.as_mut_ptr(), most);
        let mut most = highest[0];
        for &value in &highest[1..L::WIDTH] {
            most = most.max(value);
        }
        let mut sum = L::splat(0.0);
        for at in (0..places).step_by(L::WIDTH) {
            let at = scores.add(at);
            let weight = exponential::<L>(L::add(L::load(at), L::splat(-most)));
            L::store(at, weight);
            sum = L::add(sum, weight);
        }
        L::sum(sum)
    }
}

/// Values and where their weights are.
struct Values {
    values: *const f32,
    /// Floats from one to the next.
    apart: usize,
    count: usize,
    /// `[R, places]`.
    scores: *const f32,
    places: usize,
}

/// `N` vectors of what `R` frames see, from float `at` of a row on; how many floats that are.
///
/// # Safety
/// As of [`Lanes`]; all of it is there.
#[inline(always)]
unsafe fn sum_up<L: Lanes, const R: usize, const N: usize>(
    parts: &[Values; 3],
    at: usize,
    shares: &[f32; R],
    to: *mut f32,
    channels: usize,
) -> usize {
    // SAFETY: as of this function.
    unsafe {
        let mut sums = [[L::splat(0.0); N]; R];
        for part in parts {
            for place in 0..part.count {
                let from = part.values.add(place * part.apart + at);
                let mut values = [L::splat(0.0); N];
                for (n, value) in values.iter_mut().enumerate() {
                    L::soon(from.wrapping_add(n * L::WIDTH + AHEAD).cast());
                    *value = L::load(from.add(n * L::WIDTH));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let weight = L::splat(*part.scores.add(r * part.places + place));
                    for (sum, &value) in sums.iter_mut().zip(&values) {
                        *sum = L::multiply_add(weight, value, *sum);
                    }
                }
            }
        }
        for (r, (sums, &share)) in sums.iter().zip(shares).enumerate() {
            for (n, &sum) in sums.iter().enumerate() {
                let sum = L::multiply(sum, L::splat(share));
                L::store(to.add(r * channels + n * L::WIDTH), sum);
            }
        }
        N * L::WIDTH
    }
}

#[cfg(test)]
mod tests;
