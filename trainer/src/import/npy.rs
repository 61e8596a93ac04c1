//! `.npy` files, versions 1 to 3.
//!
//! Source: `numpy.lib.format` (its "Format Version 1.0" to "3.0").

use std::path::Path;
use std::sync::Arc;

use super::error::ReadError;
use super::number::{ElementType, SUPPORTED};
use super::numpy::column_strides;
use super::source::{Cursor, Source, Stored, describe};
use super::tensor::{Layout, LazyTensor};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
const PART: &str = "the header";
/// NumPy itself reads no longer header from files it does not trust.
const MAX_HEADER_BYTES: u64 = 10_000;

/// Opens a `.npy` file; its elements are read when asked for.
///
/// # Errors
/// [`ReadError`] where it is none, is not whole, or its elements are no little-endian numbers.
pub fn open(path: &Path) -> Result<LazyTensor, ReadError> {
    read(&Source::open(path)?)
}

/// As [`open`], from bytes already found.
///
/// # Errors
/// As [`open`].
pub fn read(source: &Arc<Source>) -> Result<LazyTensor, ReadError> {
    let head = source.head(512)?;
    if !is_npy(&head) {
        return Err(ReadError::NotRecognised {
            path: source.path().to_path_buf(),
            expected: "a NumPy array (.npy)",
            found: describe(&head).to_owned(),
            remedy: "Choose the file that numpy.save wrote",
        });
    }
    let mut cursor = Cursor::new(source, source.whole(), PART)?;
    cursor.skip(MAGIC.len() as u64, PART)?;
    let [major, _minor] = cursor.array(PART)?;
    let length = match major {
        1 => u64::from(cursor.u16(PART)?),
        2 | 3 => u64::from(cursor.u32(PART)?),
        _ => {
            return Err(unsupported(source, "the version", major.to_string()));
        }
    };
    source.too_large("the header's length", length, MAX_HEADER_BYTES)?;
    let header = cursor.take(length, PART)?;
    let header = String::from_utf8_lossy(&header);
    let header = parse(&header).ok_or_else(|| {
        source.damaged(
            PART,
            "{'descr': …, 'fortran_order': …, 'shape': …}",
            "other text",
        )
    })?;
    let (order, name) = header.descr.split_at_checked(1).unwrap_or(("", ""));
    let element_type = match order {
        "<" | "|" | "=" => ElementType::of_numpy(name),
        _ => None,
    };
    let element_type = element_type.ok_or_else(|| {
        let found = format!("\"{}\"", header.descr.escape_debug());
        unsupported(source, "the element type", found)
    })?;
    let data = source.span(cursor.position(), cursor.remaining(), "the elements")?;
    let strides = header.column_major.then(|| column_strides(&header.shape));
    let layout = Layout {
        shape: header.shape,
        strides,
        offset: 0,
    };
    LazyTensor::new(source, Stored::Raw(data), element_type, layout, "the array")
}

/// Whether a file that begins so is one.
pub(super) fn is_npy(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

fn unsupported(source: &Source, part: &str, found: String) -> ReadError {
    ReadError::Unsupported {
        path: source.path().to_path_buf(),
        part: part.to_owned(),
        found,
        supported: if part == "the version" {
            "1 to 3"
        } else {
            SUPPORTED
        },
        remedy: "Save the array again as little-endian float32",
    }
}

struct Header {
    descr: String,
    column_major: bool,
    shape: Vec<u64>,
}

/// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, a literal of Python.
fn parse(text: &str) -> Option<Header> {
    let (mut descr, mut column_major, mut shape) = (None, None, None);
    let mut rest = text.trim().strip_prefix('{')?.trim_start();
    while !rest.starts_with('}') {
        let (key, after) = quoted(rest)?;
        let after = after.trim_start().strip_prefix(':')?.trim_start();
        rest = match key {
            "descr" => {
                let (value, after) = quoted(after)?;
                descr = Some(value.to_owned());
                after
            }
            "fortran_order" => {
                column_major = Some(after.starts_with("True"));
                after
                    .strip_prefix("True")
                    .or_else(|| after.strip_prefix("False"))?
            }
            "shape" => {
                let (inside, after) = after.strip_prefix('(')?.split_once(')')?;
                let sizes = inside
                    .split(',')
                    .map(str::trim)
                    .filter(|size| !size.is_empty());
                // Python 2 wrote long numbers with an L.
                let sizes = sizes.map(|size| size.trim_end_matches('L').parse().ok());
                shape = Some(sizes.collect::<Option<Vec<u64>>>()?);
                after
            }
            _ => return None,
        }
        .trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    Some(Header {
        descr: descr?,
        column_major: column_major?,
        shape: shape?,
    })
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn file(version: u8, header: &str, data: &[u8]) -> Result<LazyTensor, ReadError> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([version, 0]);
        if version == 1 {
            bytes.extend((header.len() as u16).to_le_bytes());
        } else {
            bytes.extend((header.len() as u32).to_le_bytes());
        }
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        read(&Source::from_bytes(Path::new("a.npy"), bytes))
    }

    #[test]
    fn every_version_and_order_is_read() {
        let data = [1u8, 2, 3, 4, 5, 6];
        let rows = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }  \n";
        let columns = "{'shape': (2L, 3L), 'fortran_order': True, 'descr': '|u1'}";
        for version in 1..=3 {
            let read = file(version, rows, &data).unwrap().to_f32().unwrap();
            assert_eq!(read, [1., 2., 3., 4., 5., 6.]);
            let read = file(version, columns, &data).unwrap().to_f32().unwrap();
            assert_eq!(read, [1., 3., 5., 2., 4., 6.]);
        }
        let single = file(
            1,
            "{'descr':'<i2','fortran_order':False,'shape':()}",
            &[7, 0],
        );
        assert_eq!(single.unwrap().to_f32().unwrap(), [7.0]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let header = |descr: &str, shape: &str| {
            format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}")
        };
        for (version, text) in [
            (4, header("'<f4'", "(1,)")),
            (1, header("'>f4'", "(1,)")),
            (1, header("'|O'", "(1,)")),
            (1, header("[('a', '<f4')]", "(1,)")),
            (1, header("'<f4'", "(2,)")),
            (1, header("'<f4'", "(-1,)")),
            (1, header("'<f4'", "(4294967296, 4294967296, 4294967296)")),
            (1, header("''", "(1,)")),
            (1, "{'descr': '<f4'".to_owned()),
            (1, String::new()),
        ] {
            assert!(file(version, &text, &[0; 4]).is_err(), "{text}");
        }
    }
}
