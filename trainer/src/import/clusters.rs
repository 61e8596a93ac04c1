//! Cluster centres of so-vits-svc (`kmeans_*.pt`).
//!
//! Source: so-vits-svc 4.0 and 4.1, `cluster/train_cluster.py`: a dictionary from each speaker's name to one with
//! `cluster_centers_` (a NumPy array, `[centres, channels]`), `n_features_in_` and `_n_threads`. A single such
//! dictionary, k-means objects of scikit-learn and tensors in place of arrays are read too.

use std::path::Path;
use std::sync::Arc;

use super::error::ReadError;
use super::matrix::Matrix;
use super::pickle::Value;
use super::source::Source;
use super::speaker::Speaker;
use super::tensor::LazyTensor;
use super::torch_file::TorchFile;

const CENTERS: &str = "cluster_centers_";
const CHANNELS: &str = "n_features_in_";
/// How many times the length of the file all centres may be as `f32`.
const MAX_GROWTH: u64 = 4;

/// The centres of one speaker.
#[derive(Debug, Clone, PartialEq)]
pub struct Clusters {
    /// Whose.
    pub speaker: Speaker,
    /// Shape `[centres, channels]`; channels are those of the content encoder (256 or 768).
    pub centers: Matrix,
}

/// The centres of every speaker in a file, in the file's order.
///
/// # Errors
/// [`ReadError::Missing`] where no speaker has centres; [`ReadError::Damaged`] where they are no table or have another
/// number of channels than the file says; else as [`TorchFile::open`].
pub fn read_clusters(path: &Path) -> Result<Vec<Clusters>, ReadError> {
    read(&Source::open(path)?)
}

/// As [`read_clusters`], from bytes already found.
///
/// # Errors
/// As [`read_clusters`].
pub fn read(source: &Arc<Source>) -> Result<Vec<Clusters>, ReadError> {
    let file = TorchFile::read_any(source)?;
    let root = file.root();
    let mut found: Vec<(Speaker, LazyTensor)> = Vec::new();
    if let Some(centers) = centers(&file, root, &Speaker::Only)? {
        found.push((Speaker::Only, centers));
    } else {
        for (speaker, value) in Speaker::entries(source, root)? {
            if let Some(centers) = centers(&file, value, &speaker)? {
                found.push((speaker, centers));
            }
        }
    }
    if found.is_empty() {
        return Err(ReadError::Missing {
            path: source.path().to_path_buf(),
            part: "a speaker's \"cluster_centers_\"".to_owned(),
            found: root.describe(),
            remedy: "Choose the kmeans_*.pt that the cluster training of so-vits-svc wrote",
        });
    }
    let sizes = found
        .iter()
        .map(|(_, centers)| centers.element_count() as u64 * 4);
    let limit = source
        .length()
        .saturating_mul(MAX_GROWTH)
        .saturating_add(1 << 16);
    source.too_large(
        "the size of all centres in bytes",
        sizes.fold(0, u64::saturating_add),
        limit,
    )?;
    let read = |(speaker, centers): (Speaker, LazyTensor)| {
        let centers = centers.to_matrix(&part(&speaker))?;
        Ok(Clusters { speaker, centers })
    };
    found.into_iter().map(read).collect()
}

fn part(speaker: &Speaker) -> String {
    format!("the cluster centres of {speaker}")
}

fn centers(
    file: &TorchFile,
    value: Value<'_>,
    speaker: &Speaker,
) -> Result<Option<LazyTensor>, ReadError> {
    let Some(centers) = value.get(CENTERS) else {
        return Ok(None);
    };
    let part = part(speaker);
    let refuse = |found: String| file.source().damaged(&part, "a table of numbers", found);
    let tensor =
        (file.tensor_or_array(centers, &part)?).ok_or_else(|| refuse(centers.kind().to_owned()))?;
    let channels = tensor
        .shape()
        .last()
        .and_then(|size| i64::try_from(*size).ok());
    // Trained on a GPU, early versions wrote the number of frames here; more than any encoder has.
    if let Some(said) = value.get(CHANNELS).and_then(Value::as_int)
        && said <= 4096
        && channels != Some(said)
    {
        return Err(refuse(format!(
            "the shape {:?} for {said} channels",
            tensor.shape()
        )));
    }
    Ok(Some(tensor))
}
