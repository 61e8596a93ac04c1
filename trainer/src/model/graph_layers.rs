//! The weights of a graph that [`super::causal`] has written, in the order of its layers: the way back from a shipped
//! package to a network that can be trained further.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::import::number::ElementType;
use crate::import::source::Source;
use crate::import::{LazyTensor, OnnxFile};

/// What a constant does, by the node that uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The right side of a product, `[in, out]`.
    Matrix,
    /// What is added to a product, `[out]`.
    Bias,
    /// What a normalised frame is multiplied by, `[channels]`.
    Gain,
}

/// The layers of a graph that are not read yet.
#[derive(Debug)]
pub struct GraphLayers {
    path: PathBuf,
    parts: VecDeque<(Part, LazyTensor)>,
}

impl GraphLayers {
    /// Those of the graph in `bytes`; `path` is the package it comes from.
    ///
    /// # Errors
    /// It is no ONNX graph, or its weights are in 8 bits.
    pub fn of(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        let file = OnnxFile::read(&Source::from_bytes(path, bytes))?;
        let mut parts = VecDeque::new();
        for node in &file.nodes {
            let Some(constant) = node.inputs.get(1).and_then(|n| file.constants.get(n)) else {
                continue;
            };
            let part = match (node.op.as_str(), constant.shape().len()) {
                ("MatMul", 2) => Part::Matrix,
                ("Add", 1) => Part::Bias,
                ("Mul", 1) => Part::Gain,
                _ => continue,
            };
            // Vectors of one number are constants of the formulas around the layers, whole numbers are positions.
            let is_layer = part == Part::Matrix || constant.element_count() > 1;
            if is_layer && constant.element_type() == ElementType::F32 {
                parts.push_back((part, constant.clone()));
            }
        }
        Ok(Self {
            path: path.to_path_buf(),
            parts,
        })
    }

    /// The numbers of the next layer, which must be a `part` of `shape`.
    ///
    /// # Errors
    /// It is another, or the graph ends.
    pub fn take(&mut self, part: Part, shape: &[usize]) -> Result<Vec<f32>> {
        let Some((found, tensor)) = self.parts.pop_front() else {
            bail!(
                "{}: expected a {part:?} {shape:?} after the last layer; it is of another network, begin without it",
                self.path.display()
            );
        };
        if (found, tensor.shape()) != (part, shape) {
            bail!(
                "{}: expected a {part:?} {shape:?}, found a {found:?} {:?}; it is of another network, begin without it",
                self.path.display(),
                tensor.shape()
            );
        }
        tensor
            .to_f32()
            .with_context(|| self.path.display().to_string())
    }
}
