//! The shape of what a node gives, operator by operator.

use super::super::{Attribute, MAX_INTS, MAX_RANK, Node, Tensor};
use super::QUANTISED;
use crate::onnx_precision::{ACCURACY_LEVEL, BLOCKS};
use crate::onnx_writer::{FLOAT, UINT8};

/// The output of a node; `None` when its inputs do not fit it or its size is not known before it runs.
pub(super) fn output(node: &Node<'_>, inputs: &[Option<&Tensor>]) -> Option<Tensor> {
    let input = |index: usize| inputs.get(index).copied().flatten();
    let ints = |index: usize| input(index).and_then(|tensor| tensor.ints.as_deref());
    let first = input(0)?;
    let rank = first.shape.len();
    let shaped = |shape| {
        Some(Tensor {
            shape,
            ints: None,
            constant: None,
        })
    };
    match node.op {
        "Abs"
        | "Ceil"
        | "Clip"
        | "Cos"
        | "CumSum"
        | "Erf"
        | "Exp"
        | "Floor"
        | "InstanceNormalization"
        | "LayerNormalization"
        | "LeakyRelu"
        | "Log"
        | "Neg"
        | "Relu"
        | "Round"
        | "Sigmoid"
        | "Sin"
        | "Softmax"
        | "Sqrt"
        | "Tanh" => shaped(first.shape.clone()),
        "Cast" | "Identity" => Some(Tensor {
            constant: None,
            ..first.clone()
        }),
        "Add" | "And" | "Div" | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual"
        | "Max" | "Min" | "Mod" | "Mul" | "Pow" | "Sub" | "Sum" | "Where" => {
            let shape = inputs.iter().try_fold(Vec::new(), |shape, input| {
                broadcast(&shape, &(*input)?.shape)
            })?;
            Some(Tensor {
                shape,
                ints: arithmetic(node.op, inputs),
                constant: None,
            })
        }
        "Conv" | "ConvTranspose" => {
            convolution(node, &first.shape, &input(1)?.shape).and_then(shaped)
        }
        "Transpose" => transpose(node, &first.shape).and_then(shaped),
        "MatMul" => matmul(&first.shape, &input(1)?.shape).and_then(shaped),
        QUANTISED => quantised(node, inputs).and_then(shaped),
        "Concat" => {
            let shape = concat(node, inputs, rank)?;
            // Numbers that say shapes are few; more of them would be held at every joint.
            let few = rank == 1 && shape[0] <= MAX_INTS;
            let joined = || inputs.iter().map(|input| (*input)?.ints.clone()).collect();
            let ints: Option<Vec<Vec<i64>>> = few.then(joined).flatten();
            Some(Tensor {
                shape,
                ints: ints.map(|ints| ints.concat()),
                constant: None,
            })
        }
        "Gather" => {
            let axis = axis(int(node, "axis", 0)?, rank)?;
            let (before, after) = (&first.shape[..axis], &first.shape[axis + 1..]);
            shaped([before, &input(1)?.shape, after].concat())
        }
        "GatherElements" => shaped(input(1)?.shape.clone()),
        "Slice" => slice(
            first,
            ints(1)?,
            ints(2)?,
            input(3).map(|_| ints(3)),
            input(4).map(|_| ints(4)),
        )
        .and_then(shaped),
        "Reshape" => {
            if int(node, "allowzero", 0)? != 0 {
                return None;
            }
            Some(Tensor {
                shape: reshape(&first.shape, ints(1)?)?,
                ints: first.ints.clone(),
                constant: None,
            })
        }
        "Squeeze" | "Unsqueeze" => Some(Tensor {
            shape: squeeze(node.op, &first.shape, ints(1)?)?,
            ints: first.ints.clone(),
            constant: None,
        }),
        "ReduceMax" | "ReduceMean" => {
            let axes = match node.attributes.get("axes") {
                None => None,
                Some(Attribute::Ints(axes)) => Some(&axes[..]),
                Some(_) => return None,
            };
            reduce(node, &first.shape, axes).and_then(shaped)
        }
        "ReduceSum" => reduce(node, &first.shape, Some(ints(1)?)).and_then(shaped),
        "Shape" => {
            let place = |value: i64| within(value, rank as u64) as usize;
            let start = place(int(node, "start", 0)?);
            let end = place(int(node, "end", i64::MAX)?);
            let extents = first.shape.get(start..end.max(start))?;
            Some(Tensor {
                shape: vec![extents.len() as u64],
                ints: extents
                    .iter()
                    .map(|&extent| i64::try_from(extent).ok())
                    .collect(),
                constant: None,
            })
        }
        "Range" => {
            let number = |index: usize| match ints(index)? {
                [number] => Some(i128::from(*number)),
                _ => None,
            };
            let (start, limit, step) = (number(0)?, number(1)?, number(2)?);
            shaped(vec![steps(start, limit, step)?])
        }
        "Expand" => {
            let target: Option<Vec<u64>> = ints(1)?
                .iter()
                .map(|&extent| extent.try_into().ok())
                .collect();
            broadcast(&first.shape, &target?).and_then(shaped)
        }
        "Pad" => {
            let pads = ints(1)?;
            if pads.len() != 2 * rank || inputs.len() > 3 {
                return None;
            }
            let padded = |(axis, &extent): (usize, &u64)| {
                let sum =
                    i128::from(extent) + i128::from(pads[axis]) + i128::from(pads[axis + rank]);
                u64::try_from(sum).ok()
            };
            let shape: Option<Vec<u64>> = first.shape.iter().enumerate().map(padded).collect();
            shaped(shape?)
        }
        _ => None,
    }
}

