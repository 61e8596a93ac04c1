//! The inference runtime: the only file that names `ort`.
//!
//! A [`Graph`] is one ONNX graph, loaded once and shared; a [`GraphStream`] is one stream's way through it, with the
//! carried tensors. Graphs run one frame at a time on the calling thread. ONNX Runtime is loaded when the first graph
//! is, from the places [`crate::locate`] gives.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ort::environment::Environment;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session, SessionInputValue, SessionInputs};
use ort::value::{DynValue, Tensor, TensorElementType, ValueType};
use parking_lot::Mutex;
use timbra_voice::manifest::{CpuWeights, StateTensor};
use timbra_voice::onnx_check::{self, Known};
use timbra_voice::onnx_precision::{Precision, in_precision};

use crate::error::EngineError;
use crate::locate;

/// The provider that always works.
pub const CPU: &str = "CPUExecutionProvider";

/// Largest relative difference from the CPU's result with which another provider is accepted.
const PROVIDER_TOLERANCE: f32 = 1e-2;

/// Frames of 10 ms from which on two steps of a graph show what it gives: they take as long as many short ones.
const LONG_STEP_FRAMES: u64 = 64;

struct Runtime {
    environment: Environment,
    library: PathBuf,
}

static RUNTIME: Mutex<Option<Arc<Runtime>>> = Mutex::new(None);
static PREFERENCE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Execution providers to try in order, by ONNX Runtime's names (`CUDAExecutionProvider`, …), before the CPU. Holds
/// for graphs loaded from now on; what a library does not have is passed over with a message.
pub fn prefer_providers(names: Vec<String>) {
    *PREFERENCE.lock() = names;
}

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

/// A tensor of a graph as it is used for one frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// Name in the graph.
    pub name: String,
    /// Shape for one step.
    pub shape: Vec<usize>,
    /// What it always is, when that is known.
    pub fixed: Option<f32>,
}

impl Slot {
    /// A slot by name and shape.
    pub fn new(name: &str, shape: &[usize]) -> Self {
        Self {
            name: name.to_owned(),
            shape: shape.to_vec(),
            fixed: None,
        }
    }

    /// A slot that always has this value.
    pub fn fixed(name: &str, shape: &[usize], value: f32) -> Self {
        Self {
            fixed: Some(value),
            ..Self::new(name, shape)
        }
    }

