//! `trainer evaluate`: a voice on held-out clips.

use std::path::PathBuf;

use anyhow::Result;

use super::prepare::encoder_folders;
use crate::config::WorkFolder;
use crate::data::atomic_file::write_atomically;
use crate::data::dataset::Dataset;
use crate::data::tables::rewrite_voice;
use crate::evaluation::{Report, ReportOptions, evaluate};

/// Arguments of `trainer evaluate`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The voice
    #[arg(long, value_name = "FILE")]
    pub voice: PathBuf,

    /// The work folder with the prepared clips; results go to its `evaluation`
    #[arg(long, value_name = "FOLDER")]
    pub work: PathBuf,

    /// Most clips per speaker
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub clips: usize,

    /// Clips per speaker to draw and to keep as sound
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub draw: usize,

    /// Do not write the certificate into the voice
    #[arg(long)]
    pub keep_certificate: bool,
}

/// Runs the verb.
///
/// # Errors
/// Nothing is held out, or the voice cannot be used.
pub fn run(args: &Args) -> Result<()> {
    let work = WorkFolder::new(&args.work);
    let dataset = Dataset::load(&work.features())?;
    let report = evaluate(
        &dataset,
        &args.voice,
        &encoder_folders(),
        &ReportOptions {
            folder: work.evaluation(),
            clips_per_speaker: args.clips,
            drawn_per_speaker: args.draw,
        },
    )?;
    print_report(&report);
    let path = work.evaluation().join("report.json");
    write_atomically(&path, &serde_json::to_vec_pretty(&report)?)?;
    println!("{}", path.display());
    if !args.keep_certificate {
        rewrite_voice(&args.voice, |manifest, _| {
            manifest.certificate = Some(report.certificate.clone());
            Ok(())
        })?;
    }
    Ok(())
}

fn print_report(report: &Report) {
    println!(
        "speaker          clips  similarity (recording)  mel distance  F0 error  F0 corr  voicing  content"
    );
    for speaker in &report.speakers {
        println!(
            "{:<16} {:>5}      {:.3}     ({:.3})       {:>5.2} dB  {:>5.1} ct    {:.3}  {:>5.1} %    {:.3}",
            speaker.speaker,
            speaker.clips,
            speaker.similarity,
            speaker.similarity_of_recording,
            speaker.mel_distance_db,
            speaker.f0_cents,
            speaker.f0_correlation,
            speaker.voicing_error * 100.0,
            speaker.content_distance
        );
    }
    let certificate = &report.certificate;
    println!(
        "latency {:.1} ms at 48 kHz without the host's block; load {:.3} of a core ({})",
        certificate.latency_ms, certificate.load, certificate.machine
    );
}