/// An attribute that is a whole number; `None` when it is something else.
fn int(node: &Node<'_>, name: &str, otherwise: i64) -> Option<i64> {
    match node.attributes.get(name) {
        None => Some(otherwise),
        Some(Attribute::Int(value)) => Some(*value),
        Some(_) => None,
    }
}

fn axis(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(axis).ok().filter(|&axis| axis < rank)
}

/// A place along an axis, counted from the end when negative, brought into it.
fn within(place: i64, extent: u64) -> u64 {
    let extent = i128::from(extent);
    let place = i128::from(place);
    let place = if place < 0 { place + extent } else { place };
    place.clamp(0, extent) as u64
}

fn steps(start: i128, limit: i128, step: i128) -> Option<u64> {
    match step {
        0 => None,
        1.. => u64::try_from((limit - start + step - 1).max(0) / step).ok(),
        _ => u64::try_from((start - limit - step - 1).max(0) / -step).ok(),
    }
}

fn broadcast(left: &[u64], right: &[u64]) -> Option<Vec<u64>> {
    let rank = left.len().max(right.len());
    let extent = |shape: &[u64], axis: usize| {
        let missing = rank - shape.len();
        if axis < missing {
            1
        } else {
            shape[axis - missing]
        }
    };
    (0..rank)
        .map(|axis| match (extent(left, axis), extent(right, axis)) {
            (a, b) if a == b || b == 1 => Some(a),
            (1, b) => Some(b),
            _ => None,
        })
        .collect()
}

fn matmul(left: &[u64], right: &[u64]) -> Option<Vec<u64>> {
    // Vectors are rows on the left and columns on the right, and lose that axis again.
    let row: Vec<u64> = if left.len() == 1 {
        vec![1, left[0]]
    } else {
        left.to_vec()
    };
    let column: Vec<u64> = if right.len() == 1 {
        vec![right[0], 1]
    } else {
        right.to_vec()
    };
    let ([batch_left @ .., rows, inner], [batch_right @ .., other, columns]) =
        (&row[..], &column[..])
    else {
        return None;
    };
    let mut shape = broadcast(batch_left, batch_right).filter(|_| inner == other)?;
    shape.extend((left.len() > 1).then_some(*rows));
    shape.extend((right.len() > 1).then_some(*columns));
    Some(shape)
}

