//! Vectors for retrieval: so-vits-svc's `feature_and_index.pkl`, RVC's `*.index` and `*.npy`.
//!
//! Source: so-vits-svc 4.1, `train_index.py` (a pickle from each speaker's number to a faiss index, whose Python class
//! pickles as `{"this": serialized bytes}`); RVC, `added_IVF*_Flat_*.index`, `total_fea.npy`, `big_src_feature_*.npy`.

use std::path::Path;
use std::sync::Arc;

use super::error::ReadError;
use super::faiss;
use super::matrix::Matrix;
use super::npy;
use super::pickle::Value;
use super::source::{Source, Stored, describe};
use super::speaker::Speaker;
use super::tensor::LazyTensor;
use super::torch_file::TorchFile;

/// A file of vectors; each speaker's are read when asked for, since they may be hundreds of megabytes.
pub struct Retrieval {
    source: Arc<Source>,
    tables: Vec<(Speaker, Table)>,
}

enum Table {
    Index(Stored),
    Array(LazyTensor),
}

impl Retrieval {
    /// Opens a file of any of the kinds above.
    ///
    /// # Errors
    /// [`ReadError::NotRecognised`] for other files, [`ReadError::Missing`] for one without vectors,
    /// [`ReadError::Program`] where it asks for a program to be run.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Self::read(&Source::open(path)?)
    }

    /// As [`Retrieval::open`], from bytes already found.
    ///
    /// # Errors
    /// As [`Retrieval::open`].
    pub fn read(source: &Arc<Source>) -> Result<Self, ReadError> {
        let head = source.head(512)?;
        let tables = if npy::is_npy(&head) {
            vec![(Speaker::Only, Table::Array(npy::read(source)?))]
        } else if faiss::is_index(&head) {
            vec![(Speaker::Only, Table::Index(Stored::Raw(source.whole())))]
        } else if matches!(head.as_slice(), [0x80, 2..=5, ..] | [b'P', b'K', 3, 4, ..]) {
            pickled(source)?
        } else {
            return Err(ReadError::NotRecognised {
                path: source.path().to_path_buf(),
                expected: "a file of vectors (feature_and_index.pkl, *.index, *.npy)",
                found: describe(&head).to_owned(),
                remedy: "Choose the file that the index training wrote, downloaded whole",
            });
        };
        Ok(Self {
            source: Arc::clone(source),
            tables,
        })
    }

    /// Who has vectors, in the file's order.
    pub fn speakers(&self) -> impl ExactSizeIterator<Item = &Speaker> {
        self.tables.iter().map(|(speaker, _)| speaker)
    }

    /// The vectors of a speaker, shape `[vectors, channels]`, in the order of their numbers; `None` for one without.
    ///
    /// # Errors
    /// [`ReadError::Unsupported`] for indexes that do not keep the vectors as they are, [`ReadError::Missing`] for one
    /// that is trained but empty, [`ReadError::Damaged`] where it contradicts itself.
    pub fn vectors(&self, speaker: &Speaker) -> Result<Option<Matrix>, ReadError> {
        let Some((_, table)) = self.tables.iter().find(|(name, _)| name == speaker) else {
            return Ok(None);
        };
        match table {
            Table::Array(array) => array.to_matrix(&format!("the vectors of {speaker}")),
            Table::Index(Stored::Raw(span)) => faiss::read_span(&self.source, *span),
            Table::Index(stored) => {
                let bytes = stored.read(&self.source, "the index")?;
                let source = Source::from_bytes(self.source.path(), bytes);
                faiss::read_span(&source, source.whole())
            }
        }
        .map(Some)
    }
}

/// Whether a file that begins so is an array or an index by itself, not in a pickle.
#[must_use]
pub fn is_plain(head: &[u8]) -> bool {
    npy::is_npy(head) || faiss::is_index(head)
}

fn pickled(source: &Arc<Source>) -> Result<Vec<(Speaker, Table)>, ReadError> {
    let file = TorchFile::read_any(source)?;
    let root = file.root();
    let mut tables = Vec::new();
    if let Some(table) = table(&file, root, &Speaker::Only)? {
        tables.push((Speaker::Only, table));
    } else {
        for (speaker, value) in Speaker::entries(source, root)? {
            if let Some(table) = table(&file, value, &speaker)? {
                tables.push((speaker, table));
            }
        }
    }
    if tables.is_empty() {
        return Err(ReadError::Missing {
            path: source.path().to_path_buf(),
            part: "an index or array of a speaker".to_owned(),
            found: root.describe(),
            remedy: "Choose the feature_and_index.pkl that train_index.py of so-vits-svc wrote",
        });
    }
    Ok(tables)
}

fn table(
    file: &TorchFile,
    value: Value<'_>,
    speaker: &Speaker,
) -> Result<Option<Table>, ReadError> {
    if let Some(object) = value.as_object()
        && object.name.starts_with("faiss.")
    {
        let bytes = object.state.and_then(|state| state.get("this"));
        let stored = bytes.and_then(Value::as_bytes).ok_or_else(|| {
            let part = format!("the index of {speaker}");
            file.source()
                .damaged(part, "the bytes of a faiss index", "an object without them")
        })?;
        return Ok(Some(Table::Index(stored)));
    }
    let array = file.tensor_or_array(value, &format!("the vectors of {speaker}"))?;
    Ok(array.map(Table::Array))
}
