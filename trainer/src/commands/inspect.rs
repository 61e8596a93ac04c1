//! `trainer inspect`: what a file or folder holds, in words.

mod foreign;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use safetensors::SafeTensors;
use timbra_voice::manifest::{
    CpuWeights, EncoderManifest, EncoderSpec, GraphSpec, Manifest, TrainingSummary,
};
use timbra_voice::package::{
    ENCODER_MANIFEST, EncoderPackage, VOICE_MANIFEST, VoicePackage, read_encoder_manifest,
};
use timbra_voice::tables::SpeakerTables;

use crate::data::audio::{NonFinite, ReadOptions, scan};
use crate::data::dataset::{DATASET_FILE, Dataset};

/// Most speakers that are listed.
const MAX_LISTED: usize = 32;

/// Arguments of `trainer inspect`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A voice, an encoder, a recording, a work folder, a checkpoint or a safetensors file; of so-vits-svc and RVC also .onnx exports,
    /// cluster centres, indexes and the HuBERT or ContentVec they use
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// As of `import`: the voice's config.json, where it does not lie beside G_*.pth or an .onnx export does not say enough
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// As of `import`: the rate of an .onnx export or RVC's G_*.pth that does not say it
    #[arg(long = "rate", value_name = "HZ", value_parser = clap::value_parser!(u32).range(8_000..=192_000))]
    pub rate_hz: Option<u32>,
}

/// Runs the verb.
///
/// # Errors
/// A path is nothing that is known here, or damaged.
pub fn run(args: &Args) -> Result<()> {
    for path in &args.paths {
        inspect(path, args)?;
    }
    Ok(())
}

fn inspect(path: &Path, args: &Args) -> Result<()> {
    println!("{}", path.display());
    if path.is_dir() {
        return inspect_folder(path);
    }
    let mut start = [0_u8; 8];
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let read = file
        .read(&mut start)
        .with_context(|| format!("cannot read {}", path.display()))?;
    if foreign::is_foreign(path, &start[..read]) {
        return foreign::describe(path, args);
    }
    let is_package = start[..read].starts_with(b"PK\x03\x04")
        || path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("timbra"));
    if is_package {
        // An encoder is a package too; what is neither is reported as a broken voice.
        if read_encoder_manifest(path).is_ok() {
            return encoder(path);
        }
        return voice(path);
    }
    if path.extension().is_some_and(|e| e == "safetensors") {
        tensors(path)?;
        foreign::describe_encoder(path);
        return Ok(());
    }
    recording(path)
}

fn inspect_folder(path: &Path) -> Result<()> {
    if path.join(VOICE_MANIFEST).is_file() {
        return voice(path);
    }
    if path.join(ENCODER_MANIFEST).is_file() {
        return encoder(path);
    }
    for folder in [path.to_path_buf(), path.join("features")] {
        if folder.join(DATASET_FILE).is_file() {
            return dataset(&folder);
        }
    }
    if path.join("position.json").is_file() {
        return checkpoint(path);
    }
    bail!(
        "{} holds neither a voice ({VOICE_MANIFEST}), an encoder ({ENCODER_MANIFEST}), a dataset ({DATASET_FILE}) \
         nor a checkpoint (position.json)",
        path.display()
    )
}

