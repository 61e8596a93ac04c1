//! Inverted lists of flat vectors.

use super::super::error::ReadError;
use super::super::source::{Cursor, Span};
use super::{Header, PART, flat, header, kinds};

/// Vectors that lie one after the other.
pub(super) struct List {
    pub vectors: Span,
    /// Their numbers, 8 bytes each; `None` where they are 0, 1, 2, …
    pub ids: Option<Span>,
    pub count: u64,
}

/// Reads an IVF index up to its vectors.
pub(super) fn read(cursor: &mut Cursor, kind: &[u8; 4]) -> Result<(Header, Vec<List>), ReadError> {
    let header = header(cursor)?;
    let lists = cursor.u64(PART)?;
    let _probes = cursor.u64(PART)?;
    quantizer(cursor)?;
    if kind == b"IwFl" {
        direct_map(cursor)?;
        let lists = array_lists(cursor, &header, lists)?;
        Ok((header, lists))
    } else {
        let lists = old_lists(cursor, &header, lists, kind)?;
        Ok((header, lists))
    }
}

/// Steps over the centroids.
fn quantizer(cursor: &mut Cursor) -> Result<(), ReadError> {
    const CENTROIDS: &str = "the index's coarse quantizer";
    let kind = cursor.array::<4>(CENTROIDS)?;
    if !matches!(&kind, b"IxF2" | b"IxFI" | b"IxFl") {
        return Err(kinds::refuse(cursor.source(), CENTROIDS, &kind));
    }
    let header = header(cursor)?;
    flat(cursor, &header)?;
    Ok(())
}

/// Steps over the table from numbers to places.
fn direct_map(cursor: &mut Cursor) -> Result<(), ReadError> {
    const MAP: &str = "the direct map";
    let kind = cursor.u8(MAP)?;
    vector(cursor, 8, MAP)?;
    // A hash table keeps pairs.
    if kind == 2 {
        vector(cursor, 16, MAP)?;
    }
    Ok(())
}

/// Steps over a count and as many elements of `width` bytes.
fn vector(cursor: &mut Cursor, width: u64, part: &str) -> Result<Span, ReadError> {
    let count = cursor.u64(part)?;
    cursor.skip(count.saturating_mul(width), part)
}

/// Since 1.6: the sizes of all lists, then vectors and numbers of each that has any.
fn array_lists(cursor: &mut Cursor, header: &Header, lists: u64) -> Result<Vec<List>, ReadError> {
    const LISTS: &str = "the inverted lists";
    let kind = cursor.array::<4>(LISTS)?;
    if &kind != b"ilar" {
        return Err(kinds::refuse(cursor.source(), LISTS, &kind));
    }
    let (count, vector_bytes) = (cursor.u64(LISTS)?, cursor.u64(LISTS)?);
    if count != lists || vector_bytes != header.vector_bytes() {
        return Err(cursor.source().damaged(
            LISTS,
            format!("{lists} lists of {} bytes a vector", header.vector_bytes()),
            format!("{count} of {vector_bytes}"),
        ));
    }
    let sizes = sizes(cursor, lists)?;
    let mut lists = Vec::with_capacity(sizes.len());
    for count in sizes {
        let vectors = cursor.skip(count.saturating_mul(vector_bytes), LISTS)?;
        let ids = Some(cursor.skip(count.saturating_mul(8), LISTS)?);
        lists.push(List {
            vectors,
            ids,
            count,
        });
    }
    Ok(lists)
}

/// How many vectors each list has that has any, in order.
fn sizes(cursor: &mut Cursor, lists: u64) -> Result<Vec<u64>, ReadError> {
    const SIZES: &str = "the sizes of the inverted lists";
    let kind = cursor.array::<4>(SIZES)?;
    let numbers = cursor.u64(SIZES)?;
    let bytes = cursor.take(numbers.saturating_mul(8), SIZES)?;
    let numbers: Vec<u64> = bytes
        .as_chunks()
        .0
        .iter()
        .map(|n| u64::from_le_bytes(*n))
        .collect();
    let broken = |found: &str| {
        cursor
            .source()
            .damaged(SIZES, format!("{lists} sizes"), found)
    };
    match &kind {
        b"full" if numbers.len() as u64 == lists => {
            Ok(numbers.into_iter().filter(|size| *size > 0).collect())
        }
        b"sprs" => {
            // Pairs of list and size; faiss goes by the list's number.
            let (pairs, rest) = numbers.as_chunks::<2>();
            let mut pairs = pairs.to_vec();
            pairs.sort_by_key(|[list, _]| *list);
            let repeated = pairs.windows(2).any(|pair| pair[0][0] == pair[1][0]);
            let beyond = pairs.last().is_some_and(|[list, _]| *list >= lists);
            if repeated || beyond || !rest.is_empty() {
                return Err(broken("sizes of lists that there are not"));
            }
            Ok(pairs
                .iter()
                .map(|[_, size]| *size)
                .filter(|size| *size > 0)
                .collect())
        }
        b"full" => Err(broken(&numbers.len().to_string())),
        _ => Err(broken("a list of an unknown kind")),
    }
}

/// Before 1.6: the numbers of every list, then the vectors of every list.
fn old_lists(
    cursor: &mut Cursor,
    header: &Header,
    lists: u64,
    kind: &[u8; 4],
) -> Result<Vec<List>, ReadError> {
    const LISTS: &str = "the inverted lists";
    let mut ids = Vec::new();
    for _ in 0..lists {
        // Each takes 8 bytes of the file at least, so this ends and `ids` does not grow beyond it.
        ids.push(vector(cursor, 8, LISTS)?);
    }
    direct_map(cursor)?;
    // Vectors are counted in values, in a short-lived later form in bytes.
    let width = if kind == b"IvFl" { 4 } else { 1 };
    let mut lists = Vec::with_capacity(ids.len());
    for ids in ids {
        let vectors = vector(cursor, width, LISTS)?;
        let count = ids.length / 8;
        if count.checked_mul(header.vector_bytes()) != Some(vectors.length) {
            return Err(cursor.source().damaged(
                LISTS,
                format!("{count} vectors"),
                format!("{} bytes", vectors.length),
            ));
        }
        lists.push(List {
            vectors,
            ids: Some(ids),
            count,
        });
    }
    Ok(lists)
}
