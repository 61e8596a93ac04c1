//! One step of a VITS training: everything that changes in it, and how.

use std::ops::Deref;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use burn::module::{AutodiffModule as _, Module as _};
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{GradientsParams, Optimizer as _};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::batch::VitsBatch;
use super::checkpoints::VOICE_FILE;
use super::config::VitsFitConfig;
use super::critics::{Critics, Maps};
use super::losses::{KL_WEIGHT, MAPS_WEIGHT, MEL_WEIGHT, judge, persuade};
use super::network::VitsNetwork;
use super::peers::Share;
use super::spectrum::LogMel;
use super::start::WarmStart;
use super::watch::Watch;
use crate::import::StateDict;
use crate::kernels::TrainingBackend;
use crate::model::causal::{from_vec, value};
use crate::model::vits::voice::VitsVoice;
use crate::training::adamw::{AdamWOnePass, AdamWSettings};
use crate::training::average::{moved, share};
use crate::training::checkpoint::{load_module, load_optimizer, module_bytes, optimizer_bytes};
use crate::training::clip::bound_norm;

/// Names of a step's figures.
pub const STEP_COLUMNS: [&str; 8] = [
    "mel",
    "nats",
    "f0",
    "verdict",
    "maps",
    "critic",
    "gradient",
    "critic_gradient",
];
/// Figures of a step, as [`STEP_COLUMNS`] names them.
pub type StepFigures = [f64; STEP_COLUMNS.len()];

/// Tensors of a voice and of its critics to begin with, with what to call them.
#[derive(Debug, Default)]
pub struct Base {
    /// `G_*.pth` or its like.
    pub voice: Option<(String, StateDict)>,
    /// `D_*.pth`.
    pub critics: Option<(String, StateDict)>,
}

/// Everything that changes in a run.
pub struct Stepper<B: TrainingBackend> {
    config: VitsFitConfig,
    mel: LogMel<B>,
    device: B::Device,
    network: Held<VitsNetwork<B>>,
    critics: Held<Critics<B>>,
    /// The averaged voice.
    pub average: VitsVoice<B::InnerBackend>,
    optimizer: OptimizerAdaptor<AdamWOnePass, VitsNetwork<B>, B>,
    critic_optimizer: OptimizerAdaptor<AdamWOnePass, Critics<B>, B>,
    /// Averages gradients with those of other devices.
    share: Option<Share>,
}

impl<B: TrainingBackend> Stepper<B> {
    /// At the first step of a run.
    ///
    /// # Errors
    /// A base does not fit at all, or cannot be read.
    pub fn new(config: &VitsFitConfig, base: &Base, device: &B::Device) -> Result<Self> {
        let empty = StateDict::default();
        let (name, tensors) = base
            .voice
            .as_ref()
            .map_or(("", &empty), |(name, tensors)| (name.as_str(), tensors));
        let mut source = WarmStart::new(tensors, config.seed);
        let network = VitsNetwork::load(&mut source, &config.network, device)
            .with_context(|| name.to_owned())?;
        told(&source, name)?;
        let (name, tensors) = base
            .critics
            .as_ref()
            .map_or(("", &empty), |(name, tensors)| (name.as_str(), tensors));
        let mut source = WarmStart::new(tensors, config.seed + 1);
        let critics =
            Critics::load(&mut source, &config.critics, device).with_context(|| name.to_owned())?;
        told(&source, name)?;
        let optimizer = AdamWOnePass::new(AdamWSettings {
            beta_1: 0.8,
            beta_2: 0.99,
            epsilon: 1e-9,
            weight_decay: 0.01,
        });
        let spec = &config.network;
        Ok(Self {
            config: config.clone(),
            mel: LogMel::new(spec.rate_hz, spec.hop_samples(), device),
            device: device.clone(),
            average: network.valid().voice,
            network: Held::new(network),
            critics: Held::new(critics),
            optimizer: optimizer.clone().into(),
            critic_optimizer: optimizer.into(),
            share: None,
        })
    }