fn voice(path: &Path) -> Result<()> {
    let package = VoicePackage::read(path)?;
    let manifest = &package.manifest;
    println!(
        "  voice        {} ({:?}), format {}",
        manifest.name, manifest.family, manifest.format_version
    );
    println!("  identity     {}", package.sha256);
    for speaker in &manifest.speakers {
        println!(
            "  speaker      {}: F0 {:.0} / {:.0} / {:.0} Hz, {:.1} dBFS, keeps {:.0} % of the input's articulation{}{}{}",
            speaker.name,
            speaker.f0_low_hz,
            speaker.f0_median_hz,
            speaker.f0_high_hz,
            speaker.loudness_median_db,
            100.0 * speaker.articulation,
            after(", ", &speaker.languages.join(" ")),
            after(", ", &speaker.licence),
            after(", ", &speaker.attribution)
        );
    }
    print_licence(&manifest.licence, &manifest.attribution);
    println!(
        "  sound        {} Hz, {} samples per frame, {} samples of delay, F0 {:.0} to {:.0} Hz",
        manifest.model_rate_hz,
        manifest.hop_samples,
        manifest.delay_samples,
        manifest.f0_min_hz,
        manifest.f0_max_hz
    );
    let embedded = if package.encoder_graph().is_some() {
        "embedded"
    } else {
        "not embedded"
    };
    print_encoder(&manifest.encoder, embedded);
    if package.encoder_graph().is_none() {
        print_need(&manifest.encoder.id, manifest.encoder.channels);
    }
    println!(
        "  synthesis    inputs {}; {} carried tensors{}",
        manifest.synthesis.inputs.join(", "),
        manifest.synthesis.states.len(),
        on_cpus(&manifest.synthesis)
    );
    print_tables("clusters", package.clusters()?, manifest);
    print_tables("retrieval", package.retrieval()?, manifest);
    if manifest.retrieval_ratio > 0.0 {
        println!(
            "  pulled       {:.0} % of the way to retrieved frames by itself",
            100.0 * manifest.retrieval_ratio
        );
    }
    if manifest.retrieval.is_some() && manifest.retrieval_unvoiced < 1.0 {
        println!(
            "  protected    unvoiced frames are pulled by {:.0} % of what the others are",
            100.0 * manifest.retrieval_unvoiced
        );
    }
    print_training(&manifest.training);
    if let Some(certificate) = &manifest.certificate {
        println!(
            "  certificate  similarity {:.3}, F0 {:.1} cents, voicing error {:.1} %, content distance {:.3}, \
             latency {:.1} ms, load {:.3} on {}",
            certificate.similarity,
            certificate.f0_cents,
            certificate.voicing_error * 100.0,
            certificate.content_distance,
            certificate.latency_ms,
            certificate.load,
            certificate.machine
        );
    } else {
        println!("  certificate  none; `trainer evaluate` measures one");
    }
    print_files(
        manifest
            .files
            .iter()
            .map(|(name, entry)| (name.as_str(), entry.bytes)),
    );
    println!("  every hash is right");
    Ok(())
}

fn encoder(path: &Path) -> Result<()> {
    let package = EncoderPackage::read(path)?;
    let manifest: &EncoderManifest = &package.manifest;
    print_encoder(&manifest.encoder, "");
    print_licence(&manifest.licence, &manifest.attribution);
    print_training(&manifest.training);
    print_files(
        manifest
            .files
            .iter()
            .map(|(name, entry)| (name.as_str(), entry.bytes)),
    );
    println!("  every hash is right");
    Ok(())
}

fn dataset(folder: &Path) -> Result<()> {
    let dataset = Dataset::load(folder)?;
    println!(
        "  dataset      {} clips, audio at {} Hz",
        dataset.clips.len(),
        dataset.model_rate_hz
    );
    for speaker in &dataset.speakers {
        println!(
            "  speaker      {}: {:.1} min to train on, {:.1} min held out, F0 {:.0} / {:.0} / {:.0} Hz, {:.0} % voiced, {:.1} dBFS",
            speaker.name,
            speaker.train_minutes,
            speaker.held_out_minutes,
            speaker.f0_low_hz,
            speaker.f0_median_hz,
            speaker.f0_high_hz,
            speaker.voiced_share * 100.0,
            speaker.loudness_median_db
        );
    }
    print_encoder(
        &dataset.encoder,
        &dataset.encoder_path.display().to_string(),
    );
    Ok(())
}

fn checkpoint(folder: &Path) -> Result<()> {
    let path = folder.join("position.json");
    let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let position: serde_json::Value =
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
    println!("  checkpoint");
    if let Some(fields) = position.as_object() {
        for (name, value) in fields {
            println!("  {name:<12} {value}");
        }
    }
    let mut files: Vec<(String, u64)> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        files.push((
            entry.file_name().to_string_lossy().into_owned(),
            entry.metadata()?.len(),
        ));
    }
    files.sort();
    print_files(files.iter().map(|(name, bytes)| (name.as_str(), *bytes)));
    Ok(())
}

