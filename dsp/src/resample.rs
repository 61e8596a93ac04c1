//! Sample-rate conversion.
//!
//! Source: windowed-sinc interpolation by rubato. What is ours: exact phases, the true delay, and output that does not
//! depend on how the input is cut.

use audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Async, FixedAsync, Resampler, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

/// Why a resampler could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResampleError {
    /// A rate outside the range that is supported.
    #[error(
        "cannot resample from {input_rate_hz} Hz to {output_rate_hz} Hz: rates from {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz are supported"
    )]
    Rate {
        /// Rate asked for on the input side.
        input_rate_hz: u32,
        /// Rate asked for on the output side.
        output_rate_hz: u32,
    },
    /// The filter could not be built.
    #[error("cannot build a resampler from {input_rate_hz} Hz to {output_rate_hz} Hz: {reason}")]
    Filter {
        /// Rate asked for on the input side.
        input_rate_hz: u32,
        /// Rate asked for on the output side.
        output_rate_hz: u32,
        /// What the filter's builder says.
        reason: String,
    },
}

/// Lowest rate on either side, in Hz.
pub const MIN_RATE_HZ: u32 = 4_000;
/// Highest rate on either side, in Hz.
pub const MAX_RATE_HZ: u32 = 768_000;

/// Largest number of exact filter phases; a ratio that needs more is interpolated between phases.
const MAX_EXACT_PHASES: u64 = 640;
/// Phases between which the rarer ratios are interpolated by a cubic; leaves images below −100 dB.
const INTERPOLATED_PHASES: usize = 256;

/// What a filter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// 1.3 ms to the filter's centre; −6 dB half a kilohertz below the lower Nyquist frequency.
    Stream,
    /// Long filter for work without a clock.
    Offline,
}

/// The numbers a converter follows from.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Output rate over input rate in lowest terms.
    numerator: u64,
    denominator: u64,
    taps: usize,
    phases: usize,
    exact: bool,
    cutoff: f32,
    chunk_samples: usize,
}

impl Plan {
    fn new(input_rate_hz: u32, output_rate_hz: u32, purpose: Purpose) -> Self {
        let divisor = greatest_common_divisor(input_rate_hz, output_rate_hz);
        let numerator = u64::from(output_rate_hz / divisor);
        let denominator = u64::from(input_rate_hz / divisor);
        let exact = numerator <= MAX_EXACT_PHASES;
        let slower_hz = f64::from(input_rate_hz.min(output_rate_hz));
        let nyquist_hz = slower_hz / 2.0;
        // A Blackman window of 2.6 ms falls from the pass band to −74 dB within 2.1 kHz. Below 12 kHz the window is
        // lengthened to 16 periods of the slower rate on each side.
        let (half_s, cutoff) = match purpose {
            Purpose::Stream => (
                1.3e-3_f64.max(16.0 / slower_hz),
                ((nyquist_hz - 550.0) / nyquist_hz).max(0.85),
            ),
            Purpose::Offline => (
                OFFLINE_TAPS as f64 / 2.0 / slower_hz,
                rubato::calculate_cutoff(OFFLINE_TAPS, OFFLINE_WINDOW),
            ),
        };
        Self {
            numerator,
            denominator,
            taps: ((2.0 * half_s * f64::from(input_rate_hz)).round() as usize).next_multiple_of(8),
            phases: if exact {
                numerator as usize
            } else {
                INTERPOLATED_PHASES
            },
            exact,
            cutoff: cutoff as f32,
            chunk_samples: match purpose {
                Purpose::Stream => (input_rate_hz / 10_000).max(1) as usize,
                Purpose::Offline => 1024,
            },
        }
    }

    fn build(&self, purpose: Purpose) -> Result<Async<f32>, rubato::ResamplerConstructionError> {
        let parameters = SincInterpolationParameters {
            sinc_len: self.taps,
            f_cutoff: Some(self.cutoff),
            oversampling_factor: self.phases,
            interpolation: if self.exact {
                SincInterpolationType::Nearest
            } else {
                SincInterpolationType::Cubic
            },
            window: match purpose {
                Purpose::Stream => WindowFunction::Blackman,
                Purpose::Offline => OFFLINE_WINDOW,
            },
        };
        let ratio = self.numerator as f64 / self.denominator as f64;
        Async::new_sinc(
            ratio,
            1.0,
            &parameters,
            self.chunk_samples,
            1,
            FixedAsync::Input,
        )
    }

