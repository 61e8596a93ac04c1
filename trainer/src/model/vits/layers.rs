//! The layers every part of a VITS voice is made of: weights only. What they compute is in [`super::eval`].

use burn::module::{Module, Param, ParamId};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::weights::{Start, WeightError, WeightSource};
use crate::kernels::{Kernels, normed, norms};
use crate::model::causal::from_vec;

/// A trainable tensor from a source.
pub(crate) fn param<B: Backend, const D: usize>(
    source: &mut dyn WeightSource,
    name: &str,
    shape: [usize; D],
    start: Start,
    device: &B::Device,
) -> Result<Param<Tensor<B, D>>, WeightError> {
    let values = source.tensor(name, &shape, start)?;
    Ok(Param::initialized(
        ParamId::new(),
        from_vec::<B, D>(values, shape, device).require_grad(),
    ))
}

/// Extents of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// Taps.
    pub kernel: usize,
    /// Frames between taps.
    pub dilation: usize,
    /// Frames from one output to the next.
    pub stride: usize,
    /// Zeros before the first frame.
    pub left: usize,
    /// Zeros after the last frame.
    pub right: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether it is trained as direction and length (weight normalisation).
    pub normed: bool,
    /// Whether a random start is all zeros.
    pub silent: bool,
}

impl ConvShape {
    /// A convolution that keeps the number of frames.
    #[must_use]
    pub fn same(inputs: usize, outputs: usize, kernel: usize) -> Self {
        Self {
            inputs,
            outputs,
            kernel,
            dilation: 1,
            stride: 1,
            left: (kernel - 1) / 2,
            right: kernel / 2,
            groups: 1,
            bias: true,
            normed: false,
            silent: false,
        }
    }

    /// How such a convolution starts when there is no checkpoint.
    fn start(&self) -> Start {
        let fan_in = (self.inputs / self.groups * self.kernel) as f32;
        if self.silent {
            Start::Constant(0.0)
        } else if self.normed {
            Start::Normal(0.01_f32.max(0.4 / fan_in.sqrt()))
        } else {
            Start::Uniform(1.0 / fan_in.sqrt())
        }
    }

    /// The same with gaps between the taps; the kernel must be odd.
    #[must_use]
    pub fn dilated(self, dilation: usize) -> Self {
        let side = (self.kernel - 1) * dilation / 2;
        Self {
            dilation,
            left: side,
            right: side,
            ..self
        }
    }

    /// The same, seeing only the past.
    #[must_use]
    pub fn causal(self) -> Self {
        Self {
            left: self.kernel - 1,
            right: 0,
            ..self
        }
    }

    /// The same with weight normalisation.
    #[must_use]
    pub fn normed(self) -> Self {
        Self {
            normed: true,
            ..self
        }
    }

    /// The same, zero until it has learned.
    #[must_use]
    pub fn silent(self) -> Self {
        Self {
            silent: true,
            ..self
        }
    }

    /// The same without bias.
    #[must_use]
    pub fn unbiased(self) -> Self {
        Self {
            bias: false,
            ..self
        }
    }
}

/// A weight that may be kept as direction and length, with its bias.
#[derive(Module, Debug)]
pub struct Kernel<B: Backend> {
    direction: Param<Tensor<B, 3>>,
    length: Option<Param<Tensor<B, 3>>>,
    /// One number per output channel.
    pub bias: Option<Param<Tensor<B, 1>>>,
}

