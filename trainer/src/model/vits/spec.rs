//! What a VITS voice consists of: one description for so-vits-svc 4.0, 4.1 and RVC v1, v2.

use serde::{Deserialize, Serialize};

/// How content, pitch and loudness become the prior's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prenet {
    /// so-vits-svc: a convolution over content, plus embeddings of voicing, loudness and F0.
    SoVits,
    /// RVC: a linear map of content plus an embedding of F0, scaled and rectified.
    Rvc,
}

/// The network inside a coupling layer of the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coupling {
    /// Gated convolutions (WaveNet).
    Wavenet,
    /// Causal transformer layers.
    Transformer,
}

/// The nonlinearity of the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Leaky rectifier.
    Leaky,
    /// Anti-aliased snake with own magnitude.
    Snake,
}

/// Two ways to build the decoder's residual blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResidualKind {
    /// Every dilated convolution is followed by a plain one.
    Paired,
    /// Dilated convolutions alone.
    Single,
}

/// The flow between prior and latent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowSpec {
    /// What predicts the shift.
    pub coupling: Coupling,
    /// Coupling layers, each followed by a reversal of channels.
    pub couplings: usize,
    /// Layers inside a coupling.
    pub layers: usize,
    /// Kernel inside a coupling, in frames.
    pub kernel: usize,
    /// All couplings use the same inner network.
    pub shared: bool,
}

/// The NSF-HiFiGAN decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecoderSpec {
    /// Channels before the first upsampling; halved by each.
    pub initial_channels: usize,
    /// Upsampling factors; their product is the hop.
    pub rates: Vec<usize>,
    /// Kernels of the transposed convolutions.
    pub kernels: Vec<usize>,
    /// Kernels of the residual blocks of each stage.
    pub residual_kernels: Vec<usize>,
    /// Dilations of each of these blocks.
    pub residual_dilations: Vec<Vec<usize>>,
    /// Kind of the residual blocks.
    pub residual: ResidualKind,
    /// Nonlinearity.
    pub activation: Activation,
    /// Overtones of the sine source beside the fundamental; `None` without a source (a voice without F0).
    pub overtones: Option<usize>,
}

/// A VITS voice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VitsSpec {
    /// Kind of the prior's input.
    pub prenet: Prenet,
    /// Content channels (C).
    pub content_channels: usize,
    /// Channels of the latent.
    pub inter_channels: usize,
    /// Width of prior, posterior and flow.
    pub hidden_channels: usize,
    /// Width inside a transformer layer's feed-forward part.
    pub filter_channels: usize,
    /// Attention heads.
    pub heads: usize,
    /// Transformer layers of the prior.
    pub layers: usize,
    /// Kernel of the feed-forward part, in frames.
    pub kernel: usize,
    /// Frames to either side that have a relative position embedding.
    pub attention_window: usize,
    /// The flow.
    pub flow: FlowSpec,
    /// The decoder.
    pub decoder: DecoderSpec,
    /// Speakers (S).
    pub speakers: usize,
    /// Width of a speaker's embedding (G).
    pub speaker_channels: usize,
    /// Whether loudness is an input.
    pub loudness: bool,
    /// Whether there is a decoder that predicts F0.
    pub auto_f0: bool,
    /// F0 goes on where there is no voice; else it is 0 there and the source is noise.
    #[serde(default = "continuous")]
    pub continuous_f0: bool,
    /// Row of the embedding of F0 for what is above its range: the last one, but 0 in so-vits-svc 4.1.
    pub row_above: usize,
    /// Bins of the linear spectrogram the posterior encoder sees.
    pub spectrum_bins: usize,
    /// Layers of the posterior encoder.
    #[serde(default = "published_posterior_layers")]
    pub posterior_layers: usize,
    /// Output rate.
    pub rate_hz: u32,
}

/// Layers of the posterior encoder of every published voice.
pub const PUBLISHED_POSTERIOR_LAYERS: usize = 16;

/// so-vits-svc bridges what is unvoiced.
fn continuous() -> bool {
    true
}

fn published_posterior_layers() -> usize {
    PUBLISHED_POSTERIOR_LAYERS
}

impl VitsSpec {
    /// Output samples per frame.
    #[must_use]
    pub fn hop_samples(&self) -> usize {
        let rates = self.decoder.rates.iter();
        rates.fold(1, |hop, &rate| hop.saturating_mul(rate))
    }

    /// Whether the extents fit each other; what, what is expected and what was found when they do not.
    ///
    /// # Errors
    /// They do not.
    pub fn check(&self) -> Result<(), (String, String, String)> {
        let decoder = &self.decoder;
        let refuse =
            |what: &str, expected: String, found: String| Err((what.to_owned(), expected, found));
        if self.heads == 0
            || !self.hidden_channels.is_multiple_of(self.heads)
            || !self.inter_channels.is_multiple_of(2)
        {
            return refuse(
                "hidden_channels and inter_channels",
                format!("a multiple of {} and an even number", self.heads),
                format!("{} and {}", self.hidden_channels, self.inter_channels),
            );
        }
        let (rates, kernels) = (&decoder.rates, &decoder.kernels);
        let fits = |(&rate, &kernel): (&usize, &usize)| {
            (1..=64).contains(&rate)
                && (rate..=256).contains(&kernel)
                && (kernel - rate).is_multiple_of(2)
        };
        if !(1..=12).contains(&rates.len())
            || rates.len() != kernels.len()
            || !rates.iter().zip(kernels).all(fits)
        {
            return refuse(
                "upsample_rates and upsample_kernel_sizes",
                "lists of the same length, each kernel longer than its rate by an even number"
                    .to_owned(),
                format!("{rates:?} and {kernels:?}"),
            );
        }
        if self.hop_samples() > 65_536
            // Every stage has half as many, rounded down.
            || decoder.initial_channels >> rates.len() == 0
        {
            return refuse(
                "upsample_initial_channel",
                format!("at least {}, and a hop of at most 65536", 1 << rates.len()),
                format!("{}, hop {}", decoder.initial_channels, self.hop_samples()),
            );
        }
        let (sizes, dilations) = (&decoder.residual_kernels, &decoder.residual_dilations);
        let sane = |(&size, dilations): (&usize, &Vec<usize>)| {
            size % 2 == 1
                && size <= 63
                && (1..=16).contains(&dilations.len())
                && dilations.iter().all(|d| (1..=64).contains(d))
        };
        if !(1..=16).contains(&sizes.len())
            || sizes.len() != dilations.len()
            || !sizes.iter().zip(dilations).all(sane)
        {
            return refuse(
                "resblock_kernel_sizes and resblock_dilation_sizes",
                "odd kernels, each with its dilations".to_owned(),
                format!("{sizes:?} and {dilations:?}"),
            );
        }
        if !(8_000..=192_000).contains(&self.rate_hz) {
            return refuse(
                "sampling_rate",
                "8000 to 192000".to_owned(),
                self.rate_hz.to_string(),
            );
        }
        Ok(())
    }
}
