//! Voices and encoders that are loaded and checked.
//!
//! Both are shared: whoever asks for a voice or an encoder that is in memory gets that one, found by its hash. They
//! are forgotten when nobody holds them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use timbra_voice::library::{self, ENCODER_FOLDER};
use timbra_voice::manifest::{EncoderSpec, Manifest};
use timbra_voice::package::{self, EncoderPackage, VoicePackage};

use crate::blend::SearchTables;
use crate::error::EngineError;
use crate::latency::VoiceTiming;
use crate::onnx::{Graph, GraphShape, GraphStream, Slot};

/// Frames of a step of a voice's graph in which whole clips are converted, and of the future it sees: as far as flow and
/// prior look, and few beside those it makes, since they are computed twice. More of them outgrow a processor's memory.
const CLIP_STEP: (usize, usize) = (128, 32);
/// The same of an encoder's graph; together two seconds, the most a manifest may say.
const CLIP_ENCODER_STEP: (usize, usize) = (70, 30);
/// Threads beyond which a graph of one clip gains little.
const MOST_CLIP_THREADS: usize = 8;

/// Things in memory by hash.
type Registry<T> = Mutex<Option<HashMap<String, Weak<T>>>>;

static VOICES: Registry<LoadedVoice> = Mutex::new(None);
static ENCODERS: Registry<Encoder> = Mutex::new(None);

/// Gives what is in memory under `sha256`, or makes it. Whoever asks for the same meanwhile waits and shares it.
fn shared<T>(
    registry: &Registry<T>,
    sha256: &str,
    make: impl FnOnce() -> Result<Arc<T>, EngineError>,
) -> Result<Arc<T>, EngineError> {
    let mut slot = registry.lock();
    let known = slot.get_or_insert_with(HashMap::new);
    if let Some(found) = known.get(sha256).and_then(Weak::upgrade) {
        return Ok(found);
    }
    let made = make()?;
    known.retain(|_, weak| weak.strong_count() > 0);
    known.insert(sha256.to_owned(), Arc::downgrade(&made));
    Ok(made)
}

/// A content encoder whose graph is loaded and checked.
#[derive(Debug)]
pub struct Encoder {
    spec: EncoderSpec,
    graph: Arc<Graph>,
}

impl Encoder {
    /// Reads a stand-alone encoder package and loads its graph.
    ///
    /// # Errors
    /// The package or its graph is not what it says.
    pub fn load(path: &Path) -> Result<Arc<Self>, EngineError> {
        let manifest = package::read_encoder_manifest(path)?;
        shared(&ENCODERS, &known_as(&manifest.encoder), || {
            let package = EncoderPackage::read(path)?;
            Self::from_graph(&package.manifest.encoder, package.graph())
        })
    }

    /// As [`Self::load`], but for the caller alone: a graph runs for one thread at a time.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_apart(path: &Path) -> Result<Arc<Self>, EngineError> {
        let package = EncoderPackage::read(path)?;
        Self::from_graph(&package.manifest.encoder, package.graph())
    }

    /// Loads a graph that is in memory (for the trainer, before a package exists).
    ///
    /// # Errors
    /// The graph is not what `spec` says.
    pub fn from_graph(spec: &EncoderSpec, graph: &[u8]) -> Result<Arc<Self>, EngineError> {
        Self::on_threads(spec, graph, 1)
    }

    fn on_threads(
        spec: &EncoderSpec,
        graph: &[u8],
        threads: usize,
    ) -> Result<Arc<Self>, EngineError> {
        let mut inputs = vec![Slot::new("audio", &[1, spec.hop_samples])];
        let mut frames = 1;
        if let Some(step) = &spec.step {
            frames = step.frames;
            let lookahead = step.lookahead_frames as f32;
            inputs = vec![
                Slot::new("audio", &[1, step.lag_samples()]),
                Slot::fixed("lookahead_frames", &[1, 1], lookahead),
            ];
        }
        let shape = GraphShape {
            frames: spec
                .step
                .as_ref()
                .map_or(1, |step| (step.lag_samples() / spec.hop_samples) as u64),
            counts: (spec.step.as_ref()).map_or((1, 1), |step| {
                (step.frames + step.lookahead_frames, step.frames)
            }),
            owner: format!("encoder {}", spec.id),
            file: spec.graph.file.clone(),
            inputs,
            output: Slot::new("content", &[1, frames, spec.channels]),
            states: spec.graph.states.clone(),
            cpu_weights: spec.graph.cpu_weights,
        };
        Ok(Arc::new(Self {
            spec: spec.clone(),
            graph: Graph::load_on(shape, graph, threads)?,
        }))
    }

    /// What the encoder says about itself.
    pub fn spec(&self) -> &EncoderSpec {
        &self.spec
    }

    pub(crate) fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }
}

