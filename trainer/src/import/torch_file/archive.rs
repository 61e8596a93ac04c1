//! The zip form: `<name>/data.pkl` beside `<name>/data/<key>`, all stored.

use std::collections::HashMap;
use std::sync::Arc;

use zip::CompressionMethod;
use zip::read::ZipArchive;

use super::super::error::ReadError;
use super::super::pickle::Document;
use super::super::source::{Cursor, Source, Span};
use super::rebuild::Storages;

/// Entries of an archive; a checkpoint with its optimizer has some thousands.
const MAX_ENTRIES: usize = 200_000;
const PART: &str = "the archive";

pub(super) fn read(source: &Arc<Source>) -> Result<(Document, Storages), ReadError> {
    let entries = directory(source)?;
    let not_torch = |found: &str| ReadError::NotRecognised {
        path: source.path().to_path_buf(),
        expected: "a file of torch.save (.pth, .pt)",
        found: found.to_owned(),
        remedy: "If it is a packed download, unpack it and choose the .pth in it",
    };
    let mut pickles = (entries.keys()).filter(|name| {
        name.as_str() == "data.pkl"
            || (name.ends_with("/data.pkl") && name.matches('/').count() == 1)
    });
    let pickle = match (pickles.next(), pickles.next()) {
        (Some(pickle), None) => pickle,
        (None, _) => return Err(not_torch("a zip without a data.pkl")),
        (Some(_), Some(_)) => return Err(not_torch("a zip with more than one data.pkl")),
    };
    let folder = &pickle[..pickle.len() - "data.pkl".len()];
    if entries.contains_key(&format!("{folder}constants.pkl")) {
        return Err(ReadError::Unsupported {
            path: source.path().to_path_buf(),
            part: "the voice".to_owned(),
            found: "a program (TorchScript)".to_owned(),
            supported: "checkpoints, which hold only weights,",
            remedy: "Choose the .pth that training wrote",
        });
    }
    let stored = |name: &str| -> Result<Option<Span>, ReadError> {
        match entries.get(name) {
            None => Ok(None),
            Some(Entry::Stored(span)) => Ok(Some(*span)),
            Some(Entry::Packed(how)) => Err(packed(source, name, how)),
        }
    };
    if let Some(span) = stored(&format!("{folder}byteorder"))? {
        source.too_large("the mark of the byte order", span.length, 64)?;
        let order = source.read(span, PART)?;
        if order.trim_ascii() != b"little" {
            return Err(big_endian(source, &String::from_utf8_lossy(&order)));
        }
    }
    let span = stored(pickle)?.ok_or_else(|| not_torch("a zip without a data.pkl"))?;
    let document = Document::read(&mut Cursor::new(source, span, "data.pkl")?)?;
    let mut storages = Storages::new();
    let data = format!("{folder}data/");
    for name in entries.keys() {
        if let Some(key) = name.strip_prefix(&data)
            && let Some(span) = stored(name)?
        {
            storages.insert(key.to_owned(), span);
        }
    }
    Ok((document, storages))
}

/// The refusal of the other byte order.
pub(super) fn big_endian(source: &Source, found: &str) -> ReadError {
    ReadError::Unsupported {
        path: source.path().to_path_buf(),
        part: "the byte order".to_owned(),
        found: format!("\"{}\"", found.escape_debug()),
        supported: "little-endian files, as ordinary computers write,",
        remedy: "Load and save the file on such a computer",
    }
}

fn packed(source: &Source, name: &str, how: &str) -> ReadError {
    ReadError::Unsupported {
        path: source.path().to_path_buf(),
        part: format!("\"{}\"", name.escape_debug()),
        found: how.to_owned(),
        supported: "entries that are stored, as torch.save writes them,",
        remedy: "The zip was packed again by another program: get the original, or load and save it with torch",
    }
}

enum Entry {
    Stored(Span),
    Packed(&'static str),
}

fn directory(source: &Arc<Source>) -> Result<HashMap<String, Entry>, ReadError> {
    let broken = |reason: String| source.damaged(PART, "a whole zip", reason);
    let cursor = Cursor::new(source, source.whole(), PART)?;
    let mut archive = ZipArchive::new(cursor).map_err(|error| broken(error.to_string()))?;
    if archive.has_duplicate_names() {
        return Err(broken("one with the same name twice".to_owned()));
    }
    source.too_large(
        "the number of entries",
        archive.len() as u64,
        MAX_ENTRIES as u64,
    )?;
    let mut entries = HashMap::with_capacity(archive.len());
    for index in 0..archive.len() {
        let file = (archive.by_index_raw(index)).map_err(|error| broken(error.to_string()))?;
        let name = String::from_utf8_lossy(file.name_raw()).into_owned();
        let entry = if file.encrypted() {
            Entry::Packed("encrypted")
        } else if file.compression() != CompressionMethod::Stored {
            Entry::Packed("compressed")
        } else {
            let start = file
                .data_start()
                .filter(|_| file.size() == file.compressed_size());
            let start = start
                .ok_or_else(|| broken(format!("\"{}\" of unknown size", name.escape_debug())))?;
            Entry::Stored(source.span(start, file.size(), "an entry of the archive")?)
        };
        entries.insert(name, entry);
    }
    Ok(entries)
}
