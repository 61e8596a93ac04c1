//! Convolutions that a file keeps in two: one for every channel by itself, then one over all channels tap by tap.
//!
//! so-vits-svc 4.1 writes them with `use_depthwise_conv`: its last versions those of flow and posterior, early ones nearly
//! all of the decoder's too. Where the network has a place for the two, they stay two ([`WeightSource::splits`]);
//! elsewhere they become the one convolution that computes the same ([`folded`]).
//!
//! [`WeightSource::splits`]: crate::model::vits::weights::WeightSource::splits

use super::StateDict;
use crate::model::vits::weights::WeightError;

/// The depth-wise part: `[inputs, 1, taps]`.
pub const DEPTH: &str = "depth_conv";
/// The point-wise part: `[outputs, inputs, 1]`.
pub const POINT: &str = "point_conv";
/// Most numbers of a convolution that is put together: the largest of a published voice has two millions.
const MAX_NUMBERS: usize = 1 << 24;

/// Whether the convolution `layer` is kept in two.
#[must_use]
pub fn is_split(weights: &StateDict, layer: &str) -> bool {
    let start = format!("{layer}.{DEPTH}.");
    let mut from = weights.range(start.clone()..);
    from.next()
        .is_some_and(|(name, _)| name.starts_with(&start))
}

/// The shape of the tensor `name` of a convolution that is kept in two, as if it were one; `None` of others.
#[must_use]
pub fn shape(weights: &StateDict, name: &str) -> Option<Vec<usize>> {
    let (layer, kind) = name.rsplit_once('.')?;
    if !is_split(weights, layer) {
        return None;
    }
    let [_, _, taps] = extents(weights, &format!("{layer}.{DEPTH}"))?;
    let [outputs, inputs, _] = extents(weights, &format!("{layer}.{POINT}"))?;
    match kind {
        "weight" => Some(vec![outputs, inputs, taps]),
        "bias" => Some(vec![outputs]),
        _ => None,
    }
}

/// The tensor `name` of such a convolution, as if it were one.
///
/// The point-wise part of what the depth-wise part gives is a sum over channels and taps; its factors are products of
/// both parts' factors. Neither part reads beyond the ends of a clip differently, so the two are the same everywhere.
///
/// # Errors
/// A part is missing or of another shape.
pub fn folded(
    weights: &StateDict,
    name: &str,
    expected: &[usize],
) -> Result<Vec<f32>, WeightError> {
    let missing = || WeightError::Missing {
        name: name.to_owned(),
        expected: expected.to_vec(),
    };
    let (layer, kind) = name.rsplit_once('.').ok_or_else(missing)?;
    let found = shape(weights, name).ok_or_else(missing)?;
    if found != expected {
        return Err(WeightError::Shape {
            name: format!("{layer}.{DEPTH} and {POINT}"),
            expected: expected.to_vec(),
            found,
        });
    }
    let numbers = expected.iter().copied().fold(1, usize::saturating_mul);
    if numbers > MAX_NUMBERS {
        return Err(WeightError::Unreadable {
            name: name.to_owned(),
            reason: format!(
                "{numbers} numbers, at most {MAX_NUMBERS} are accepted. This is not a usable voice file"
            ),
        });
    }
    let (depth, point) = (format!("{layer}.{DEPTH}"), format!("{layer}.{POINT}"));
    let [outputs, inputs, _] = extents(weights, &point).ok_or_else(missing)?;
    let factors = kernel(weights, &point, [outputs, inputs, 1])?;
    if kind == "bias" {
        let before = tensor(weights, &format!("{depth}.bias"), &[inputs])?;
        let after = tensor(weights, &format!("{point}.bias"), &[outputs])?;
        let through = |row: &[f32]| row.iter().zip(&before).map(|(a, b)| a * b).sum::<f32>();
        let rows = factors.chunks_exact(inputs.max(1));
        return Ok(rows
            .zip(&after)
            .map(|(row, own)| through(row) + own)
            .collect());
    }
    let taps = expected[2];
    let own = kernel(weights, &depth, [inputs, 1, taps])?;
    Ok((0..outputs * inputs)
        .flat_map(|n| {
            let taps = &own[n % inputs * taps..][..taps];
            let factor = factors[n];
            taps.iter().map(move |tap| factor * tap)
        })
        .collect())
}

/// The two ways to keep a weight as length and direction.
const NORMED: [(&str, &str); 2] = [
    ("weight_g", "weight_v"),
    (
        "parametrizations.weight.original0",
        "parametrizations.weight.original1",
    ),
];

fn extents(weights: &StateDict, layer: &str) -> Option<[usize; 3]> {
    let forms = NORMED.map(|(_, direction)| direction);
    let mut kept = ["weight"].into_iter().chain(forms);
    let found = kept.find_map(|form| weights.get(&format!("{layer}.{form}")))?;
    found.shape().try_into().ok()
}

/// The weight of a convolution, however it is kept.
fn kernel(weights: &StateDict, layer: &str, shape: [usize; 3]) -> Result<Vec<f32>, WeightError> {
    for (length, direction) in NORMED {
        let (length, direction) = (format!("{layer}.{length}"), format!("{layer}.{direction}"));
        if !weights.contains_key(&direction) {
            continue;
        }
        let lengths = tensor(weights, &length, &[shape[0], 1, 1])?;
        let mut values = tensor(weights, &direction, &shape)?;
        let rows = values.chunks_exact_mut((shape[1] * shape[2]).max(1));
        for (row, length) in rows.zip(lengths) {
            let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            row.iter_mut().for_each(|value| *value *= length / norm);
        }
        return Ok(values);
    }
    tensor(weights, &format!("{layer}.weight"), &shape)
}

fn tensor(weights: &StateDict, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightError> {
    super::weights::values(weights, name, shape)
}
