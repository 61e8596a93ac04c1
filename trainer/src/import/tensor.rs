//! A tensor that is still in its file.

use std::fmt;
use std::sync::Arc;

use super::error::ReadError;
use super::matrix::Matrix;
use super::number::ElementType;
use super::source::{Source, Stored};

/// Dimensions a tensor may have (torch's own limit).
pub(super) const MAX_RANK: usize = 64;
/// Elements a tensor may have although its storage has fewer, as one that was expanded (stride 0) does.
const MAX_EXPANDED: usize = 65_536;
/// Bytes converted at a time.
const CHUNK_BYTES: usize = 1 << 18;

/// Element type, shape and strides of a tensor and where its elements lie; the elements are read when asked for.
///
/// Every element is known to lie inside its storage and the storage inside the file.
#[derive(Clone)]
pub struct LazyTensor {
    source: Arc<Source>,
    storage: Stored,
    element_type: ElementType,
    shape: Vec<usize>,
    /// In elements.
    strides: Vec<usize>,
    /// The first element.
    offset: usize,
    count: usize,
    /// One past the last element that is used, from the first.
    extent: usize,
}

impl fmt::Debug for LazyTensor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}{:?}", self.element_type, self.shape)
    }
}

/// How a tensor lies in its storage, as a file states it.
pub(super) struct Layout {
    pub shape: Vec<u64>,
    /// In elements; row after row where `None`.
    pub strides: Option<Vec<u64>>,
    pub offset: u64,
}

impl LazyTensor {
    /// Checks a layout against the storage; `part` is the tensor's name in errors.
    pub(super) fn new(
        source: &Arc<Source>,
        storage: Stored,
        element_type: ElementType,
        layout: Layout,
        part: &str,
    ) -> Result<Self, ReadError> {
        let available = storage.at_most() / element_type.bytes() as u64;
        let refuse = |found: String| {
            source.damaged(
                part,
                format!("a tensor inside its storage of {available} elements"),
                found,
            )
        };
        source.too_large(
            format!("the number of dimensions of {part}"),
            layout.shape.len() as u64,
            MAX_RANK as u64,
        )?;
        let measured = measure(&layout).filter(|(_, count, extent)| {
            (*count == 0
                || layout
                    .offset
                    .checked_add(*extent)
                    .is_some_and(|end| end <= available))
                && *count <= available.max(MAX_EXPANDED as u64)
        });
        let (strides, count, extent) = measured.ok_or_else(|| {
            refuse(format!(
                "shape {:?}, strides {:?}, offset {}",
                layout.shape, layout.strides, layout.offset
            ))
        })?;
        let small =
            |value: u64| usize::try_from(value).map_err(|_| refuse(format!("{value} elements")));
        Ok(Self {
            source: Arc::clone(source),
            storage,
            element_type,
            shape: layout
                .shape
                .into_iter()
                .map(small)
                .collect::<Result<_, _>>()?,
            strides: strides.into_iter().map(small).collect::<Result<_, _>>()?,
            offset: if count == 0 { 0 } else { small(layout.offset)? },
            count: small(count)?,
            extent: small(extent)?,
        })
    }

    /// The file it lies in.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Type of the elements in the file.
    pub fn element_type(&self) -> ElementType {
        self.element_type
    }

    /// Size of every dimension; empty for a single value.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many elements.
    pub fn element_count(&self) -> usize {
        self.count
    }

    fn is_row_after_row(&self) -> bool {
        let mut expected = 1;
        for (&size, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if size != 1 && stride != expected {
                return false;
            }
            expected *= size;
        }
        true
    }

    /// The same table with rows and columns exchanged; `None` where it has another number of dimensions than two.
    pub(super) fn transposed(&self) -> Option<Self> {
        let mut turned = self.clone();
        if turned.shape.len() != 2 {
            return None;
        }
        turned.shape.reverse();
        turned.strides.reverse();
        Some(turned)
    }

    /// The same elements, row after row, in another shape; `None` where they do not fill it or do not lie so.
    pub(super) fn reshaped(&self, shape: &[usize]) -> Option<Self> {
        let count = shape
            .iter()
            .try_fold(1usize, |n, &size| n.checked_mul(size))?;
        if count != self.count || count == 0 || !self.is_row_after_row() {
            return None;
        }
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        Some(Self {
            shape: shape.to_vec(),
            strides,
            ..self.clone()
        })
    }

    /// The elements in order of their indices (the last runs fastest), whatever their order in the file.
    ///
    /// Reads this tensor's part of the file and nothing else.
    ///
    /// # Errors
    /// [`ReadError::Io`] where the file cannot be read (any more), [`ReadError::Damaged`] where text that stands for
    /// bytes is not such text.
    pub fn to_f32(&self) -> Result<Vec<f32>, ReadError> {
        const PART: &str = "a tensor";
        if self.count == 0 {
            return Ok(Vec::new());
        }
        let width = self.element_type.bytes();
        let (start, length) = (self.offset * width, self.extent * width);
        if let (Stored::Raw(span), true) = (&self.storage, self.is_row_after_row()) {
            let mut values = Vec::with_capacity(self.count);
            let mut chunk = vec![0; CHUNK_BYTES.min(length)];
            let mut done = 0;
            while done < length {
                let bytes = chunk.len().min(length - done);
                let chunk = &mut chunk[..bytes];
                self.source
                    .read_exact_at(span.start + (start + done) as u64, chunk, PART)?;
                self.element_type.append(chunk, &mut values);
                done += bytes;
            }
            return Ok(values);
        }
        let bytes = if let Stored::Raw(span) = self.storage {
            let used = self
                .source
                .span(span.start + start as u64, length as u64, PART)?;
            self.source.read(used, PART)?
        } else {
            let mut bytes = self.storage.read(&self.source, PART)?;
            if bytes.len() < start + length {
                return Err(self.source.damaged(
                    "an array",
                    format!("{} bytes", start + length),
                    format!("{}", bytes.len()),
                ));
            }
            bytes.drain(..start);
            bytes
        };
        let mut stored = Vec::with_capacity(self.extent);
        self.element_type.append(&bytes[..length], &mut stored);
        drop(bytes);
        if self.is_row_after_row() {
            return Ok(stored);
        }
        Ok(self.gather(&stored))
    }

