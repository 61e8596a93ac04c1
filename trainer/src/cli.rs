//! The verbs and the options that all of them share.

use std::fs::OpenOptions;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::commands;
use crate::config::WorkFolder;

/// Builds singing voices for the Timbra plugin from recordings, measures them and converts with them.
#[derive(Debug, Parser)]
#[command(name = "trainer", version, about, propagate_version = true)]
pub struct Cli {
    /// Show what happens (-v) or every detail (-vv)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Threads for preparing and measuring; all cores unless given
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// One verb each; see [`commands`].
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Do everything: recordings in, voice out; the same command goes on after an interruption
    Build(commands::build::Args),
    /// Cut long takes into clips at their silences
    Slice(commands::slice::Args),
    /// Compute content, F0 and loudness of every clip
    Prepare(commands::prepare::Args),
    /// Train a voice on prepared clips
    Train(commands::train::Args),
    /// Train a content encoder
    Encoder(commands::encoder::Args),
    /// Find the centres of each speaker's content (cluster ratio, k-means)
    Cluster(commands::cluster::Args),
    /// Collect frames of each speaker's content (cluster ratio, retrieval)
    Index(commands::index::Args),
    /// Measure a voice on held-out clips
    Evaluate(commands::evaluate::Args),
    /// Write a voice package from a training
    Export(commands::export::Args),
    /// Write a checkpoint of a vits voice without what only training needs
    Compress(commands::compress::Args),
    /// Mix voices of one shape into one: checkpoints, of harmonic voices also packages
    Mix(commands::mix::Args),
    /// Change what a voice does by itself where no control says otherwise
    Adjust(commands::adjust::Args),
    /// Bring a voice of so-vits-svc or RVC
    Import(commands::import::Args),
    /// Convert a recording
    Convert(commands::convert::Args),
    /// Say what a voice, encoder, recording, dataset or checkpoint holds
    Inspect(commands::inspect::Args),
    /// Draw spectrogram and F0 of recordings, or curves of a training
    Plot(commands::plot::Args),
    /// Convert recordings in several ways onto a page to open and play, with spectrograms and figures
    Page(commands::page::Args),
    /// Check this machine and say what to do
    Doctor(commands::doctor::Args),
}

impl Command {
    /// The work folder whose log the verb writes.
    #[must_use]
    pub fn work(&self) -> Option<PathBuf> {
        let work = match self {
            Self::Build(args) => return Some(args.work_folder()),
            Self::Prepare(args) => Some(&args.work),
            Self::Train(args) => Some(&args.work),
            Self::Encoder(args) => Some(&args.work),
            Self::Cluster(args) => Some(&args.work),
            Self::Index(args) => Some(&args.work),
            Self::Evaluate(args) => Some(&args.work),
            Self::Export(args) => Some(&args.work),
            Self::Slice(_)
            | Self::Compress(_)
            | Self::Mix(_)
            | Self::Adjust(_)
            | Self::Import(_)
            | Self::Convert(_)
            | Self::Inspect(_)
            | Self::Plot(_)
            | Self::Page(_)
            | Self::Doctor(_) => None,
        };
        work.cloned()
    }
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// Whatever the verb ran into, in words.
    pub fn run(&self) -> Result<()> {
        self.start_log()?;
        if let Some(threads) = self.threads {
            // Fails only if the pool exists already, which cannot be: nothing ran before.
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build_global()
                .context("cannot start the threads")?;
        }
        match &self.command {
            Command::Build(args) => commands::build::run(args),
            Command::Slice(args) => commands::slice::run(args),
            Command::Prepare(args) => commands::prepare::run(args),
            Command::Train(args) => commands::train::run(args),
            Command::Encoder(args) => commands::encoder::run(args),
            Command::Cluster(args) => commands::cluster::run(args),
            Command::Index(args) => commands::index::run(args),
            Command::Evaluate(args) => commands::evaluate::run(args),
            Command::Export(args) => commands::export::run(args),
            Command::Compress(args) => commands::compress::run(args),
            Command::Mix(args) => commands::mix::run(args),
            Command::Adjust(args) => commands::adjust::run(args),
            Command::Import(args) => commands::import::run(args),
            Command::Convert(args) => commands::convert::run(args),
            Command::Inspect(args) => commands::inspect::run(args),
            Command::Plot(args) => commands::plot::run(args),
            Command::Page(args) => commands::page::run(args),
            Command::Doctor(args) => commands::doctor::run(args),
        }
    }

    /// Warnings on screen (more with -v); everything from `info` up in the work folder's log.
    fn start_log(&self) -> Result<()> {
        let on_screen = match self.verbose {
            0 => LevelFilter::WARN,
            1 => LevelFilter::INFO,
            _ => LevelFilter::DEBUG,
        };
        let screen = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .without_time()
            .with_filter(on_screen);
        let file = match self.command.work() {
            None => None,
            Some(work) => {
                let path = WorkFolder::new(&work).log();
                std::fs::create_dir_all(&work)
                    .with_context(|| format!("cannot make the folder {}", work.display()))?;
                let log = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(&path)
                    .with_context(|| format!("cannot write {}", path.display()))?;
                let layer = tracing_subscriber::fmt::layer()
                    .with_writer(Arc::new(log))
                    .with_ansi(false)
                    .with_filter(LevelFilter::INFO);
                Some(layer)
            }
        };
        tracing_subscriber::registry()
            .with(screen)
            .with(file)
            .try_init()
            .context("the log is started twice")?;
        let line: Vec<String> = std::env::args().collect();
        tracing::info!("trainer {}: {}", env!("CARGO_PKG_VERSION"), line.join(" "));
        Ok(())
    }
}
