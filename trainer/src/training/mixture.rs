//! One network from the weights of several of one shape.
//!
//! Trainings that begin with the same weights stay near each other, and what lies between them sings as well as they do or
//! better. Source: Wortsman et al., "Model soups" (2203.05482).

use std::collections::VecDeque;
use std::fmt::Debug;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use serde::Serialize;

use super::checkpoint::Checkpoints;
use crate::model::causal::{from_vec, to_vec};

/// The sum of what `load` reads from the folders, each by its weight.
///
/// # Errors
/// There is none, one cannot be loaded, or its parameters are others.
pub fn weighted<B: Backend, M: Module<B>>(
    parts: &[(&Path, f32)],
    mut load: impl FnMut(&Path) -> Result<M>,
) -> Result<M> {
    let [(first, weight), rest @ ..] = parts else {
        bail!("there is nothing to mix");
    };
    let mut sum = load(first)?.map(&mut Scaled(*weight));
    for (folder, weight) in rest {
        let mut listed = Listed::default();
        load(folder)?.visit(&mut listed);
        let mut adding = Added {
            values: listed.0,
            weight: *weight,
            fits: true,
        };
        sum = sum.map(&mut adding);
        ensure!(
            adding.fits && adding.values.is_empty(),
            "{}: has other parameters than {}",
            folder.display(),
            first.display()
        );
    }
    Ok(sum)
}

/// # Errors
/// `found`, the shape of the voice in `folder`, is not the one `expected` of all.
pub fn same_shape<S: PartialEq + Debug>(folder: &Path, expected: &S, found: &S) -> Result<()> {
    ensure!(
        found == expected,
        "{}: has another shape than the first: expected {expected:?}, found {found:?}; only voices of one shape can be mixed",
        folder.display(),
    );
    Ok(())
}

/// In words, what was mixed.
#[must_use]
pub fn recipe(parts: &[(&Path, f32)]) -> String {
    let parts: Vec<String> = parts
        .iter()
        .map(|(folder, weight)| format!("{weight} · {}", folder.display()))
        .collect();
    format!("mixed: {}", parts.join(" + "))
}

/// Writes a checkpoint folder that a person has named.
///
/// # Errors
/// Something else is there, or the disk is full.
pub fn write_folder<P: Serialize>(
    output: &Path,
    position: &P,
    parts: &[(&str, Vec<u8>)],
) -> Result<()> {
    let name = output
        .file_name()
        .and_then(|name| name.to_str())
        .with_context(|| {
            format!(
                "{}: expected the name of a folder to write",
                output.display()
            )
        })?;
    let parent = output
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    ensure!(
        !output.exists() || output.join("position.json").exists(),
        "{}: exists and is not a checkpoint; give another folder",
        output.display()
    );
    Checkpoints::open(parent.unwrap_or(Path::new(".")))?.write(name, position, parts)
}

struct Scaled(f32);

impl<B: Backend> ModuleMapper<B> for Scaled {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        Param::from_mapped_value(id, tensor.mul_scalar(self.0), mapper)
    }
}

/// Parameters of one network in the order in which they are visited: two networks have other identities.
#[derive(Default)]
struct Listed(VecDeque<Vec<f32>>);

impl<B: Backend> ModuleVisitor<B> for Listed {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.0.push_back(to_vec(param.val()));
    }
}

struct Added {
    values: VecDeque<Vec<f32>>,
    weight: f32,
    fits: bool,
}

impl<B: Backend> ModuleMapper<B> for Added {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        let shape = tensor.dims();
        let device = tensor.device();
        let tensor = match self.values.pop_front() {
            Some(values) if values.len() == shape.iter().product::<usize>() => {
                tensor + from_vec::<B, D>(values, shape, &device).mul_scalar(self.weight)
            }
            _ => {
                self.fits = false;
                tensor
            }
        };
        Param::from_mapped_value(id, tensor, mapper)
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::nn::{Linear, LinearConfig};

    use super::*;

    #[test]
    fn weights_are_summed_and_another_network_is_refused_by_name() {
        let device = Default::default();
        let one: Linear<Flex> = LinearConfig::new(3, 2).init(&device);
        let other: Linear<Flex> = LinearConfig::new(3, 2).init(&device);
        let wide: Linear<Flex> = LinearConfig::new(4, 2).init(&device);
        let values = |layer: &Linear<Flex>| to_vec(layer.weight.val());
        // A parameter is drawn when it is first looked at; a copy made before would draw its own.
        for layer in [&one, &other, &wide] {
            let (_, _) = (values(layer), layer.bias.as_ref().map(|bias| bias.val()));
        }
        let load = |folder: &Path| {
            Ok(match folder.to_str() {
                Some("one") => one.clone(),
                Some("other") => other.clone(),
                _ => wide.clone(),
            })
        };
        let (a, b, c) = (Path::new("one"), Path::new("other"), Path::new("wide"));
        let sum = weighted(&[(a, 0.75), (b, 0.25)], load).unwrap();
        for ((sum, one), other) in values(&sum).iter().zip(values(&one)).zip(values(&other)) {
            assert!((sum - (0.75 * one + 0.25 * other)).abs() < 1e-6);
        }
        for pair in [[(a, 0.5), (c, 0.5)], [(c, 0.5), (a, 0.5)]] {
            let error = weighted(&pair, load).unwrap_err().to_string();
            assert!(error.contains("wide"), "{error}");
        }
    }
}
