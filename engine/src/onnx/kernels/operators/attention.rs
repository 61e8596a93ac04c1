//! Attention as an operator of the runtime.
//!
//! | | inputs |
//! |---|---|
//! | 0, 1, 2 | queries, keys and values of the step `[1, frames, heads · width]` |
//! | 3, 4 | keys and values of the past `[1, heads, past, width]` |
//! | 5 | what is added to scores `[past + frames]` or `[1, past + frames]` |
//! | 6 | how many of the step's first frames are carried on `[1]` |
//! | 7, 8 | where distances count, tables of keys `[1, width, 2 · window + 1]` and of values `[1, 2 · window + 1, width]` |
//!
//! Outputs: what is seen `[1, frames, heads · width]`, and the keys and values that are carried on: where distances count all of the next
//! past, or else the new ones alone, which go into rings. Attributes: `heads`, `past`, `scale`.

use std::cell::RefCell;

use ort::operator::{ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::{Float32, Int64};
use timbra_voice::onnx_precision::OWN_ATTENTION;

use super::{in_pieces, known, needed, unexpected};
use crate::onnx::kernels::Instructions;
use crate::onnx::kernels::attention::{Near, Step};
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
        let needed = [Float32, Float32, Float32, Float32, Float32, Float32, Int64];
        let tables = [Float32, Float32].map(OperatorInput::optional);
        needed
            .map(OperatorInput::required)
            .into_iter()
            .chain(tables)
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
        let places = past + frames;
        let shade_shape: &[i64] = inputs[5].shape();
        if shade_shape != [places] && shade_shape != [1, places] {
            return Err(unexpected("a shade", inputs[5].shape()));
        }
        let tables = [context.input(7)?, context.input(8)?];
        let near = match &tables {
            [Some(keys), Some(values)] => {
                let count = keys.shape().last().copied().unwrap_or(0);
                of_shape(keys, "a table of keys", &[1, width, count])?;
                of_shape(values, "a table of values", &[1, count, width])?;
                if count % 2 == 0 || count / 2 > past {
                    return Err(unexpected("a table of keys", keys.shape()));
                }
                Some(Near {
                    window: (count / 2) as usize,
                    keys: keys.try_extract_tensor::<f32>()?.1,
                    values: values.try_extract_tensor::<f32>()?.1,
                })
            }
            _ => None,
        };
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
            near,
        };
        let kept = if near.is_some() { past } else { fresh };
        let pairs = [(step.old_keys, step.keys), (step.old_values, step.values)];
        for (n, (old, rows)) in pairs.into_iter().enumerate() {
            let Some(mut next) = context.output(n + 1, [1, heads, kept, width])? else {
                continue;
            };
            let (_, next) = next.try_extract_tensor_mut::<f32>()?;
            let old = if near.is_some() { old } else { &[] };
            carry(old, rows, [step.heads, step.width, fresh as usize], next);
        }
        let Some(mut output) = context.output(0, [1, frames, channels])? else {
            return Ok(());
        };
        let (_, output) = output.try_extract_tensor_mut::<f32>()?;
        ROOM.with_borrow_mut(|room| {
            in_pieces(context, |parallel| {
                step.apply(self.instructions, room, output, parallel);
            })
        })
    }
}

/// The end of `old` `[heads, past, width]` and the first `fresh` rows `[frames, heads · width]`: `[heads, kept, width]`.
fn carry(old: &[f32], rows: &[f32], [heads, width, fresh]: [usize; 3], to: &mut [f32]) {
    let (past, kept) = (old.len() / heads, to.len() / heads);
    for (head, to) in to.chunks_exact_mut(kept.max(1)).enumerate() {
        let (end, new) = to.split_at_mut(kept.saturating_sub(fresh * width));
        end.copy_from_slice(&old[(head + 1) * past - end.len()..][..end.len()]);
        let skipped = fresh - new.len() / width;
        let rows = rows.chunks_exact(heads * width).skip(skipped);
        for (to, row) in new.chunks_exact_mut(width).zip(rows) {
            to.copy_from_slice(&row[head * width..][..width]);
        }
    }
}
