//! What a VITS training saves, and what becomes of it.
//!
//! A checkpoint folder has `position.json` and `voice.bin` (averaged weights of prior, flow and decoder). One that a
//! training goes on from has `network.bin`, `critics.bin` and the optimisers' states beside them; a small one has
//! `voice.half.bin` instead.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use super::config::VitsFitConfig;
use super::held_out::Measures;
use super::watch::Watch;
use crate::model::vits::voice::VitsVoice;
use crate::model::vits::weights::RandomStart;
use crate::random::Random;
use crate::training::checkpoint::{
    Checkpoints, half_module_bytes, load_half_module, load_module, module_bytes, read_position,
};

/// The averaged voice.
pub const VOICE_FILE: &str = "voice.bin";
/// The averaged voice in half precision.
pub const HALF_VOICE_FILE: &str = "voice.half.bin";

/// Where a run stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VitsPosition {
    /// Steps done.
    pub step: u64,
    /// Wall seconds spent.
    pub seconds: f64,
    /// The run's settings.
    pub config: VitsFitConfig,
    /// Minutes of recordings.
    pub minutes: f64,
    /// What it was computed on.
    pub backend: String,
    /// The last validation.
    pub measures: Measures,
    /// What the run has seen.
    pub watch: Watch,
    /// What it comes from, when it is not the work of one training.
    #[serde(default)]
    pub notes: String,
}

/// The voice of a checkpoint folder, with its position.
///
/// # Errors
/// The folder is not a checkpoint of a VITS voice.
pub fn load<B: Backend>(folder: &Path, device: &B::Device) -> Result<(VitsVoice<B>, VitsPosition)> {
    let position: VitsPosition = read_position(folder)?;
    let network = &position.config.network;
    if let Err((what, expected, found)) = network.check() {
        bail!(
            "{}: {what}: expected {expected}, found {found}; the checkpoint is damaged",
            folder.join("position.json").display()
        );
    }
    // The weights are replaced at once; a start is only needed for their shapes.
    let mut start = RandomStart(Random::new(0, 0));
    let voice = VitsVoice::load(&mut start, network, device)
        .with_context(|| folder.display().to_string())?;
    let voice = if folder.join(VOICE_FILE).exists() {
        load_module(voice, folder, VOICE_FILE, device)?
    } else {
        load_half_module(voice, folder, HALF_VOICE_FILE, device)?
    };
    Ok((voice, position))
}

/// Writes the voice of a checkpoint in half precision and without what only training needs.
///
/// # Errors
/// There is no checkpoint, or the disk is full.
pub fn compress<B: Backend>(folder: &Path, output: &Path, device: &B::Device) -> Result<()> {
    let (voice, position) = load::<B>(folder, device)?;
    write(
        output,
        &position,
        &[(HALF_VOICE_FILE, half_module_bytes(&voice)?)],
    )
}

/// Writes the weighted sum of the voices of several checkpoints of one shape.
///
/// # Errors
/// They are not of one shape, or the disk is full.
pub fn mix<B: Backend>(parts: &[(&Path, f32)], output: &Path, device: &B::Device) -> Result<()> {
    let [(first, weight), rest @ ..] = parts else {
        bail!("there is nothing to mix");
    };
    let (voice, mut position) = load::<B>(first, device)?;
    let mut sum = voice.map(&mut Scaled(*weight));
    let mut notes = vec![format!("{weight} · {}", first.display())];
    for (folder, weight) in rest {
        let (voice, other) = load::<B>(folder, device)?;
        ensure!(
            other.config.network == position.config.network,
            "{}: has another shape than {}: expected {:?}, found {:?}; only voices of one shape can be mixed",
            folder.display(),
            first.display(),
            position.config.network,
            other.config.network
        );
        sum = added(sum, &voice, *weight)?;
        notes.push(format!("{weight} · {}", folder.display()));
        position.step = position.step.max(other.step);
        position.seconds += other.seconds;
        position.minutes = position.minutes.max(other.minutes);
    }
    position.notes = format!("mixed: {}", notes.join(" + "));
    write(output, &position, &[(VOICE_FILE, module_bytes(&sum)?)])
}

fn write(output: &Path, position: &VitsPosition, parts: &[(&str, Vec<u8>)]) -> Result<()> {
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
struct Listed {
    values: std::collections::VecDeque<Vec<f32>>,
}

impl<B: Backend> ModuleVisitor<B> for Listed {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.values
            .push_back(crate::model::causal::to_vec(param.val()));
    }
}

struct Added {
    values: std::collections::VecDeque<Vec<f32>>,
    weight: f32,
    unfit: Option<ParamId>,
}

impl<B: Backend> ModuleMapper<B> for Added {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        let shape = tensor.dims();
        let device = tensor.device();
        let tensor = match self.values.pop_front() {
            Some(values) if values.len() == shape.iter().product::<usize>() => {
                let other = crate::model::causal::from_vec::<B, D>(values, shape, &device);
                tensor + other.mul_scalar(self.weight)
            }
            _ => {
                self.unfit = Some(id);
                tensor
            }
        };
        Param::from_mapped_value(id, tensor, mapper)
    }
}

fn added<B: Backend>(sum: VitsVoice<B>, other: &VitsVoice<B>, weight: f32) -> Result<VitsVoice<B>> {
    let mut listed = Listed::default();
    other.visit(&mut listed);
    let mut adding = Added {
        values: listed.values,
        weight,
        unfit: None,
    };
    let sum = sum.map(&mut adding);
    ensure!(adding.unfit.is_none(), "the voices have other parameters");
    Ok(sum)
}
