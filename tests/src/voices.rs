//! Voices made for tests: graphs so simple that what they must do is known.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use timbra_voice::identity::IdentityVoice;
use timbra_voice::manifest::{Manifest, StateTensor, StepSpec};
use timbra_voice::onnx_writer::{Attr, Dim, GraphBuilder};
use timbra_voice::package::{Form, write_voice};
use timbra_voice::tables::{self, Table};

const HOP_SAMPLES: usize = 160;

/// A voice whose content is the audio itself and whose synthesis plays it back:
/// the wet path becomes a resampled copy of the input, delayed by nothing but
/// the latency. The file is called `NAME.timbra`.
///
/// # Panics
/// When the package cannot be written.
pub fn identity(folder: &Path, name: &str) -> PathBuf {
    let (manifest, files) = parts(name);
    write(folder, &manifest, &files)
}

/// What a voice of [`control_as_level`] makes visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// F0 in kilohertz: a shift by s semitones multiplies the output by 2^(s/12).
    F0,
    /// The weight of the second of two speakers.
    SpeakerMix,
    /// How far the content was pulled to the only centre there is: 0.5 when it is there, the input's mean when not.
    ClusterRatio,
    /// Half of where F0 comes from: 0 for what is sung, 0.5 for the voice's own decoder. A voice in steps of several
    /// frames, as all with this input are.
    AutoF0,
    /// The level of the prior's noise, whose deviation is 0.5. In steps too.
    PriorNoise,
}

/// Frames of a step, and those of the future it sees.
const STEP: (usize, usize) = (4, 2);
/// Channels of the prior's noise: their mean square says its level to about 1 %.
const NOISE_CHANNELS: usize = 4096;

/// A voice whose output is a level, steered by one control and nothing else. Between frames it moves on straight lines,
/// as the F0 of every family does.
///
/// # Panics
/// When the package cannot be written.
pub fn control_as_level(folder: &Path, shows: Shows) -> PathBuf {
    let (mut manifest, mut files) = parts(&format!("level-of-{shows:?}"));
    let mut graph = GraphBuilder::new("level");
    let frames = Dim::from("frames");
    let content = [Dim::from(1), frames.clone(), Dim::from(HOP_SAMPLES)];
    graph.input("content", &content);
    let mean = graph.op(
        "ReduceMean",
        &["content"],
        vec![Attr::Ints("axes", vec![2])],
    );
    let level = match shows {
        Shows::F0 => {
            graph.input("f0_hz", &[Dim::from(1), frames]);
            manifest.synthesis.inputs.push("f0_hz".to_owned());
            let (scale, column) = (graph.f32s(&[1], &[0.001]), graph.i64s(&[1, -1, 1]));
            let level = graph.op("Mul", &["f0_hz", &scale], vec![]);
            graph.op("Reshape", &[&level, &column], vec![])
        }
        Shows::SpeakerMix => {
            let mut second = manifest.speakers[0].clone();
            second.name = "somebody".to_owned();
            manifest.speakers.push(second);
            graph.input("speaker_mix", &[Dim::from(1), frames, Dim::from(2)]);
            manifest.synthesis.inputs.push("speaker_mix".to_owned());
            let (from, to, axis) = (graph.i64s(&[1]), graph.i64s(&[2]), graph.i64s(&[2]));
            graph.op("Slice", &["speaker_mix", &from, &to, &axis], vec![])
        }
        Shows::ClusterRatio => {
            let centre = Table {
                rows: 1,
                channels: HOP_SAMPLES,
                data: vec![0.5; HOP_SAMPLES],
            };
            let speaker = manifest.speakers[0].name.clone();
            let tables = tables::write(&BTreeMap::from([(speaker, centre)]));
            manifest.clusters = Some("clusters.safetensors".to_owned());
            files.insert("clusters.safetensors".to_owned(), tables.expect("tables"));
            mean.clone()
        }
        Shows::AutoF0 => {
            graph.input("auto_f0", &[Dim::from(1), frames]);
            manifest.synthesis.inputs.push("auto_f0".to_owned());
            let (half, column) = (graph.f32s(&[1], &[0.5]), graph.i64s(&[1, -1, 1]));
            let level = graph.op("Mul", &["auto_f0", &half], vec![]);
            graph.op("Reshape", &[&level, &column], vec![])
        }
        Shows::PriorNoise => {
            let noise = [Dim::from(1), frames, Dim::from(NOISE_CHANNELS)];
            graph.input("prior_noise", &noise);
            manifest.synthesis.inputs.push("prior_noise".to_owned());
            let power = graph.op("Mul", &["prior_noise", "prior_noise"], vec![]);
            let axis = vec![Attr::Ints("axes", vec![2])];
            let power = graph.op("ReduceMean", &[&power], axis);
            graph.op("Sqrt", &[&power], vec![])
        }
    };
    let in_steps = matches!(shows, Shows::AutoF0 | Shows::PriorNoise);
    // The content takes part so that the graph uses all its inputs; where another input is shown it adds nothing.
    let share = graph.f32s(&[1], &[0.0]);
    let silent = graph.op("Mul", &[&mean, &share], vec![]);
    let mut now = graph.op("Add", &[&silent, &level], vec![]);
    if in_steps {
        graph.input("lookahead_frames", &[Dim::from(1), Dim::from(1)]);
        manifest
            .synthesis
            .inputs
            .push("lookahead_frames".to_owned());
        let (from, to, axis) = (
            graph.i64s(&[0]),
            graph.i64s(&[STEP.0 as i64]),
            graph.i64s(&[1]),
        );
        now = graph.op("Slice", &[&now, &from, &to, &axis], vec![]);
        let step = StepSpec {
            frame_samples: HOP_SAMPLES,
            frames: STEP.0,
            lookahead_frames: STEP.1,
            // What moves to the level of a frame was before the frame's time.
            delay_samples: HOP_SAMPLES,
            noise_channels: if shows == Shows::PriorNoise {
                NOISE_CHANNELS
            } else {
                0
            },
            noise_scale: 0.5,
            source_noise_scale: 1.0,
            continuous_f0: true,
            follows_encoder: false,
        };
        manifest.delay_samples = step.lag_samples();
        manifest.receptive_field_frames += STEP.0 + STEP.1;
        manifest.step = Some(step);
    }
    // One hop moves from the level of the frame before to its own.
    let one = [Dim::from(1), Dim::from(1), Dim::from(1)];
    graph.input("before", &one);
    graph.output("before_next", &one);
    let (start, last, end) = (graph.i64s(&[0]), graph.i64s(&[-1]), graph.i64s(&[i64::MAX]));
    let axis = graph.i64s(&[1]);
    graph.node(
        "Slice",
        &[&now, &last, &end, &axis],
        &["before_next"],
        vec![],
    );
    let joined = graph.op("Concat", &["before", &now], vec![Attr::Int("axis", 1)]);
    let before = graph.op("Slice", &[&joined, &start, &last, &axis], vec![]);
    let way = graph.op("Sub", &[&now, &before], vec![]);
    let line: Vec<f32> = (0..HOP_SAMPLES)
        .map(|i| i as f32 / HOP_SAMPLES as f32)
        .collect();
    let line = graph.f32s(&[1, 1, HOP_SAMPLES], &line);
    let way = graph.op("Mul", &[&way, &line], vec![]);
    let level = graph.op("Add", &[&before, &way], vec![]);
    let flat = graph.i64s(&[1, -1]);
    graph.node("Reshape", &[&level, &flat], &["audio"], vec![]);
    graph.output("audio", &[Dim::from(1), Dim::from("samples")]);
    manifest.synthesis.states = vec![StateTensor {
        name: "before".to_owned(),
        shape: vec![1, 1, 1],
        ring: false,
    }];
    files.insert(manifest.synthesis.file.clone(), graph.finish());
    write(folder, &manifest, &files)
}

