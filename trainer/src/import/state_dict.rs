//! The weights of a voice, by name.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::ReadError;
use super::pickle::Value;
use super::safetensors_file::{SafetensorsFile, is_safetensors};
use super::source::Source;
use super::tensor::LazyTensor;
use super::torch_file::TorchFile;

/// Tensors by name, still in their file.
pub type StateDict = BTreeMap<String, LazyTensor>;

/// Keys under which so-vits-svc ("model") and RVC ("weight", while training "model") keep the weights of a voice.
const FOLDERS: [&str; 3] = ["model", "weight", "state_dict"];
/// How many times the length of the file all tensors together may be as `f32`: 4 for bytes, twice for shared storages.
const MAX_GROWTH: u64 = 8;

/// The weights in a `.pth`, `.pt` or `.safetensors` file. Optimizers are not read.
///
/// # Errors
/// As [`TorchFile::open`] and [`state_dict`].
pub fn read_state_dict(path: &Path) -> Result<StateDict, ReadError> {
    let source = Source::open(path)?;
    if is_safetensors(&source.head(16)?) {
        return SafetensorsFile::read(&source)?.state_dict();
    }
    state_dict(&TorchFile::read(&source)?)
}

/// The weights in a file of torch: a dictionary of tensors, by itself or under "model", "weight" or "`state_dict`".
///
/// Tensors that share elements are each given in full.
///
/// # Errors
/// [`ReadError::Missing`] where there is no such dictionary, [`ReadError::Damaged`] or [`ReadError::Unsupported`] for a
/// tensor that cannot be read.
pub fn state_dict(file: &TorchFile) -> Result<StateDict, ReadError> {
    let root = file.root();
    let folder = FOLDERS.iter().find_map(|name| root.get(name));
    let tensors = match folder.filter(|folder| folder.entries().is_some()) {
        Some(folder) => collect(file, folder)?,
        None => collect(file, root)?,
    };
    if tensors.is_empty() {
        return Err(ReadError::Missing {
            path: file.source().path().to_path_buf(),
            part: "a dictionary of tensors (by itself or under \"model\" or \"weight\")".to_owned(),
            found: root.describe(),
            remedy: "Choose the voice's own checkpoint: G_*.pth of so-vits-svc, the .pth in RVC's weights folder",
        });
    }
    check_growth(file.source(), tensors)
}

fn collect(file: &TorchFile, folder: Value<'_>) -> Result<StateDict, ReadError> {
    let mut tensors = StateDict::new();
    for (key, value) in folder.entries().unwrap_or_default() {
        let Some(name) = key.as_str() else { continue };
        let part = format!("the tensor \"{}\"", name.escape_debug());
        if let Some(tensor) = file.tensor(value, &part)? {
            tensors.insert(name.into_owned(), tensor);
        }
    }
    Ok(tensors)
}

/// Refuses a file that names the same elements so often that reading all tensors would fill the memory.
pub(super) fn check_growth(source: &Source, tensors: StateDict) -> Result<StateDict, ReadError> {
    let sizes = tensors
        .values()
        .map(|tensor| tensor.element_count() as u64 * 4);
    let total = sizes.fold(0, u64::saturating_add);
    let limit = source
        .length()
        .saturating_mul(MAX_GROWTH)
        .saturating_add(1 << 20);
    source.too_large("the size of all tensors in bytes", total, limit)?;
    Ok(tensors)
}