    /// rubato reads output `m` at `(m + 1)·step − (taps − 1)` and its filter of phase `s` is centred
    /// `taps/2 − 1 + (s + 1)/phases` after that, so that output `m` lies at `m·step − delay`.
    fn delay_input_samples(&self) -> f64 {
        let step = self.denominator as f64 / self.numerator as f64;
        self.taps as f64 / 2.0 - step - 1.0 / self.phases as f64
    }

    fn delay_output_samples(&self) -> f64 {
        self.delay_input_samples() * self.numerator as f64 / self.denominator as f64
    }
}

/// Filter length of [`resample_all`] in samples of the slower rate.
const OFFLINE_TAPS: usize = 384;
/// Window of [`resample_all`]: side lobes below −92 dB.
const OFFLINE_WINDOW: WindowFunction = WindowFunction::BlackmanHarris;

/// Converts a mono stream from one rate to another with little delay.
///
/// The output is bit-identical however the input is cut into slices. Output sample `m` describes the input at
/// `m·input_rate/output_rate − delay`, exactly and for ever: for every ratio whose output side is at most
/// 640 in lowest terms (all pairs of common rates) the filter has one phase per possible position, and rounding can
/// not choose a wrong one. Equal rates pass the signal through untouched.
///
/// Real-time: nothing allocates after construction.
pub struct StreamResampler {
    plan: Plan,
    /// None when the rates are equal.
    converter: Option<Async<f32>>,
    pending: Vec<f32>,
}

impl std::fmt::Debug for StreamResampler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("StreamResampler")
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

impl StreamResampler {
    /// A converter at the start of a stream.
    ///
    /// Errors: a rate outside [`MIN_RATE_HZ`]..=[`MAX_RATE_HZ`].
    pub fn new(input_rate_hz: u32, output_rate_hz: u32) -> Result<Self, ResampleError> {
        Self::with_purpose(input_rate_hz, output_rate_hz, Purpose::Stream)
    }

    fn with_purpose(
        input_rate_hz: u32,
        output_rate_hz: u32,
        purpose: Purpose,
    ) -> Result<Self, ResampleError> {
        let supported = MIN_RATE_HZ..=MAX_RATE_HZ;
        if !supported.contains(&input_rate_hz) || !supported.contains(&output_rate_hz) {
            return Err(ResampleError::Rate {
                input_rate_hz,
                output_rate_hz,
            });
        }
        let plan = Plan::new(input_rate_hz, output_rate_hz, purpose);
        let converter = if input_rate_hz == output_rate_hz {
            None
        } else {
            Some(plan.build(purpose).map_err(|error| ResampleError::Filter {
                input_rate_hz,
                output_rate_hz,
                reason: error.to_string(),
            })?)
        };
        Ok(Self {
            plan,
            converter,
            pending: Vec::with_capacity(plan.chunk_samples),
        })
    }

    /// Takes the next input samples, any number, and writes the output that follows from them; returns how many
    /// samples were written.
    ///
    /// Panics when `output` is shorter than [`Self::max_output_samples`] of the input's length.
    pub fn push(&mut self, input: &[f32], output: &mut [f32]) -> usize {
        let needed = self.max_output_samples(input.len());
        assert!(
            output.len() >= needed,
            "the output needs room for {needed} samples, it has {}",
            output.len()
        );
        let Some(converter) = &mut self.converter else {
            output[..input.len()].copy_from_slice(input);
            return input.len();
        };
        let chunk_samples = self.plan.chunk_samples;
        let mut rest = input;
        let mut written = 0;
        if !self.pending.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(chunk_samples - self.pending.len()));
            self.pending.extend_from_slice(head);
            rest = tail;
            if self.pending.len() == chunk_samples {
                written += convert(converter, &self.pending, &mut output[written..]);
                self.pending.clear();
            }
        }
        if self.pending.is_empty() {
            let mut chunks = rest.chunks_exact(chunk_samples);
            for chunk in &mut chunks {
                written += convert(converter, chunk, &mut output[written..]);
            }
            self.pending.extend_from_slice(chunks.remainder());
        }
        written
    }

    /// Room that [`Self::push`] asks for when it is given `input_samples`.
    pub fn max_output_samples(&self, input_samples: usize) -> usize {
        if self.converter.is_none() {
            return input_samples;
        }
        let inputs = (input_samples + self.plan.chunk_samples) as u64;
        ((inputs * self.plan.numerator).div_ceil(self.plan.denominator) + 4) as usize
    }

    /// How much later, in output samples, an event lies in the output than in the input. Measured by impulse in the
    /// tests.
    pub fn delay_output_samples(&self) -> f64 {
        if self.converter.is_none() {
            0.0
        } else {
            self.plan.delay_output_samples()
        }
    }

    /// The same delay in input samples.
    pub fn delay_input_samples(&self) -> f64 {
        if self.converter.is_none() {
            0.0
        } else {
            self.plan.delay_input_samples()
        }
    }

    /// How many output samples are certain to have been written, in all, once `input_samples` have been taken in all.
    ///
    /// The rest follows later: the filter needs input after the position it computes, and works in small chunks.
    /// Latency is to be computed from this and [`Self::delay_output_samples`] together.
    pub fn written_after(&self, input_samples: u64) -> u64 {
        if self.converter.is_none() {
            return input_samples;
        }
        let chunk_samples = self.plan.chunk_samples as u64;
        // Output m is written when the chunk with input (m + 1)·step + 2 is complete; one input more covers rounding.
        let seen = (input_samples / chunk_samples * chunk_samples).saturating_sub(3);
        (u128::from(seen) * u128::from(self.plan.numerator) / u128::from(self.plan.denominator))
            as u64
    }

    /// How far, in input samples, the last output written may describe a time before the last input taken: filter,
    /// chunk and all. At every moment the output is complete up to that long ago.
    pub fn latency_input_samples(&self) -> usize {
        if self.converter.is_none() {
            return 0;
        }
        // Output m is out once input (m + 1)·step + 2 is in, and the next follows a step later.
        let step = self.plan.denominator as f64 / self.plan.numerator as f64;
        (self.plan.delay_input_samples() + 2.0 * step).ceil() as usize + 2 + self.plan.chunk_samples
    }

    /// Back to the start of a stream.
    pub fn reset(&mut self) {
        if let Some(converter) = &mut self.converter {
            converter.reset();
        }
        self.pending.clear();
    }
}