    /// Puts elements that lie by strides in order.
    fn gather(&self, stored: &[f32]) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.count);
        let mut index = vec![0; self.shape.len()];
        let mut position = 0;
        for _ in 0..self.count {
            values.push(stored[position]);
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                position += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                position -= self.strides[axis] * self.shape[axis];
                index[axis] = 0;
            }
        }
        values
    }

    /// The elements as a table; `part` is its name in errors.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] where it has another number of dimensions than two or no elements; else as
    /// [`LazyTensor::to_f32`].
    pub fn to_matrix(&self, part: &str) -> Result<Matrix, ReadError> {
        let refuse = || {
            self.source.damaged(
                part,
                "a table of two dimensions",
                format!("the shape {:?}", self.shape),
            )
        };
        let &[rows, columns] = self.shape.as_slice() else {
            return Err(refuse());
        };
        if self.count == 0 {
            return Err(refuse());
        }
        Matrix::new(rows, columns, self.to_f32()?).ok_or_else(refuse)
    }
}

/// Strides, number of elements and extent of a layout; `None` where a number does not fit.
fn measure(layout: &Layout) -> Option<(Vec<u64>, u64, u64)> {
    let mut strides = vec![1; layout.shape.len()];
    let mut count: u64 = 1;
    for (axis, &size) in layout.shape.iter().enumerate().rev() {
        strides[axis] = count;
        count = count.checked_mul(size.max(1))?;
    }
    if layout.shape.contains(&0) {
        count = 0;
    }
    if let Some(given) = &layout.strides {
        if given.len() != layout.shape.len() {
            return None;
        }
        strides.clone_from(given);
    }
    if count == 0 {
        return Some((strides, 0, 0));
    }
    let mut extent: u64 = 1;
    for (&size, &stride) in layout.shape.iter().zip(&strides) {
        extent = extent.checked_add((size - 1).checked_mul(stride)?)?;
    }
    // The wrap of an index adds a whole axis before it is taken back.
    let mut reach = extent;
    for (&size, &stride) in layout.shape.iter().zip(&strides) {
        reach = reach.checked_add(size.checked_mul(stride)?)?;
    }
    usize::try_from(reach).ok()?;
    Some((strides, count, extent))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use std::path::Path;

    fn tensor(shape: &[u64], strides: &[u64], offset: u64) -> Result<LazyTensor, ReadError> {
        let bytes = (0..12u8).collect();
        let source = Source::from_bytes(Path::new("t"), bytes);
        let layout = Layout {
            shape: shape.to_vec(),
            strides: Some(strides.to_vec()),
            offset,
        };
        let storage = Stored::Raw(source.whole());
        LazyTensor::new(&source, storage, ElementType::U8, layout, "t")
    }

    #[test]
    fn strides_put_elements_in_order() {
        let values = |shape: &[u64], strides: &[u64], offset| {
            tensor(shape, strides, offset).unwrap().to_f32().unwrap()
        };
        assert_eq!(values(&[2, 3], &[3, 1], 1), [1., 2., 3., 4., 5., 6.]);
        assert_eq!(values(&[2, 3], &[1, 2], 0), [0., 2., 4., 1., 3., 5.]);
        assert_eq!(values(&[2, 2], &[6, 2], 3), [3., 5., 9., 11.]);
        assert_eq!(values(&[3], &[0], 4), [4., 4., 4.]);
        assert_eq!(values(&[], &[], 5), [5.]);
        assert_eq!(values(&[1, 2, 1], &[99, 1, 77], 0), [0., 1.]);
        assert!(values(&[0, 5], &[5, 1], 0).is_empty());
    }

    #[test]
    fn tables_turn_and_take_other_shapes() {
        let table = tensor(&[2, 3], &[3, 1], 1).unwrap();
        let turned = table.transposed().unwrap();
        assert_eq!(turned.shape(), [3, 2]);
        assert_eq!(turned.to_f32().unwrap(), [1., 4., 2., 5., 3., 6.]);
        let long = table.reshaped(&[1, 6, 1]).unwrap();
        assert_eq!(long.to_f32().unwrap(), [1., 2., 3., 4., 5., 6.]);
        assert!(table.reshaped(&[5]).is_none() && turned.reshaped(&[6]).is_none());
        assert!(long.transposed().is_none());
    }

    #[test]
    fn a_tensor_beyond_its_storage_is_refused() {
        for (shape, strides, offset) in [
            (&[13u64][..], &[1u64][..], 0),
            (&[2], &[12], 0),
            (&[1], &[1], 12),
            (&[u64::MAX, 2], &[1, 1], 0),
            (&[1 << 33, 1 << 33], &[0, 0], 0),
            (&[1 << 40], &[0], 0),
            (&[2], &[u64::MAX], 1),
            (&[1], &[1], u64::MAX),
            (&[2, 2], &[1], 0),
        ] {
            assert!(tensor(shape, strides, offset).is_err(), "{shape:?}");
        }
    }
}
