//! The convolution as an operator of the runtime.
//!
//! | | inputs |
//! |---|---|
//! | 0 | what goes in `[1, inputs, samples]` |
//! | 1, 2 | the weights as `Layer` wants them, and their scales `[outputs]` |
//! | 3 | the bias `[outputs]` or nothing |
//! | 4 | the past `[1, inputs, past]` or nothing |
//! | 5 | what is added `[1, outputs, samples]` or nothing |
//! | 6 | numbers of the samples `[samples]` or nothing: there is nothing of those up to `missing` |
//! | 7 | the past of what is added `[1, outputs, past]` or nothing: then the first samples of both are |
//! | 8 | where the next past begins in past and samples together `[1]`; their end without it |
//!
//! Outputs: what comes out `[1, outputs, samples]`, and both pasts of the next step. Attributes: `dilation`, `pads`, `slope`,
//! `missing`.

use std::cell::RefCell;

use ort::operator::{ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::{Float32, Int8, Int64};
use ort::value::ValueRef;
use timbra_voice::onnx_precision::{OWN_CONVOLUTION, OWN_ROWS};

use super::{in_pieces, known, needed, unexpected};
use crate::onnx::kernels::Instructions;
use crate::onnx::kernels::convolution::{Input, Layer, More, Shape};

/// The operator.
pub(in crate::onnx::kernels) struct Convolution {
    pub(in crate::onnx::kernels) instructions: Instructions,
}

/// One node of a graph.
pub(in crate::onnx::kernels) struct Kernel {
    instructions: Instructions,
    shape: Shape,
    /// The last sample that there is nothing of.
    missing: f32,
    /// Of the weights of every output.
    sums: Vec<i32>,
}

thread_local! {
    /// Room for what goes in as bytes; what a thread runs, it runs one after the other.
    static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Operator for Convolution {
    type Kernel<'attr> = Kernel;

    fn name(&self) -> &str {
        OWN_CONVOLUTION
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let (needed, optional) = (OperatorInput::required, OperatorInput::optional);
        [
            needed(Float32),
            needed(Int8),
            needed(Float32),
            optional(Float32),
            optional(Float32),
            optional(Float32),
            optional(Float32),
            optional(Float32),
            optional(Int64),
        ]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [
            OperatorOutput::required(Float32),
            OperatorOutput::optional(Float32),
            OperatorOutput::optional(Float32),
        ]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<Kernel> {
        let weights = context.constant_input::<ort::value::DynTensorValueType>(1)?;
        let (extents, weights) = weights.try_extract_tensor::<i8>()?;
        let &[groups, taps, quads, rows, 4] = &extents[..] else {
            return Err(unexpected("weights", extents));
        };
        let number = |name: &str| context.get::<i64>(name).and_then(known);
        let pads: Vec<i64> = context.get("pads").unwrap_or_default();
        let (Some(dilation), &[before, after], Some(slope), Some(missing)) = (
            number("dilation"),
            &pads[..],
            context.get("slope"),
            context.get("missing"),
        ) else {
            return Err(unexpected("attributes", &[]));
        };
        let found = (
            known(groups),
            known(taps),
            known(quads),
            known(before),
            known(after),
        );
        let (Some(groups), Some(taps), Some(quads), Some(before), Some(after)) = found else {
            return Err(unexpected("weights", extents));
        };
        if rows != OWN_ROWS as i64 || weights.is_empty() {
            return Err(unexpected("weights", extents));
        }
        let shape = Shape {
            inputs: 4 * quads,
            outputs: groups * OWN_ROWS,
            taps,
            dilation,
            pads: [before, after],
            slope,
        };
        let mut sums = vec![0; shape.outputs];
        for (n, four) in weights.as_chunks::<4>().0.iter().enumerate() {
            let group = n / (taps * quads * OWN_ROWS);
            let sum: i32 = four.iter().map(|&weight| i32::from(weight)).sum();
            sums[group * OWN_ROWS + n % OWN_ROWS] += sum;
        }
        Ok(Kernel {
            instructions: self.instructions,
            shape,
            missing,
            sums,
        })
    }
}

impl ort::operator::Kernel for Kernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let Shape {
            inputs, outputs, ..
        } = self.shape;
        let found = [0, 1, 2, 3, 4, 5, 6, 7, 8].map(|n| context.input(n));
        let [
            new,
            weights,
            scales,
            bias,
            past,
            more,
            place,
            more_past,
            from,
        ] = found;
        let (new, weights, scales) = (needed(new?)?, needed(weights?)?, needed(scales?)?);
        let (bias, past, more, place) = (bias?, past?, more?, place?);
        let (more_past, from) = (more_past?, from?);
        let (new, samples) = channels(&new, inputs, "what goes in")?;
        let (past, past_samples) = match &past {
            Some(past) => channels(past, inputs, "the past")?,
            None => (&[][..], 0),
        };
        let bias = match &bias {
            Some(bias) => Some(bias.try_extract_tensor::<f32>()?.1),
            None => None,
        };
        let more = match &more {
            Some(more) => {
                let (new, samples) = channels(more, outputs, "what is added")?;
                let (past, past_samples) = match &more_past {
                    Some(past) => channels(past, outputs, "the past of what is added")?,
                    None => (&[][..], 0),
                };
                Some(More {
                    past,
                    past_samples,
                    new,
                    samples,
                })
            }
            None => None,
        };
        let from = match &from {
            Some(from) => match from.try_extract_tensor::<i64>()?.1 {
                &[from] => known(from).filter(|&from| from <= samples),
                _ => None,
            },
            None => Some(samples),
        };
        let Some(from) = from else {
            return Err(unexpected("a place of the next past", &[samples as i64]));
        };
        let mut mask = None;
        if let Some(place) = &place {
            let (extents, place) = place.try_extract_tensor::<f32>()?;
            if extents[..] != [samples as i64] {
                return Err(unexpected("numbers of samples", extents));
            }
            // There is something of every sample but at the beginning of a stream.
            if place.iter().any(|&place| place - self.missing < 1.0) {
                let since = place
                    .iter()
                    .map(|&place| (place - self.missing).clamp(0.0, 1.0));
                mask = Some(since.collect::<Vec<f32>>());
            }
        }
        let (extents, weights) = weights.try_extract_tensor::<i8>()?;
        let scales = scales.try_extract_tensor::<f32>()?.1;
        let expected = self.shape.taps * inputs * outputs;
        if weights.len() != expected
            || scales.len() != outputs
            || bias.is_some_and(|bias| bias.len() != outputs)
        {
            return Err(unexpected("weights", extents));
        }
        let layer = Layer {
            shape: self.shape,
            weights,
            scales,
            bias,
            sums: &self.sums,
        };
        let input = Input {
            past,
            past_samples,
            new,
            samples,
            mask: mask.as_deref(),
            more,
        };
        let Some(width) = Layer::samples_after(&self.shape, &input) else {
            return Err(unexpected("samples", &[samples as i64]));
        };
        if let Some(more) = more.filter(|more| !more.is_enough(width)) {
            return Err(unexpected("what is added", &[more.samples as i64]));
        }
        if let Some(mut next) = context.output(1, [1, inputs as i64, past_samples as i64])? {
            let (_, next) = next.try_extract_tensor_mut::<f32>()?;
            carry([past, new], [past_samples, samples], from, next);
            bend(&input, self.shape.slope, from, next);
        }
        if let Some(more) = more
            && let Some(mut next) =
                context.output(2, [1, outputs as i64, more.past_samples as i64])?
        {
            let (_, next) = next.try_extract_tensor_mut::<f32>()?;
            carry(
                [more.past, more.new],
                [more.past_samples, more.samples],
                more.samples,
                next,
            );
        }
        let width_i64 = width as i64;
        let Some(mut output) = context.output(0, [1, outputs as i64, width_i64])? else {
            return Ok(());
        };
        let (_, output) = output.try_extract_tensor_mut::<f32>()?;
        BYTES.with_borrow_mut(|bytes| {
            in_pieces(context, |parallel| {
                layer.apply(self.instructions, input, bytes, output, parallel);
            })
        })
    }
}

/// As many samples as the past has, of the past and what is new together, from `from` on.
fn carry(
    [past, new]: [&[f32]; 2],
    [past_samples, samples]: [usize; 2],
    from: usize,
    next: &mut [f32],
) {
    if past_samples == 0 {
        return;
    }
    let kept = past_samples.saturating_sub(from);
    for (channel, next) in next.chunks_exact_mut(past_samples).enumerate() {
        let (old, fresh) = next.split_at_mut(kept);
        old.copy_from_slice(&past[(channel + 1) * past_samples - kept..][..kept]);
        let first = channel * samples + from - fresh.len();
        fresh.copy_from_slice(&new[first..][..fresh.len()]);
    }
}

/// Bends and masks what is new of the next past.
fn bend(input: &Input<'_>, slope: f32, from: usize, next: &mut [f32]) {
    if input.past_samples == 0 {
        return;
    }
    let fresh = input.past_samples.min(from);
    for next in next.chunks_exact_mut(input.past_samples) {
        let next = &mut next[input.past_samples - fresh..];
        for value in &mut *next {
            *value *= if *value < 0.0 { slope } else { 1.0 };
        }
        if let Some(mask) = input.mask {
            let mask = &mask[from - fresh..];
            next.iter_mut().zip(mask).for_each(|(to, mask)| *to *= mask);
        }
    }
}

/// The numbers of a tensor `[1, channels, samples]`, and its samples.
fn channels<'a>(
    value: &'a ValueRef<'_>,
    channels: usize,
    what: &str,
) -> ort::Result<(&'a [f32], usize)> {
    let (extents, numbers) = value.try_extract_tensor::<f32>()?;
    match extents[..] {
        [1, found, samples] if found == channels as i64 => Ok((numbers, samples as usize)),
        _ => Err(unexpected(what, extents)),
    }
}
