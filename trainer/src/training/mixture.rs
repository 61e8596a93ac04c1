//! One network from the weights of several of one shape.
//!
//! Trainings that begin with the same weights stay near each other, so that what lies between them sings too, and often as well.
//! Source: Wortsman et al., "Model soups" (2203.05482).

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

/// The sum of the networks that `load` reads from the folders, each by its weight, and what `join` makes of where they stood:
/// it adds the second position, of the folder named, to the first.
///
/// # Errors
/// There is none, one cannot be loaded or joined, or its parameters are others.
pub fn weighted<B: Backend, M: Module<B>, P>(
    parts: &[(&Path, f32)],
    load: impl Fn(&Path) -> Result<(M, P)>,
    join: impl Fn(&mut P, P, &Path) -> Result<()>,
) -> Result<(M, P)> {
    let [(first, weight), rest @ ..] = parts else {
        bail!("there is nothing to mix");
    };
    let (network, mut position) = load(first)?;
    let mut sum = network.map(&mut Scaled(*weight));
    for (folder, weight) in rest {
        let (network, other) = load(folder)?;
        join(&mut position, other, folder)?;
        let mut listed = Listed::default();
        network.visit(&mut listed);
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
    Ok((sum, position))
}

/// Refuses a voice in `folder` whose shape, `found`, is not the first one's, `expected`.
///
/// # Errors
/// They differ.
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

/// A voice understands the content of one encoder; checkpoints that do not know theirs go with any.
///
/// # Errors
/// The checkpoint in `folder` learned from another.
pub fn same_encoder(folder: &Path, expected: &str, found: &str) -> Result<()> {
    ensure!(
        expected.is_empty() || found.is_empty() || expected == found,
        "{}: has learned the content of another encoder: expected the one with SHA-256 {expected}, found {found}; prepare and train with one \
         encoder, or go on in another work folder",
        folder.display()
    );
    Ok(())
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
            let network = match folder.to_str() {
                Some("one") => one.clone(),
                Some("other") => other.clone(),
                _ => wide.clone(),
            };
            Ok((network, folder.display().to_string()))
        };
        let join = |names: &mut String, other: String, _: &Path| {
            names.push_str(&other);
            Ok(())
        };
        let (a, b, c) = (Path::new("one"), Path::new("other"), Path::new("wide"));
        let (sum, names) = weighted(&[(a, 0.75), (b, 0.25)], load, join).unwrap();
        assert_eq!(names, "oneother");
        for ((sum, one), other) in values(&sum).iter().zip(values(&one)).zip(values(&other)) {
            assert!((sum - (0.75 * one + 0.25 * other)).abs() < 1e-6);
        }
        for pair in [[(a, 0.5), (c, 0.5)], [(c, 0.5), (a, 0.5)]] {
            let error = weighted(&pair, load, join).unwrap_err().to_string();
            assert!(error.contains("wide"), "{error}");
        }
    }
}