/// A voice whose package is read, checked against its hashes and graphs, and ready to play in any number of streams.
#[derive(Debug)]
pub struct LoadedVoice {
    manifest: Manifest,
    sha256: String,
    path: PathBuf,
    encoder: Arc<Encoder>,
    synthesis: Arc<Graph>,
    clusters: Option<SearchTables>,
    retrieval: Option<SearchTables>,
}

impl LoadedVoice {
    /// Reads, checks and loads the voice at `path`.
    ///
    /// When the voice does not embed its encoder, it is looked for in the `encoders` folder beside the voice, in
    /// `folders` and in their `encoders` folders.
    ///
    /// # Errors
    /// What is wrong with the package, its graphs or the runtime, in words.
    pub fn load(path: &Path, folders: &[PathBuf]) -> Result<Arc<Self>, EngineError> {
        let (manifest, sha256) = package::read_manifest(path)?;
        let spec = elsewhere(path, &manifest, folders)?.map_or(manifest.encoder, |(_, spec)| spec);
        let played_with = known_as(&spec);
        shared(&VOICES, &format!("{sha256} with {played_with}"), || {
            let package = VoicePackage::read(path)?;
            let encoder = shared(&ENCODERS, &played_with, || {
                let encoder = with_encoder(&package, folders, Encoder::from_graph)?;
                rehearse(&encoder.graph);
                Ok(encoder)
            })?;
            let voice = Self::from_package(package, encoder, 1)?;
            rehearse(&voice.synthesis);
            Ok(Arc::new(voice))
        })
    }

    /// As [`Self::load`], but for the caller alone: a graph runs for one thread at a time.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_apart(path: &Path, folders: &[PathBuf]) -> Result<Arc<Self>, EngineError> {
        let package = VoicePackage::read(path)?;
        let encoder = with_encoder(&package, folders, Encoder::from_graph)?;
        Self::from_package(package, encoder, 1).map(Arc::new)
    }

    /// As [`Self::load`], for whole clips: graphs that take steps take long ones and see as much of the future as they can
    /// use, on all cores. Voices that do not, or whose graphs know no steps but their own, are as they are played.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_for_clips(path: &Path, folders: &[PathBuf]) -> Result<Arc<Self>, EngineError> {
        if package::read_manifest(path)?.0.step.is_none() {
            return Self::load(path, folders);
        }
        match Self::in_long_steps(path, folders) {
            Ok(voice) => Ok(Arc::new(voice)),
            Err(error) => {
                tracing::debug!("{}: taking its own steps: {error}", path.display());
                Self::load(path, folders)
            }
        }
    }

    fn in_long_steps(path: &Path, folders: &[PathBuf]) -> Result<Self, EngineError> {
        let mut package = VoicePackage::read(path)?;
        let threads = std::thread::available_parallelism()
            .map_or(1, std::num::NonZero::get)
            .min(MOST_CLIP_THREADS);
        let encoder = encoder_for_clips(&package, folders, threads)?;
        if let Some(step) = &mut package.manifest.step {
            step.follows_encoder = false;
            (step.frames, step.lookahead_frames) = CLIP_STEP;
            package.manifest.delay_samples = step.lag_samples();
        }
        Self::from_package(package, encoder, threads)
    }

    fn from_package(
        mut package: VoicePackage,
        encoder: Arc<Encoder>,
        threads: usize,
    ) -> Result<Self, EngineError> {
        // The one that was found says how far it looks ahead; the voice may not have known.
        package.manifest.encoder = encoder.spec().clone();
        let manifest = &package.manifest;
        // Frames in and out, and samples of each.
        let (frames, fresh, each) = match &manifest.step {
            None => (1, 1, manifest.hop_samples),
            Some(step) => {
                let fresh = manifest.followed().map_or(step.frames, |encoder| {
                    step.most_frames_beside(encoder, manifest.hop_samples)
                });
                (fresh + step.lookahead_frames, fresh, step.frame_samples)
            }
        };
        let (samples, made) = (frames * each, fresh * each);
        let inputs = manifest
            .synthesis
            .inputs
            .iter()
            .map(|name| match (name.as_str(), &manifest.step) {
                ("content", _) => Slot::new(name, &[1, frames, manifest.encoder.channels]),
                ("speaker_mix", _) => Slot::new(name, &[1, frames, manifest.speakers.len()]),
                ("noise", _) => Slot::new(name, &[1, samples]),
                ("prior_noise", Some(step)) => Slot::new(name, &[1, frames, step.noise_channels]),
                ("lookahead_frames", Some(step)) => {
                    Slot::fixed(name, &[1, 1], step.lookahead_frames as f32)
                }
                _ => Slot::new(name, &[1, frames]),
            })
            .collect();
        let shape = GraphShape {
            frames: samples.div_ceil(manifest.hop_samples) as u64,
            counts: (frames, fresh),
            owner: format!("voice {}", manifest.name),
            file: manifest.synthesis.file.clone(),
            inputs,
            output: Slot::new("audio", &[1, made]),
            states: manifest.synthesis.states.clone(),
            cpu_weights: manifest.synthesis.cpu_weights,
        };
        let synthesis = Graph::load_on(shape, package.synthesis_graph(), threads)?;
        if VoiceTiming::of(manifest).round_frames.is_some() {
            // Its steps are not all as long as those that were tried.
            let mut shortest = GraphStream::new(&synthesis)?;
            shortest.resize(frames - fresh + 1)?;
            shortest.run()?;
        }
        Ok(Self {
            clusters: package.clusters()?.map(SearchTables::from),
            retrieval: package.retrieval()?.map(SearchTables::from),
            path: package.path,
            sha256: package.sha256,
            manifest: package.manifest,
            encoder,
            synthesis,
        })
    }

    /// What the voice says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Identity of the voice: SHA-256 of its `voice.json`.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Where it was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its content encoder.
    pub fn encoder(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    /// The numbers that decide its delay.
    pub fn timing(&self) -> VoiceTiming {
        VoiceTiming::of(&self.manifest)
    }

    /// The k-means tables, when there are any.
    pub fn clusters(&self) -> Option<&SearchTables> {
        self.clusters.as_ref()
    }

    /// The retrieval tables, when there are any.
    pub fn retrieval(&self) -> Option<&SearchTables> {
        self.retrieval.as_ref()
    }

    /// Where its graphs run, e.g. `CPU`.
    pub fn provider(&self) -> String {
        self.synthesis.provider()
    }

    /// Why a graph does not run where it was asked to; empty when all do.
    pub fn provider_message(&self) -> String {
        let of_synthesis = self.synthesis.message();
        if of_synthesis.is_empty() {
            self.encoder.graph.message()
        } else {
            of_synthesis
        }
    }

    /// How often a provider has failed while the voice was playing, in any stream.
    pub fn provider_failures(&self) -> u32 {
        self.synthesis.failures() + self.encoder.graph.failures()
    }

    pub(crate) fn synthesis(&self) -> &Arc<Graph> {
        &self.synthesis
    }
}