impl<B: Backend> Kernel<B> {
    fn load(
        source: &mut dyn WeightSource,
        name: &str,
        shape: [usize; 3],
        outputs: usize,
        (bias, normed): (bool, bool),
        start: Start,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        // Older files name the two parts one way, newer ones another; after compression there is one weight.
        let names = [
            ("weight_g", "weight_v"),
            (
                "parametrizations.weight.original0",
                "parametrizations.weight.original1",
            ),
        ];
        let kept = names
            .into_iter()
            .find(|(length, _)| source.shape(&format!("{name}.{length}")).is_some());
        let folded = source.shape(&format!("{name}.weight")).is_some();
        let mut lengths = None;
        let direction = if let Some((length, direction)) = kept {
            lengths = Some(param(
                source,
                &format!("{name}.{length}"),
                [shape[0], 1, 1],
                Start::Constant(1.0),
                device,
            )?);
            param(source, &format!("{name}.{direction}"), shape, start, device)?
        } else {
            param(source, &format!("{name}.weight"), shape, start, device)?
        };
        if normed && kept.is_none() && !folded {
            // A random start: the length is that of the direction.
            lengths = Some(Param::initialized(
                ParamId::new(),
                norms(direction.val()).detach().require_grad(),
            ));
        }
        let bias = bias
            .then(|| {
                param(
                    source,
                    &format!("{name}.bias"),
                    [outputs],
                    Start::Constant(0.0),
                    device,
                )
            })
            .transpose()?;
        Ok(Self {
            direction,
            length: lengths,
            bias,
        })
    }

    /// The weight itself.
    pub fn weight(&self) -> Tensor<B, 3>
    where
        B: Kernels,
    {
        let direction = self.direction.val();
        match &self.length {
            Some(length) => normed(direction, length.val()),
            None => direction,
        }
    }
}

/// A convolution over frames.
#[derive(Module, Debug)]
pub struct Conv<B: Backend> {
    /// `[outputs, inputs / groups, kernel]`.
    pub kernel: Kernel<B>,
    /// Its extents.
    #[module(skip)]
    pub shape: ConvShape,
}

impl<B: Backend> Conv<B> {
    /// The convolution `name` of a source.
    ///
    /// # Errors
    /// The source does not have it.
    pub fn load(
        source: &mut dyn WeightSource,
        name: &str,
        shape: ConvShape,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        Ok(Self {
            kernel: Kernel::load(
                source,
                name,
                [shape.outputs, shape.inputs / shape.groups, shape.kernel],
                shape.outputs,
                (shape.bias, shape.normed),
                shape.start(),
                device,
            )?,
            shape,
        })
    }

    /// A convolution that is trained as direction and length per tap, which is folded.
    ///
    /// # Errors
    /// The source does not have it.
    pub fn load_tap_normed(
        source: &mut dyn WeightSource,
        name: &str,
        shape: ConvShape,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let mut conv = Self {
            kernel: Kernel {
                direction: Param::initialized(ParamId::new(), Tensor::zeros([1, 1, 1], device)),
                length: None,
                bias: Some(param(
                    source,
                    &format!("{name}.bias"),
                    [shape.outputs],
                    Start::Constant(0.0),
                    device,
                )?),
            },
            shape,
        };
        let extents = [shape.outputs, shape.inputs / shape.groups, shape.kernel];
        let deviation = Start::Normal(0.02);
        let direction = format!("{name}.weight_v");
        let direction = from_vec::<B, 3>(
            source.tensor(&direction, &extents, deviation)?,
            extents,
            device,
        );
        let taps = [1, 1, shape.kernel];
        let length = format!("{name}.weight_g");
        let length = from_vec::<B, 3>(
            source.tensor(&length, &taps, Start::Constant(1.0))?,
            taps,
            device,
        );
        let norms = (direction.clone() * direction.clone())
            .sum_dim(0)
            .sum_dim(1)
            .sqrt();
        let weight = direction / norms * length;
        conv.kernel.direction = Param::initialized(ParamId::new(), weight.require_grad());
        Ok(conv)
    }

    /// A linear map, which a file holds as `[outputs, inputs]`.
    ///
    /// # Errors
    /// The source does not have it.
    pub fn linear(
        source: &mut dyn WeightSource,
        name: &str,
        inputs: usize,
        outputs: usize,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let bound = 1.0 / (inputs as f32).sqrt();
        let weight = source.tensor(
            &format!("{name}.weight"),
            &[outputs, inputs],
            Start::Uniform(bound),
        )?;
        let weight = from_vec::<B, 3>(weight, [outputs, inputs, 1], device);
        Ok(Self {
            kernel: Kernel {
                direction: Param::initialized(ParamId::new(), weight.require_grad()),
                length: None,
                bias: Some(param(
                    source,
                    &format!("{name}.bias"),
                    [outputs],
                    Start::Constant(0.0),
                    device,
                )?),
            },
            shape: ConvShape::same(inputs, outputs, 1),
        })
    }
}

