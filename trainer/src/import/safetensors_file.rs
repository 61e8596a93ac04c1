//! `.safetensors` files.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::error::ReadError;
use super::number::{ElementType, SUPPORTED};
use super::source::{Source, Stored, describe};
use super::state_dict::{StateDict, check_growth};
use super::tensor::{Layout, LazyTensor};

/// Bytes of the header; those of voices have some 100 kB.
const MAX_HEADER_BYTES: u64 = 16 << 20;
/// Bytes of the header's length, before it.
const LENGTH_BYTES: u64 = 8;

/// A `.safetensors` file: its header is read, its tensors are not.
pub struct SafetensorsFile {
    source: Arc<Source>,
    header: Metadata,
    /// First byte after the header.
    data: u64,
}

/// Whether a file that begins so is one: a length, then JSON.
pub(super) fn is_safetensors(head: &[u8]) -> bool {
    head.get(8) == Some(&b'{') && head.get(4..8) == Some(&[0; 4])
}

impl SafetensorsFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`ReadError`] where it is none or its header cannot be understood.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Self::read(&Source::open(path)?)
    }

    /// As [`SafetensorsFile::open`], from bytes already found.
    ///
    /// # Errors
    /// As [`SafetensorsFile::open`].
    pub fn read(source: &Arc<Source>) -> Result<Self, ReadError> {
        let head = source.head(512)?;
        if !is_safetensors(&head) {
            return Err(ReadError::NotRecognised {
                path: source.path().to_path_buf(),
                expected: "a .safetensors file",
                found: describe(&head).to_owned(),
                remedy: "Choose the voice's own file, downloaded whole",
            });
        }
        let mut length = [0; LENGTH_BYTES as usize];
        source.read_exact_at(0, &mut length, "the header's length")?;
        let length = u64::from_le_bytes(length);
        source.too_large("the header's length", length, MAX_HEADER_BYTES)?;
        let span = source.span(LENGTH_BYTES, length, "the header")?;
        let json = source.read(span, "the header")?;
        let header = serde_json::from_slice(&json).map_err(|error| {
            source.damaged("the header", "a list of tensors", error.to_string())
        })?;
        Ok(Self {
            source: Arc::clone(source),
            header,
            data: span.end(),
        })
    }

    /// What the file says of itself, by key.
    pub fn notes(&self) -> HashMap<String, String> {
        self.header.metadata().clone().unwrap_or_default()
    }

    /// The tensors by name.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] where a tensor does not lie inside the file, [`ReadError::Unsupported`] for types of
    /// elements that are not understood.
    pub fn state_dict(&self) -> Result<StateDict, ReadError> {
        let mut tensors = StateDict::new();
        for (name, info) in self.header.tensors() {
            let tensor = self.tensor(&name, info)?;
            tensors.insert(name, tensor);
        }
        check_growth(&self.source, tensors)
    }

    fn tensor(&self, name: &str, info: &TensorInfo) -> Result<LazyTensor, ReadError> {
        let source = &self.source;
        let part = format!("the tensor \"{}\"", name.escape_debug());
        let element_type = element_type(info.dtype).ok_or_else(|| ReadError::Unsupported {
            path: source.path().to_path_buf(),
            part: format!("the element type of {part}"),
            found: format!("{:?}", info.dtype),
            supported: SUPPORTED,
            remedy: "Convert the file to float16 or float32",
        })?;
        let (start, end) = info.data_offsets;
        let range = (self.data.checked_add(start as u64)).zip(end.checked_sub(start));
        let (start, length) = range.ok_or_else(|| {
            source.damaged(
                &part,
                "bytes inside the file",
                format!("bytes {start} to {end}"),
            )
        })?;
        let span = source.span(start, length as u64, &part)?;
        let layout = Layout {
            shape: info.shape.iter().map(|&size| size as u64).collect(),
            strides: None,
            offset: 0,
        };
        let tensor = LazyTensor::new(source, Stored::Raw(span), element_type, layout, &part)?;
        if tensor.element_count().checked_mul(element_type.bytes()) != Some(length) {
            let found = format!("{length} bytes for the shape {:?}", info.shape);
            return Err(source.damaged(&part, "as long as its shape says", found));
        }
        Ok(tensor)
    }
}

fn element_type(dtype: Dtype) -> Option<ElementType> {
    Some(match dtype {
        Dtype::F16 => ElementType::F16,
        Dtype::BF16 => ElementType::BF16,
        Dtype::F32 => ElementType::F32,
        Dtype::F64 => ElementType::F64,
        Dtype::I8 => ElementType::I8,
        Dtype::I16 => ElementType::I16,
        Dtype::I32 => ElementType::I32,
        Dtype::I64 => ElementType::I64,
        Dtype::U8 => ElementType::U8,
        Dtype::BOOL => ElementType::Bool,
        _ => return None,
    })
}
