//! `trainer adjust`: what a voice does by itself.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use crate::config::WrongArgument;
use crate::data::tables::rewrite_voice;

/// Arguments of `trainer adjust`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The voice, which is changed where it lies. Projects find it by its name or its place, not by its hash any more
    #[arg(value_name = "VOICE")]
    pub voice: PathBuf,

    /// How much of the input's articulation is kept, 0 to 1, by one speaker or by all: with more of it more words are understood, with
    /// less the voice is nearer to its speaker
    #[arg(long, value_name = "[SPEAKER=]SHARE")]
    pub articulation: Vec<String>,

    /// How far content is pulled to retrieved frames of the speaker, 0 to 1
    #[arg(long, value_name = "RATIO")]
    pub retrieval_ratio: Option<f32>,
}

/// Runs the verb.
///
/// # Errors
/// There is no such speaker, a number is out of its range, or the voice cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let wrong = |why: String| anyhow!(WrongArgument(why));
    let shares = (args.articulation.iter())
        .map(|text| articulation(text))
        .collect::<Result<Vec<_>, _>>()?;
    if shares.is_empty() && args.retrieval_ratio.is_none() {
        return Err(wrong(
            "there is nothing to change; give --articulation or --retrieval-ratio".to_owned(),
        ));
    }
    rewrite_voice(&args.voice, |manifest, _| {
        for (name, share) in &shares {
            let there = |wanted: &str| manifest.speakers.iter().any(|s| s.name == wanted);
            if let Some(name) = name.filter(|name| !there(name)) {
                let names: Vec<&str> = manifest.speakers.iter().map(|s| s.name.as_str()).collect();
                return Err(wrong(format!(
                    "--articulation: there is no speaker \"{name}\"; expected one of {}",
                    names.join(", ")
                )));
            }
            for speaker in &mut manifest.speakers {
                if name.is_none_or(|name| name == speaker.name) {
                    speaker.articulation = *share;
                }
            }
        }
        if let Some(ratio) = args.retrieval_ratio {
            if !(0.0..=1.0).contains(&ratio) {
                return Err(wrong(format!(
                    "--retrieval-ratio is {ratio}; expected 0 to 1"
                )));
            }
            manifest.retrieval_ratio = ratio;
        }
        Ok(())
    })?;
    println!("{}: changed", args.voice.display());
    Ok(())
}

/// Whose share it is, nobody's being everybody's, and how much.
fn articulation(text: &str) -> Result<(Option<&str>, f32), WrongArgument> {
    let (name, share) = match text.rsplit_once('=') {
        Some((name, share)) => (Some(name), share),
        None => (None, text),
    };
    let share = share.parse::<f32>().ok();
    let share = share.filter(|share| (0.0..=1.0).contains(share));
    share.map(|share| (name, share)).ok_or_else(|| {
        let why = format!("--articulation {text}: expected SHARE or SPEAKER=SHARE, 0 to 1");
        WrongArgument(why)
    })
}
