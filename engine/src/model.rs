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
use timbra_voice::package::{self, EncoderPackage, VoicePackage, sha256_hex};
use timbra_voice::tables::SpeakerTables;

use crate::error::EngineError;
use crate::latency::VoiceTiming;
use crate::onnx::{Graph, GraphShape, Slot};

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
        shared(&ENCODERS, &manifest.encoder.sha256, || {
            let package = EncoderPackage::read(path)?;
            Self::from_graph(&package.manifest.encoder, package.graph())
        })
    }

    /// Loads a graph that is in memory (for the trainer, before a package exists).
    ///
    /// # Errors
    /// The graph is not what `spec` says.
    pub fn from_graph(spec: &EncoderSpec, graph: &[u8]) -> Result<Arc<Self>, EngineError> {
        let shape = GraphShape {
            owner: format!("encoder {}", spec.id),
            file: spec.graph.file.clone(),
            inputs: vec![Slot::new("audio", &[1, spec.hop_samples])],
            output: Slot::new("content", &[1, 1, spec.channels]),
            states: spec.graph.states.clone(),
        };
        Ok(Arc::new(Self {
            spec: spec.clone(),
            graph: Graph::load(shape, graph)?,
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
    clusters: Option<SpeakerTables>,
    retrieval: Option<SpeakerTables>,
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
        let (_, sha256) = package::read_manifest(path)?;
        shared(&VOICES, &sha256, || {
            Self::from_package(VoicePackage::read(path)?, folders).map(Arc::new)
        })
    }

    fn from_package(package: VoicePackage, folders: &[PathBuf]) -> Result<Self, EngineError> {
        let encoder = encoder_of(&package, folders)?;
        let manifest = &package.manifest;
        let inputs = manifest
            .synthesis
            .inputs
            .iter()
            .map(|name| match name.as_str() {
                "content" => Slot::new(name, &[1, 1, manifest.encoder.channels]),
                "speaker_mix" => Slot::new(name, &[1, 1, manifest.speakers.len()]),
                "noise" => Slot::new(name, &[1, manifest.hop_samples]),
                _ => Slot::new(name, &[1, 1]),
            })
            .collect();
        let shape = GraphShape {
            owner: format!("voice {}", manifest.name),
            file: manifest.synthesis.file.clone(),
            inputs,
            output: Slot::new("audio", &[1, manifest.hop_samples]),
            states: manifest.synthesis.states.clone(),
        };
        let synthesis = Graph::load(shape, package.synthesis_graph())?;
        Ok(Self {
            clusters: package.clusters()?,
            retrieval: package.retrieval()?,
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
    pub fn clusters(&self) -> Option<&SpeakerTables> {
        self.clusters.as_ref()
    }

    /// The retrieval tables, when there are any.
    pub fn retrieval(&self) -> Option<&SpeakerTables> {
        self.retrieval.as_ref()
    }

    /// Where its graphs run, e.g. `CPU`.
    pub fn provider(&self) -> &str {
        self.synthesis.provider()
    }

    /// Why a graph does not run where it was asked to.
    pub fn provider_message(&self) -> Option<&str> {
        self.synthesis.message().or(self.encoder.graph.message())
    }

    pub(crate) fn synthesis(&self) -> &Arc<Graph> {
        &self.synthesis
    }
}

/// The encoder a voice was trained on: in memory, in its package, or in a folder.
fn encoder_of(voice: &VoicePackage, folders: &[PathBuf]) -> Result<Arc<Encoder>, EngineError> {
    let spec = &voice.manifest.encoder;
    shared(&ENCODERS, &spec.sha256, || {
        if let Some(graph) = voice.encoder_graph() {
            return Encoder::from_graph(spec, graph);
        }
        let beside = voice.path.parent().map(Path::to_path_buf).into_iter();
        let searched: Vec<PathBuf> = beside
            .chain(folders.iter().cloned())
            .flat_map(|folder| [folder.join(ENCODER_FOLDER), folder])
            .collect();
        let missing = || EngineError::EncoderMissing {
            voice: voice.manifest.name.clone(),
            id: spec.id.clone(),
            sha256: spec.sha256.clone(),
            searched: searched.clone(),
        };
        let path = library::find_encoder(&spec.sha256, &searched).ok_or_else(missing)?;
        let package = EncoderPackage::read(&path)?;
        if sha256_hex(package.graph()) != spec.sha256 {
            return Err(missing());
        }
        Encoder::from_graph(spec, package.graph())
    })
}