/// Runs a graph once before anybody plays: the first time takes a runtime several times as long.
fn rehearse(graph: &Arc<Graph>) {
    // What fails here fails again in a stream, which says so.
    let _ = GraphStream::new(graph).and_then(|mut stream| stream.run().map(|_| ()));
}

/// What tells encoders in memory apart: all that they say of themselves. The same graph in other weights or other steps is
/// another encoder, for what a voice gives must not depend on who came first.
fn known_as(spec: &EncoderSpec) -> String {
    format!("{spec:?}")
}

/// What the voice at `path` says of itself, with the encoder that it will be played with: one that was imported without an
/// encoder does not know its own steps and look-ahead. Nothing but manifests is read.
///
/// # Errors
/// It is no voice, or its encoder is nowhere.
pub(crate) fn manifest_as_played(
    path: &Path,
    folders: &[PathBuf],
) -> Result<Manifest, EngineError> {
    let (mut manifest, _) = package::read_manifest(path)?;
    if let Some((_, spec)) = elsewhere(path, &manifest, folders)? {
        manifest.encoder = spec;
    }
    Ok(manifest)
}

/// The package of an encoder that is not in its voice, and what it says of itself.
fn elsewhere(
    path: &Path,
    voice: &Manifest,
    folders: &[PathBuf],
) -> Result<Option<(PathBuf, EncoderSpec)>, EngineError> {
    let spec = &voice.encoder;
    if voice.files.contains_key(&spec.graph.file) {
        return Ok(None);
    }
    let beside = path.parent().map(Path::to_path_buf).into_iter();
    let searched: Vec<PathBuf> = beside
        .chain(folders.iter().cloned())
        .flat_map(|folder| [folder.join(ENCODER_FOLDER), folder])
        .collect();
    let found = library::find_encoder(spec, &searched).and_then(|path| {
        let manifest = package::read_encoder_manifest(&path).ok()?;
        Some((path, manifest.encoder))
    });
    found.map(Some).ok_or_else(|| EngineError::EncoderMissing {
        voice: voice.name.clone(),
        id: spec.id.clone(),
        sha256: spec.sha256.clone(),
        searched,
    })
}