/// Runs one chunk; the caller made sure of the room.
fn convert(converter: &mut Async<f32>, chunk: &[f32], output: &mut [f32]) -> usize {
    let room = output.len();
    let source =
        InterleavedSlice::new(chunk, 1, chunk.len()).expect("one channel as long as the chunk");
    let mut target =
        InterleavedSlice::new_mut(output, 1, room).expect("one channel as long as the slice");
    let (_, written) = converter
        .process_into_buffer(&source, &mut target, None)
        .expect("the chunk has the fixed length and the caller left room");
    written
}

/// Converts a whole signal: long filter, delay removed, `round(n·output_rate/input_rate)` samples.
///
/// Errors: a rate outside [`MIN_RATE_HZ`]..=[`MAX_RATE_HZ`].
pub fn resample_all(
    samples: &[f32],
    input_rate_hz: u32,
    output_rate_hz: u32,
) -> Result<Vec<f32>, ResampleError> {
    let mut resampler =
        StreamResampler::with_purpose(input_rate_hz, output_rate_hz, Purpose::Offline)?;
    if resampler.converter.is_none() {
        return Ok(samples.to_vec());
    }
    let plan = resampler.plan;
    let total = (samples.len() as u128 * u128::from(plan.numerator) * 2
        + u128::from(plan.denominator))
        / (2 * u128::from(plan.denominator));
    let total = total as usize;
    // Silence in front turns the delay into a whole number of output samples.
    let delay_with = |silence: u64| {
        plan.delay_output_samples()
            + silence as f64 * plan.numerator as f64 / plan.denominator as f64
    };
    let off_grid = |silence: u64| (delay_with(silence) - delay_with(silence).round()).abs();
    let lengths = 0..plan.denominator.min(1 << 16);
    let silence = lengths
        .clone()
        .find(|&silence| off_grid(silence) < 1e-4)
        .or_else(|| lengths.min_by(|&a, &b| off_grid(a).total_cmp(&off_grid(b))))
        .unwrap_or(0);
    let skipped = delay_with(silence).round() as usize;

    let chunk = vec![0.0; plan.chunk_samples];
    let mut buffer = vec![0.0; resampler.max_output_samples(plan.chunk_samples)];
    let mut converted = Vec::with_capacity(skipped + total + buffer.len());
    let front = vec![0.0; silence as usize];
    for piece in front
        .chunks(plan.chunk_samples)
        .chain(samples.chunks(plan.chunk_samples))
    {
        let written = resampler.push(piece, &mut buffer);
        converted.extend_from_slice(&buffer[..written]);
    }
    while converted.len() < skipped + total {
        let written = resampler.push(&chunk, &mut buffer);
        converted.extend_from_slice(&buffer[..written]);
    }
    converted.truncate(skipped + total);
    converted.drain(..skipped);
    Ok(converted)
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}