/// A convolution that may be split into a depth-wise and a point-wise one.
#[derive(Module, Debug)]
pub struct MaybeSplit<B: Backend> {
    /// The convolution, or its depth-wise part.
    pub first: Conv<B>,
    /// The point-wise part.
    pub point: Option<Conv<B>>,
}

impl<B: Backend> MaybeSplit<B> {
    /// The convolution `name`, split where the source has it so.
    ///
    /// # Errors
    /// The source does not have it.
    pub fn load(
        source: &mut dyn WeightSource,
        name: &str,
        shape: ConvShape,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        if !source.splits(name) {
            return Ok(Self {
                first: Conv::load(source, name, shape, device)?,
                point: None,
            });
        }
        let depth = ConvShape {
            outputs: shape.inputs,
            groups: shape.inputs,
            ..shape
        };
        let point = ConvShape {
            normed: shape.normed,
            ..ConvShape::same(shape.inputs, shape.outputs, 1)
        };
        Ok(Self {
            first: Conv::load(source, &format!("{name}.depth_conv"), depth, device)?,
            point: Some(Conv::load(
                source,
                &format!("{name}.point_conv"),
                point,
                device,
            )?),
        })
    }
}

/// A transposed convolution that raises the rate by `stride`, and a point-wise one when it is split.
#[derive(Module, Debug)]
pub struct Upsample<B: Backend> {
    /// `[inputs, outputs, kernel]`, or `[inputs, 1, kernel]` when it is split.
    pub kernel: Kernel<B>,
    /// The point-wise part of one that is split.
    pub point: Option<Conv<B>>,
    /// Samples out per sample in.
    pub stride: usize,
    /// Samples taken off at either end of the full result.
    pub trim: usize,
    /// Groups of channels.
    pub groups: usize,
}

impl<B: Backend> Upsample<B> {
    /// The transposed convolution `name` of a source, split where the source has it so.
    ///
    /// # Errors
    /// The source does not have it.
    pub fn load(
        source: &mut dyn WeightSource,
        name: &str,
        (inputs, outputs): (usize, usize),
        (kernel, stride): (usize, usize),
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let trim = (kernel - stride) / 2;
        // Equal taps but for a swell, so that what is constant stays so and does not start as a tone of the frame rate.
        // Source: Pons et al., "Upsampling artifacts in neural audio synthesis" (2010.14356), for where such tones come from.
        let swell = Start::Swelling(0.4 / (inputs as f32).sqrt());
        if !source.splits(name) {
            let shape = [inputs, outputs, kernel];
            return Ok(Self {
                kernel: Kernel::load(source, name, shape, outputs, (true, true), swell, device)?,
                point: None,
                stride,
                trim,
                groups: 1,
            });
        }
        Ok(Self {
            kernel: Kernel::load(
                source,
                &format!("{name}.depth_conv"),
                [inputs, 1, kernel],
                inputs,
                (true, true),
                swell,
                device,
            )?,
            point: Some(Conv::load(
                source,
                &format!("{name}.point_conv"),
                ConvShape::same(inputs, outputs, 1).normed(),
                device,
            )?),
            stride,
            trim,
            groups: inputs,
        })
    }
}

/// Normalisation over channels.
#[derive(Module, Debug)]
pub struct LayerNorm<B: Backend> {
    /// Factor per channel.
    pub gain: Param<Tensor<B, 1>>,
    /// Shift per channel.
    pub shift: Param<Tensor<B, 1>>,
}

impl<B: Backend> LayerNorm<B> {
    /// The normalisation `name` of a source.
    ///
    /// # Errors
    /// The source does not have it.
    pub fn load(
        source: &mut dyn WeightSource,
        name: &str,
        channels: usize,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let gain = format!("{name}.gamma");
        let shift = format!("{name}.beta");
        Ok(Self {
            gain: param(source, &gain, [channels], Start::Constant(1.0), device)?,
            shift: param(source, &shift, [channels], Start::Constant(0.0), device)?,
        })
    }
}
