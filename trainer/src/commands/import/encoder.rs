//! Content encoders as packages, in the precision asked for.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};
use burn::backend::Flex;
use timbra_engine::onnx::operators_here;
use timbra_voice::manifest::{EncoderManifest, EncoderSpec, FORMAT_VERSION, TrainingSummary};
use timbra_voice::onnx_precision::{for_cpu, in_precision};
use timbra_voice::package::{EncoderPackage, Form, sha256_hex, write_encoder};

use super::{Args, Kept};
use crate::commands::export::about;
use crate::evaluation::precision::{heard, loss};
use crate::import::weights::CheckpointWeights;
use crate::import::{StateDict, hubert_names};
use crate::model::hubert::{self, Hubert, HubertSpec};

/// Frames a step of an encoder makes, and sees of the future.
const ENCODER_STEP: (usize, usize) = (2, 1);

/// What a HuBERT or ContentVec gives, as the communities call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Content {
    /// Layer 12, 768 channels: so-vits-svc 4.1, RVC v2
    Vec768l12,
    /// Layer 9, projected to 256 channels: so-vits-svc 4.0, RVC v1
    Vec256l9,
}

impl Content {
    /// Those that an encoder of these sizes can give.
    pub(crate) fn given_by(sizes: &HubertSpec) -> Vec<Self> {
        let mut all = vec![Self::Vec768l12, Self::Vec256l9];
        all.retain(|content| {
            let (_, layers, projected) = content.parts();
            layers <= sizes.layers && (!projected || sizes.projection.is_some())
        });
        all
    }

    /// As the communities call it.
    pub(crate) fn name(self) -> &'static str {
        self.parts().0
    }

    /// Name, layers, and whether it is projected.
    fn parts(self) -> (&'static str, usize, bool) {
        match self {
            Self::Vec768l12 => ("vec768l12", 12, false),
            Self::Vec256l9 => ("vec256l9", 9, true),
        }
    }
}

/// Writes the package of a content encoder.
pub(super) fn import(args: &Args, weights: &StateDict) -> Result<()> {
    let path = args.checkpoint.display();
    let (id, layers, projected) = args.content.parts();
    let sizes = hubert_names::sizes(weights).map_err(|reason| anyhow!("{path}: {reason}"))?;
    if sizes.layers < layers {
        bail!(
            "{path}: {id} is layer {layers}, and the checkpoint has {}; give HuBERT base or ContentVec",
            sizes.layers
        );
    }
    if projected && sizes.projection.is_none() {
        bail!(
            "{path}: {id} is projected, and there is no \"final_proj\"; give ContentVec's own checkpoint"
        );
    }
    let spec = HubertSpec {
        layers,
        projection: sizes.projection.filter(|_| projected),
        ..sizes
    };
    let encoder = Hubert::<Flex>::load(&mut CheckpointWeights(weights), &spec, &Default::default())
        .with_context(|| path.to_string())?;
    let (graph, graph_spec) = encoder.export_streaming(&spec);
    let step = hubert::step(
        args.step_frames.unwrap_or(ENCODER_STEP.0),
        args.lookahead_frames.unwrap_or(ENCODER_STEP.1),
    );
    let encoder = EncoderSpec {
        id: id.to_owned(),
        sha256: String::new(),
        rate_hz: 16_000,
        hop_samples: 160,
        channels: spec.content_channels(),
        lookahead_samples: step.lag_samples(),
        step: Some(step),
        graph: graph_spec,
    };
    let said = about(args.about.as_deref())?;
    let manifest = EncoderManifest {
        format_version: FORMAT_VERSION,
        encoder,
        licence: said.licence,
        attribution: said.attribution,
        training: TrainingSummary {
            trainer: format!("imported by trainer {}", env!("CARGO_PKG_VERSION")),
            ..TrainingSummary::default()
        },
        files: BTreeMap::new(),
    };
    write(args, manifest, &graph)
}

/// Writes the package of an encoder again, in the precision asked for.
pub(super) fn convert(args: &Args) -> Result<()> {
    let package = EncoderPackage::read(&args.checkpoint)?;
    let manifest = EncoderManifest {
        files: BTreeMap::new(),
        ..package.manifest.clone()
    };
    write(args, manifest, package.graph())
}

/// Writes a package with `graph` in the precision asked for, and says what that loses.
fn write(args: &Args, mut manifest: EncoderManifest, graph: &[u8]) -> Result<()> {
    let kept = in_precision(graph, args.precision.precision())
        .with_context(|| args.checkpoint.display().to_string())?;
    manifest.encoder.sha256 = sha256_hex(&kept);
    manifest.encoder.graph.cpu_weights = args.precision.cpu_weights();
    let mut said = String::new();
    if args.precision != Kept::F32 {
        said = match &args.measure_on {
            Some(clip) => {
                let played = match args.precision.cpu_weights() {
                    Some(weights) => for_cpu(&kept, weights, operators_here())?,
                    None => kept.clone(),
                };
                let loss = loss(&manifest.encoder, graph, &played, &heard(clip)?)?;
                format!(
                    "weights in {:?}: content differs by {:.2} % over {} frames of {}, least cosine {:.4}",
                    args.precision,
                    100.0 * loss.relative,
                    loss.frames,
                    clip.file_name().unwrap_or_default().to_string_lossy(),
                    loss.least_cosine
                )
            }
            None => format!("weights in {:?}, loss not measured", args.precision),
        };
        let notes = [manifest.training.notes.as_str(), &said];
        manifest.training.notes = notes
            .into_iter()
            .filter(|note| !note.is_empty())
            .collect::<Vec<_>>()
            .join("; ");
    }
    let files = BTreeMap::from([(manifest.encoder.graph.file.clone(), kept)]);
    write_encoder(&args.output, &manifest, &files, Form::File)?;
    println!(
        "{}: {}, {} channels; put it into an `encoders` folder beside the voices that need it, or give it to their import \
         with --encoder",
        args.output.display(),
        manifest.encoder.id,
        manifest.encoder.channels
    );
    if !said.is_empty() {
        println!("  {said}");
    }
    if args.precision != Kept::F32 && args.measure_on.is_none() {
        println!("  give a recording with --measure-on to measure it");
    }
    Ok(())
}
