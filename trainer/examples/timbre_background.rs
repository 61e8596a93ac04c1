//! Measures the constants of `evaluation/measures.rs`: mean and spread of the mean cepstrum over many speakers.
//!
//!     cargo run --release -p timbra-trainer --example timbre_background -- FOLDER
//!
//! FOLDER has one folder of recordings per speaker. Prints the two arrays, and
//! how well the similarity tells the halves of one recording from halves of
//! different speakers' recordings.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use timbra_trainer::data::audio::{is_audio_name, read_audio};
use timbra_trainer::evaluation::measures::{Timbre, similarity};

fn main() -> Result<()> {
    let folder = std::env::args()
        .nth(1)
        .context("expected a folder of speakers")?;
    let mut halves: Vec<[[f64; 20]; 2]> = Vec::new();
    for speaker in sorted(Path::new(&folder))?
        .into_iter()
        .filter(|path| path.is_dir())
    {
        let Some(path) = sorted(&speaker)?
            .into_iter()
            .find(|path| is_audio_name(path))
        else {
            continue;
        };
        let audio = read_audio(&path)?;
        if audio.duration_s() < 6.0 {
            continue;
        }
        let mono = audio.to_mono();
        let (first, second) = mono.split_at(mono.len() / 2);
        halves.push([
            Timbre::of(first, audio.rate_hz)?.mean_cepstrum(),
            Timbre::of(second, audio.rate_hz)?.mean_cepstrum(),
        ]);
    }
    ensure!(
        halves.len() > 10,
        "only {} speakers with 6 s or more",
        halves.len()
    );
    let count = (halves.len() * 2) as f64;
    let all = || halves.iter().flatten();
    let mean: Vec<f64> = (0..20)
        .map(|index| all().map(|cepstrum| cepstrum[index]).sum::<f64>() / count)
        .collect();
    let deviation: Vec<f64> = (0..20)
        .map(|index| {
            (all()
                .map(|cepstrum| (cepstrum[index] - mean[index]).powi(2))
                .sum::<f64>()
                / count)
                .sqrt()
        })
        .collect();
    println!(
        "{} speakers\nmean      {}\ndeviation {}",
        halves.len(),
        row(&mean),
        row(&deviation)
    );

    let mut same: Vec<f64> = halves.iter().map(|[a, b]| similarity(a, b)).collect();
    let mut different = Vec::new();
    for (index, [a, _]) in halves.iter().enumerate() {
        different.extend(halves[index + 1..].iter().map(|[_, b]| similarity(a, b)));
    }
    same.sort_by(f64::total_cmp);
    different.sort_by(f64::total_cmp);
    let at = |values: &[f64], share: f64| values[((values.len() - 1) as f64 * share) as usize];
    for (name, values) in [("same", &same), ("different", &different)] {
        println!(
            "{name:<10} 5 % {:.3}  median {:.3}  95 % {:.3}",
            at(values, 0.05),
            at(values, 0.5),
            at(values, 0.95)
        );
    }
    let threshold = at(&different, 0.95);
    let above = same.iter().filter(|&&value| value > threshold).count();
    println!(
        "{above} of {} same pairs are above 95 % of the different ones",
        same.len()
    );
    Ok(())
}

fn row(values: &[f64]) -> String {
    let numbers: Vec<String> = values.iter().map(|value| format!("{value:.2}")).collect();
    format!("[{}]", numbers.join(", "))
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<PathBuf>>>()?;
    paths.sort();
    Ok(paths)
}