/// The [`identity`] voice, doing about `milliseconds` of idle work per frame of 10 ms on this machine: with 30 its
/// load is 3.
///
/// # Panics
/// When the package cannot be written.
pub fn slow(folder: &Path, name: &str, milliseconds: f64) -> PathBuf {
    // Work of about a millisecond on a core of 2020; how long it takes here is measured with one such voice.
    let trial = write_slow(folder, &format!("{name}-trial"), 10);
    let took_ms = frame_ms(&trial);
    let empty_ms = frame_ms(&write_slow(folder, &format!("{name}-empty"), 0));
    let units = ((milliseconds - empty_ms) / ((took_ms - empty_ms) / 10.0)).max(1.0);
    write_slow(folder, name, units.round() as usize)
}

/// Milliseconds one frame takes.
fn frame_ms(voice: &Path) -> f64 {
    let voice = timbra_engine::offline::load_voice(voice).expect("a voice of ours");
    let silent_hum = vec![0.01; 48_000 / 2];
    let began = std::time::Instant::now();
    let controls = |_| timbra_engine::Controls::default();
    timbra_engine::offline::convert(&voice, &silent_hum, 48_000, &controls, &mut |_| {})
        .expect("a voice of ours runs");
    began.elapsed().as_secs_f64() * 1e3 / 50.0
}

fn write_slow(folder: &Path, name: &str, units: usize) -> PathBuf {
    let mut synthesis = GraphBuilder::new("slow_synthesis");
    synthesis.input(
        "content",
        &[Dim::from(1), Dim::from("frames"), Dim::from(HOP_SAMPLES)],
    );
    let flat = synthesis.i64s(&[1, -1]);
    let flat = synthesis.op("Reshape", &["content", &flat], vec![]);
    let largest = |synthesis: &mut GraphBuilder, of: &str| {
        let all = vec![Attr::Ints("axes", vec![0, 1]), Attr::Int("keepdims", 1)];
        synthesis.op("ReduceMax", &[of], all)
    };
    let seed = largest(&mut synthesis, &flat);
    let wide = synthesis.i64s(&[1, 1 + 30_000 * units as i64]);
    let mut work = synthesis.op("Expand", &[&seed, &wide], vec![]);
    for _ in 0..3 {
        work = synthesis.op("Sin", &[&work], vec![]);
    }
    let work = largest(&mut synthesis, &work);
    // It takes part so that it is done; it adds nothing.
    let zero = synthesis.f32s(&[1], &[0.0]);
    let nothing = synthesis.op("Mul", &[&work, &zero], vec![]);
    synthesis.node("Add", &[&flat, &nothing], &["audio"], vec![]);
    synthesis.output("audio", &[Dim::from(1), Dim::from("samples")]);
    let (manifest, mut files) = parts(name);
    files.insert(manifest.synthesis.file.clone(), synthesis.finish());
    write(folder, &manifest, &files)
}

fn parts(name: &str) -> (Manifest, BTreeMap<String, Vec<u8>>) {
    IdentityVoice {
        name: name.to_owned(),
        ..IdentityVoice::default()
    }
    .parts()
}

fn write(folder: &Path, manifest: &Manifest, files: &BTreeMap<String, Vec<u8>>) -> PathBuf {
    // Tests are threads of one process and may ask for the same file.
    static WRITING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    std::fs::create_dir_all(folder).expect("folder for test voices");
    let path = folder.join(format!("{}.timbra", manifest.name));
    write_voice(&path, manifest, files, Form::File).expect("write a test voice");
    path
}
