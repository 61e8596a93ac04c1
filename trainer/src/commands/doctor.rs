//! `trainer doctor`: what this machine has, what is missing, what to do.

use std::path::PathBuf;

use anyhow::{Result, bail};
use timbra_engine::{locate, onnx};
use timbra_voice::library;
use timbra_voice::package::read_encoder_manifest;

use super::prepare::{encoder_folders, installed_encoders};
use crate::evaluation::machine_name;

/// Arguments of `trainer doctor`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Further folders of voices to look into
    #[arg(value_name = "FOLDER")]
    pub folders: Vec<PathBuf>,
}

/// Training backends that were compiled in.
#[must_use]
pub fn backends() -> Vec<&'static str> {
    let mut backends = vec!["flex (CPU)"];
    for (name, compiled) in [
        ("cuda", cfg!(feature = "cuda")),
        ("vulkan", cfg!(feature = "vulkan")),
        ("metal", cfg!(feature = "metal")),
        ("rocm", cfg!(feature = "rocm")),
        ("libtorch", cfg!(feature = "libtorch")),
    ] {
        if compiled {
            backends.push(name);
        }
    }
    backends
}

/// Runs the verb.
///
/// # Errors
/// Something is missing without which nothing can be converted or trained.
pub fn run(args: &Args) -> Result<()> {
    println!(
        "trainer {} on {}",
        env!("CARGO_PKG_VERSION"),
        machine_name()
    );
    println!("ok       threads: {}", rayon::current_num_threads());
    println!("ok       training backends: {}", backends().join(", "));
    let mut missing = 0;

    match onnx::ensure_runtime() {
        Ok(()) => {
            let library = onnx::library_in_use().unwrap_or_default();
            println!("ok       ONNX Runtime: {}", library.display());
            let providers = onnx::providers_there();
            println!(
                "ok       it runs on: CPU{}{} ({} names others)",
                if providers.is_empty() { "" } else { ", " },
                providers.join(", ").replace("ExecutionProvider", ""),
                locate::PROVIDERS_VARIABLE
            );
        }
        Err(error) => {
            missing += 1;
            println!("MISSING  {error}");
        }
    }

    let mut folders = args.folders.clone();
    folders.push(PathBuf::from("models"));
    folders.extend(locate::voice_folders());
    folders.dedup();
    let voices = library::list(&folders);
    for listing in &voices {
        match &listing.manifest {
            Ok(manifest) => {
                let speakers: Vec<&str> =
                    manifest.speakers.iter().map(|s| s.name.as_str()).collect();
                println!(
                    "ok       voice {} ({}): {}",
                    manifest.name,
                    speakers.join(", "),
                    listing.voice.path.display()
                );
            }
            Err(reason) => {
                println!("BROKEN   voice {}: {reason}", listing.voice.path.display());
            }
        }
    }
    if voices.is_empty() {
        println!("none     no voice in: {}", joined(&folders));
        println!(
            "         put .timbra files there, name a folder in {}, or build one",
            locate::VOICES_VARIABLE
        );
    }

    let encoders = installed_encoders();
    for path in &encoders {
        if let Ok(manifest) = read_encoder_manifest(path) {
            println!(
                "ok       content encoder {}: {}",
                manifest.encoder.id,
                path.display()
            );
        }
    }
    if encoders.is_empty() {
        println!(
            "none     no content encoder in: {}",
            joined(&encoder_folders())
        );
        println!("         give one with --encoder, or train one with `trainer encoder`");
    }
    if missing > 0 {
        bail!("{missing} thing is missing that converting and training need; see above");
    }
    Ok(())
}

fn joined(folders: &[PathBuf]) -> String {
    let names: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
    names.join(", ")
}