fn tensors(path: &Path) -> Result<()> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let damaged = || format!("{} is no whole safetensors file", path.display());
    let (_, header) = SafeTensors::read_metadata(&bytes).with_context(damaged)?;
    let tensors = SafeTensors::deserialize(&bytes).with_context(damaged)?;
    if let Some(about) = header.metadata() {
        let mut about: Vec<_> = about.iter().collect();
        about.sort();
        for (name, value) in about {
            println!("  {name:<18} {value}");
        }
    }
    let mut names = tensors.names();
    names.sort_unstable();
    for name in names {
        let view = tensors.tensor(name).with_context(damaged)?;
        println!("  {name:<18} {:?} {:?}", view.dtype(), view.shape());
    }
    Ok(())
}

fn recording(path: &Path) -> Result<()> {
    let about = scan(
        path,
        ReadOptions {
            non_finite: NonFinite::Silence,
            min_ms: 0,
        },
    )?;
    println!(
        "  recording    {:.3} s, {} Hz, {} channels, {} samples each",
        about.duration_s(),
        about.rate_hz,
        about.levels.len(),
        about.samples
    );
    for (index, (level, weight)) in about.levels.iter().zip(about.mono_weights()).enumerate() {
        println!(
            "  channel {:<4} peak {:.1} dBFS, mean {:.1} dBFS{}",
            index + 1,
            level.peak_db(),
            level.rms_db(),
            if weight == 0.0 {
                ", silent: left out of the mono mix"
            } else {
                ""
            }
        );
    }
    if about.replaced_samples > 0 {
        println!("  {} samples are NaN or infinite", about.replaced_samples);
    }
    Ok(())
}

fn print_encoder(spec: &EncoderSpec, remark: &str) {
    println!(
        "  encoder      {}: {} channels, look-ahead {:.0} ms{}{}",
        spec.id,
        spec.channels,
        spec.lookahead_samples as f64 * 1e3 / f64::from(spec.rate_hz),
        after(", ", remark),
        on_cpus(&spec.graph)
    );
    println!("               SHA-256 {}", spec.sha256);
}

/// Where the encoder of a voice that has none inside is looked for.
fn print_need(id: &str, channels: usize) {
    println!(
        "  needs        the content encoder {id} ({channels} channels), in an `encoders` folder beside the voice or in a voice folder"
    );
}

/// In what a CPU keeps the weights, where it is told to.
fn on_cpus(graph: &GraphSpec) -> &'static str {
    match graph.cpu_weights {
        None => "",
        Some(CpuWeights::Int8) => "; CPUs play it in 8 bits",
    }
}

fn print_tables(name: &str, tables: Option<SpeakerTables>, manifest: &Manifest) {
    let Some(tables) = tables else {
        println!("  {name:<12} none");
        return;
    };
    let rows: Vec<String> = manifest
        .speakers
        .iter()
        .zip(&tables.tables)
        .map(|(speaker, table)| {
            format!("{} {}", speaker.name, table.as_ref().map_or(0, |t| t.rows))
        })
        .collect();
    println!("  {name:<12} {} rows", rows.join(", "));
}

fn print_licence(licence: &str, attribution: &[String]) {
    println!(
        "  licence      {licence}{}",
        after("; ", &attribution.join("; "))
    );
}

fn print_training(training: &TrainingSummary) {
    // A voice that was mixed or imported has none.
    let loss = if training.held_out_loss == 0.0 {
        String::new()
    } else {
        format!("held-out loss {:.4}, ", training.held_out_loss)
    };
    println!(
        "  training     {} steps on {:.1} min in {:.2} h ({}), {loss}by {}{}",
        training.steps,
        training.minutes,
        training.hours,
        training.backend,
        training.trainer,
        after("; ", &training.notes)
    );
}

fn print_files<'a>(files: impl Iterator<Item = (&'a str, u64)>) {
    let mut total = 0;
    for (name, bytes) in files {
        total += bytes;
        println!("  {bytes:>12} {name}");
    }
    println!("  {total:>12} bytes in all");
}

/// `text` behind a separator, or nothing when it is empty.
fn after(separator: &str, text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("{separator}{text}")
    }
}
