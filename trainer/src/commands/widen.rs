//! `trainer widen`: an encoder that also gives the levels of broad bands of what it hears.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use burn::backend::Flex;
use timbra_voice::manifest::{EncoderManifest, EncoderSpec, GraphSpec};
use timbra_voice::package::{EncoderPackage, Form, sha256_hex, write_encoder};

use crate::model::bands;
use crate::model::content::{ContentConfig, ContentEncoder, DILATIONS};
use crate::model::graph_layers::GraphLayers;
use crate::model::mel;

/// Arguments of `trainer widen`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The package of an encoder that `trainer encoder` has made
    #[arg(value_name = "ENCODER")]
    pub encoder: PathBuf,

    /// Where to write the new one
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,

    /// Stable name of the new one
    #[arg(long, value_name = "ID")]
    pub id: String,
}

/// States that are not a block's: the front end's and the first layer's.
const OTHER_STATES: usize = 2;

/// Runs the verb.
///
/// # Errors
/// The encoder is not one of `trainer encoder`, or has bands already; the file cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let package = EncoderPackage::read(&args.encoder)?;
    let old = &package.manifest.encoder;
    let of = args.encoder.display();
    ensure!(
        old.band_channels == 0,
        "{of}: expected an encoder without levels of bands, found one with {}; it needs no more",
        old.band_channels
    );
    ensure!(
        old.step.is_none() && old.graph.states.len() > OTHER_STATES,
        "{of}: expected an encoder of `trainer encoder`, found another; it stays as it is"
    );
    let blocks = old.graph.states.len() - OTHER_STATES;
    let config = ContentConfig {
        dilations: DILATIONS.into_iter().cycle().take(blocks).collect(),
        content_channels: old.channels,
        lookahead_frames: (old.lookahead_samples / mel::HOP_SAMPLES).saturating_sub(1),
        ..ContentConfig::default()
    };
    let mut encoder = ContentEncoder::<Flex>::new(&config, 1, &Default::default());
    let layers = package.graph().to_vec();
    encoder.read(&mut GraphLayers::of(&args.encoder, layers)?)?;
    let (graph, spec) = encoder.export(Some(config.lookahead_frames));
    let manifest = EncoderManifest {
        encoder: EncoderSpec {
            id: args.id.clone(),
            sha256: sha256_hex(&graph),
            channels: old.channels + bands::BANDS,
            band_channels: bands::BANDS,
            graph: GraphSpec {
                cpu_weights: old.graph.cpu_weights,
                ..spec.clone()
            },
            ..old.clone()
        },
        files: BTreeMap::new(),
        ..package.manifest.clone()
    };
    let files = BTreeMap::from([(spec.file, graph)]);
    write_encoder(&args.output, &manifest, &files, Form::File)?;
    println!(
        "{}: {} channels, {} of them levels of bands; voices find it as {}",
        args.output.display(),
        manifest.encoder.channels,
        bands::BANDS,
        &manifest.encoder.sha256[..12]
    );
    Ok(())
}
