//! What can go wrong, in words a user can act on.

use std::path::PathBuf;

use timbra_dsp::resample::ResampleError;
use timbra_voice::VoiceError;

/// Why the engine could not do something. Cheap to clone: it is shown in several places.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// ONNX Runtime was not found or could not be loaded.
    #[error(
        "ONNX Runtime is not usable: {reason}. Looked in: {}. Put {library} beside the plugin (the bundle has it) \
         or set ORT_DYLIB_PATH to it",
        display_paths(.searched)
    )]
    RuntimeMissing {
        /// File name of the library on this system.
        library: String,
        /// What the loader said.
        reason: String,
        /// Every place that was tried.
        searched: Vec<PathBuf>,
    },
    /// The voice package could not be read.
    #[error("{0}")]
    Voice(std::sync::Arc<VoiceError>),
    /// No voice of that name, path or hash in the folders searched.
    #[error(
        "voice \"{name}\" was not found (path \"{}\", hash {}). Searched: {}. Put the .timbra file into one of these \
         folders or choose it again", .path.display(), short_hash(.sha256), display_paths(.searched)
    )]
    VoiceNotFound {
        /// Wanted name.
        name: String,
        /// Wanted path, may be empty.
        path: PathBuf,
        /// Wanted hash, may be empty.
        sha256: String,
        /// Folders searched.
        searched: Vec<PathBuf>,
    },
    /// The voice does not embed its content encoder and it is not installed.
    #[error(
        "voice \"{voice}\" needs the content encoder \"{id}\" with SHA-256 {sha256}, which was not found. \
         Searched: {}. Put its package into an `encoders` folder beside the voices", display_paths(.searched)
    )]
    EncoderMissing {
        /// Name of the voice.
        voice: String,
        /// Name of the encoder.
        id: String,
        /// Hash of its graph.
        sha256: String,
        /// Folders searched.
        searched: Vec<PathBuf>,
    },
    /// A graph does not have the inputs, outputs or shapes its manifest states.
    #[error(
        "{graph} of {owner}: {what} should be {expected}, found {found}. Export the voice again"
    )]
    GraphMismatch {
        /// Voice or encoder the graph belongs to.
        owner: String,
        /// File name of the graph.
        graph: String,
        /// The thing compared.
        what: String,
        /// From the manifest or the format.
        expected: String,
        /// In the graph.
        found: String,
    },
    /// The runtime refused to load or run a graph.
    #[error("{graph} of {owner} could not be {action}: {reason}")]
    Graph {
        /// Voice or encoder the graph belongs to.
        owner: String,
        /// File name of the graph.
        graph: String,
        /// "loaded" or "run".
        action: &'static str,
        /// What the runtime said.
        reason: String,
    },
    /// A graph gave numbers that are not finite.
    #[error(
        "{graph} of {owner} gave NaN or infinite numbers on its trial run. The voice is broken: export it again"
    )]
    NotFinite {
        /// Voice or encoder the graph belongs to.
        owner: String,
        /// File name of the graph.
        graph: String,
    },
    /// A sample rate outside what is supported.
    #[error("{0}")]
    Rate(#[from] ResampleError),
    /// The voice needs more delay than the stream was opened with.
    #[error(
        "voice \"{voice}\" needs {needed_samples} samples of latency, the host was told {told_samples}. \
         Restart the plugin (switch it off and on) to use it"
    )]
    NeedsRestart {
        /// Name of the voice.
        voice: String,
        /// Latency it needs.
        needed_samples: u32,
        /// Latency the stream has.
        told_samples: u32,
    },
    /// The worker panicked.
    #[error(
        "the worker stopped on an internal error: {0}. The voice was unloaded; choose it again to go on"
    )]
    Panic(String),
    /// A thread could not be started.
    #[error("could not start the {thread} thread: {reason}")]
    Thread {
        /// Which one.
        thread: &'static str,
        /// What the system said.
        reason: String,
    },
    /// The worker could not be started in a process of its own, or does not answer.
    #[error("{} can not be used: {reason}", .program.display())]
    WorkerProcess {
        /// The program.
        program: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A computation was asked to do what it cannot.
    #[error("{0}")]
    Unsupported(String),
}

impl From<VoiceError> for EngineError {
    fn from(error: VoiceError) -> Self {
        Self::Voice(std::sync::Arc::new(error))
    }
}

fn display_paths(paths: &[PathBuf]) -> String {
    if paths.is_empty() {
        return "nowhere".to_owned();
    }
    let shown: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    shown.join(", ")
}

fn short_hash(hash: &str) -> &str {
    if hash.is_empty() {
        "unknown"
    } else {
        hash.get(..12).unwrap_or(hash)
    }
}