    /// The same on another device.
    #[must_use]
    pub fn on(&self, device: &B::Device) -> Self {
        let spec = &self.config.network;
        Self {
            config: self.config.clone(),
            mel: LogMel::new(spec.rate_hz, spec.hop_samples(), device),
            device: device.clone(),
            network: Held::new(self.network.clone().fork(device)),
            critics: Held::new(self.critics.clone().fork(device)),
            average: self.average.clone().fork(device),
            optimizer: self.optimizer.clone(),
            critic_optimizer: self.critic_optimizer.clone(),
            share: None,
        }
    }

    /// Has every gradient averaged with those of other devices from now on.
    pub fn share_by(&mut self, share: Share) {
        self.share = Some(share);
    }

    fn shared(&self, gradients: GradientsParams) -> Result<GradientsParams> {
        match &self.share {
            Some(share) => share(gradients),
            None => Ok(gradients),
        }
    }

    /// Where the checkpoint in `folder` stands.
    ///
    /// # Errors
    /// A file is missing or does not fit.
    pub fn resumed(mut self, folder: &Path) -> Result<Self> {
        let device = &self.device.clone();
        self.network
            .try_map(|network| load_module(network, folder, "network.bin", device))?;
        self.critics
            .try_map(|critics| load_module(critics, folder, "critics.bin", device))?;
        self.average = load_module(self.average, folder, VOICE_FILE, device)?;
        self.optimizer = load_optimizer::<B, VitsNetwork<B>, _>(
            self.optimizer,
            folder,
            "optimizer.bin",
            device,
        )?;
        self.critic_optimizer = load_optimizer::<B, Critics<B>, _>(
            self.critic_optimizer,
            folder,
            "critic_optimizer.bin",
            device,
        )?;
        Ok(self)
    }

    /// What a checkpoint keeps.
    ///
    /// # Errors
    /// A part cannot be serialised.
    pub fn parts(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        Ok(vec![
            (VOICE_FILE, module_bytes(&self.average)?),
            ("network.bin", module_bytes(&*self.network)?),
            ("critics.bin", module_bytes(&*self.critics)?),
            (
                "optimizer.bin",
                optimizer_bytes::<B, VitsNetwork<B>, _>(&self.optimizer)?,
            ),
            (
                "critic_optimizer.bin",
                optimizer_bytes::<B, Critics<B>, _>(&self.critic_optimizer)?,
            ),
        ])
    }

    /// One step of the critics and of the voice after `done` steps. A step whose gradient is not a number is not taken and
    /// has no figures.
    ///
    /// # Errors
    /// Too many steps in a row could not be taken.
    pub fn step(
        &mut self,
        batch: &VitsBatch,
        done: u64,
        watch: &mut Watch,
    ) -> Result<Option<StepFigures>> {
        let config = &self.config;
        let device = &self.device;
        let rate = config.schedule.rate(
            config.learning_rate,
            done,
            config.warm_up_steps,
            config.steps,
        );
        let pass = self.network.pass(&config.network, batch, device);
        let recorded: Tensor<B, 3> = from_vec(batch.audio.clone(), pass.audio.dims(), device);
        let distance = (self.mel.of(&pass.audio) - self.mel.of(&recorded))
            .abs()
            .mean();
        let mut figures = [0.0; STEP_COLUMNS.len()];
        let value = |tensor: &Tensor<B, 1>| f64::from(value(tensor));
        figures[0] = value(&distance);
        figures[1] = value(&pass.divergence);
        let mut total = distance.mul_scalar(MEL_WEIGHT)
            + pass
                .divergence
                .mul_scalar(KL_WEIGHT * config.divergence_share(done));
        if let Some(f0) = pass.f0 {
            figures[2] = value(&f0);
            total = total + f0;
        }
        let mut judged = None;
        if done >= config.critics_from {
            // One pass over recordings and renderings reads the weights once.
            let both = Tensor::cat(vec![recorded, pass.audio.clone().detach()], 0);
            let both = self.critics.maps(&both);
            let recorded = half(&both, false);
            let loss = judge(&recorded, &half(&both, true));
            figures[5] = value(&loss);
            judged = Some(loss);
            let frozen = self.critics.clone().no_grad();
            let (verdict, maps) = persuade(&recorded, &frozen.maps(&pass.audio));
            figures[3] = value(&verdict);
            figures[4] = value(&maps);
            total = total + verdict + maps.mul_scalar(MAPS_WEIGHT);
        }
        let judged = judged
            .map(|loss| {
                let gradients = GradientsParams::from_grads(loss.backward(), &*self.critics);
                self.shared(gradients)
            })
            .transpose()?;
        let sung = GradientsParams::from_grads(total.backward(), &*self.network);
        let mut sung = self.shared(sung)?;
        let mut norms = vec![bound_norm(&mut sung, &*self.network, config.most_gradient)];
        let judged = judged.map(|mut gradients| {
            norms.push(bound_norm(
                &mut gradients,
                &*self.critics,
                config.most_gradient,
            ));
            gradients
        });
        figures[6] = f64::from(norms[0]);
        figures[7] = norms.get(1).map_or(0.0, |&norm| f64::from(norm));
        if !watch.may_step(&norms, done).map_err(|what| anyhow!(what))? {
            return Ok(None);
        }
        if let Some(gradients) = judged {
            self.critics
                .map(|critics| self.critic_optimizer.step(rate, critics, gradients));
        }
        self.network
            .map(|network| self.optimizer.step(rate, network, sung));
        let newest = self.network.valid().voice;
        let average = std::mem::replace(&mut self.average, newest.clone());
        self.average = moved(average, &newest, share(done, config.average_steps));
        Ok(Some(figures))
    }
}

