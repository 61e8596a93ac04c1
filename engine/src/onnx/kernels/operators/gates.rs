//! What follows the layers of a WaveNet, as operators of the runtime.

use ort::operator::{ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::Float32;
use timbra_voice::onnx_precision::{OWN_GATE, OWN_HALVES};

use super::{known, needed, unexpected};
use crate::onnx::kernels::Instructions;
use crate::onnx::kernels::gate::{self, More};

/// `tanh(a) · σ(b)` of the halves of a sum.
///
/// Inputs: `[1, frames, 2 · half]`, and nothing or `[1, frames or 1, channels]`, of which so many are added from `offset` on.
/// Output: `[1, frames, half]`. Attributes: `half`, `offset`.
pub(in crate::onnx::kernels) struct Gate {
    pub(in crate::onnx::kernels) instructions: Instructions,
}

/// One gate of a graph.
pub(in crate::onnx::kernels) struct GateKernel {
    instructions: Instructions,
    half: usize,
    offset: usize,
}

impl Operator for Gate {
    type Kernel<'attr> = GateKernel;

    fn name(&self) -> &str {
        OWN_GATE
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [
            OperatorInput::required(Float32),
            OperatorInput::optional(Float32),
        ]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<GateKernel> {
        let number = |name: &str| context.get::<i64>(name).and_then(known);
        let (Some(half @ 1..), Some(offset)) = (number("half"), number("offset")) else {
            return Err(unexpected("attributes", &[]));
        };
        Ok(GateKernel {
            instructions: self.instructions,
            half,
            offset,
        })
    }
}

impl ort::operator::Kernel for GateKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let first = needed(context.input(0)?)?;
        let (extents, first) = first.try_extract_tensor::<f32>()?;
        let &[1, frames, width] = &extents[..] else {
            return Err(unexpected("what goes in", extents));
        };
        if width as usize != 2 * self.half {
            return Err(unexpected("what goes in", extents));
        }
        let added = context.input(1)?;
        let more = match &added {
            Some(more) => {
                let (extents, rows) = more.try_extract_tensor::<f32>()?;
                let more = More {
                    rows,
                    channels: extents.last().map_or(0, |&channels| channels as usize),
                    offset: self.offset,
                };
                if !more.fits(frames as usize, 2 * self.half) {
                    return Err(unexpected("what is added", extents));
                }
                Some(more)
            }
            None => None,
        };
        let gate = gate::Gate {
            half: self.half,
            first,
            more,
        };
        if let Some(mut output) = context.output(0, [1, frames, self.half as i64])? {
            gate.apply(self.instructions, output.try_extract_tensor_mut::<f32>()?.1);
        }
        Ok(())
    }
}

/// Both halves of a value, each with something added to it.
///
/// Inputs: `[1, frames, 2 · half]`, and twice `[1, frames, half]`. Outputs: twice `[1, frames, half]`.
pub(in crate::onnx::kernels) struct Halves;

/// One of them in a graph.
pub(in crate::onnx::kernels) struct HalvesKernel;

impl Operator for Halves {
    type Kernel<'attr> = HalvesKernel;

    fn name(&self) -> &str {
        OWN_HALVES
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [Float32, Float32, Float32].map(OperatorInput::required)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [Float32, Float32].map(OperatorOutput::required)
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> ort::Result<HalvesKernel> {
        Ok(HalvesKernel)
    }
}

impl ort::operator::Kernel for HalvesKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let both = needed(context.input(0)?)?;
        let (extents, both) = both.try_extract_tensor::<f32>()?;
        let &[1, frames, width] = &extents[..] else {
            return Err(unexpected("what goes in", extents));
        };
        let half = (width / 2) as usize;
        for n in 0..2 {
            let more = needed(context.input(n + 1)?)?;
            let (extents, more) = more.try_extract_tensor::<f32>()?;
            if extents[..] != [1, frames, width / 2] || half == 0 {
                return Err(unexpected("what is added", extents));
            }
            let Some(mut output) = context.output(n, [1, frames, width / 2])? else {
                continue;
            };
            let output = output.try_extract_tensor_mut::<f32>()?.1;
            let rows = both.chunks_exact(2 * half).zip(more.chunks_exact(half));
            for (to, (row, more)) in output.chunks_exact_mut(half).zip(rows) {
                let own = &row[n * half..][..half];
                for ((to, own), more) in to.iter_mut().zip(own).zip(more) {
                    *to = own + more;
                }
            }
        }
        Ok(())
    }
}
