//! The product with a matrix.
//!
//! | | inputs |
//! |---|---|
//! | 0 | what goes in `[…, inner / taps]` |
//! | 1, 2 | the weights and their scales as `Matrix` wants them |
//! | 3 | what is added to every row `[columns]` or nothing |
//! | 4, 5 | of several taps frames of the past `[1, past, inner / taps]`, and where the next past begins in both together `[1]` |
//!
//! Outputs: `[…, columns]`, and of several taps the next past. Attributes: `block`; `taps`, the frames that are a row; `stride`, frames
//! from one row to the next; `after`, frames of nothing after the last.

use std::cell::RefCell;

use ort::operator::{ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::{Float32, Int8, Int64};
use timbra_voice::onnx_precision::{OWN_PRODUCT, own_scale_at};

use super::{in_pieces, known, needed, unexpected};
use crate::onnx::kernels::Instructions;
use crate::onnx::kernels::lanes::WIDEST;
use crate::onnx::kernels::product::{COLUMNS, Input, Matrix, Room};

/// The operator.
pub(in crate::onnx::kernels) struct Product {
    pub(in crate::onnx::kernels) instructions: Instructions,
}

/// One node of a graph.
pub(in crate::onnx::kernels) struct Kernel {
    instructions: Instructions,
    inner: usize,
    columns: usize,
    block: usize,
    /// Frames that are a row, from one row to the next, and of nothing after the last.
    taps: usize,
    stride: usize,
    after: usize,
    /// Of the weights of every block and column.
    sums: Vec<i32>,
}

thread_local! {
    /// What a thread runs, it runs one after the other.
    static ROOM: RefCell<Room> = RefCell::default();
}

impl Operator for Product {
    type Kernel<'attr> = Kernel;

    fn name(&self) -> &str {
        OWN_PRODUCT
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let needed = [Float32, Int8, Float32].map(OperatorInput::required);
        let optional = [Float32, Float32, Int64].map(OperatorInput::optional);
        needed.into_iter().chain(optional)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [
            OperatorOutput::required(Float32),
            OperatorOutput::optional(Float32),
        ]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<Kernel> {
        let weights = context.constant_input::<ort::value::DynTensorValueType>(1)?;
        let (extents, weights) = weights.try_extract_tensor::<i8>()?;
        let (groups, quads) = match extents[..] {
            [groups, quads, columns, 4] if columns == COLUMNS as i64 => {
                (known(groups), known(quads))
            }
            _ => (None, None),
        };
        let block = context.get::<i64>("block").and_then(known);
        let (Some(groups), Some(quads), Some(block)) = (groups, quads, block) else {
            return Err(unexpected("weights", extents));
        };
        let (inner, columns) = (4 * quads, groups * COLUMNS);
        let number = |name: &str| context.get::<i64>(name).and_then(known);
        let numbers = (number("taps"), number("stride"), number("after"));
        let (Some(taps @ 1..), Some(stride @ 1..), Some(after)) = numbers else {
            return Err(unexpected("attributes", &[]));
        };
        // Frames are rounded once for all rows that see them.
        if taps > 1 && (inner % taps != 0 || inner / taps % block.max(1) != 0) {
            return Err(unexpected("weights", extents));
        }
        if weights.is_empty() || block == 0 || inner % block != 0 || block % WIDEST != 0 {
            return Err(unexpected("weights", extents));
        }
        let mut sums = vec![0; inner / block * columns];
        for (n, four) in weights.as_chunks::<4>().0.iter().enumerate() {
            let (group, quad) = (n / COLUMNS / quads, n / COLUMNS % quads);
            let sum: i32 = four.iter().map(|&weight| i32::from(weight)).sum();
            let column = group * COLUMNS + n % COLUMNS;
            sums[own_scale_at([inner / block, columns], 4 * quad / block, column)] += sum;
        }
        Ok(Kernel {
            instructions: self.instructions,
            inner,
            columns,
            block,
            taps,
            stride,
            after,
            sums,
        })
    }
}

impl ort::operator::Kernel for Kernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let [input, weights, scales] = [0, 1, 2].map(|n| context.input(n));
        let (input, weights, scales) = (needed(input?)?, needed(weights?)?, needed(scales?)?);
        let (extents, numbers) = input.try_extract_tensor::<f32>()?;
        let mut extents: Vec<i64> = extents.to_vec();
        let frame = self.inner / self.taps;
        let (past, from) = (context.input(4)?, context.input(5)?);
        let past = match &past {
            Some(past) => past.try_extract_tensor::<f32>()?.1,
            None => &[],
        };
        if extents.last() != Some(&(frame as i64)) || past.len() % frame != 0 {
            return Err(unexpected("what goes in", &extents));
        }
        let input = Input {
            frame,
            step: self.stride * frame,
            past,
            new: numbers,
            after: self.after,
        };
        let (found, weights) = weights.try_extract_tensor::<i8>()?;
        let scales = scales.try_extract_tensor::<f32>()?.1;
        if weights.len() != self.inner * self.columns || scales.len() != self.sums.len() {
            return Err(unexpected("weights", found));
        }
        if self.taps > 1 || self.stride > 1 {
            let frames = (past.len() + numbers.len()) / frame + self.after;
            let &mut [1, ref mut rows, _] = &mut extents[..] else {
                return Err(unexpected("what goes in", &extents));
            };
            *rows = match frames.checked_sub(self.taps - 1) {
                // What is carried is as long as the rows see: or else the next past would not fit.
                Some(rows @ 1..)
                    if past.is_empty() || past.len() / frame + self.after + 1 == self.taps =>
                {
                    rows.div_ceil(self.stride) as i64
                }
                _ => return Err(unexpected("what goes in", &extents)),
            };
        }
        if let Some(last) = extents.last_mut() {
            *last = self.columns as i64;
        }
        if let Some(from) = &from {
            let from = match from.try_extract_tensor::<i64>()?.1 {
                &[from] => known(from).filter(|&from| from <= numbers.len() / frame),
                _ => None,
            };
            let Some(from) = from else {
                return Err(unexpected("a place of the next past", &extents));
            };
            let carried = [1, (past.len() / frame) as i64, frame as i64];
            if let Some(mut next) = context.output(1, carried)? {
                let (_, next) = next.try_extract_tensor_mut::<f32>()?;
                let both = past.iter().chain(numbers).skip(from * frame);
                next.iter_mut().zip(both).for_each(|(to, from)| *to = *from);
            }
        }
        let bias = context.input(3)?;
        let bias = match &bias {
            Some(bias) => Some(bias.try_extract_tensor::<f32>()?.1),
            None => None,
        };
        if let Some(bias) = bias.filter(|bias| bias.len() != self.columns) {
            return Err(unexpected("a bias", &[bias.len() as i64]));
        }
        let Some(mut output) = context.output(0, extents)? else {
            return Ok(());
        };
        let (_, output) = output.try_extract_tensor_mut::<f32>()?;
        let matrix = Matrix {
            inner: self.inner,
            columns: self.columns,
            block: self.block,
            weights,
            scales,
            sums: &self.sums,
            bias,
        };
        ROOM.with_borrow_mut(|room| {
            in_pieces(context, |parallel| {
                matrix.apply(self.instructions, input, room, output, parallel);
            })
        })
    }
}