/// Of maps of two batches of as many clips, those of the first or of the `second`.
fn half<B: Backend>(both: &[Maps<B>], second: bool) -> Vec<Maps<B>> {
    let part = |map: &Tensor<B, 3>| {
        let rows = map.dims()[0] / 2;
        map.clone().narrow(0, usize::from(second) * rows, rows)
    };
    both.iter()
        .map(|maps| maps.iter().map(part).collect())
        .collect()
}

/// A module that is replaced by what becomes of it, and is held nowhere else meanwhile: its numbers can be changed in place.
struct Held<M>(Option<M>);

impl<M> Held<M> {
    fn new(module: M) -> Self {
        Self(Some(module))
    }

    fn map(&mut self, change: impl FnOnce(M) -> M) {
        self.0 = self.0.take().map(change);
    }

    fn try_map(&mut self, change: impl FnOnce(M) -> Result<M>) -> Result<()> {
        self.0 = self.0.take().map(change).transpose()?;
        Ok(())
    }
}

impl<M> Deref for Held<M> {
    type Target = M;

    fn deref(&self) -> &M {
        self.0
            .as_ref()
            .expect("nobody looks at it after a change that failed")
    }
}

fn told(source: &WarmStart<'_>, name: &str) -> Result<()> {
    if name.is_empty() {
        return Ok(());
    }
    for line in source.taken.lines(name) {
        println!("{line}");
    }
    if source.taken.taken == 0 {
        bail!("{name}: no tensor fits; expected a base of the same size (see --size)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex};

    use super::super::small;
    use super::*;

    type B = Autodiff<Flex>;

    fn stepper(config: &VitsFitConfig) -> Stepper<B> {
        Stepper::new(config, &Base::default(), &Default::default()).unwrap()
    }

    #[test]
    fn a_step_whose_numbers_are_none_changes_nothing() {
        let config = small::config(0);
        let mut stepper = stepper(&config);
        let mut watch = Watch::default();
        let good = small::maker(&config).batch(0, (0, 1)).unwrap();
        let mut bad = good.clone();
        bad.audio[7] = f32::NAN;
        let before = stepper.parts().unwrap();
        assert_eq!(stepper.step(&bad, 0, &mut watch).unwrap(), None);
        assert_eq!(watch.skipped_steps, 1);
        let after = stepper.parts().unwrap();
        assert!(before == after, "a step that was not taken left something");
        let figures = stepper.step(&good, 0, &mut watch).unwrap().expect("taken");
        assert!(
            figures.iter().all(|figure| figure.is_finite()),
            "{figures:?}"
        );
        assert!(after != stepper.parts().unwrap(), "a step was taken");
    }
}
