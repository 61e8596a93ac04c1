//! Imported packages sing through the engine what the implementation they come from sings: in one step and in many.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod references;
mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use references::{Case, NEAR, Reference, checkpoint, folders, load, name_of, own, relative};
use support::{Folder, runtime_is_there, write_some_encoder};
use timbra_engine::LoadedVoice;
use timbra_engine::onnx::Evaluation;
use timbra_engine::synthesis::{Synthesis, SynthesisFrame};
use timbra_trainer::commands::import;
use timbra_trainer::model::vits::spec::VitsSpec;
use timbra_voice::manifest::MAX_SPEAKERS;
use timbra_voice::package::{Form, VoicePackage, write_voice};

/// A voice that was imported.
struct Imported {
    path: PathBuf,
    spec: VitsSpec,
    case: Case,
    folder: PathBuf,
}

impl Imported {
    fn new(place: &Folder, folder: &Path) -> Self {
        let name = name_of(folder);
        let (spec, _) = load(folder);
        let encoder = place.at(&format!("{name}/encoders/encoder.timbra"));
        write_some_encoder(&encoder, spec.content_channels);
        let path = place.at(&format!("{name}/voice.timbra"));
        import::run(&import::Args {
            precision: import::Kept::F32,
            ..import::Args::new(checkpoint(folder), path.clone())
        })
        .unwrap();
        LoadedVoice::load(&path, &[]).expect("as it is imported");
        Self {
            path,
            spec,
            case: Case::read(folder),
            folder: folder.to_path_buf(),
        }
    }

    /// What the package can be asked for: RVC's have the one speaker they are used with.
    fn references(&self) -> Vec<Reference> {
        let speakers = VoicePackage::read(&self.path).unwrap().manifest.speakers;
        let mut found = self.case.references(&self.folder, &self.spec);
        found.retain(|reference| reference.is_of_the_first(speakers.len(), self.case.frames));
        assert!(!found.is_empty());
        found
    }

    /// The voice in steps of so many frames with so many of the future; without noise, and with a frame of the graph every 10 ms, so
    /// that what goes in is what the references were made from.
    fn in_steps(&self, (frames, lookahead_frames): (usize, usize)) -> Stepped {
        let package = VoicePackage::read(&self.path).unwrap();
        let mut manifest = package.manifest.clone();
        let graph = manifest.synthesis.file.clone();
        let files = [(graph.clone(), package.file(&graph).unwrap().to_vec())].into();
        manifest.hop_samples = self.spec.hop_samples();
        manifest.model_rate_hz = 100 * self.spec.hop_samples() as u32;
        let step = manifest.step.as_mut().unwrap();
        (step.frames, step.lookahead_frames) = (frames, lookahead_frames);
        (step.noise_scale, step.source_noise_scale) = (0.0, 0.0);
        step.continuous_f0 = false;
        let delay_samples = step.delay_samples;
        manifest.delay_samples = step.lag_samples();
        let path = self
            .path
            .with_file_name(format!("{frames}-{lookahead_frames}.timbra"));
        write_voice(&path, &manifest, &files, Form::File).unwrap();
        Stepped {
            voice: LoadedVoice::load(&path, &[]).unwrap(),
            delay_samples,
            hop_samples: self.spec.hop_samples(),
        }
    }
}

/// A voice in steps of a certain size.
struct Stepped {
    voice: Arc<LoadedVoice>,
    /// Beside the steps.
    delay_samples: usize,
    hop_samples: usize,
}

impl Stepped {
    /// What the engine makes of a case, from the sample where the reference begins; after its end the last frame goes on.
    fn sing(&self, case: &Case, mix: &[f32], auto_f0: bool) -> Vec<f32> {
        let speakers = mix.len() / case.frames;
        let channels = case.content.len() / case.frames;
        let lag = self.voice.timing().synthesis_delay_samples;
        let frames_after = (lag + self.delay_samples) / self.hop_samples + 2;
        let mut synthesis = Synthesis::new(&self.voice).unwrap();
        let mut found = Vec::new();
        for k in 0..case.frames + frames_after {
            let t = k.min(case.frames - 1);
            let content: Vec<f32> = (0..channels)
                .map(|c| case.content[c * case.frames + t])
                .collect();
            let mut speaker_mix = [0.0; MAX_SPEAKERS];
            for (speaker, weight) in speaker_mix.iter_mut().take(speakers).enumerate() {
                *weight = mix[speaker * case.frames + t];
            }
            let frame = SynthesisFrame {
                index: k as u64,
                content: content[..].into(),
                f0_hz: case.f0_hz[t],
                loudness_db: case
                    .loudness
                    .as_ref()
                    .map_or(-120.0, |loudness| 20.0 * loudness[t].log10()),
                speaker_mix,
                formant_semitones: 0.0,
                auto_f0: f32::from(auto_f0),
                noise_scale: 1.0,
                seed: 0,
            };
            found.extend_from_slice(synthesis.run(&frame).unwrap());
        }
        found.split_off(self.hop_samples + lag)
    }
}