/// A product with weights of 8 bits, exactly as [`crate::onnx_precision`] writes it.
fn quantised(node: &Node<'_>, inputs: &[Option<&Tensor>]) -> Option<Vec<u64>> {
    let &[Some(rows), Some(weights), Some(scales)] = inputs else {
        return None;
    };
    let known = ["K", "N", "bits", "block_size", "accuracy_level"];
    if node.attributes.keys().any(|name| !known.contains(name)) {
        return None;
    }
    let number = |name: &str| u64::try_from(int(node, name, -1)?).ok();
    let (inner, columns, block) = (number("K")?, number("N")?, number("block_size")?);
    let as_written = number("bits")? == 8
        && BLOCKS.contains(&usize::try_from(block).ok()?)
        && number("accuracy_level")? == ACCURACY_LEVEL as u64
        && inner % block == 0
        && (weights.constant, scales.constant) == (Some(UINT8), Some(FLOAT));
    let blocks = inner.checked_div(block)?;
    let fit =
        weights.shape == [columns, blocks, block] && scales.shape == [columns.checked_mul(blocks)?];
    let (last, others) = rows.shape.split_last()?;
    let mut shape = others.to_vec();
    shape.push(columns);
    (as_written && fit && *last == inner && inner > 0 && columns > 0).then_some(shape)
}

fn concat(node: &Node<'_>, inputs: &[Option<&Tensor>], rank: usize) -> Option<Vec<u64>> {
    let axis = axis(int(node, "axis", i64::MAX)?, rank)?;
    let mut shape: Option<Vec<u64>> = None;
    for input in inputs {
        let next = &(*input)?.shape;
        shape = Some(match shape {
            None => next.clone(),
            Some(mut joined) => {
                let same = |at: usize| at == axis || joined.get(at) == next.get(at);
                if next.len() != rank || !(0..rank).all(same) {
                    return None;
                }
                joined[axis] = joined[axis].checked_add(next[axis])?;
                joined
            }
        });
    }
    shape
}

fn slice(
    data: &Tensor,
    starts: &[i64],
    ends: &[i64],
    axes: Option<Option<&[i64]>>,
    strides: Option<Option<&[i64]>>,
) -> Option<Vec<u64>> {
    let mut shape = data.shape.clone();
    let mut seen = [false; MAX_RANK];
    let (axes, strides) = (
        axes.map_or(Some(None), |known| known.map(Some))?,
        strides.map_or(Some(None), |known| known.map(Some))?,
    );
    let same = |list: Option<&[i64]>| list.is_none_or(|list| list.len() == starts.len());
    if ends.len() != starts.len() || !same(axes) || !same(strides) || starts.len() > shape.len() {
        return None;
    }
    for (index, (&start, &end)) in starts.iter().zip(ends).enumerate() {
        let place = axis(axes.map_or(index as i64, |axes| axes[index]), shape.len())?;
        if std::mem::replace(seen.get_mut(place)?, true) {
            return None;
        }
        let extent = i128::from(shape[place]);
        let stride = i128::from(strides.map_or(1, |strides| strides[index]));
        // Backwards goes from the last number to before the first.
        let (first, last) = if stride < 0 {
            (-1, extent - 1)
        } else {
            (0, extent)
        };
        let within = |place: i64| {
            let place = i128::from(place);
            let place = if place < 0 { place + extent } else { place };
            place.max(first).min(last)
        };
        shape[place] = steps(within(start).max(0), within(end), stride)?;
    }
    Some(shape)
}

fn reshape(shape: &[u64], target: &[i64]) -> Option<Vec<u64>> {
    let mut open = None;
    let mut extents = Vec::with_capacity(target.len());
    for (axis, &extent) in target.iter().enumerate() {
        extents.push(match extent {
            0 => *shape.get(axis)?,
            -1 if open.is_none() => {
                open = Some(axis);
                1
            }
            extent => u64::try_from(extent).ok()?,
        });
    }
    let product = |extents: &[u64]| {
        extents
            .iter()
            .try_fold(1u64, |product, &extent| product.checked_mul(extent))
    };
    let (total, given) = (product(shape)?, product(&extents)?);
    if let Some(axis) = open {
        extents[axis] = total.checked_div(given)?;
    }
    (product(&extents)? == total).then_some(extents)
}

fn squeeze(op: &str, shape: &[u64], axes: &[i64]) -> Option<Vec<u64>> {
    let inserts = op == "Unsqueeze";
    let rank = if inserts {
        shape.len() + axes.len()
    } else {
        shape.len()
    };
    let mut chosen = vec![false; rank];
    for &place in axes {
        if std::mem::replace(&mut chosen[axis(place, rank)?], true) {
            return None;
        }
    }
    let mut extents = shape.iter();
    let mut output = Vec::new();
    for chosen in chosen {
        match (inserts, chosen) {
            (true, true) => output.push(1),
            (false, true) => (*extents.next()? == 1).then_some(())?,
            (_, false) => output.push(*extents.next()?),
        }
    }
    Some(output)
}

