//! Any graph once, with inputs of any shape.

use ort::session::Session;
use ort::value::Tensor;

use timbra_voice::manifest::StateTensor;

use super::{CPU, ring, runtime, session};
use crate::error::EngineError;

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

/// The tensors that a graph carries from one run to the next.
#[derive(Debug, Clone)]
pub struct Carried {
    states: Vec<StateTensor>,
    values: Vec<NamedTensor>,
    /// The row of each that is the next to be written, where it is a ring.
    rows: Vec<usize>,
}

impl Carried {
    /// All of them zero.
    #[must_use]
    pub fn new(states: &[StateTensor]) -> Self {
        let zero = |state: &StateTensor| NamedTensor {
            name: state.name.clone(),
            shape: state.shape.clone(),
            data: vec![0.0; state.shape.iter().product()],
        };
        Self {
            states: states.to_vec(),
            values: states.iter().map(zero).collect(),
            rows: vec![0; states.len()],
        }
    }

    /// What the graph takes.
    #[must_use]
    pub fn inputs(&self) -> &[NamedTensor] {
        &self.values
    }

    /// Takes what a run has made of them out of its `results`; gives the others.
    pub fn take(&mut self, results: Vec<NamedTensor>) -> Vec<NamedTensor> {
        let mut others = Vec::new();
        for result in results {
            let name = result.name.strip_suffix("_next");
            match self
                .states
                .iter()
                .position(|s| Some(s.name.as_str()) == name)
            {
                Some(n) if self.states[n].ring => {
                    let shape = &self.states[n].shape;
                    let ring = &mut self.values[n].data;
                    self.rows[n] = ring::write(ring, &result.data, shape, self.rows[n]);
                }
                Some(n) => self.values[n].data = result.data,
                None => others.push(result),
            }
        }
        others
    }
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
