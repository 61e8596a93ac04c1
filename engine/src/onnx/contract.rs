//! What a graph must look like, and whether it does.

use ort::session::Session;
use ort::value::{TensorElementType, ValueType};
use timbra_voice::manifest::{CpuWeights, RING_AXIS, StateTensor};

use crate::error::EngineError;

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

    pub(super) fn values(&self) -> usize {
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
    /// Frames of its own that it takes and makes in such a step: by these its inputs and its output grow where a step has
    /// another number.
    pub counts: (usize, usize),
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
pub(super) enum Role {
    Output,
    /// Next value of the session input with this index.
    State(usize),
    /// New rows of the session input with this index.
    Ring(usize),
}

/// Compares a session with what it must look like; gives the session's inputs and the roles of its outputs.
pub(super) fn check(
    shape: &GraphShape,
    session: &Session,
) -> Result<(Vec<Slot>, Vec<Role>), EngineError> {
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
        fits(input.dtype(), &slot.shape, None).map_err(|found| {
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
            let state = shape.states.iter().find(|state| state.name == name)?;
            let index = slots.iter().position(|slot| slot.name == name)?;
            Some((index, state.ring))
        });
        let (role, expected) = match state {
            Some((index, false)) => (Role::State(index), &slots[index].shape),
            Some((index, true)) => (Role::Ring(index), &slots[index].shape),
            None if output.name() == shape.output.name => (Role::Output, &shape.output.shape),
            None => {
                return Err(mismatch(
                    "the outputs".into(),
                    format!("{} and the states with _next", shape.output.name),
                    format!("also {}", output.name()),
                ));
            }
        };
        let open = matches!(role, Role::Ring(_)).then_some(RING_AXIS);
        fits(output.dtype(), expected, open).map_err(|found| {
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

/// Whether a tensor type can have the shape, but for the extent of axis `open`; says what it is when not.
fn fits(found: &ValueType, shape: &[usize], open: Option<usize>) -> Result<(), String> {
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
                .enumerate()
                .all(|(axis, (&extent, &wanted))| {
                    extent < 0 || extent == wanted as i64 || Some(axis) == open
                }));
    if matching {
        Ok(())
    } else {
        Err(found.to_string())
    }
}

pub(super) fn graph_error(shape: &GraphShape, action: &'static str, reason: String) -> EngineError {
    EngineError::Graph {
        owner: shape.owner.clone(),
        graph: shape.file.clone(),
        action,
        reason,
    }
}
