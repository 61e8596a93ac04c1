//! Files of so-vits-svc and RVC in words, and what takes them.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};

use super::{Args, MAX_LISTED, after, print_need};
use crate::commands::import::{Content, look};
use crate::import::retrieval::{Retrieval, is_plain};
use crate::import::source::Source;
use crate::import::split::DEPTH;
use crate::import::{
    ReadError, Speaker, StateDict, TorchFile, clusters, hubert_names, onnx_file, read_state_dict,
};
use crate::model::hubert::HubertSpec;

/// How files of other programs end.
const ENDS: [&str; 6] = ["pth", "pt", "onnx", "pkl", "index", "npy"];

/// Whether a file that begins with `start` is one of another program, by its name or its beginning.
pub(super) fn is_foreign(path: &Path, start: &[u8]) -> bool {
    let known = |end: &OsStr| ENDS.iter().any(|known| end.eq_ignore_ascii_case(known));
    // Hugging Face's checkpoints of torch end so; our own files of that name are no zips.
    let is_torch = |end: &OsStr| end == "bin" && start.starts_with(b"PK");
    let end = path.extension();
    end.is_some_and(|end| known(end) || is_torch(end)) || is_plain(start)
}

/// Says what such a file is.
pub(super) fn describe(path: &Path, args: &Args) -> Result<()> {
    let source = Source::open(path)?;
    if is_plain(&source.head(8)?) {
        return index(path, &Retrieval::read(&source)?);
    }
    if onnx_file::is_onnx(&source)? {
        return voice(path, args);
    }
    match weights(path, &source)? {
        Some(weights) => match hubert_names::fairseq(&weights) {
            Some(weights) => encoder(path, &weights),
            None => voice(path, args),
        },
        None => tables(path, &source),
    }
}

/// The tensors of a checkpoint; `None` where a file has none by name.
fn weights(path: &Path, source: &Arc<Source>) -> Result<Option<StateDict>> {
    // A pickle without tensors is no file of torch.
    if matches!(source.head(2)?.as_slice(), [0x80, _]) && TorchFile::read(source).is_err() {
        return Ok(None);
    }
    match read_state_dict(path) {
        Ok(weights) if weights.keys().any(|name| name.contains('.')) => Ok(Some(weights)),
        Ok(_) | Err(ReadError::Missing { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn voice(path: &Path, args: &Args) -> Result<()> {
    let found = look(path, args.config.as_deref(), args.rate_hz)?;
    let spec = &found.spec;
    println!(
        "  checkpoint   {}{}",
        found.kind,
        after(", ", &found.training)
    );
    for (row, name) in found.speakers.iter().take(MAX_LISTED) {
        println!("  speaker      {name} ({row})");
    }
    if found.speakers.len() > MAX_LISTED {
        println!(
            "               and {} more",
            found.speakers.len() - MAX_LISTED
        );
    }
    println!(
        "  sound        {} Hz, {} samples per frame",
        spec.rate_hz,
        spec.hop_samples()
    );
    println!(
        "  network      {} latent, {} hidden, {} layers; {} couplings of {:?}; {} to 1 channels, {:?}",
        spec.inter_channels,
        spec.hidden_channels,
        spec.layers,
        spec.flow.couplings,
        spec.flow.coupling,
        spec.decoder.initial_channels,
        spec.decoder.activation
    );
    let depthwise = found.weights.keys().any(|name| name.contains(DEPTH));
    let can: Vec<&str> = [
        (spec.loudness, "loudness"),
        (spec.auto_f0, "auto-F0"),
        (depthwise, "depth-wise convolutions"),
    ]
    .into_iter()
    .filter_map(|(there, name)| there.then_some(name))
    .collect();
    if !can.is_empty() {
        println!("  with         {}", can.join(", "));
    }
    print_need(&found.encoder, spec.content_channels);
    let mut options = String::new();
    if let Some(config) = &args.config {
        options += &format!(" --config {}", config.display());
    }
    if let Some(rate_hz) = args.rate_hz {
        options += &format!(" --rate {rate_hz}");
    }
    println!(
        "  next         trainer import {}{options} -o voice.timbra",
        path.display()
    );
    Ok(())
}

/// Says what a file of tensors gives when it is an encoder, nothing of others.
pub(super) fn describe_encoder(path: &Path) {
    let weights = read_state_dict(path).ok();
    let weights = weights.and_then(|weights| hubert_names::fairseq(&weights));
    if let Some(Ok(sizes)) = weights.map(|weights| hubert_names::sizes(&weights)) {
        print_encoder(path, &sizes);
    }
}

fn encoder(path: &Path, weights: &StateDict) -> Result<()> {
    let sizes =
        hubert_names::sizes(weights).map_err(|reason| anyhow!("{}: {reason}", path.display()))?;
    print_encoder(path, &sizes);
    Ok(())
}

fn print_encoder(path: &Path, sizes: &HubertSpec) {
    println!(
        "  encoder      HuBERT or ContentVec: {} layers of {} channels{}",
        sizes.layers,
        sizes.channels,
        sizes
            .projection
            .map_or_else(String::new, |channels| format!(", projected to {channels}"))
    );
    let gives = Content::given_by(sizes);
    if gives.is_empty() {
        println!(
            "  gives        nothing that a voice wants: that would be layer 9, projected, or layer 12"
        );
    }
    for content in gives {
        let name = content.name();
        println!(
            "  gives        {name}: trainer import {} --as {name} -o encoders/{name}.timbra",
            path.display()
        );
    }
}

/// Cluster centres or an index.
fn tables(path: &Path, source: &Arc<Source>) -> Result<()> {
    match clusters::read(source) {
        Ok(clusters) => {
            let rows = clusters.iter().map(|of| {
                let (rows, columns) = (of.centers.rows(), of.centers.columns());
                (&of.speaker, rows, columns)
            });
            print_tables("clusters", "centres", rows);
            print_use(path, "clusters");
            return Ok(());
        }
        Err(ReadError::Missing { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    match Retrieval::read(source) {
        Ok(found) => index(path, &found),
        Err(ReadError::Missing { found, .. }) => bail!(
            "{}: expected a voice (G_*.pth, RVC's .pth), an encoder (HuBERT, ContentVec), cluster centres (kmeans_*.pt) or an index \
             (feature_and_index.pkl, added_*.index, .npy), found {found}; choose one of these, or convert it first",
            path.display()
        ),
        Err(error) => Err(error.into()),
    }
}

fn index(path: &Path, index: &Retrieval) -> Result<()> {
    let mut rows = Vec::new();
    for speaker in index.speakers() {
        if let Some(vectors) = index.vectors(speaker)? {
            rows.push((speaker, vectors.rows(), vectors.columns()));
        }
    }
    print_tables("index", "vectors", rows.into_iter());
    print_use(path, "retrieval");
    Ok(())
}

fn print_tables<'a>(
    name: &str,
    rows_are: &str,
    tables: impl Iterator<Item = (&'a Speaker, usize, usize)>,
) {
    for (n, (speaker, rows, columns)) in tables.enumerate() {
        match n {
            0..MAX_LISTED => {
                println!("  {name:<12} {speaker}: {rows} {rows_are} of {columns} channels");
            }
            MAX_LISTED => println!("               and more"),
            _ => {}
        }
    }
}

fn print_use(path: &Path, option: &str) {
    println!(
        "  next         trainer import VOICE --{option} {} -o voice.timbra, with the voice whose content it was made of",
        path.display()
    );
}
