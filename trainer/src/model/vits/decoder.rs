//! NSF-HiFiGAN: the latent to sound, with a sine source that carries the pitch.
//!
//! Source: Kong et al., HiFi-GAN (2010.05646); Wang et al., neural source filter (1904.12088); the snake after BigVGAN
//! (2206.04658).

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::eval::{Eval, Function, LAST_LEAK, LEAK, SourceForm};
use super::layers::{Conv, ConvShape, MaybeSplit, Upsample, param};
use super::spec::{Activation, Prenet, ResidualKind, VitsSpec};
use super::weights::{Start, WeightError, WeightSource};

/// Stages whose features may be computed anew when more of the future is known. They see far ahead and cost little; the
/// later ones are the other way round.
const PROVISIONAL_STAGES: usize = 1;

/// A leaky rectifier, or a snake with its parameters.
#[derive(Module, Debug)]
struct Bend<B: Backend> {
    frequency: Option<Param<Tensor<B, 1>>>,
    magnitude: Option<Param<Tensor<B, 1>>>,
}

impl<B: Backend> Bend<B> {
    fn load(
        source: &mut dyn WeightSource,
        name: &str,
        channels: usize,
        kind: Activation,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        if kind == Activation::Leaky {
            return Ok(Self {
                frequency: None,
                magnitude: None,
            });
        }
        let mut part = |part: &str| {
            let name = format!("{name}.act.{part}");
            param(source, &name, [channels], Start::Constant(0.0), device)
        };
        Ok(Self {
            frequency: Some(part("alpha")?),
            magnitude: Some(part("beta")?),
        })
    }

    fn forward<E: Eval<B>>(&self, eval: &mut E, x: &E::Value, slope: f32) -> E::Value {
        match (&self.frequency, &self.magnitude) {
            (Some(frequency), Some(magnitude)) => eval.snake(x, frequency, magnitude),
            _ => eval.apply(x, Function::Leaky(slope)),
        }
    }
}

#[derive(Module, Debug)]
struct Step<B: Backend> {
    bend: Bend<B>,
    conv: MaybeSplit<B>,
    /// The plain convolution that follows in paired blocks.
    second: Option<(Bend<B>, MaybeSplit<B>)>,
}

#[derive(Module, Debug)]
struct Stage<B: Backend> {
    bend: Bend<B>,
    up: Upsample<B>,
    source: Option<Conv<B>>,
    blocks: Vec<Vec<Step<B>>>,
}

/// The decoder.
#[derive(Module, Debug)]
pub struct Decoder<B: Backend> {
    entry: Conv<B>,
    condition: Conv<B>,
    merge: Option<Conv<B>>,
    stages: Vec<Stage<B>>,
    last_bend: Bend<B>,
    last: Conv<B>,
    #[module(skip)]
    form: SourceForm,
}

impl<B: Backend> Decoder<B> {
    /// The decoder of a source, under `dec`.
    ///
    /// # Errors
    /// The source does not have it.
    pub fn load(
        source: &mut dyn WeightSource,
        spec: &VitsSpec,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let decoder = &spec.decoder;
        // RVC leaves the first and last convolution as they are, and the last without a bias.
        let rvc = spec.prenet == Prenet::Rvc;
        let ends = |shape: ConvShape| if rvc { shape } else { shape.normed() };
        let entry = ends(ConvShape::same(
            spec.inter_channels,
            decoder.initial_channels,
            7,
        ));
        let form = SourceForm {
            sines: decoder.overtones.unwrap_or(0) + 1,
            hop: spec.hop_samples(),
            rate_hz: spec.rate_hz as f32,
        };
        let merge = decoder
            .overtones
            .map(|_| Conv::linear(source, "dec.m_source.l_linear", form.sines, 1, device))
            .transpose()?;
        let mut stages = Vec::new();
        let mut channels = decoder.initial_channels;
        for n in 0..decoder.rates.len() {
            stages.push(Self::stage(source, spec, n, channels, device)?);
            channels /= 2;
        }
        let last = ConvShape::same(channels, 1, 7);
        let last = if rvc { last.unbiased() } else { last.normed() };
        Ok(Self {
            entry: Conv::load(source, "dec.conv_pre", entry, device)?,
            condition: Conv::load(
                source,
                "dec.cond",
                ConvShape::same(spec.speaker_channels, decoder.initial_channels, 1),
                device,
            )?,
            merge,
            stages,
            last_bend: Bend::load(
                source,
                "dec.snake_post",
                channels,
                decoder.activation,
                device,
            )?,
            last: Conv::load(source, "dec.conv_post", last, device)?,
            form,
        })
    }

