//! Constants in float16, which the graph widens.

use crate::onnx_check::GraphError;
use crate::onnx_check::wire::{Field, Fields};
use crate::onnx_writer::{Attr, FLOAT, FLOAT16, attribute, bytes_field, tensor};

use super::{constant, copy};

/// Constants with fewer numbers stay as they are.
const LEAST_HALVED: usize = 1 << 10;

/// The graph with its large constants in float16.
///
/// # Errors
/// It is no graph that a voice may have, or a weight is too large.
pub(super) fn halved(graph: &[u8]) -> Result<Vec<u8>, GraphError> {
    let mut out = Vec::new();
    let mut rest = Vec::new();
    let mut fields = Fields::new(graph, "the graph", &[]);
    while let Some((field, value)) = fields.next()? {
        let found = match (field, value) {
            (5, Field::Bytes(bytes)) => constant(bytes)?,
            _ => None,
        };
        match found.filter(|(_, constant)| constant.raw.len() >= 4 * LEAST_HALVED) {
            Some((name, constant)) => {
                let half = format!("{name}_f16");
                let mut bytes = Vec::with_capacity(constant.raw.len() / 2);
                for word in constant.raw.as_chunks::<4>().0 {
                    let value = f32::from_le_bytes(*word);
                    let bits = half_bits(value).ok_or_else(|| GraphError::Refused {
                        what: name.to_owned(),
                        expected: "weights within ±65504; keep the graph in float32".to_owned(),
                        found: value.to_string(),
                    })?;
                    bytes.extend_from_slice(&bits.to_le_bytes());
                }
                let kept = tensor(&half, &constant.shape, FLOAT16, &bytes);
                bytes_field(&mut rest, 5, &kept);
                let mut node = Vec::new();
                bytes_field(&mut node, 1, half.as_bytes());
                bytes_field(&mut node, 2, name.as_bytes());
                bytes_field(&mut node, 3, format!("widen_{name}").as_bytes());
                bytes_field(&mut node, 4, b"Cast");
                let to = Attr::Int("to", FLOAT as i64);
                bytes_field(&mut node, 5, &attribute(&to));
                bytes_field(&mut out, 1, &node);
            }
            None => copy(&mut rest, field, value),
        }
    }
    out.append(&mut rest);
    Ok(out)
}

/// The nearest float16, the even one of two; `None` beyond its range.
fn half_bits(value: f32) -> Option<u16> {
    let half = half::f16::from_f32(value);
    half.is_finite().then(|| half.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_rounds_to_the_nearest_even() {
        let cases: [(f32, u16); 12] = [
            (0.0, 0x0000),
            (-0.0, 0x8000),
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (65_504.0, 0x7bff),
            (65_519.0, 0x7bff),
            (6.103_515_6e-5, 0x0400),
            (5.960_464_5e-8, 0x0001),
            (2.980_232_2e-8, 0x0000),
            (1.000_488_3, 0x3c00),
            (1.001_464_8, 0x3c02),
            (0.333_333_34, 0x3555),
        ];
        for (value, bits) in cases {
            assert_eq!(half_bits(value), Some(bits), "{value}");
        }
        assert_eq!(half_bits(65_520.0), None);
        assert_eq!(half_bits(f32::NAN), None);
    }
}