/// The numbers of a result of whole numbers, where they are known.
fn arithmetic(op: &str, inputs: &[Option<&Tensor>]) -> Option<Vec<i64>> {
    let [Some(left), Some(right)] = inputs else {
        return None;
    };
    let (left, right) = (left.ints.as_ref()?, right.ints.as_ref()?);
    let longest = left.len().max(right.len());
    let at = |values: &[i64], place: usize| match values {
        [one] => Some(*one),
        many => many.get(place).copied(),
    };
    (0..longest)
        .map(|place| {
            let (a, b) = (at(left, place)?, at(right, place)?);
            match op {
                "Add" => a.checked_add(b),
                "Sub" => a.checked_sub(b),
                "Mul" => a.checked_mul(b),
                "Max" => Some(a.max(b)),
                "Min" => Some(a.min(b)),
                _ => None,
            }
        })
        .collect()
}

/// Largest stride or dilation of a convolution.
const MOST_STRIDE: i64 = 1 << 16;

/// A convolution along the last of three axes, or its transpose.
fn convolution(node: &Node<'_>, data: &[u64], weight: &[u64]) -> Option<Vec<u64>> {
    let (&[batch, channels, length], &[first, second, taps]) = (data, weight) else {
        return None;
    };
    let one = |name: &str| match node.attributes.get(name) {
        None => Some(1),
        Some(Attribute::Ints(values)) => match values[..] {
            [value] if (1..=MOST_STRIDE).contains(&value) => Some(i128::from(value)),
            _ => None,
        },
        Some(_) => None,
    };
    let pads = match node.attributes.get("pads") {
        None => 0,
        Some(Attribute::Ints(pads)) => match pads[..] {
            [front, back] if front >= 0 && back >= 0 => i128::from(front) + i128::from(back),
            _ => return None,
        },
        Some(_) => return None,
    };
    let known = ["strides", "dilations", "pads", "group"];
    if node.attributes.keys().any(|name| !known.contains(name)) {
        return None;
    }
    let group = u64::try_from(int(node, "group", 1)?)
        .ok()
        .filter(|&g| g > 0)?;
    let (stride, dilation) = (one("strides")?, one("dilations")?);
    let reach = dilation * (i128::from(taps) - 1);
    let length = i128::from(length);
    let (outputs, samples) = if node.op == "Conv" {
        let fits = second.checked_mul(group) == Some(channels) && first % group == 0;
        fits.then_some(())?;
        (first, (length + pads - reach - 1).div_euclid(stride) + 1)
    } else {
        let fits = first == channels && channels % group == 0;
        fits.then_some(())?;
        let outputs = second.checked_mul(group)?;
        (outputs, (length - 1) * stride + reach + 1 - pads)
    };
    let samples = u64::try_from(samples).ok()?;
    Some(vec![batch, outputs, samples])
}

fn transpose(node: &Node<'_>, shape: &[u64]) -> Option<Vec<u64>> {
    let order: Vec<i64> = match node.attributes.get("perm") {
        None => (0..shape.len() as i64).rev().collect(),
        Some(Attribute::Ints(order)) => order.clone(),
        Some(_) => return None,
    };
    let mut seen = vec![false; shape.len()];
    let turned: Option<Vec<u64>> = order
        .iter()
        .map(|&place| {
            let place = axis(place, shape.len())?;
            (!std::mem::replace(&mut seen[place], true)).then(|| shape[place])
        })
        .collect();
    turned.filter(|turned| turned.len() == shape.len())
}

fn reduce(node: &Node<'_>, shape: &[u64], axes: Option<&[i64]>) -> Option<Vec<u64>> {
    let all: Vec<i64> = (0..shape.len() as i64).collect();
    let axes = axes.unwrap_or(&all);
    let mut chosen = vec![false; shape.len()];
    for &place in axes {
        chosen[axis(place, shape.len())?] = true;
    }
    let keep = int(node, "keepdims", 1)? != 0;
    let kept = shape.iter().zip(chosen);
    Some(
        kept.filter_map(|(&extent, chosen)| match (chosen, keep) {
            (false, _) => Some(extent),
            (true, true) => Some(1),
            (true, false) => None,
        })
        .collect(),
    )
}
