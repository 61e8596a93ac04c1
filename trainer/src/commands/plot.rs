//! `trainer plot`: pictures of recordings and of trainings.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::config::WrongArgument;
use crate::data::audio::{AudioReader, NonFinite, ReadOptions, mix_to_mono, scan};
use crate::plot::{Panel, curve_sets, draw_curves, draw_spectrograms, read_figures};

/// Arguments of `trainer plot`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Recordings (spectrograms and F0), or CSV files of figures with a first column `step` (curves)
    #[arg(required = true, value_name = "FILE")]
    pub inputs: Vec<PathBuf>,

    /// The picture
    #[arg(short, long, value_name = "OUT.png")]
    pub output: PathBuf,

    /// Titles of the recordings, in their order; their file names unless given
    #[arg(long, value_name = "TEXT")]
    pub title: Vec<String>,

    /// Where to begin
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    pub from: f64,

    /// How much to draw
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0)]
    pub seconds: f64,
}

/// Runs the verb.
///
/// # Errors
/// A file cannot be read, or the picture not written.
pub fn run(args: &Args) -> Result<()> {
    if args.output.extension().and_then(|e| e.to_str()) != Some("png") {
        let message = format!("{}: only .png is written", args.output.display());
        return Err(WrongArgument(message).into());
    }
    let is_table = |path: &PathBuf| {
        path.extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("csv"))
    };
    if args.inputs.iter().all(is_table) {
        let mut sets = Vec::new();
        for path in &args.inputs {
            sets.append(&mut curve_sets(&read_figures(path)?));
        }
        draw_curves(&args.output, &sets)?;
    } else if args.inputs.iter().any(is_table) {
        bail!("recordings and tables of figures do not go into one picture");
    } else {
        if !(args.from >= 0.0 && args.seconds > 0.0 && args.seconds <= 600.0) {
            let message = "--from is at least 0 and --seconds above 0 and at most 600".to_owned();
            return Err(WrongArgument(message).into());
        }
        let panels = args
            .inputs
            .iter()
            .enumerate()
            .map(|(index, path)| {
                let title = args.title.get(index).cloned().unwrap_or_else(|| {
                    let name = path.file_name().unwrap_or_default();
                    name.to_string_lossy().into_owned()
                });
                panel(path, &title, args.from, args.seconds)
            })
            .collect::<Result<Vec<Panel>>>()?;
        draw_spectrograms(&args.output, &panels)?;
    }
    println!("{}", args.output.display());
    Ok(())
}

/// Reads a stretch of a recording of any length.
///
/// # Errors
/// The recording is unusable, or ends before the stretch begins.
pub fn panel(path: &Path, title: &str, from_s: f64, seconds: f64) -> Result<Panel> {
    let options = ReadOptions {
        non_finite: NonFinite::Silence,
        ..ReadOptions::default()
    };
    let about = scan(path, options)?;
    let weights = about.mono_weights();
    let rate = f64::from(about.rate_hz);
    let (first, count) = ((from_s * rate) as u64, (seconds * rate) as usize);
    let mut reader = AudioReader::open(path, options)?;
    let (mut mono, mut kept) = (Vec::new(), Vec::new());
    let mut position = 0_u64;
    while let Some(packet) = reader.next_packet()? {
        mono.clear();
        mix_to_mono(packet, &weights, &mut mono);
        let skip = (first.saturating_sub(position) as usize).min(mono.len());
        let take = (mono.len() - skip).min(count - kept.len());
        kept.extend_from_slice(&mono[skip..skip + take]);
        position += mono.len() as u64;
        if kept.len() == count {
            break;
        }
    }
    (!kept.is_empty())
        .then(|| Panel::new(title, &kept, about.rate_hz))
        .with_context(|| {
            format!(
                "{} is {:.1} s long; nothing is at {from_s} s",
                path.display(),
                about.duration_s()
            )
        })
}
