//! Attention as an operator of the runtime.
//!
//! Inputs: queries, keys and values of the step `[1, frames, heads · width]`, rings of keys and values `[1, heads, past, width]`, what
//! is added to scores `[past + frames]`, how many of the step's first frames go into the rings `[1]`. Outputs: what is seen
//! `[1, frames, heads · width]`, and the keys and values for the rings `[1, heads, frames, width]`. Attributes: `heads`, `past`, `scale`.

use std::cell::RefCell;

use ort::operator::{ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::{Float32, Int64};
use timbra_voice::onnx_precision::OWN_ATTENTION;

use super::{known, needed, unexpected};
use crate::onnx::kernels::Instructions;
use crate::onnx::kernels::attention::Step;
use crate::onnx::kernels::lanes::WIDEST;

/// The operator.
pub(in crate::onnx::kernels) struct Attention {
    pub(in crate::onnx::kernels) instructions: Instructions,
}

/// One node of a graph.
pub(in crate::onnx::kernels) struct Kernel {
    instructions: Instructions,
    heads: usize,
    past: usize,
    scale: f32,
}

thread_local! {
    /// What a thread runs, it runs one after the other.
    static ROOM: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Operator for Attention {
    type Kernel<'attr> = Kernel;

    fn name(&self) -> &str {
        OWN_ATTENTION
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [Float32, Float32, Float32, Float32, Float32, Float32, Int64].map(OperatorInput::required)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [Float32, Float32, Float32].map(OperatorOutput::required)
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<Kernel> {
        let number = |name: &str| context.get::<i64>(name).and_then(known);
        let (Some(heads @ 1..), Some(past), Some(scale)) =
            (number("heads"), number("past"), context.get("scale"))
        else {
            return Err(unexpected("attributes", &[]));
        };
        Ok(Kernel {
            instructions: self.instructions,
            heads,
            past,
            scale,
        })
    }
}

impl ort::operator::Kernel for Kernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let mut inputs = Vec::with_capacity(7);
        for n in 0..7 {
            inputs.push(needed(context.input(n)?)?);
        }
        let [queries, keys, values, old_keys, old_values, shade, fresh] = &inputs[..] else {
            return Err(unexpected("inputs", &[]));
        };
        let (extents, queries) = queries.try_extract_tensor::<f32>()?;
        let &[1, frames, channels] = &extents[..] else {
            return Err(unexpected("queries", extents));
        };
        let (heads, past) = (self.heads as i64, self.past as i64);
        let width = channels / heads;
        if width * heads != channels || width <= 0 || width % WIDEST as i64 != 0 {
            return Err(unexpected("queries", extents));
        }
        let of_shape = |value: &ort::value::ValueRef<'_>, what: &str, shape: &[i64]| {
            let found = value.shape().to_vec();
            if found == shape {
                return Ok(());
            }
            Err(unexpected(what, &found))
        };
        of_shape(&inputs[1], "keys", &[1, frames, channels])?;
        of_shape(&inputs[2], "values", &[1, frames, channels])?;
        of_shape(&inputs[3], "a ring of keys", &[1, heads, past, width])?;
        of_shape(&inputs[4], "a ring of values", &[1, heads, past, width])?;
        of_shape(&inputs[5], "a shade", &[past + frames])?;
        let fresh = match fresh.try_extract_tensor::<i64>()?.1 {
            &[fresh] => fresh.clamp(0, frames),
            other => return Err(unexpected("a count", &[other.len() as i64])),
        };
        let step = Step {
            heads: self.heads,
            width: width as usize,
            frames: frames as usize,
            past: self.past,
            queries,
            keys: keys.try_extract_tensor::<f32>()?.1,
            values: values.try_extract_tensor::<f32>()?.1,
            old_keys: old_keys.try_extract_tensor::<f32>()?.1,
            old_values: old_values.try_extract_tensor::<f32>()?.1,
            shade: shade.try_extract_tensor::<f32>()?.1,
            scale: self.scale,
        };
        for (n, rows) in [(1, step.keys), (2, step.values)] {
            if let Some(mut kept) = context.output(n, [1, heads, fresh, width])? {
                let (_, kept) = kept.try_extract_tensor_mut::<f32>()?;
                by_heads(rows, step.heads, step.width, fresh as usize, kept);
            }
        }
        let Some(mut output) = context.output(0, [1, frames, channels])? else {
            return Ok(());
        };
        let (_, output) = output.try_extract_tensor_mut::<f32>()?;
        let failed = RefCell::new(None);
        ROOM.with_borrow_mut(|room| {
            step.apply(self.instructions, room, output, &|count, piece| {
                if let Err(error) = context.par_for(count, 0, piece) {
                    *failed.borrow_mut() = Some(error);
                }
            });
        });
        failed.into_inner().map_or(Ok(()), Err)
    }
}

/// The first `count` rows `[frames, heads · width]` as `[heads, count, width]`.
fn by_heads(rows: &[f32], heads: usize, width: usize, count: usize, to: &mut [f32]) {
    let mut to = to.chunks_exact_mut(width);
    for head in 0..heads {
        for row in rows.chunks_exact(heads * width).take(count) {
            if let Some(to) = to.next() {
                to.copy_from_slice(&row[head * width..][..width]);
            }
        }
    }
}
