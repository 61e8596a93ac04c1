//! Discriminators that look at a waveform folded by several periods, and at the waveform itself.
//!
//! Source: Kong et al., HiFi-GAN (2010.05646), in the form of VITS (2106.06103); the names of the tensors are those of
//! so-vits-svc's `D_*.pth`.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::config::CriticSpec;
use crate::kernels::Kernels;
use crate::model::vits::eval::{Compute, Eval as _, Function, LEAK};
use crate::model::vits::layers::{Conv, ConvShape};
use crate::model::vits::weights::{Start, WeightError, WeightSource};

/// Channels and strides of a period's layers, all with this kernel.
const PERIOD_LAYERS: [(usize, usize); 5] = [(32, 3), (128, 3), (512, 3), (1024, 3), (1024, 1)];
const PERIOD_KERNEL: usize = 5;
/// Channels, kernel and stride of the waveform's layers.
const SCALE_LAYERS: [(usize, usize, usize); 6] = [
    (16, 15, 1),
    (64, 41, 4),
    (256, 41, 4),
    (1024, 41, 4),
    (1024, 41, 4),
    (1024, 5, 1),
];
/// Channels of a group in the strided ones.
const SCALE_GROUP: usize = 4;

/// Feature maps of one critic, the verdict last; `[B', C, T']` each.
pub type Maps<B> = Vec<Tensor<B, 3>>;

/// One stack of convolutions.
#[derive(Module, Debug)]
struct Critic<B: Backend> {
    layers: Vec<Conv<B>>,
    verdict: Conv<B>,
    /// Samples per column; 1 looks at the waveform itself.
    period: usize,
}

impl<B: Kernels> Critic<B> {
    fn load(
        source: &mut dyn WeightSource,
        name: &str,
        period: usize,
        most_channels: usize,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let planned: Vec<(usize, usize, usize)> = if period == 1 {
            SCALE_LAYERS.to_vec()
        } else {
            PERIOD_LAYERS
                .map(|(channels, stride)| (channels, PERIOD_KERNEL, stride))
                .to_vec()
        };
        // A folded waveform is convolved along columns only: files hold a second kernel axis of one tap.
        let mut folded = Folded { source };
        let source: &mut dyn WeightSource = if period == 1 {
            folded.source
        } else {
            &mut folded
        };
        let mut inputs = 1;
        let mut layers = Vec::new();
        for (n, (channels, kernel, stride)) in planned.into_iter().enumerate() {
            let outputs = channels.min(most_channels);
            let grouped = period == 1 && stride > 1;
            let shape = ConvShape {
                stride,
                groups: if grouped { inputs / SCALE_GROUP } else { 1 },
                ..ConvShape::same(inputs, outputs, kernel).normed()
            };
            layers.push(Conv::load(
                source,
                &format!("{name}.convs.{n}"),
                shape,
                device,
            )?);
            inputs = outputs;
        }
        let verdict = ConvShape::same(inputs, 1, 3).normed();
        Ok(Self {
            layers,
            verdict: Conv::load(source, &format!("{name}.conv_post"), verdict, device)?,
            period,
        })
    }

    /// Maps of `[B, 1, samples]`.
    fn maps(&self, audio: &Tensor<B, 3>) -> Maps<B> {
        let mut eval = Compute::<B>::default();
        let mut x = fold(audio, self.period);
        let mut maps = Vec::with_capacity(self.layers.len() + 1);
        for layer in &self.layers {
            x = eval.conv(&x, layer);
            x = eval.apply(&x, Function::Leaky(LEAK));
            maps.push(x.clone());
        }
        maps.push(eval.conv(&x, &self.verdict));
        maps
    }
}

/// `[B, 1, samples]` to columns of every `period`-th sample, `[B · period, 1, ⌈samples / period⌉]`; the end is mirrored.
fn fold<B: Backend>(audio: &Tensor<B, 3>, period: usize) -> Tensor<B, 3> {
    if period == 1 {
        return audio.clone();
    }
    let [batch, _, samples] = audio.dims();
    let missing = samples.next_multiple_of(period) - samples;
    let mut line = audio.clone();
    if missing > 0 {
        let mirrored = audio
            .clone()
            .narrow(2, samples - 1 - missing, missing)
            .flip([2]);
        line = Tensor::cat(vec![line, mirrored], 2);
    }
    let rows = (samples + missing) / period;
    line.reshape([batch, rows, period])
        .swap_dims(1, 2)
        .reshape([batch * period, 1, rows])
}

/// A source whose kernels have a second axis of one tap.
struct Folded<'a> {
    source: &'a mut dyn WeightSource,
}

impl WeightSource for Folded<'_> {
    fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        start: Start,
    ) -> Result<Vec<f32>, WeightError> {
        if shape.len() < 3 {
            return self.source.tensor(name, shape, start);
        }
        let mut wide = shape.to_vec();
        wide.push(1);
        self.source.tensor(name, &wide, start)
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let mut shape = self.source.shape(name)?;
        if shape.len() == 4 {
            shape.pop();
        }
        Some(shape)
    }
}

/// All discriminators.
#[derive(Module, Debug)]
pub struct Critics<B: Backend> {
    critics: Vec<Critic<B>>,
}

impl<B: Kernels> Critics<B> {
    /// The discriminators of a source, under `discriminators`: the waveform's first, then one a period.
    ///
    /// # Errors
    /// The source does not have them.
    pub fn load(
        source: &mut dyn WeightSource,
        spec: &CriticSpec,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let periods = std::iter::once(1).chain(spec.periods.iter().copied());
        let critics = periods
            .enumerate()
            .map(|(n, period)| {
                let name = format!("discriminators.{n}");
                Critic::load(source, &name, period, spec.most_channels, device)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { critics })
    }

    /// Feature maps of `[B, 1, samples]`, per critic.
    pub fn maps(&self, audio: &Tensor<B, 3>) -> Vec<Maps<B>> {
        self.critics
            .iter()
            .map(|critic| critic.maps(audio))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;
    use crate::model::causal::from_vec;
    use crate::model::vits::weights::RandomStart;
    use crate::random::Random;

    #[test]
    fn a_waveform_is_folded_into_columns() {
        let device = Default::default();
        let line: Vec<f32> = (0..7).map(|n| n as f32).collect();
        let columns = fold::<Flex>(&from_vec(line, [1, 1, 7], &device), 3);
        assert_eq!(columns.dims(), [3, 1, 3]);
        let values = columns.into_data().to_vec::<f32>().unwrap();
        assert_eq!(values, [0., 3., 6., 1., 4., 5., 2., 5., 4.]);
    }

    #[test]
    fn every_critic_gives_its_maps_and_a_verdict() {
        let device = Default::default();
        let spec = CriticSpec {
            periods: vec![2, 3],
            most_channels: 32,
        };
        let mut start = RandomStart(Random::new(1, 0));
        let critics = Critics::<Flex>::load(&mut start, &spec, &device).unwrap();
        let audio = from_vec(vec![0.1; 2 * 1000], [2, 1, 1000], &device);
        let maps = critics.maps(&audio);
        assert_eq!(maps.iter().map(Vec::len).collect::<Vec<_>>(), [7, 6, 6]);
        assert_eq!(maps[0][6].dims(), [2, 1, 4]);
        assert_eq!(maps[2][5].dims()[..2], [6, 1]);
    }
}