    fn values(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What a graph must look like for one step.
#[derive(Debug, Clone)]
pub struct GraphShape {
    /// Frames of 10 ms it computes in a step, those of the future among them.
    pub frames: u64,
    /// Whose graph it is, for messages.
    pub owner: String,
    /// Its file name, for messages.
    pub file: String,
    /// Inputs besides the states.
    pub inputs: Vec<Slot>,
    /// The one output besides the states.
    pub output: Slot,
    /// Carried tensors.
    pub states: Vec<StateTensor>,
    /// In what the CPU keeps its weights, where that is not what the file has; other providers take the file's.
    pub cpu_weights: Option<CpuWeights>,
}

/// What an output of the session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Output,
    /// Next value of the session input with this index.
    State(usize),
}

/// A graph that is loaded and checked; shared by all streams that use it.
pub struct Graph {
    shape: GraphShape,
    session: Mutex<Session>,
    /// For every session input its shape, in the session's order.
    slots: Vec<Slot>,
    /// For every session output what it is.
    roles: Vec<Role>,
    /// Where it runs, and why not where it was asked to.
    place: Mutex<Place>,
    /// The graph itself, where it does not run on the CPU: to go on there when the provider fails.
    spare: Option<Vec<u8>>,
    /// Threads of one run.
    threads: usize,
    /// How often a provider has failed.
    failures: AtomicU32,
}

struct Place {
    provider: String,
    message: String,
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Graph")
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl Graph {
    /// Loads a graph, checks it against `shape` and runs a few frames.
    ///
    /// # Errors
    /// The runtime is missing, the graph is none a voice may have or is refused by the runtime, differs from `shape`, or
    /// gives NaN.
    pub fn load(shape: GraphShape, bytes: &[u8]) -> Result<Arc<Self>, EngineError> {
        Self::load_on(shape, bytes, 1)
    }

    /// As [`Self::load`], on so many threads: for long steps, when no other stream wants the cores.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_on(
        shape: GraphShape,
        bytes: &[u8],
        threads: usize,
    ) -> Result<Arc<Self>, EngineError> {
        let runtime = runtime()?;
        let states = shape.states.iter().map(|state| Known {
            name: &state.name,
            shape: &state.shape,
            fixed: None,
        });
        let inputs = shape.inputs.iter().map(|slot| Known {
            name: &slot.name,
            shape: &slot.shape,
            fixed: slot.fixed.map(|value| value as i64),
        });
        let known: Vec<_> = inputs.chain(states).collect();
        onnx_check::check(bytes, &known, shape.frames)
            .map_err(|error| graph_error(&shape, "loaded", error.to_string()))?;
        let for_cpu = match shape.cpu_weights {
            None => Cow::Borrowed(bytes),
            Some(CpuWeights::Int8) => Cow::Owned(
                in_precision(bytes, Precision::Int8)
                    .map_err(|error| graph_error(&shape, "loaded", error.to_string()))?,
            ),
        };
        let on_cpu = |bytes: &[u8]| {
            let graph = Self::on_provider(&runtime, &shape, bytes, CPU, threads)?;
            let heard = graph.trial()?;
            Ok::<_, EngineError>((graph, heard))
        };
        let mut preferred = PREFERENCE.lock().clone();
        preferred.truncate(preferred.iter().take_while(|name| *name != CPU).count());
        let mut messages = Vec::new();
        if !preferred.is_empty() {
            // What the provider is compared with has the weights it has.
            let (_, expected) = on_cpu(bytes)?;
            for provider in preferred {
                let outcome = Self::on_provider(&runtime, &shape, bytes, &provider, threads)
                    .and_then(|graph| {
                        let found = graph.trial()?;
                        Ok((graph, relative_difference(&expected, &found)))
                    });
                match outcome {
                    Ok((mut graph, difference)) if difference <= PROVIDER_TOLERANCE => {
                        if let Some(graph) = Arc::get_mut(&mut graph) {
                            graph.spare = Some(for_cpu.into_owned());
                        }
                        return Ok(graph);
                    }
                    Ok((_, difference)) => messages.push(format!(
                        "{provider} differs from the CPU by {difference:.3}"
                    )),
                    Err(error) => messages.push(format!("{provider}: {error}")),
                }
            }
        }
        let (reference, _) = on_cpu(&for_cpu)?;
        if messages.is_empty() {
            return Ok(reference);
        }
        let message = format!("{} runs on the CPU; {}", shape.file, messages.join("; "));
        tracing::warn!("{message}");
        reference.place.lock().message = message;
        Ok(reference)
    }

    fn on_provider(
        runtime: &Runtime,
        shape: &GraphShape,
        bytes: &[u8],
        provider: &str,
        threads: usize,
    ) -> Result<Arc<Self>, EngineError> {
        let session = session(runtime, bytes, provider, threads)
            .map_err(|reason| graph_error(shape, "loaded", reason))?;
        let (slots, roles) = check(shape, &session)?;
        Ok(Arc::new(Self {
            shape: shape.clone(),
            session: Mutex::new(session),
            slots,
            roles,
            place: Mutex::new(Place {
                provider: provider.to_owned(),
                message: String::new(),
            }),
            spare: None,
            threads,
            failures: AtomicU32::new(0),
        }))
    }

