//! A voice's description from the shapes of its tensors, where no configuration comes with them.
//!
//! Shapes say everything but the strides of the upsampling, the dilations of the residual blocks and the rate. These come
//! from the graph of an ONNX export, from [`Settings`], or from the published configurations: of RVC v1 and v2
//! (`configs/v1`, `configs/v2`: 32k, 40k, 48k) and of so-vits-svc 4 (44.1k).

use std::collections::BTreeMap;
use std::path::Path;

use super::StateDict;
use super::error::ReadError;
use super::settings::Settings;
use super::split::{self, DEPTH, POINT};
use crate::model::vits::eval::COARSE_ROWS;
use crate::model::vits::spec::{
    Activation, Coupling, DecoderSpec, FlowSpec, PUBLISHED_POSTERIOR_LAYERS, Prenet, ResidualKind,
    VitsSpec,
};

/// Family, upsampling rates, kernels and output rate of the published configurations.
const PUBLISHED: [(Prenet, &[usize], &[usize], u32); 6] = [
    (Prenet::Rvc, &[10, 4, 2, 2, 2], &[16, 16, 4, 4, 4], 32_000),
    (Prenet::Rvc, &[10, 8, 2, 2], &[20, 16, 4, 4], 32_000),
    (Prenet::Rvc, &[10, 10, 2, 2], &[16, 16, 4, 4], 40_000),
    (Prenet::Rvc, &[10, 6, 2, 2, 2], &[16, 16, 4, 4, 4], 48_000),
    (Prenet::Rvc, &[12, 10, 2, 2], &[24, 20, 4, 4], 48_000),
    (Prenet::SoVits, &[8, 8, 2, 2, 2], &[16, 16, 4, 4, 4], 44_100),
];
/// Dilations of the residual blocks in every published configuration, by their number.
const PUBLISHED_DILATIONS: [&[usize]; 2] = [&[1, 3, 5], &[1, 3]];
/// Bins where nothing says them: only training has a use for them.
const UNKNOWN_BINS: usize = 1025;

/// What a graph says of layers, by their names; empty for checkpoints.
#[derive(Debug, Clone, Copy)]
pub struct Extents<'a> {
    /// As [`super::onnx_weights::OnnxWeights::strides`].
    pub strides: &'a BTreeMap<String, usize>,
    /// As [`super::onnx_weights::OnnxWeights::dilations`].
    pub dilations: &'a BTreeMap<String, usize>,
}

/// The description of the voice whose tensors are `weights`; `rate_hz` goes before what anything else says.
///
/// # Errors
/// [`ReadError::Missing`] for a tensor, upsampling, dilations or a rate that nothing says; [`ReadError::Damaged`] where
/// tensors contradict each other.
pub fn derive(
    path: &Path,
    weights: &StateDict,
    extents: Extents<'_>,
    settings: &Settings,
    rate_hz: Option<u32>,
) -> Result<VitsSpec, ReadError> {
    Shapes { path, weights }.spec(extents, settings, rate_hz)
}

struct Shapes<'a> {
    path: &'a Path,
    weights: &'a StateDict,
}

