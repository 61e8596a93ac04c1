//! The training loop of a VITS voice.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use burn::tensor::backend::Backend as _;
use timbra_engine::Encoder;

use super::batch::{BatchMaker, stream};
use super::checkpoints::{VOICE_FILE, VitsPosition};
use super::config::VitsFitConfig;
use super::held_out::{HeldOut, Measures};
use super::peers::join;
use super::stepper::{Base, STEP_COLUMNS, StepFigures, Stepper};
use super::watch::{Reading, Watch};
use crate::kernels::TrainingBackend;
use crate::training::checkpoint::{Checkpoints, module_bytes, read_position};
use crate::training::clips::VoiceClip;
use crate::training::mixture::same_encoder;
use crate::training::progress::{Figures, bar};

/// Figures of a validation.
const HELD_OUT_COLUMNS: [&str; 7] = [
    "held_out_mel",
    "similarity",
    "f0_cents",
    "voicing_error",
    "content",
    "level_db",
    "score",
];

/// Trains until `config.steps` on one or several devices, going on from the newest checkpoint in `work`; returns that of the
/// last step.
///
/// # Errors
/// Files cannot be read or written, there is nothing to train on, or the gradients stop being numbers.
pub fn fit<B: TrainingBackend>(
    clips: Vec<VoiceClip>,
    encoder: Arc<Encoder>,
    work: &Path,
    config: &VitsFitConfig,
    base: &Base,
    devices: &[B::Device],
) -> Result<PathBuf> {
    let device = devices.first().cloned().unwrap_or_default();
    let device = &device;
    let spec = &config.network;
    let clips = Arc::new(clips);
    let Some(maker) = BatchMaker::new(Arc::clone(&clips), config) else {
        bail!(
            "{}: expected at least one prepared clip of {} ms to train on, found none; run `trainer prepare` first",
            work.display(),
            config.segment_frames * spec.hop_samples() * 1000 / spec.rate_hz as usize
        );
    };
    let checkpoints = Checkpoints::open(&work.join("checkpoints"))?.keeping(config.keep);
    let mut stepper = Stepper::<B>::new(config, base, device)?;
    let samples = clips
        .iter()
        .map(|clip| clip.audio.len() as f64)
        .sum::<f64>();
    let mut position = VitsPosition {
        step: 0,
        seconds: 0.0,
        config: config.clone(),
        minutes: samples / f64::from(spec.rate_hz) / 60.0,
        backend: B::InnerBackend::name(device),
        measures: Measures::default(),
        watch: Watch::default(),
        notes: base
            .voice
            .as_ref()
            .map_or_else(String::new, |(name, _)| format!("began from {name}")),
    };
    if let Some(folder) = checkpoints.newest()? {
        let saved: VitsPosition = read_position(&folder)?;
        if saved.config.network != *spec || saved.config.critics != config.critics {
            bail!(
                "{}: was made with other sizes; use another work folder",
                folder.display()
            );
        }
        same_encoder(
            &folder,
            &saved.config.encoder_sha256,
            &config.encoder_sha256,
        )?;
        stepper = stepper.resumed(&folder)?;
        position = VitsPosition {
            config: config.clone(),
            backend: B::InnerBackend::name(device),
            ..saved
        };
        tracing::info!("resumed at step {}", position.step);
    }
    let auto_f0 = spec.auto_f0.then_some("auto_f0_cents");
    let columns: Vec<&str> = STEP_COLUMNS
        .iter()
        .chain(&HELD_OUT_COLUMNS)
        .copied()
        .chain(auto_f0)
        .collect();
    let mut figures = Figures::open(&work.join("figures.csv"), &columns)?;
    let held_out = HeldOut::<B::InnerBackend>::new(&clips, spec, encoder, device)?;
    if !held_out.unheard {
        let notice = "no clip of a second or so is held out: what is measured is how the voice sings clips it learns from, and the best \
                      checkpoint is chosen by that; prepare with --held-out, or give more recordings";
        println!("{notice}");
        tracing::warn!("{notice}");
    }
    join(&mut stepper, &maker, devices, position.step..config.steps)?;
    let batches = stream(maker, position.step, (0, devices.len().max(1) as u64));
    let progress = bar(config.steps, "steps");
    progress.set_position(position.step);
    let (started, seconds_before) = (Instant::now(), position.seconds);
    let mut sums = Sums::default();
    while position.step < config.steps {
        let Ok(batch) = batches.recv() else {
            bail!("the batch thread stopped")
        };
        sums.add(stepper.step(&batch?, position.step, &mut position.watch)?);
        position.step += 1;
        progress.set_position(position.step);
        if position.step.is_multiple_of(10) {
            progress.set_message(format!(
                "mel {:.3} similarity {:.3}",
                sums.mean()[0],
                position.measures.similarity
            ));
        }
        if position.step.is_multiple_of(config.save_every) || position.step == config.steps {
            let folder = work.join("samples").join(format!("step-{}", position.step));
            position.measures = held_out.measure(&stepper.average, Some(&folder))?;
            position.seconds = seconds_before + started.elapsed().as_secs_f64();
            let means = sums.mean();
            let taken = std::mem::take(&mut sums).steps > 0;
            let means_of_steps = taken.then_some(&means);
            let (better, notices) = position.watch.validated(reading(&position, means_of_steps));
            // First the best: the other one says that it is there.
            if better {
                let voice = module_bytes(&stepper.average)?;
                checkpoints.save_best(&position, &[(VOICE_FILE, voice)])?;
            }
            checkpoints.save(position.step, &position, &stepper.parts()?)?;
            let m = position.measures;
            let held = [
                m.mel,
                m.similarity,
                m.f0_cents,
                m.voicing_error,
                m.content,
                m.level_db,
                m.score(),
            ];
            let predicted = auto_f0.map(|_| m.auto_f0_cents);
            let row: Vec<f64> = means
                .iter()
                .chain(&held)
                .copied()
                .chain(predicted)
                .collect();
            figures.row(position.step, &row)?;
            figures.draw();
            println!(
                "step {} mel {:.4} nats {:.3} verdict {:.3} critic {:.3} | {}: mel {:.4} similarity {:.3} F0 {:.1} ct \
                 voicing {:.1} % content {:.3} level {:+.1} dB{} | score {:.3}{} after {:.0} s",
                position.step,
                means[0],
                means[1],
                means[3],
                means[5],
                if held_out.unheard {
                    "held out"
                } else {
                    "not held out"
                },
                m.mel,
                m.similarity,
                m.f0_cents,
                100.0 * m.voicing_error,
                m.content,
                m.level_db,
                predicted.map_or_else(String::new, |cents| format!(" auto-F0 {cents:.0} ct")),
                m.score(),
                if better { " (best)" } else { "" },
                position.seconds
            );
            for notice in notices {
                println!("  {notice}");
                tracing::warn!("{notice}");
            }
        }
    }
    progress.finish();
    checkpoints
        .newest()?
        .ok_or_else(|| anyhow!("no checkpoint was written"))
}

/// What a validation and the means of the steps before it say; no means where no step was taken.
fn reading(position: &VitsPosition, means: Option<&StepFigures>) -> Reading {
    let config = &position.config;
    let critics = 1 + config.critics.periods.len();
    Reading {
        step: position.step,
        score: position.measures.score(),
        mel: position.measures.mel,
        level_db: position.measures.level_db,
        nats: means.map(|means| means[1]),
        critic: means
            .filter(|_| position.step > config.critics_from)
            .map(|means| means[5] / critics as f64),
    }
}

/// Sums of figures over steps.
#[derive(Debug, Default)]
struct Sums {
    values: StepFigures,
    steps: u64,
}

impl Sums {
    fn add(&mut self, figures: Option<StepFigures>) {
        if let Some(figures) = figures {
            for (sum, figure) in self.values.iter_mut().zip(figures) {
                *sum += figure;
            }
            self.steps += 1;
        }
    }

    fn mean(&self) -> StepFigures {
        self.values.map(|value| value / self.steps.max(1) as f64)
    }
}