    /// Runs one frame; gives the next values of the carried tensors with the session inputs they are for.
    fn frame(
        &self,
        session: &mut Session,
        inputs: &[SessionInputValue<'_>],
        output: &mut [f32],
    ) -> Result<Vec<(usize, DynValue)>, String> {
        let outputs = session
            .run(SessionInputs::<0>::from(inputs))
            .map_err(|error| error.to_string())?;
        let mut next = Vec::with_capacity(self.shape.states.len());
        for ((_, value), role) in outputs.into_iter().zip(&self.roles) {
            let (found, numbers) = value
                .try_extract_tensor::<f32>()
                .map_err(|error| error.to_string())?;
            let expected = match role {
                Role::Output => &self.shape.output,
                Role::State(index) => &self.slots[*index],
            };
            let same = found.len() == expected.shape.len()
                && found
                    .iter()
                    .zip(&expected.shape)
                    .all(|(&a, &b)| a == b as i64);
            if !same {
                return Err(format!(
                    "output {} had shape {found} instead of {:?}",
                    expected.name, expected.shape
                ));
            }
            match role {
                Role::Output => output.copy_from_slice(numbers),
                Role::State(index) => next.push((*index, value)),
            }
        }
        Ok(next)
    }

    /// A graph that runs as `primary` on a provider of its own name, with `spare` to go on with when that fails.
    #[cfg(test)]
    pub fn on_failing_provider(
        shape: GraphShape,
        primary: &[u8],
        spare: &[u8],
    ) -> Result<Arc<Self>, EngineError> {
        let runtime = runtime()?;
        let graph = Self::on_provider(&runtime, &shape, primary, CPU, 1)?;
        let mut graph = Arc::into_inner(graph)
            .ok_or_else(|| EngineError::Unsupported("a graph nobody has seen".to_owned()))?;
        graph.spare = Some(spare.to_vec());
        graph.place.lock().provider = "FragileExecutionProvider".to_owned();
        Ok(Arc::new(graph))
    }

    /// Goes on with the CPU, where that is not what has just failed with `reason`; says whether it does.
    ///
    /// States lie in memory of the CPU, so every stream goes on where it is.
    fn fall_back(&self, session: &mut Session, reason: &str) -> bool {
        let mut place = self.place.lock();
        let Some(bytes) = self.spare.as_ref().filter(|_| place.provider != CPU) else {
            return false;
        };
        let replacement = runtime()
            .map_err(|error| error.to_string())
            .and_then(|runtime| self::session(&runtime, bytes, CPU, self.threads));
        let Ok(replacement) = replacement else {
            return false;
        };
        *session = replacement;
        let message = format!(
            "{} has failed and {} of {} goes on with the CPU: {reason}",
            short(&place.provider),
            self.shape.file,
            self.shape.owner
        );
        tracing::error!("{message}");
        *place = Place {
            provider: CPU.to_owned(),
            message,
        };
        self.failures.fetch_add(1, Ordering::Release);
        true
    }

    /// How often a provider has failed since the graph was loaded.
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Acquire)
    }

    /// A few frames of a fixed signal: shows whether the graph runs and what it gives.
    fn trial(self: &Arc<Self>) -> Result<Vec<f32>, EngineError> {
        let mut stream = GraphStream::new(self)?;
        let mut results = Vec::new();
        let steps = if self.shape.frames > LONG_STEP_FRAMES {
            2
        } else {
            4
        };
        for frame in 0..steps {
            for (index, slot) in self.shape.inputs.iter().enumerate() {
                if slot.fixed.is_some() {
                    continue;
                }
                let level = match slot.name.as_str() {
                    "f0_hz" => [0.0, 220.0, 221.0, 110.0][frame as usize],
                    "loudness" => -30.0,
                    _ => 0.0,
                };
                let input = stream.input(index);
                input.fill(level);
                match slot.name.as_str() {
                    "speaker_mix" => {
                        let speakers = slot.shape.last().copied().unwrap_or(1).max(1);
                        input.iter_mut().step_by(speakers).for_each(|w| *w = 1.0);
                    }
                    "audio" | "content" | "noise" => {
                        timbra_dsp::noise::fill(frame, 0, input);
                        input.iter_mut().for_each(|sample| *sample *= 0.1);
                    }
                    _ => {}
                }
            }
            results.extend_from_slice(stream.run()?);
        }
        if results.iter().all(|value| value.is_finite()) {
            return Ok(results);
        }
        Err(EngineError::NotFinite {
            owner: self.shape.owner.clone(),
            graph: self.shape.file.clone(),
        })
    }

    /// Short name of where it runs, e.g. `CPU`.
    pub fn provider(&self) -> String {
        short(&self.place.lock().provider).to_owned()
    }

    /// Why it does not run where it was asked to; empty when it does.
    pub fn message(&self) -> String {
        self.place.lock().message.clone()
    }

    /// What it looks like for one frame.
    pub fn shape(&self) -> &GraphShape {
        &self.shape
    }
}

/// One stream's way through a graph: inputs, carried tensors and the last output.
pub struct GraphStream {
    graph: Arc<Graph>,
    /// In the session's order of inputs.
    values: Vec<DynValue>,
    /// Session input of each input of the shape.
    places: Vec<usize>,
    output: Vec<f32>,
}

