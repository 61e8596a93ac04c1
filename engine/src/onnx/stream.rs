//! A stream's way through a graph.

use std::sync::Arc;

use ort::session::SessionInputValue;
use ort::value::{DynValue, Tensor};

use super::contract::{Role, Slot, graph_error};
use super::graph::Graph;
use super::ring;
use crate::error::EngineError;

/// One stream's way through a graph: inputs, carried tensors and the last output.
pub struct GraphStream {
    graph: Arc<Graph>,
    /// In the session's order of inputs.
    values: Vec<DynValue>,
    /// Session input of each input of the shape.
    places: Vec<usize>,
    output: Vec<f32>,
    /// Shape of the output.
    output_shape: Vec<usize>,
    /// Frames that the next step takes.
    frames: usize,
    /// The row of each value that is the next to be written, where it is a ring.
    rows: Vec<usize>,
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
            rows: vec![0; values.len()],
            graph: Arc::clone(graph),
            values,
            places,
            output: vec![0.0; graph.shape.output.values()],
            output_shape: graph.shape.output.shape.clone(),
            frames: graph.shape.counts.0,
        })
    }

    /// Makes room for steps that take `frames` frames of the graph, no more than its shape says, instead of as many as
    /// before. Their second axis is time.
    ///
    /// # Errors
    /// More than the shape says, or fewer than what is only seen of the future; the runtime has no memory for the tensors.
    pub fn resize(&mut self, frames: usize) -> Result<(), EngineError> {
        if frames == self.frames {
            return Ok(());
        }
        let graph = &*self.graph;
        let (most, made) = graph.shape.counts;
        let future = most - made;
        if frames > most || frames <= future {
            let reason = format!(
                "a step of {frames} frames, expected {} to {most}",
                future + 1
            );
            return Err(graph_error(&graph.shape, "run", reason));
        }
        let scaled = |slot: &Slot, now: usize, shown: usize| {
            let mut slot = slot.clone();
            if let Some(time) = slot.shape.get_mut(1) {
                *time = *time * now / shown.max(1);
            }
            slot
        };
        for (&place, input) in self.places.iter().zip(&graph.shape.inputs) {
            if input.fixed.is_none() {
                self.values[place] = zeros(&scaled(input, frames, most))
                    .map_err(|error| graph_error(&graph.shape, "run", error.to_string()))?;
            }
        }
        let output = scaled(&graph.shape.output, frames - future, made);
        self.output.resize(output.values(), 0.0);
        self.output_shape = output.shape;
        self.frames = frames;
        Ok(())
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
            let mut ran = graph.frame(&mut session, &views, &self.output_shape, &mut self.output);
            if let Err(reason) = &ran
                && graph.fall_back(&mut session, reason)
            {
                ran = graph.frame(&mut session, &views, &self.output_shape, &mut self.output);
            }
            ran.map_err(|reason| graph_error(&graph.shape, "run", reason))?
        };
        for (index, value) in next {
            if !graph.is_ring(index) {
                self.values[index] = value;
                continue;
            }
            let failed = |error: ort::Error| graph_error(&graph.shape, "run", error.to_string());
            let (_, new) = value.try_extract_tensor::<f32>().map_err(failed)?;
            let (_, ring) = self.values[index]
                .try_extract_tensor_mut::<f32>()
                .map_err(failed)?;
            self.rows[index] = ring::write(ring, new, &graph.slots[index].shape, self.rows[index]);
        }
        Ok(&self.output)
    }

    /// What [`Self::run`] gave last.
    pub fn output(&self) -> &[f32] {
        &self.output
    }

    /// Sets all states to zero.
    ///
    /// # Errors
    /// The runtime has no memory for the tensors.
    pub fn reset(&mut self) -> Result<(), EngineError> {
        let graph = &self.graph;
        self.rows.fill(0);
        for role in &graph.roles {
            if let Role::State(index) | Role::Ring(index) = role {
                self.values[*index] = zeros(&graph.slots[*index])
                    .map_err(|error| graph_error(&graph.shape, "run", error.to_string()))?;
            }
        }
        Ok(())
    }
}

fn zeros(slot: &Slot) -> ort::Result<DynValue> {
    let value = slot.fixed.unwrap_or(0.0);
    Ok(Tensor::from_array((slot.shape.clone(), vec![value; slot.values()]))?.into_dyn())
}