#[test]
fn encoders_of_one_name_but_other_widths_are_told_apart() {
    if !runtime_is_there() {
        return;
    }
    let place = Folder::new("golden-encoders");
    // Both want a vec256l9; one voice was made with it 12 channels wide.
    let wide = Imported::new(&place, &own("rvc_v1_32k"));
    let narrow = Imported::new(&place, &own("sovits_fork"));
    let wide = LoadedVoice::load(&wide.path, &[]).unwrap();
    let narrow = LoadedVoice::load(&narrow.path, &[]).unwrap();
    assert_eq!(wide.manifest().encoder.id, narrow.manifest().encoder.id);
    assert!(!Arc::ptr_eq(wide.encoder(), narrow.encoder()));
}

#[test]
fn imported_packages_sing_through_the_engine_as_where_they_come_from() {
    if !runtime_is_there() {
        return;
    }
    let place = Folder::new("golden-whole");
    for folder in folders() {
        let imported = Imported::new(&place, &folder);
        let case = &imported.case;
        // The whole clip in one step.
        let stepped = imported.in_steps((case.frames, 0));
        for reference in imported.references() {
            let found = stepped.sing(case, &reference.mix, reference.auto_f0);
            let there = reference.audio.len() - stepped.delay_samples;
            let error = relative(&reference.audio[..there], &found[..there]);
            let name = format!("{} {}", name_of(&folder), reference.name);
            println!("{name} through the engine: {error:.2e}");
            assert!(error < 1e-3, "{name}: {error}");
        }
    }
}

#[test]
fn streamed_through_the_engine_they_sing_the_same_once_they_see_enough_of_the_future() {
    if !runtime_is_there() {
        return;
    }
    let place = Folder::new("golden-streamed");
    for near in NEAR {
        let imported = Imported::new(&place, &own(near.name));
        let case = &imported.case;
        // F0 of its own is relative to the mean F0, of which a stream knows the past alone.
        let references: Vec<Reference> = imported
            .references()
            .into_iter()
            .filter(|reference| !reference.auto_f0)
            .collect();
        assert_eq!(references.len(), 3, "two speakers, and both mixed");
        for reference in references {
            let error = |step: (usize, usize)| {
                let stepped = imported.in_steps(step);
                let found = stepped.sing(case, &reference.mix, reference.auto_f0);
                // From there on the end of the clip is in sight, of which a stream does not know.
                let frames = case.frames - near.lookahead_frames;
                let there = frames * stepped.hop_samples - stepped.delay_samples;
                let error = relative(&reference.audio[..there], &found[..there]);
                println!("{} {} by {step:?}: {error:.2e}", near.name, reference.name);
                error
            };
            for frames in [1, 2, 5] {
                let error = error((frames, near.lookahead_frames));
                assert!(error < 1e-3, "{} {}: {error}", near.name, reference.name);
            }
            // As voices are imported, and half way.
            let [shipped, half] = [(2, 2), (2, near.lookahead_frames / 2)].map(error);
            assert!(
                shipped > half && half > 1e-3,
                "the more it sees the nearer it comes: {shipped}, {half}"
            );
        }
    }
}

#[test]
fn the_engine_steps_a_graph_as_it_is_stepped_by_hand() {
    if !runtime_is_there() {
        return;
    }
    let place = Folder::new("golden-by-hand");
    for folder in folders() {
        let imported = Imported::new(&place, &folder);
        let (case, spec) = (&imported.case, &imported.spec);
        let package = VoicePackage::read(&imported.path).unwrap();
        let synthesis = &package.manifest.synthesis;
        let speakers = package.manifest.speakers.len();
        let mut graph = Evaluation::new(package.file(&synthesis.file).unwrap()).unwrap();
        // What a voice is imported with, and another.
        let shipped = package.manifest.step.as_ref().unwrap();
        let shipped = (shipped.frames, shipped.lookahead_frames);
        let spec_of_package = VitsSpec {
            speakers,
            ..spec.clone()
        };
        for step in [shipped, (5, 3)] {
            let stepped = imported.in_steps(step);
            for reference in imported.references() {
                let mix = &reference.mix[..speakers * case.frames];
                let auto_f0 = reference.auto_f0;
                let graph = (&mut graph, &synthesis.states[..]);
                let by_hand = case.stream(graph, &spec_of_package, (mix, auto_f0), step);
                let found = stepped.sing(case, mix, auto_f0);
                // Up to where the future of a step has an end by hand.
                let there = (case.frames - step.1) / step.0 * step.0 * spec.hop_samples();
                let delay = stepped.delay_samples;
                let (by_hand, found) = (&by_hand[delay..there], &found[..there - delay]);
                let error = relative(by_hand, found);
                let far = relative(&reference.audio[..by_hand.len()], found);
                let name = format!("{} {}", name_of(&folder), reference.name);
                println!("{name} by {step:?}: {error:.2e}; from the reference {far:.2}");
                assert!(error < 1e-4, "{name} by {step:?}: {error}");
            }
        }
    }
}