impl GraphStream {
    /// A stream with all states at zero.
    ///
    /// # Errors
    /// The runtime has no memory for the tensors.
    pub fn new(graph: &Arc<Graph>) -> Result<Self, EngineError> {
        let values = graph
            .slots
            .iter()
            .map(|slot| {
                zeros(slot).map_err(|error| graph_error(&graph.shape, "run", error.to_string()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let places = graph
            .shape
            .inputs
            .iter()
            .filter_map(|input| graph.slots.iter().position(|slot| slot.name == input.name))
            .collect();
        Ok(Self {
            graph: Arc::clone(graph),
            values,
            places,
            output: vec![0.0; graph.shape.output.values()],
        })
    }

    /// The numbers of input `index` (in the order of [`GraphShape::inputs`]), to be written before [`Self::run`].
    pub fn input(&mut self, index: usize) -> &mut [f32] {
        self.values[self.places[index]]
            .try_extract_tensor_mut::<f32>()
            .map(|(_, numbers)| numbers)
            .expect("inputs are made as float32 tensors in CPU memory")
    }

    /// Runs one frame and returns its output; the states move on.
    ///
    /// # Errors
    /// The runtime failed; the states are as they were.
    pub fn run(&mut self) -> Result<&[f32], EngineError> {
        let graph = &*self.graph;
        let next = {
            let views: Vec<SessionInputValue<'_>> =
                self.values.iter().map(SessionInputValue::from).collect();
            let mut session = graph.session.lock();
            let mut ran = graph.frame(&mut session, &views, &mut self.output);
            if let Err(reason) = &ran
                && graph.fall_back(&mut session, reason)
            {
                ran = graph.frame(&mut session, &views, &mut self.output);
            }
            ran.map_err(|reason| graph_error(&graph.shape, "run", reason))?
        };
        for (index, value) in next {
            self.values[index] = value;
        }
        Ok(&self.output)
    }

    /// Sets all states to zero.
    ///
    /// # Errors
    /// The runtime has no memory for the tensors.
    pub fn reset(&mut self) -> Result<(), EngineError> {
        let graph = &self.graph;
        for role in &graph.roles {
            if let Role::State(index) = role {
                self.values[*index] = zeros(&graph.slots[*index])
                    .map_err(|error| graph_error(&graph.shape, "run", error.to_string()))?;
            }
        }
        Ok(())
    }
}

/// A tensor with its shape, for [`evaluate`].
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Name in the graph.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Numbers, last axis fastest.
    pub data: Vec<f32>,
}

/// A graph on the CPU that takes inputs of any shape: for comparing an export with the network it came from.
pub struct Evaluation(Session);

impl Evaluation {
    /// Loads a graph.
    ///
    /// # Errors
    /// The runtime is missing or refuses the graph.
    pub fn new(bytes: &[u8]) -> Result<Self, EngineError> {
        let runtime = runtime()?;
        session(&runtime, bytes, CPU, 1)
            .map(Self)
            .map_err(evaluation_failed)
    }

    /// Runs it once.
    ///
    /// # Errors
    /// The runtime refuses the inputs.
    pub fn run(&mut self, inputs: &[NamedTensor]) -> Result<Vec<NamedTensor>, EngineError> {
        evaluate_in(&mut self.0, inputs)
    }
}

fn evaluation_failed(reason: String) -> EngineError {
    EngineError::Graph {
        owner: "evaluation".to_owned(),
        graph: "the graph".to_owned(),
        action: "run",
        reason,
    }
}

/// Loads a graph and runs it once.
///
/// # Errors
/// The runtime is missing or refuses the graph or the inputs.
pub fn evaluate(bytes: &[u8], inputs: &[NamedTensor]) -> Result<Vec<NamedTensor>, EngineError> {
    Evaluation::new(bytes)?.run(inputs)
}

fn evaluate_in(
    session: &mut Session,
    inputs: &[NamedTensor],
) -> Result<Vec<NamedTensor>, EngineError> {
    let failed = evaluation_failed;
    let mut values = Vec::with_capacity(inputs.len());
    for input in inputs {
        let tensor = Tensor::from_array((input.shape.clone(), input.data.clone()))
            .map_err(|error| failed(format!("{}: {error}", input.name)))?;
        values.push((input.name.clone(), tensor));
    }
    let outputs = session
        .run(values)
        .map_err(|error| failed(error.to_string()))?;
    let mut results = Vec::with_capacity(outputs.len());
    for (name, value) in outputs {
        let (shape, data) = value
            .try_extract_tensor::<f32>()
            .map_err(|error| failed(error.to_string()))?;
        results.push(NamedTensor {
            name: name.to_owned(),
            shape: shape.iter().map(|&extent| extent.max(0) as usize).collect(),
            data: data.to_vec(),
        });
    }
    Ok(results)
}

fn short(provider: &str) -> &str {
    provider
        .strip_suffix("ExecutionProvider")
        .unwrap_or(provider)
}

fn zeros(slot: &Slot) -> ort::Result<DynValue> {
    let value = slot.fixed.unwrap_or(0.0);
    Ok(Tensor::from_array((slot.shape.clone(), vec![value; slot.values()]))?.into_dyn())
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
    if provider != CPU {
        let devices: Vec<_> = runtime
            .environment
            .devices()
            .filter(|device| device.ep().is_ok_and(|name| name == provider))
            .collect();
        if devices.is_empty() {
            return Err("not in this ONNX Runtime, or no such device here".to_owned());
        }
        builder = builder
            .with_devices(devices, None)
            .map_err(|error| error.to_string())?;
    }
    builder
        .commit_from_memory(bytes)
        .map_err(|error| error.to_string())
}

/// Compares a session with what it must look like; gives the session's inputs and the roles of its outputs.
fn check(shape: &GraphShape, session: &Session) -> Result<(Vec<Slot>, Vec<Role>), EngineError> {
    let mismatch = |what: String, expected: String, found: String| EngineError::GraphMismatch {
        owner: shape.owner.clone(),
        graph: shape.file.clone(),
        what,
        expected,
        found,
    };
    let states: Vec<Slot> = shape
        .states
        .iter()
        .map(|state| Slot::new(&state.name, &state.shape))
        .collect();
    let wanted: Vec<&Slot> = shape.inputs.iter().chain(&states).collect();

    let mut slots = Vec::new();
    for input in session.inputs() {
        let Some(slot) = wanted.iter().find(|slot| slot.name == input.name()) else {
            let names: Vec<_> = wanted.iter().map(|slot| slot.name.as_str()).collect();
            return Err(mismatch(
                "the inputs".into(),
                names.join(", "),
                format!("also {}", input.name()),
            ));
        };
        fits(input.dtype(), &slot.shape).map_err(|found| {
            mismatch(
                format!("input {}", slot.name),
                format!("float32 {:?}", slot.shape),
                found,
            )
        })?;
        slots.push((*slot).clone());
    }
    if let Some(missing) = wanted.iter().find(|slot| !slots.contains(slot)) {
        return Err(mismatch(
            "the inputs".into(),
            format!("with {}", missing.name),
            "no such input".into(),
        ));
    }

    let mut roles = Vec::new();
    for output in session.outputs() {
        let state = output.name().strip_suffix("_next").and_then(|name| {
            slots
                .iter()
                .position(|slot| slot.name == name && states.iter().any(|state| state.name == name))
        });
        let (role, expected) = match state {
            Some(index) => (Role::State(index), &slots[index].shape),
            None if output.name() == shape.output.name => (Role::Output, &shape.output.shape),
            None => {
                return Err(mismatch(
                    "the outputs".into(),
                    format!("{} and the states with _next", shape.output.name),
                    format!("also {}", output.name()),
                ));
            }
        };
        fits(output.dtype(), expected).map_err(|found| {
            mismatch(
                format!("output {}", output.name()),
                format!("float32 {expected:?}"),
                found,
            )
        })?;
        roles.push(role);
    }
    let complete = roles.contains(&Role::Output) && roles.len() == states.len() + 1;
    if !complete {
        return Err(mismatch(
            "the outputs".into(),
            format!(
                "{} and {} states with _next",
                shape.output.name,
                states.len()
            ),
            format!("{} outputs", roles.len()),
        ));
    }
    Ok((slots, roles))
}

/// Whether a tensor type can have the shape; says what it is when not.
fn fits(found: &ValueType, shape: &[usize]) -> Result<(), String> {
    let float = found.tensor_type() == Some(TensorElementType::Float32);
    let Some(extents) = found.tensor_shape().filter(|_| float) else {
        return Err(found.to_string());
    };
    // A negative extent is symbolic. Outputs of some operators have no shape until they run.
    let matching = extents.is_empty()
        || (extents.len() == shape.len()
            && extents
                .iter()
                .zip(shape)
                .all(|(&extent, &wanted)| extent < 0 || extent == wanted as i64));
    if matching {
        Ok(())
    } else {
        Err(found.to_string())
    }
}

fn graph_error(shape: &GraphShape, action: &'static str, reason: String) -> EngineError {
    EngineError::Graph {
        owner: shape.owner.clone(),
        graph: shape.file.clone(),
        action,
        reason,
    }
}

/// Largest difference over the largest value.
fn relative_difference(expected: &[f32], found: &[f32]) -> f32 {
    let scale = expected
        .iter()
        .fold(1e-6f32, |top, value| top.max(value.abs()));
    let difference = expected
        .iter()
        .zip(found)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    difference / scale
}