impl Shapes<'_> {
    fn missing(&self, part: String, found: String, remedy: &'static str) -> ReadError {
        ReadError::Missing {
            path: self.path.to_path_buf(),
            part,
            found,
            remedy,
        }
    }

    fn has(&self, name: &str) -> bool {
        self.weights.contains_key(name)
    }

    fn any(&self, matches: impl Fn(&str) -> bool) -> bool {
        self.weights.keys().any(|name| matches(name))
    }

    /// Extents of the tensor `name`.
    fn shape<const N: usize>(&self, name: &str) -> Result<[usize; N], ReadError> {
        let Some(tensor) = self.weights.get(name) else {
            return Err(self.missing(
                format!("the tensor \"{name}\""),
                format!("{} others", self.weights.len()),
                "Choose a whole export or checkpoint of a so-vits-svc 4 or RVC voice",
            ));
        };
        tensor.shape().try_into().map_err(|_| ReadError::Damaged {
            path: self.path.to_path_buf(),
            part: format!("the tensor \"{name}\""),
            expected: format!("of {N} dimensions"),
            found: format!("{:?}", tensor.shape()),
        })
    }

    /// Extents of the weight of a convolution, however it is kept.
    fn kernel(&self, layer: &str) -> Result<[usize; 3], ReadError> {
        for form in ["weight_v", "parametrizations.weight.original1"] {
            let name = format!("{layer}.{form}");
            if self.has(&name) {
                return self.shape(&name);
            }
        }
        self.shape(&format!("{layer}.weight"))
    }

    /// Taps of a convolution that may be split: its depth-wise part has them.
    fn taps(&self, layer: &str) -> Result<usize, ReadError> {
        let [_, _, taps] = if split::is_split(self.weights, layer) {
            self.kernel(&format!("{layer}.{DEPTH}"))?
        } else {
            self.kernel(layer)?
        };
        Ok(taps)
    }

    /// Channels that come out of one.
    fn outputs(&self, layer: &str) -> Result<usize, ReadError> {
        let [outputs, _, _] = if split::is_split(self.weights, layer) {
            self.kernel(&format!("{layer}.{POINT}"))?
        } else {
            self.kernel(layer)?
        };
        Ok(outputs)
    }

    /// How many there are of `before0after`, `before1after`, and so on.
    fn count(&self, before: &str, after: &str) -> usize {
        (0..)
            .take_while(|n| {
                let start = format!("{before}{n}{after}");
                self.weights
                    .range(start.clone()..)
                    .next()
                    .is_some_and(|(name, _)| name.starts_with(&start))
            })
            .count()
    }

    fn spec(
        &self,
        extents: Extents<'_>,
        settings: &Settings,
        rate_hz: Option<u32>,
    ) -> Result<VitsSpec, ReadError> {
        let rvc = self.any(|name| name.starts_with("enc_p.emb_phone."));
        let (prenet, stack) = if rvc {
            (Prenet::Rvc, "enc_p.encoder")
        } else {
            (Prenet::SoVits, "enc_p.enc_")
        };
        let (hidden_channels, content_channels) = if rvc {
            let [width, content] = self.shape("enc_p.emb_phone.weight")?;
            (width, content)
        } else {
            let [width, content, _] = self.kernel("pre")?;
            (width, content)
        };
        let [rows, columns] = self.shape("emb_g.weight")?;
        let [twice, _, _] = self.kernel("enc_p.proj")?;
        let [_, window, head] = self.shape(&format!("{stack}.attn_layers.0.emb_rel_k"))?;
        let [filter_channels, _, kernel] = self.kernel(&format!("{stack}.ffn_layers.0.conv_1"))?;
        if head == 0 || !hidden_channels.is_multiple_of(head) {
            return Err(ReadError::Damaged {
                path: self.path.to_path_buf(),
                part: format!("the tensor \"{stack}.attn_layers.0.emb_rel_k\""),
                expected: format!("a width that divides {hidden_channels}"),
                found: head.to_string(),
            });
        }
        let decoder = self.decoder(prenet, extents, settings)?;
        let rate_hz = self.rate_hz(prenet, &decoder, settings, rate_hz)?;
        let loudness = self.any(|name| name.starts_with("emb_vol."));
        let spec = VitsSpec {
            prenet,
            content_channels,
            inter_channels: twice / 2,
            hidden_channels,
            filter_channels,
            heads: hidden_channels / head,
            layers: self.count(&format!("{stack}.attn_layers."), "."),
            kernel,
            attention_window: window / 2,
            flow: self.flow()?,
            speakers: rows,
            speaker_channels: columns,
            loudness,
            auto_f0: self.has("f0_decoder.prenet.weight"),
            continuous_f0: !rvc,
            // Of so-vits-svc's two ways, 4.1's; content of 768 channels and loudness came with it.
            row_above: if !rvc
                && (settings.encoder.is_some() || loudness || content_channels == 768)
            {
                0
            } else {
                COARSE_ROWS - 1
            },
            spectrum_bins: match self.shape("enc_q.pre.weight") {
                Ok([_, bins, _]) => bins,
                Err(_) => settings.spectrum_bins.unwrap_or(UNKNOWN_BINS),
            },
            posterior_layers: match self.count("enc_q.enc.in_layers.", ".") {
                0 => PUBLISHED_POSTERIOR_LAYERS,
                layers => layers,
            },
            decoder,
            rate_hz,
        };
        match spec.check() {
            Ok(()) => Ok(spec),
            Err((part, expected, found)) => Err(ReadError::Damaged {
                path: self.path.to_path_buf(),
                part,
                expected,
                found,
            }),
        }
    }

    fn flow(&self) -> Result<FlowSpec, ReadError> {
        let shared = self.any(|name| name.starts_with("flow.wn."));
        let inner = if shared {
            "flow.wn"
        } else {
            "flow.flows.0.enc"
        };
        let transformer = self.any(|name| name.starts_with(&format!("{inner}.self_attn_layers.")));
        let couplings = (0..)
            .take_while(|n| self.has(&format!("flow.flows.{}.pre.weight", 2 * n)))
            .count();
        let (coupling, layers, kernel) = if transformer {
            let [_, _, kernel] = self.kernel(&format!("{inner}.ffn_layers.0.conv_1"))?;
            let layers = self.count(&format!("{inner}.self_attn_layers."), ".");
            (Coupling::Transformer, layers, kernel)
        } else {
            let kernel = self.taps(&format!("{inner}.in_layers.0"))?;
            (
                Coupling::Wavenet,
                self.count(&format!("{inner}.in_layers."), "."),
                kernel,
            )
        };
        Ok(FlowSpec {
            coupling,
            couplings,
            layers,
            kernel,
            shared,
        })
    }

    fn decoder(
        &self,
        prenet: Prenet,
        extents: Extents<'_>,
        settings: &Settings,
    ) -> Result<DecoderSpec, ReadError> {
        let initial_channels = self.outputs("dec.conv_pre")?;
        let stages = self.count("dec.ups.", ".").max(1);
        let kernels = (0..stages)
            .map(|n| self.taps(&format!("dec.ups.{n}")))
            .collect::<Result<Vec<_>, _>>()?;
        // As many residual blocks in every stage.
        let kinds = (self.count("dec.resblocks.", ".") / stages).max(1);
        let paired = self.any(|name| name.starts_with("dec.resblocks.0.convs1."));
        let list = if paired { "convs1" } else { "convs" };
        let (mut sizes, mut dilations) = (Vec::new(), Vec::new());
        for kind in 0..kinds {
            let block = format!("dec.resblocks.{kind}.{list}");
            sizes.push(self.taps(&format!("{block}.0"))?);
            let steps = self.count(&format!("{block}."), ".");
            let by_graph = (0..steps).map(|n| {
                let layer = format!("{block}.{n}");
                let split = format!("{layer}.{DEPTH}");
                extents
                    .dilations
                    .get(&layer)
                    .or(extents.dilations.get(&split))
                    .copied()
            });
            let said = settings
                .dilations
                .as_ref()
                .and_then(|all| all.get(kind).cloned());
            let published = || {
                PUBLISHED_DILATIONS
                    .into_iter()
                    .find(|list| list.len() == steps)
            };
            let list = said
                .or_else(|| by_graph.collect())
                .or_else(|| published().map(<[usize]>::to_vec))
                .filter(|list| list.len() == steps);
            dilations.push(list.ok_or_else(|| {
                self.missing(
                    format!("the dilations of \"{block}\""),
                    format!("{steps} convolutions there"),
                    "Give the voice's configuration with --config",
                )
            })?);
        }
        let rates = self.rates(prenet, extents, settings, &kernels)?;
        Ok(DecoderSpec {
            initial_channels,
            rates,
            kernels,
            residual_kernels: sizes,
            residual_dilations: dilations,
            residual: if paired {
                ResidualKind::Paired
            } else {
                ResidualKind::Single
            },
            activation: if self.any(|name| name.starts_with("dec.snake")) {
                Activation::Snake
            } else {
                Activation::Leaky
            },
            overtones: if self.any(|name| name.starts_with("dec.m_source.")) {
                let [_, sines] = self.shape("dec.m_source.l_linear.weight")?;
                Some(sines.saturating_sub(1))
            } else {
                None
            },
        })
    }

    fn rates(
        &self,
        prenet: Prenet,
        extents: Extents<'_>,
        settings: &Settings,
        kernels: &[usize],
    ) -> Result<Vec<usize>, ReadError> {
        if let Some(rates) = &settings.rates {
            return Ok(rates.clone());
        }
        let by_graph = (0..kernels.len()).map(|n| {
            let layer = format!("dec.ups.{n}");
            let split = format!("{layer}.{DEPTH}");
            extents
                .strides
                .get(&layer)
                .or(extents.strides.get(&split))
                .copied()
        });
        if let Some(rates) = by_graph.collect() {
            return Ok(rates);
        }
        // The source enters a stage through a kernel of twice the samples it is thinned by.
        let fits = |rates: &[usize]| {
            (0..rates.len()).all(|n| match self.taps(&format!("dec.noise_convs.{n}")) {
                Ok(taps) => taps == 1 || taps == 2 * rates[n + 1..].iter().product::<usize>(),
                Err(_) => true,
            })
        };
        let mut known = PUBLISHED.into_iter().filter(|(family, rates, taps, _)| {
            *family == prenet && *taps == kernels && fits(rates)
        });
        match (known.next(), known.next()) {
            (Some((_, rates, _, _)), None) => Ok(rates.to_vec()),
            _ => Err(self.missing(
                "the upsampling rates".to_owned(),
                format!(
                    "kernels of {kernels:?} samples, which are of no one published configuration"
                ),
                "Give the voice's configuration with --config",
            )),
        }
    }

    fn rate_hz(
        &self,
        prenet: Prenet,
        decoder: &DecoderSpec,
        settings: &Settings,
        rate_hz: Option<u32>,
    ) -> Result<u32, ReadError> {
        let hop: usize = decoder
            .rates
            .iter()
            .fold(1, |hop, &rate| hop.saturating_mul(rate));
        let published = || {
            let of_hop = |rates: &[usize]| rates.iter().product::<usize>() == hop;
            PUBLISHED
                .into_iter()
                .find(|(family, rates, _, _)| *family == prenet && of_hop(rates))
                .map(|(_, _, _, rate_hz)| rate_hz)
        };
        rate_hz
            .or(settings.rate_hz)
            .or_else(published)
            .ok_or_else(|| {
                self.missing(
                    "the sampling rate".to_owned(),
                    format!("a hop of {hop} samples, which is of no published configuration"),
                    "Give the rate with --rate, or the voice's configuration with --config",
                )
            })
    }
}
