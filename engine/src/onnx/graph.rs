//! A graph that is loaded, on the provider it runs on.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ort::session::{Session, SessionInputValue, SessionInputs};
use ort::value::DynValue;
use parking_lot::Mutex;
use timbra_voice::manifest::RING_AXIS;
use timbra_voice::onnx_check::{self, Known};
use timbra_voice::onnx_precision::for_cpu;

use super::contract::{GraphShape, Role, Slot, check, graph_error};
use super::kernels;
use super::providers::{self, Wish};
use super::stream::GraphStream;
use super::{CPU, Runtime, runtime, session};
use crate::error::EngineError;
use crate::large_pages;

/// Largest relative difference from the CPU's result with which another provider is accepted.
const PROVIDER_TOLERANCE: f32 = 1e-2;

/// What of the CPU's time for a step a provider may take that nobody asked for: it costs a copy there and back, memory, and
/// time that varies.
const WORTH_A_PROVIDER: f32 = 0.7;
/// Steps of which the shortest says how long one takes.
const PACED_STEPS: usize = 8;

/// Frames of 10 ms from which on two steps of a graph show what it gives: they take as long as many short ones.
const LONG_STEP_FRAMES: u64 = 64;

/// A graph that is loaded and checked; shared by all streams that use it.
pub struct Graph {
    pub(super) shape: GraphShape,
    pub(super) session: Mutex<Session>,
    /// For every session input its shape, in the session's order.
    pub(super) slots: Vec<Slot>,
    /// For every session output what it is.
    pub(super) roles: Vec<Role>,
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
            Some(weights) => Cow::Owned(
                for_cpu(bytes, weights, kernels::operators_here())
                    .map_err(|error| graph_error(&shape, "loaded", error.to_string()))?,
            ),
        };
        let on_cpu = |bytes: &[u8]| {
            let graph = Self::on_provider(&runtime, &shape, bytes, CPU, threads)?;
            let heard = graph.trial()?;
            Ok::<_, EngineError>((graph, heard))
        };
        let wish = providers::wish();
        let preferred = wish.providers();
        let mut messages = Vec::new();
        let mut reference = None;
        if !preferred.is_empty() {
            // What the provider is compared with has the weights it has.
            let (_, expected) = on_cpu(bytes)?;
            let longest = match &wish {
                Wish::Named(_) => None,
                Wish::Fastest => {
                    let (graph, _) = on_cpu(&for_cpu)?;
                    let pace = graph.pace()?;
                    reference = Some(graph);
                    Some(pace.mul_f32(WORTH_A_PROVIDER))
                }
            };
            for provider in preferred {
                let outcome = Self::on_provider(&runtime, &shape, bytes, &provider, threads)
                    .and_then(|graph| {
                        let found = graph.trial()?;
                        let slow = match longest {
                            Some(longest) => Some(graph.pace()?).filter(|pace| *pace > longest),
                            None => None,
                        };
                        Ok((graph, relative_difference(&expected, &found), slow))
                    });
                match outcome {
                    Ok((_, _, Some(slow))) => messages.push(format!(
                        "{provider} takes {:.2} ms a step, which is not faster",
                        slow.as_secs_f64() * 1e3
                    )),
                    Ok((mut graph, difference, None)) if difference <= PROVIDER_TOLERANCE => {
                        if let Some(graph) = Arc::get_mut(&mut graph) {
                            graph.spare = Some(for_cpu.into_owned());
                        }
                        return Ok(graph);
                    }
                    Ok((_, difference, None)) => messages.push(format!(
                        "{provider} differs from the CPU by {difference:.3}"
                    )),
                    Err(error) => messages.push(format!("{provider}: {error}")),
                }
            }
        }
        let reference = match reference {
            Some(graph) => graph,
            None => on_cpu(&for_cpu)?.0,
        };
        drop(for_cpu);
        large_pages::after_loading(bytes.len());
        if messages.is_empty() {
            return Ok(reference);
        }
        let message = format!("{} runs on the CPU; {}", shape.file, messages.join("; "));
        if wish == Wish::Fastest {
            // Nobody asked for another place.
            tracing::info!("{message}");
        } else {
            tracing::warn!("{message}");
            reference.place.lock().message = message;
        }
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

    /// Runs one frame; gives the next values of the carried tensors, of rings their new rows, with the session inputs they are for.
    pub(super) fn frame(
        &self,
        session: &mut Session,
        inputs: &[SessionInputValue<'_>],
        output_shape: &[usize],
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
            let (name, expected) = match role {
                Role::Output => (&self.shape.output.name, output_shape),
                Role::State(index) | Role::Ring(index) => {
                    let slot = &self.slots[*index];
                    (&slot.name, &slot.shape[..])
                }
            };
            let open = matches!(role, Role::Ring(_)).then_some(RING_AXIS);
            let same = found.len() == expected.len()
                && found
                    .iter()
                    .zip(expected)
                    .enumerate()
                    .all(|(axis, (&a, &b))| a == b as i64 || Some(axis) == open);
            if !same {
                return Err(format!(
                    "output {name} had shape {found} instead of {expected:?}"
                ));
            }
            match role {
                Role::Output => output.copy_from_slice(numbers),
                Role::State(index) | Role::Ring(index) => next.push((*index, value)),
            }
        }
        Ok(next)
    }

    /// Whether the session input with this index is a ring.
    pub(super) fn is_ring(&self, index: usize) -> bool {
        self.roles.contains(&Role::Ring(index))
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
    pub(super) fn fall_back(&self, session: &mut Session, reason: &str) -> bool {
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

    /// The least time of a step.
    fn pace(self: &Arc<Self>) -> Result<Duration, EngineError> {
        let mut stream = GraphStream::new(self)?;
        let mut least = Duration::MAX;
        for _ in 0..PACED_STEPS {
            let began = Instant::now();
            stream.run()?;
            least = least.min(began.elapsed());
        }
        Ok(least)
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

fn short(provider: &str) -> &str {
    provider
        .strip_suffix("ExecutionProvider")
        .unwrap_or(provider)
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
