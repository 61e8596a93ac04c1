//! Vectors in indexes of faiss that keep them as they are: flat, and lists of flat vectors (IVF).
//!
//! Source: faiss 1.5 to 1.15, `faiss/impl/index_write.cpp` and `index_read.cpp`. Only the vectors and their numbers
//! are wanted: centroids, direct maps and probes are stepped over.

use std::path::Path;
use std::sync::Arc;

use super::error::ReadError;
use super::matrix::Matrix;
use super::number::ElementType;
use super::source::{Cursor, Source, Span};

mod kinds;
mod lists;

use lists::List;

/// Channels of a vector; encoders have 256 to 1280.
const MAX_CHANNELS: u64 = 65_536;
const PART: &str = "the index";
/// Bytes of vectors read at a time.
const CHUNK_BYTES: u64 = 1 << 18;

/// The vectors of an index file, shape `[vectors, channels]`, in the order of their numbers; numbers without a vector
/// are left out.
///
/// # Errors
/// [`ReadError::Unsupported`] for indexes that compress vectors or keep them elsewhere, [`ReadError::Missing`] for one
/// without vectors, [`ReadError::Damaged`] where it contradicts itself.
pub fn open(path: &Path) -> Result<Matrix, ReadError> {
    let source = Source::open(path)?;
    read_span(&source, source.whole())
}

/// As [`open`], from a part of a file.
///
/// # Errors
/// As [`open`].
pub fn read_span(source: &Arc<Source>, span: Span) -> Result<Matrix, ReadError> {
    let mut cursor = Cursor::new(source, span, PART)?;
    let kind = cursor.array::<4>(PART)?;
    match &kind {
        b"IxF2" | b"IxFI" | b"IxFl" => {
            let header = header(&mut cursor)?;
            let vectors = flat(&mut cursor, &header)?;
            // Numbered as they lie.
            let list = List {
                vectors,
                ids: None,
                count: header.count,
            };
            collect(source, &header, &[list])
        }
        b"IwFl" | b"IvFl" | b"IvFL" => {
            let (header, lists) = lists::read(&mut cursor, &kind)?;
            collect(source, &header, &lists)
        }
        _ => Err(kinds::refuse(source, PART, &kind)),
    }
}

/// Whether a file that begins so is an index.
pub(super) fn is_index(head: &[u8]) -> bool {
    head.len() >= 4 && kinds::is_known(&head[..4])
}

/// What every index begins with.
struct Header {
    channels: u64,
    /// Vectors.
    count: u64,
}

impl Header {
    /// Bytes of a vector.
    fn vector_bytes(&self) -> u64 {
        self.channels * 4
    }
}

fn header(cursor: &mut Cursor) -> Result<Header, ReadError> {
    let channels = cursor.i32(PART)?;
    let count = cursor.i64(PART)?;
    cursor.skip(16, PART)?;
    let _is_trained = cursor.u8(PART)?;
    let metric = cursor.i32(PART)?;
    // 0 and 1 are the inner product and L2; others have a parameter.
    if metric > 1 {
        cursor.skip(4, PART)?;
    }
    let channels = u64::try_from(channels).ok();
    let channels = channels.filter(|channels| (1..=MAX_CHANNELS).contains(channels));
    match (channels, u64::try_from(count)) {
        (Some(channels), Ok(count)) => Ok(Header { channels, count }),
        _ => Err(cursor.source().damaged(
            PART,
            "one of vectors with 1 to 65536 channels",
            format!("{count} vectors"),
        )),
    }
}

/// Steps over the vectors of a flat index.
fn flat(cursor: &mut Cursor, header: &Header) -> Result<Span, ReadError> {
    let values = cursor.u64(PART)?;
    if header.count.checked_mul(header.channels) != Some(values) {
        return Err(cursor.source().damaged(
            "a flat index",
            format!("{} vectors of {} values", header.count, header.channels),
            format!("{values} values"),
        ));
    }
    let bytes = values.saturating_mul(4);
    cursor.skip(bytes, "the vectors")
}

/// Puts the vectors of all lists in the order of their numbers.
fn collect(source: &Source, header: &Header, lists: &[List]) -> Result<Matrix, ReadError> {
    if header.count == 0 {
        return Err(ReadError::Missing {
            path: source.path().to_path_buf(),
            part: "a vector".to_owned(),
            found: "an index that is trained but empty".to_owned(),
            remedy: "Choose the index with the vectors in it (RVC names it added_*.index, not trained_*.index)",
        });
    }
    let total = lists
        .iter()
        .try_fold(0u64, |total, list| total.checked_add(list.count));
    if total != Some(header.count) {
        return Err(source.damaged(
            "the lists",
            format!("{} vectors", header.count),
            format!("{total:?}"),
        ));
    }
    // Every vector was found to lie in the file, so the sizes fit.
    let (rows, columns) = (header.count as usize, header.channels as usize);
    let places = places(source, lists, rows)?;
    let mut values = vec![0.0; rows * columns];
    let mut row = 0;
    let step = (CHUNK_BYTES / header.vector_bytes()).max(1);
    let mut decoded = Vec::new();
    for list in lists {
        let mut done = 0;
        while done < list.count {
            let count = step.min(list.count - done);
            let span = Span {
                start: list.vectors.start + done * header.vector_bytes(),
                length: count * header.vector_bytes(),
            };
            decoded.clear();
            ElementType::F32.append(&source.read(span, "the vectors")?, &mut decoded);
            for vector in decoded.chunks_exact(columns) {
                let place = places.as_ref().map_or(row, |places| places[row]);
                values[place * columns..(place + 1) * columns].copy_from_slice(vector);
                row += 1;
            }
            done += count;
        }
    }
    Matrix::new(rows, columns, values)
        .ok_or_else(|| source.damaged("the lists", "a whole table", "another"))
}

/// The row that each vector belongs to, in the file's order; `None` where they are in order already.
fn places(source: &Source, lists: &[List], rows: usize) -> Result<Option<Vec<usize>>, ReadError> {
    let mut ids = Vec::with_capacity(rows);
    for list in lists {
        let Some(span) = list.ids else {
            return Ok(None);
        };
        let bytes = source.read(span, "the numbers of the vectors")?;
        ids.extend(
            bytes
                .as_chunks::<8>()
                .0
                .iter()
                .map(|id| i64::from_le_bytes(*id)),
        );
    }
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|&row| ids[row]);
    let mut places = vec![0; ids.len()];
    for (place, row) in order.into_iter().enumerate() {
        places[row] = place;
    }
    Ok(Some(places))
}
