//! BigVGAN's periodic activation between two filters, which keep what it bends from folding back.

use burn::module::Param;
use burn::tensor::Tensor;
use timbra_voice::onnx_writer::Attr;

use super::{Node, WriteGraph};
use crate::kernels::Kernels;
use crate::model::causal::to_vec;
use crate::model::vits::eval::{SNAKE_EPSILON, SNAKE_TAPS, snake_filter};

/// Samples a snake sees to either side.
const SNAKE_SIDE: usize = 5;

impl<B: Kernels> WriteGraph<B> {
    /// What [`Eval::snake`](crate::model::vits::eval::Eval::snake) says.
    pub(super) fn filtered_snake(
        &mut self,
        x: &Node,
        frequency: &Param<Tensor<B, 1>>,
        magnitude: &Param<Tensor<B, 1>>,
    ) -> Node {
        let x = &self.columns(x);
        let side = SNAKE_SIDE;
        let (channels, unit) = (x.channels, x.unit);
        // How far the doubled value reaches back before the first result, and the results it gives too many.
        let (high, delay) = match x.delay {
            None => {
                let mut input = self.carry_provisional(x, side);
                let mut front = 3 * side;
                if let Some(first) = self.before(unit, side as i64) {
                    let numbers = self.numbers(true, unit, side as i64);
                    let last = self.count(true, unit, side as i64 - 1);
                    input = self.starting_at(&input, &numbers, &first, &last);
                    input = self.edge(&input, 0, side);
                    front = 2 * side;
                } else {
                    input = self.edge(&input, side, side);
                }
                let mut high = self.doubled(&input, channels, front, 3 * side);
                if let Some(first) = self.before(2 * unit, side as i64) {
                    let numbers = self.numbers(true, 2 * unit, side as i64);
                    let last = self.count(true, 2 * unit, side as i64 - 1);
                    high = self.starting_at(&high, &numbers, &first, &last);
                    high = self.edge(&high, 0, side + 1);
                } else {
                    high = self.edge(&high, side, side + 1);
                }
                (high, None)
            }
            Some(delay) => {
                let mut input = self.carry_settled(x, 2 * side);
                let late = (delay + 2 * side) as i64;
                if let Some(first) = self.before(unit, late) {
                    let numbers = self.numbers(false, unit, 2 * side as i64);
                    let last = self.count(false, unit, 2 * side as i64 - 1);
                    input = self.starting_at(&input, &numbers, &first, &last);
                }
                let mut high = self.doubled(&input, channels, 2 * side, 2 * side);
                let late = (2 * delay + 3 * side) as i64;
                if let Some(first) = self.before(2 * unit, late) {
                    let numbers = self.numbers(false, 2 * unit, 2 * side as i64);
                    let last = self.count(false, 2 * unit, 2 * side as i64 - 1);
                    high = self.starting_at(&high, &numbers, &first, &last);
                }
                (high, Some(delay + side))
            }
        };
        let high = self.bend(&high, frequency, magnitude);
        let name = self.halved(&high, channels);
        Node {
            name,
            delay,
            ..x.clone()
        }
    }

    /// A snake itself, without the filters.
    fn bend(
        &mut self,
        x: &str,
        frequency: &Param<Tensor<B, 1>>,
        magnitude: &Param<Tensor<B, 1>>,
    ) -> String {
        let channels = frequency.val().dims()[0];
        let frequency = to_vec(frequency.val().exp());
        let inverse = to_vec(magnitude.val().exp().add_scalar(SNAKE_EPSILON).recip());
        let g = &mut self.graph.builder;
        let frequency = g.f32s(&[1, channels, 1], &frequency);
        let inverse = g.f32s(&[1, channels, 1], &inverse);
        let angle = g.op("Mul", &[x, &frequency], vec![]);
        let wave = g.op("Sin", &[&angle], vec![]);
        let square = g.op("Mul", &[&wave, &wave], vec![]);
        let more = g.op("Mul", &[&square, &inverse], vec![]);
        g.op("Add", &[x, &more], vec![])
    }

    fn snake_weights(&mut self, channels: usize, gain: f32) -> String {
        self.once(&format!("snake {channels} {gain:?}"), |this| {
            let taps: Vec<f32> = (0..channels)
                .flat_map(|_| snake_filter().map(|tap| tap * gain))
                .collect();
            this.graph.builder.f32s(&[channels, 1, SNAKE_TAPS], &taps)
        })
    }

    /// The doubled rate, without `front` and `back` results at the ends.
    fn doubled(&mut self, x: &str, channels: usize, front: usize, back: usize) -> String {
        let weights = self.snake_weights(channels, 2.0);
        self.op(
            "ConvTranspose",
            &[x, &weights],
            vec![
                Attr::Int("group", channels as i64),
                Attr::Ints("strides", vec![2]),
                Attr::Ints("pads", vec![front as i64, back as i64]),
            ],
        )
    }

    fn halved(&mut self, x: &str, channels: usize) -> String {
        let weights = self.snake_weights(channels, 1.0);
        self.op(
            "Conv",
            &[x, &weights],
            vec![
                Attr::Int("group", channels as i64),
                Attr::Ints("strides", vec![2]),
            ],
        )
    }

    fn edge(&mut self, x: &str, left: usize, right: usize) -> String {
        let pads = self.ints(&[0, 0, left as i64, 0, 0, right as i64]);
        self.op("Pad", &[x, &pads], vec![Attr::Text("mode", "edge")])
    }
}