/// The same with the steps that whole clips are converted in.
fn encoder_for_clips(
    voice: &VoicePackage,
    folders: &[PathBuf],
    threads: usize,
) -> Result<Arc<Encoder>, EngineError> {
    with_encoder(voice, folders, |spec, graph| {
        let mut spec = spec.clone();
        let Some(step) = &mut spec.step else {
            return Encoder::from_graph(&spec, graph);
        };
        (step.frames, step.lookahead_frames) = CLIP_ENCODER_STEP;
        spec.lookahead_samples = step.lag_samples();
        Encoder::on_threads(&spec, graph, threads)
    })
}

/// Gives what `make` makes of the encoder's graph, from the voice's package or a folder.
fn with_encoder(
    voice: &VoicePackage,
    folders: &[PathBuf],
    make: impl FnOnce(&EncoderSpec, &[u8]) -> Result<Arc<Encoder>, EngineError>,
) -> Result<Arc<Encoder>, EngineError> {
    let spec = &voice.manifest.encoder;
    match elsewhere(&voice.path, &voice.manifest, folders)? {
        None => make(spec, voice.encoder_graph().unwrap_or_default()),
        Some((path, _)) => {
            let package = EncoderPackage::read(&path)?;
            make(&package.manifest.encoder, package.graph())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use timbra_voice::identity::IdentityVoice;
    use timbra_voice::onnx_writer::{Attr, GraphBuilder};
    use timbra_voice::package::Form;

    use super::*;
    use crate::offline::Joined;
    use crate::{Controls, StreamConfig, Tier};

    /// The identity, which the runtime can not run once a sample is above 0.5: it looks for a fourth of three numbers.
    fn fragile() -> Vec<u8> {
        let mut graph = GraphBuilder::new("synthesis");
        graph.input("content", &[1.into(), "T".into(), 160.into()]);
        graph.output("audio", &[1.into(), "samples".into()]);
        let line = graph.i64s(&[1, -1]);
        let flat = graph.op("Reshape", &["content", &line], vec![]);
        let all = vec![Attr::Ints("axes", vec![0, 1]), Attr::Int("keepdims", 0)];
        let largest = graph.op("ReduceMax", &[&flat], all);
        let (six, zero) = (graph.f32s(&[], &[6.0]), graph.f32s(&[], &[0.0]));
        let place = graph.op("Mul", &[&largest, &six], vec![]);
        let place = graph.op("Relu", &[&place], vec![]);
        let place = graph.op("Cast", &[&place], vec![Attr::Int("to", 7)]);
        let three = graph.f32s(&[3], &[1.0, 2.0, 3.0]);
        let found = graph.op("Gather", &[&three, &place], vec![Attr::Int("axis", 0)]);
        let nothing = graph.op("Mul", &[&found, &zero], vec![]);
        graph.node("Add", &[&flat, &nothing], &["audio"], vec![]);
        graph.finish()
    }

    #[test]
    fn when_a_provider_fails_the_voice_goes_on_with_the_cpu_on_the_same_timeline() {
        if crate::onnx::ensure_runtime().is_err() {
            assert!(std::env::var_os("CI").is_none(), "no ONNX Runtime");
            return;
        }
        let folder = std::env::temp_dir().join(format!("timbra-provider-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("identity.timbra");
        let identity = IdentityVoice::default();
        identity.write(&path, Form::File).unwrap();
        let sound = LoadedVoice::load(&path, &[]).unwrap();
        let shape = sound.synthesis.shape().clone();
        let spare = identity.synthesis_graph();
        let broken = LoadedVoice {
            manifest: sound.manifest.clone(),
            sha256: sound.sha256.clone(),
            path: sound.path.clone(),
            encoder: Arc::clone(&sound.encoder),
            synthesis: Graph::on_failing_provider(shape, &fragile(), &spare).unwrap(),
            clusters: None,
            retrieval: None,
        };
        let config = StreamConfig {
            host_rate_hz: 16_000,
            max_block_samples: 160,
            channels: 1,
            tier: Tier::Live,
        };
        // Quiet for half a second, then louder than the provider bears.
        let input: Vec<f32> = (0..16_000)
            .map(|n| (n as f32 * 0.1).sin() * if n < 8_000 { 0.3 } else { 0.9 })
            .collect();
        let play = |voice: &Arc<LoadedVoice>| {
            let mut joined = Joined::new(voice, config).unwrap();
            let mut output = input.clone();
            for block in output.chunks_mut(160) {
                joined.process(&mut [block], &Controls::default()).unwrap();
            }
            (output, joined.status())
        };
        let broken = Arc::new(broken);
        assert_eq!(broken.provider(), "Fragile");
        let (expected, _) = play(&sound);
        let (found, status) = play(&broken);
        assert!(found == expected, "not a sample is lost or late");
        assert_eq!((status.gaps, status.skipped_frames), (0, 0));
        assert_eq!(status.provider, "CPU");
        assert!(
            status.message.contains("Fragile has failed"),
            "{}",
            status.message
        );
        assert_eq!(broken.provider_failures(), 1);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
