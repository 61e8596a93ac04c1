//! The product with a matrix.
//!
//! Inputs: what goes in `[…, inner]`, the weights as `Matrix` wants them, their scales `[inner / block, columns]`, what is
//! added to every row `[columns]` or nothing. Output: `[…, columns]`. Attribute: `block`.

use std::cell::RefCell;

use ort::operator::{ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::{Float32, Int8};
use timbra_voice::onnx_precision::OWN_PRODUCT;

use super::{known, needed, unexpected};
use crate::onnx::kernels::Instructions;
use crate::onnx::kernels::lanes::WIDEST;
use crate::onnx::kernels::product::{COLUMNS, Matrix, Room};

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
        needed.into_iter().chain([OperatorInput::optional(Float32)])
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
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
        if weights.is_empty() || block == 0 || inner % block != 0 || block % WIDEST != 0 {
            return Err(unexpected("weights", extents));
        }
        let mut sums = vec![0; inner / block * columns];
        for (n, four) in weights.as_chunks::<4>().0.iter().enumerate() {
            let (group, quad) = (n / COLUMNS / quads, n / COLUMNS % quads);
            let sum: i32 = four.iter().map(|&weight| i32::from(weight)).sum();
            sums[4 * quad / block * columns + group * COLUMNS + n % COLUMNS] += sum;
        }
        Ok(Kernel {
            instructions: self.instructions,
            inner,
            columns,
            block,
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
        if extents.last() != Some(&(self.inner as i64)) {
            return Err(unexpected("what goes in", &extents));
        }
        let (found, weights) = weights.try_extract_tensor::<i8>()?;
        let scales = scales.try_extract_tensor::<f32>()?.1;
        if weights.len() != self.inner * self.columns || scales.len() != self.sums.len() {
            return Err(unexpected("weights", found));
        }
        if let Some(last) = extents.last_mut() {
            *last = self.columns as i64;
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
        let failed = RefCell::new(None);
        ROOM.with_borrow_mut(|room| {
            matrix.apply(self.instructions, numbers, room, output, &|count, piece| {
                if let Err(error) = context.par_for(count, 0, piece) {
                    *failed.borrow_mut() = Some(error);
                }
            });
        });
        failed.into_inner().map_or(Ok(()), Err)
    }
}
