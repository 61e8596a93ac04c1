//! Indexes that are not read, by name.

use super::super::error::ReadError;
use super::super::source::Source;

/// Marks of faiss's files and what they stand for.
const KINDS: [(&[u8], &str); 31] = [
    (b"IwFl", "IVF of flat vectors"),
    (b"IvFl", "IVF of flat vectors (old)"),
    (b"IvFL", "IVF of flat vectors (old)"),
    (b"IxF2", "flat vectors (L2)"),
    (b"IxFI", "flat vectors (inner product)"),
    (b"IxFl", "flat vectors"),
    (b"IwFd", "IVF of flat vectors without duplicates"),
    (b"IwPQ", "IVF with product quantisation"),
    (b"IvPQ", "IVF with product quantisation (old)"),
    (b"IwQR", "IVF with refined product quantisation"),
    (b"IvQR", "IVF with refined product quantisation (old)"),
    (b"IwPf", "IVF with fast product quantisation"),
    (b"IwSQ", "IVF with scalar quantisation"),
    (b"IwSq", "IVF with scalar quantisation"),
    (b"IvSQ", "IVF with scalar quantisation (old)"),
    (b"IwSh", "IVF with spectral hashing"),
    (b"IxPQ", "product quantisation"),
    (b"IxPo", "product quantisation"),
    (b"IxPq", "product quantisation"),
    (b"IPfs", "fast product quantisation"),
    (b"IxSQ", "scalar quantisation"),
    (b"IxHE", "locality sensitive hashing"),
    (b"IxHe", "locality sensitive hashing"),
    (b"IHNf", "a graph (HNSW) over flat vectors"),
    (b"IHNp", "a graph (HNSW) over product quantisation"),
    (b"IHNs", "a graph (HNSW) over scalar quantisation"),
    (b"IxPT", "an index of transformed vectors"),
    (b"IxRF", "a refined index"),
    (b"IxMp", "an index with numbers of its own"),
    (b"IxM2", "an index with numbers of its own"),
    (b"ImiQ", "a multi-index"),
];

/// Whether a file that begins so is an index, of a kind that is read or not.
pub(super) fn is_known(head: &[u8]) -> bool {
    KINDS.iter().any(|(mark, _)| *mark == head)
}

/// The refusal of an index, or a part of one, that is of another kind.
pub(super) fn refuse(source: &Source, part: &str, kind: &[u8; 4]) -> ReadError {
    let mark: String = kind
        .iter()
        .flat_map(|byte| std::ascii::escape_default(*byte))
        .map(char::from)
        .collect();
    let name = match kind {
        b"ilod" => "lists kept in another file (on disk)",
        b"il00" => "lists that were left out",
        _ => KINDS
            .iter()
            .find(|(known, _)| *known == kind)
            .map_or("of an unknown kind", |(_, name)| name),
    };
    ReadError::Unsupported {
        path: source.path().to_path_buf(),
        part: part.to_owned(),
        found: format!("{name} (\"{mark}\")"),
        supported: "flat and IVF-flat indexes of faiss",
        remedy: "Build the index again as \"IVF…,Flat\", as RVC and so-vits-svc do, or use the vectors themselves \
                 (total_fea.npy)",
    }
}
