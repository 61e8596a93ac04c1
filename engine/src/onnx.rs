//! The inference runtime: the only module that names `ort`.
//!
//! A [`Graph`] is one ONNX graph, loaded once and shared; a [`GraphStream`] is one stream's way through it, with the
//! carried tensors. Graphs run one frame at a time on the calling thread. ONNX Runtime is loaded when the first graph
//! is, from the places [`crate::locate`] gives.
//!
//! | module | what |
//! |---|---|
//! | `contract` | what a graph must look like, and whether it does |
//! | `graph` | a graph on the provider it runs on, and on the CPU when that fails |
//! | `providers` | which providers there are and which are wanted |
//! | `stream` | a stream's way through a graph |
//! | `ring` | rows that go over the oldest ones of a carried tensor |
//! | `kernels` | operators of our own |
//! | `evaluation` | any graph once, with inputs of any shape |

mod contract;
mod evaluation;
mod graph;
mod kernels;
mod providers;
mod ring;
mod stream;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use parking_lot::Mutex;
use timbra_voice::onnx_writer::GraphBuilder;

pub use contract::{GraphShape, Slot};
pub use evaluation::{Carried, Evaluation, NamedTensor, evaluate};
pub use graph::Graph;
pub use kernels::operators_here;
pub use providers::{prefer_providers, there as providers_there};
pub use stream::GraphStream;

use crate::error::EngineError;
use crate::locate;

/// The provider that always works.
pub const CPU: &str = "CPUExecutionProvider";

struct Runtime {
    environment: Environment,
    library: PathBuf,
}

static RUNTIME: Mutex<Option<Arc<Runtime>>> = Mutex::new(None);

/// The library in use, once one is.
pub fn library_in_use() -> Option<PathBuf> {
    RUNTIME
        .lock()
        .as_ref()
        .map(|runtime| runtime.library.clone())
}

/// Finds and loads ONNX Runtime, if that has not been done.
///
/// # Errors
/// [`EngineError::RuntimeMissing`] with every place searched. The next call searches again.
pub fn ensure_runtime() -> Result<(), EngineError> {
    runtime().map(|_| ())
}

fn runtime() -> Result<Arc<Runtime>, EngineError> {
    let mut slot = RUNTIME.lock();
    if let Some(runtime) = &*slot {
        return Ok(Arc::clone(runtime));
    }
    let candidates = locate::runtime_candidates();
    let mut reason = "no such file".to_owned();
    for candidate in candidates.iter().filter(|path| path.is_file()) {
        match open_runtime(candidate) {
            Ok(runtime) => {
                learn_operators(&runtime);
                let runtime = Arc::new(runtime);
                *slot = Some(Arc::clone(&runtime));
                return Ok(runtime);
            }
            Err(found) => reason = found,
        }
    }
    Err(EngineError::RuntimeMissing {
        library: locate::runtime_library_name().to_owned(),
        reason,
        searched: candidates,
    })
}

fn open_runtime(library: &Path) -> Result<Runtime, String> {
    let environment = ort::init_from(library)
        .map_err(|error| error.to_string())?
        .with_name("timbra")
        .with_telemetry(false)
        .build()
        .map_err(|error| error.to_string())?;
    environment.set_log_level(ort::logging::LogLevel::Error);
    Ok(Runtime {
        environment,
        library: library.to_path_buf(),
    })
}

/// Opens a session for nothing. The first one that has operators of ours enters their domain in a table of the whole
/// process, and fails when another does so at the same time.
fn learn_operators(runtime: &Runtime) {
    let mut graph = GraphBuilder::new("nothing");
    graph.input("x", &[1.into()]);
    graph.node("Identity", &["x"], &["y"], vec![]);
    graph.output("y", &[1.into()]);
    // What fails here fails again where it matters, and is told there.
    let _ = session(runtime, &graph.finish(), CPU, 1);
}

fn session(
    runtime: &Runtime,
    bytes: &[u8],
    provider: &str,
    threads: usize,
) -> Result<Session, String> {
    // The runtime's first session changes how the calling thread treats denormals, and leaves it so.
    let _restores = crate::denormals::FlushDenormals::scope();
    let configure = || -> ort::Result<SessionBuilder> {
        // One thread where streams play: frames are small, and streams are spread over worker threads of our own.
        Ok(Session::builder(&runtime.environment)?
            .with_intra_threads(threads)?
            .with_intra_op_spinning(false)?
            .with_inter_threads(1)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_deterministic_compute(true)?
            .with_flush_to_zero()?)
    };
    let mut builder = configure().map_err(|error| error.to_string())?;
    if let Some(operators) = kernels::operators().map_err(|error| error.to_string())? {
        builder = builder
            .with_operators(operators)
            .map_err(|error| error.to_string())?;
    }
    if provider != CPU {
        let devices: Vec<_> = runtime
            .environment
            .devices()
            .filter(|device| device.ep().is_ok_and(|name| name == provider))
            .collect();
        builder = if devices.is_empty() {
            let provider =
                providers::dispatch(provider).ok_or_else(|| "not one that is known".to_owned())?;
            builder
                .with_execution_providers([provider])
                .map_err(|error| error.to_string())?
        } else {
            builder
                .with_devices(devices, None)
                .map_err(|error| error.to_string())?
        };
    }
    builder
        .commit_from_memory(bytes)
        .map_err(|error| error.to_string())
}