    fn stage(
        source: &mut dyn WeightSource,
        spec: &VitsSpec,
        n: usize,
        channels: usize,
        device: &B::Device,
    ) -> Result<Stage<B>, WeightError> {
        let decoder = &spec.decoder;
        let half = channels / 2;
        // Samples of the source per sample of this stage.
        let ratio: usize = decoder.rates[n + 1..].iter().product();
        let source_shape = if ratio > 1 {
            ConvShape {
                stride: ratio,
                // As so-vits-svc 4.1 pads odd ones, but without what lies behind the last stride.
                left: ratio.div_ceil(2),
                right: ratio / 2,
                ..ConvShape::same(1, half, 2 * ratio)
            }
        } else {
            ConvShape::same(1, half, 1)
        };
        let has_source = decoder.overtones.is_some();
        let source_conv = has_source
            .then(|| {
                let name = format!("dec.noise_convs.{n}");
                Conv::load(source, &name, source_shape, device)
            })
            .transpose()?;
        let up = Upsample::load(
            source,
            &format!("dec.ups.{n}"),
            (channels, half),
            (decoder.kernels[n], decoder.rates[n]),
            device,
        )?;
        let kinds = decoder.residual_kernels.len();
        let mut blocks = Vec::new();
        for (k, (&kernel, dilations)) in decoder
            .residual_kernels
            .iter()
            .zip(&decoder.residual_dilations)
            .enumerate()
        {
            let name = format!("dec.resblocks.{}", n * kinds + k);
            blocks.push(Self::block(
                source, spec, &name, half, kernel, dilations, device,
            )?);
        }
        Ok(Stage {
            bend: Bend::load(
                source,
                &format!("dec.snakes.{n}"),
                channels,
                decoder.activation,
                device,
            )?,
            up,
            source: source_conv,
            blocks,
        })
    }

    fn block(
        source: &mut dyn WeightSource,
        spec: &VitsSpec,
        name: &str,
        channels: usize,
        kernel: usize,
        dilations: &[usize],
        device: &B::Device,
    ) -> Result<Vec<Step<B>>, WeightError> {
        let kind = spec.decoder.activation;
        let paired = spec.decoder.residual == ResidualKind::Paired;
        let plain = ConvShape::same(channels, channels, kernel).normed();
        let list = if paired { "convs1" } else { "convs" };
        let mut steps = Vec::new();
        for (d, &dilation) in dilations.iter().enumerate() {
            let place = if paired { 2 * d } else { d };
            let second = paired
                .then(|| -> Result<_, WeightError> {
                    let bend = format!("{name}.activations.{}", place + 1);
                    Ok((
                        Bend::load(source, &bend, channels, kind, device)?,
                        MaybeSplit::load(source, &format!("{name}.convs2.{d}"), plain, device)?,
                    ))
                })
                .transpose()?;
            steps.push(Step {
                bend: Bend::load(
                    source,
                    &format!("{name}.activations.{place}"),
                    channels,
                    kind,
                    device,
                )?,
                conv: MaybeSplit::load(
                    source,
                    &format!("{name}.{list}.{d}"),
                    plain.dilated(dilation),
                    device,
                )?,
                second,
            });
        }
        Ok(steps)
    }

    /// The latent `[B, C, T]` to audio `[B, 1, T · hop]`; F0 `[B, 1, T]`, noise of unit power `[B, 1, T · hop]`, speaker
    /// `[B, G, T]`.
    pub fn forward<E: Eval<B>>(
        &self,
        eval: &mut E,
        latent: &E::Value,
        f0_hz: &E::Value,
        noise: &E::Value,
        speaker: &E::Value,
    ) -> E::Value {
        let source = self
            .merge
            .as_ref()
            .map(|merge| eval.source(f0_hz, noise, merge, self.form));
        let x = eval.conv(latent, &self.entry);
        let y = eval.conv(speaker, &self.condition);
        let mut x = eval.add(&x, &y);
        for (n, stage) in self.stages.iter().enumerate() {
            x = stage.bend.forward(eval, &x, LEAK);
            x = eval.upsample(&x, &stage.up);
            if let (Some(conv), Some(source)) = (&stage.source, &source) {
                let y = eval.conv(source, conv);
                x = eval.add(&x, &y);
            }
            let mut sum: Option<E::Value> = None;
            for block in &stage.blocks {
                let mut y = x.clone();
                for step in block {
                    let mut z = step.bend.forward(eval, &y, LEAK);
                    z = eval.maybe_split(&z, &step.conv);
                    if let Some((bend, conv)) = &step.second {
                        z = bend.forward(eval, &z, LEAK);
                        z = eval.maybe_split(&z, conv);
                    }
                    y = eval.add(&z, &y);
                }
                sum = Some(match sum {
                    Some(sum) => eval.add(&sum, &y),
                    None => y,
                });
            }
            if let Some(sum) = sum {
                x = eval.affine(&sum, 1.0 / stage.blocks.len() as f32, 0.0);
            }
            if n + 1 == PROVISIONAL_STAGES {
                x = eval.settle(&x);
            }
        }
        let x = self.last_bend.forward(eval, &x, LAST_LEAK);
        let x = eval.conv(&x, &self.last);
        eval.apply(&x, Function::Tanh)
    }
}
