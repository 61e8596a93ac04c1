//! The gate of a WaveNet: `tanh(a) · σ(b)` of the halves of a sum.
//!
//! Source: van den Oord et al., Conditional Image Generation with PixelCNN Decoders (1606.05328).

use super::Instructions;
#[cfg(target_arch = "aarch64")]
use super::arm;
use super::lanes::{Lanes, exponential, load_first, store_first};
#[cfg(target_arch = "x86_64")]
use super::x86;

/// What goes in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gate<'a> {
    /// Channels of each half.
    pub(super) half: usize,
    /// `[frames, 2 · half]`.
    pub(super) first: &'a [f32],
    pub(super) more: Option<More<'a>>,
}

/// What is added before.
#[derive(Debug, Clone, Copy)]
pub(super) struct More<'a> {
    /// `[frames, channels]`; one frame may stand for all.
    pub(super) rows: &'a [f32],
    pub(super) channels: usize,
    /// The first of the channels that are added.
    pub(super) offset: usize,
}

impl<'a> More<'a> {
    /// What is added to a frame.
    fn row(&self, frame: usize) -> &'a [f32] {
        let frames = self.rows.len() / self.channels;
        &self.rows[frame.min(frames - 1) * self.channels + self.offset..]
    }

    /// Whether it is enough for so many frames of `width` channels.
    pub(super) fn fits(&self, frames: usize, width: usize) -> bool {
        let rows = self.rows.len() / self.channels.max(1);
        (rows == frames || rows == 1) && self.offset + width <= self.channels
    }
}

impl Gate<'_> {
    /// Fills `to` `[frames, half]`.
    pub(super) fn apply(&self, instructions: Instructions, to: &mut [f32]) {
        let frames = self.first.len() / (2 * self.half);
        assert_eq!(self.first.len(), frames * 2 * self.half);
        assert_eq!(to.len(), frames * self.half);
        assert!(
            self.more
                .is_none_or(|more| more.fits(frames, 2 * self.half))
        );
        match instructions {
            // SAFETY: the processor has been asked (`Instructions::all`).
            #[cfg(target_arch = "x86_64")]
            Instructions::Vnni512 => unsafe { x86::gate_512(self, to) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Instructions::Vnni256 | Instructions::Avx2 => unsafe { x86::gate_256(self, to) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => unsafe { arm::gate(self, to) },
        }
    }

    /// All frames.
    ///
    /// # Safety
    /// The processor has the instructions of `L`, and [`Self::apply`] has checked the extents.
    #[inline(always)]
    pub(super) unsafe fn run<L: Lanes>(&self, to: &mut [f32]) {
        let half = self.half;
        let rows = self.first.chunks_exact(2 * half);
        for (frame, (row, to)) in rows.zip(to.chunks_exact_mut(half)).enumerate() {
            let more = self.more.map(|more| more.row(frame));
            // SAFETY: as of this function; so many channels are there.
            unsafe {
                for at in (0..half).step_by(L::WIDTH) {
                    let count = half - at;
                    let mut halves = [L::splat(0.0); 2];
                    for (n, half_of) in halves.iter_mut().enumerate() {
                        let place = n * half + at;
                        *half_of = load_first::<L>(row.as_ptr().add(place), count);
                        if let Some(more) = more {
                            let more = load_first::<L>(more.as_ptr().add(place), count);
                            *half_of = L::add(*half_of, more);
                        }
                    }
                    let [a, b] = halves;
                    // tanh(a) = 2 σ(2 a) − 1
                    let bent = logistic::<L>(L::add(a, a));
                    let bent = L::add(L::add(bent, bent), L::splat(-1.0));
                    let result = L::multiply(bent, logistic::<L>(b));
                    store_first::<L>(to.as_mut_ptr().add(at), result, count);
                }
            }
        }
    }
}

/// `1 / (1 + exp(−x))`.
///
/// # Safety
/// As of [`Lanes`].
#[inline(always)]
unsafe fn logistic<L: Lanes>(x: L::Float) -> L::Float {
    // SAFETY: as of this function.
    unsafe {
        let one = L::splat(1.0);
        let falling = exponential::<L>(L::multiply(x, L::splat(-1.0)));
        L::divide(one, L::add(one, falling))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_is_what_the_definition_says() {
        // Widths with and without whole vectors; one frame of what is added for all, and one each.
        for (half, frames, added) in [(192, 6, 0), (20, 3, 1), (5, 4, 4), (16, 1, 1)] {
            let noise = |seed, count: usize| {
                let mut values = vec![0.0; count];
                timbra_dsp::noise::fill(seed, 0, &mut values);
                values.iter_mut().for_each(|value| *value *= 30.0);
                values
            };
            let (first, channels) = (noise(1, frames * 2 * half), 2 * half + 7);
            let rows = noise(2, added * channels);
            let gate = Gate {
                half,
                first: &first,
                more: (added > 0).then_some(More {
                    rows: &rows,
                    channels,
                    offset: 3,
                }),
            };
            for instructions in Instructions::all() {
                let mut found = vec![f32::NAN; frames * half];
                gate.apply(instructions, &mut found);
                for (n, &found) in found.iter().enumerate() {
                    let (frame, channel) = (n / half, n % half);
                    let [a, b] = [channel, half + channel].map(|channel| {
                        let more = match added {
                            0 => 0.0,
                            added => rows[frame.min(added - 1) * channels + 3 + channel],
                        };
                        f64::from(first[frame * 2 * half + channel] + more)
                    });
                    let expected = a.tanh() / (1.0 + (-b).exp());
                    let error = (f64::from(found) - expected).abs();
                    assert!(error < 1e-6, "{instructions:?}, {half}, {n}: {error}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        const HALF: usize = 20;
        for instructions in Instructions::all() {
            for place in [3, 17, HALF + 3, HALF + 17] {
                let mut first = vec![0.5; 2 * HALF];
                first[place] = f32::NAN;
                let (gate, mut found) = (
                    Gate {
                        half: HALF,
                        first: &first,
                        more: None,
                    },
                    vec![0.0; HALF],
                );
                gate.apply(instructions, &mut found);
                for (channel, found) in found.iter().enumerate() {
                    assert_eq!(
                        found.is_nan(),
                        channel == place % HALF,
                        "{instructions:?}, {place}, {channel}: {found}"
                    );
                }
            }
        }
    }
}
