//! The sines and the noise a decoder is fed with.

use timbra_voice::onnx_writer::Attr;

use super::{Node, WriteGraph};
use crate::kernels::Kernels;
use crate::model::causal::to_vec;
use crate::model::vits::eval::{Eval, Function, SINE_LEVEL, SourceForm, VOICED_NOISE};
use crate::model::vits::layers::Conv;

/// Element types of ONNX.
const FLOAT32: i64 = 1;
const FLOAT64: i64 = 11;

impl<B: Kernels> WriteGraph<B> {
    /// What [`Eval::source`] says.
    pub(super) fn sines_and_noise(
        &mut self,
        f0_hz: &Node,
        noise: &Node,
        merge: &Conv<B>,
        form: SourceForm,
    ) -> Node {
        let hop = form.hop;
        let f0_hz = &self.columns(f0_hz);
        let step = self.affine(f0_hz, 1.0 / form.rate_hz, 0.0);
        let whole = self.affine(&step, hop as f32, 0.0);
        let whole = self.fraction(&whole.name);
        self.once("time axis", |this| {
            this.graph.builder.constant_i64("time_axis", &[], &[2]);
            String::new()
        });
        // The sum of a clip's cycles grows, and what its float32 rounds away is heard as phase: summed in float64.
        let fine_whole = self.op("Cast", &[&whole], vec![Attr::Int("to", FLOAT64)]);
        let mut after = self.op("CumSum", &[&fine_whole, "time_axis"], vec![]);
        if self.counting.is_some() {
            let state = self.graph.state(&[1, 1, 1]);
            let known = self.op("Cast", &[&state], vec![Attr::Int("to", FLOAT64)]);
            after = self.op("Add", &[&after, &known], vec![]);
            let (start, end) = (self.count(false, 1, -1), self.count(false, 1, 0));
            let last = self.slice(&after, 2, &start, &end);
            let next = self.fraction(&last);
            let next = self.op("Cast", &[&next], vec![Attr::Int("to", FLOAT32)]);
            self.graph.keep(&state, &next);
        }
        let before = self.op("Sub", &[&after, &fine_whole], vec![]);
        let before = self.fraction(&before);
        let before = self.op("Cast", &[&before], vec![Attr::Int("to", FLOAT32)]);
        let column = [1, 1, -1, 1];
        let before = self.reshape(&before, &column);
        let fine_step = self.reshape(&step.name, &column);
        let ramp: Vec<f32> = (1..=hop).map(|n| n as f32).collect();
        let ramp = self.graph.builder.f32s(&[1, 1, 1, hop], &ramp);
        let within = self.op("Mul", &[&fine_step, &ramp], vec![]);
        let cycles = self.op("Add", &[&before, &within], vec![]);
        let cycles = self.fraction(&cycles);
        let line = [1, 1, -1];
        let cycles = self.reshape(&cycles, &line);
        let orders: Vec<f32> = (1..=form.sines)
            .map(|order| order as f32 * std::f32::consts::TAU)
            .collect();
        let orders = self.graph.builder.f32s(&[1, form.sines, 1], &orders);
        let angle = self.op("Mul", &[&cycles, &orders], vec![]);
        let sines = self.op("Sin", &[&angle], vec![]);
        let sines = Node {
            name: sines,
            channels: form.sines,
            unit: hop,
            delay: None,
            in_rows: false,
        };
        let voiced = self.apply(f0_hz, Function::Positive);
        let voiced = self.reshape(&voiced.name, &column);
        let ones = self.graph.builder.f32s(&[1, 1, 1, hop], &vec![1.0; hop]);
        let voiced = self.op("Mul", &[&voiced, &ones], vec![]);
        let voiced = self.reshape(&voiced, &line);
        let level = self.scalar(SINE_LEVEL);
        let loud = self.op("Mul", &[&voiced, &level], vec![]);
        let sung = self.op("Mul", &[&sines.name, &loud], vec![]);
        let merged = self.conv(
            &Node {
                name: sung,
                ..sines
            },
            merge,
        );
        let power: f32 = to_vec(merge.kernel.weight()).iter().map(|w| w * w).sum();
        let power = power.sqrt();
        let (slope, rest) = (
            self.scalar((VOICED_NOISE - SINE_LEVEL / 3.0) * power),
            self.scalar(SINE_LEVEL / 3.0 * power),
        );
        let noise_level = self.op("Mul", &[&voiced, &slope], vec![]);
        let noise_level = self.op("Add", &[&noise_level, &rest], vec![]);
        let hiss = self.op("Mul", &[&noise.name, &noise_level], vec![]);
        let both = self.op("Add", &[&merged.name, &hiss], vec![]);
        let name = self.op("Tanh", &[&both], vec![]);
        Node { name, ..merged }
    }
}
