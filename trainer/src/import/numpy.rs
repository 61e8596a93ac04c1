//! NumPy arrays inside a pickle.
//!
//! Source: what `numpy.ndarray.__reduce__` and `__reduce_ex__(5)` write (NumPy 1 and 2).

use std::sync::Arc;

use super::error::ReadError;
use super::number::{ElementType, SUPPORTED};
use super::pickle::{Object, Value};
use super::source::Source;
use super::tensor::{Layout, LazyTensor, MAX_RANK};

/// The array that a value stands for, `None` where it is something else; `part` is its name in errors.
///
/// # Errors
/// [`ReadError::Unsupported`] for elements that are no numbers or of the other byte order, [`ReadError::Damaged`] where
/// the shape does not fit the bytes.
pub fn array(
    source: &Arc<Source>,
    value: Value<'_>,
    part: &str,
) -> Result<Option<LazyTensor>, ReadError> {
    let Some(object) = value.as_object() else {
        return Ok(None);
    };
    let broken = || source.damaged(part, "a NumPy array", "one without shape, type or contents");
    let (shape, element_type, column_major, contents) = match object.name.as_str() {
        "numpy.core.multiarray._reconstruct" => {
            // Version (left out by old ones), shape, type, column-major, bytes.
            let state = object.state.and_then(fields).ok_or_else(broken)?;
            let [.., shape, element_type, column_major, contents] = state.as_slice() else {
                return Err(broken());
            };
            let column_major = column_major.as_int().ok_or_else(broken)? != 0;
            (*shape, *element_type, column_major, *contents)
        }
        "numpy.core.numeric._frombuffer" => {
            let [contents, element_type, shape, order] = object.arguments.as_slice() else {
                return Err(broken());
            };
            let column_major = order.as_str().is_some_and(|order| order == "F");
            (*shape, *element_type, column_major, *contents)
        }
        _ => return Ok(None),
    };
    let element_type = dtype(source, element_type, part)?;
    let shape = sizes(shape).ok_or_else(broken)?;
    let contents = contents.as_bytes().ok_or_else(broken)?;
    let strides = column_major.then(|| column_strides(&shape));
    let layout = Layout {
        shape,
        strides,
        offset: 0,
    };
    LazyTensor::new(source, contents, element_type, layout, part).map(Some)
}

/// The state of an array or type, which has at most 9 fields.
fn fields(state: Value<'_>) -> Option<Vec<Value<'_>>> {
    state.few_elements(16)
}

/// The elements of a tuple of sizes.
pub(super) fn sizes(value: Value<'_>) -> Option<Vec<u64>> {
    let sizes = value.few_elements(MAX_RANK)?.into_iter();
    sizes
        .map(|size| u64::try_from(size.as_int()?).ok())
        .collect()
}

/// Strides of an array whose first index runs fastest; products that are too large are left to [`LazyTensor`].
pub(super) fn column_strides(shape: &[u64]) -> Vec<u64> {
    let mut stride: u64 = 1;
    let mut strides = Vec::with_capacity(shape.len());
    for &size in shape {
        strides.push(stride);
        stride = stride.saturating_mul(size.max(1));
    }
    strides
}

fn dtype(source: &Source, value: Value<'_>, part: &str) -> Result<ElementType, ReadError> {
    let refuse = |found: String| ReadError::Unsupported {
        path: source.path().to_path_buf(),
        part: format!("the element type of {part}"),
        found,
        supported: SUPPORTED,
        remedy: "Save the array again as little-endian float32",
    };
    let described = |object: Object<'_>| -> Option<(String, Option<String>)> {
        let name = object.arguments.first()?.as_str()?.into_owned();
        let state = object.state.and_then(fields);
        let order = state.and_then(|state| state.get(1)?.as_str().map(String::from));
        (object.name == "numpy.dtype").then_some((name, order))
    };
    let (name, order) = (value.as_object().and_then(described))
        .ok_or_else(|| refuse("described in an unknown way".to_owned()))?;
    if order.as_deref() == Some(">") || name.starts_with('>') {
        return Err(refuse(format!("big-endian \"{}\"", name.escape_debug())));
    }
    let plain = name.trim_start_matches(['<', '|', '=']);
    ElementType::of_numpy(plain).ok_or_else(|| refuse(format!("\"{}\"", name.escape_debug())))
}
