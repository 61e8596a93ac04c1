//! The form before torch 1.6: pickles one after the other, then the storages.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::error::ReadError;
use super::super::pickle::{Document, Value};
use super::super::source::{Cursor, Source};
use super::archive::big_endian;
use super::rebuild::{StorageKey, Storages};

/// The pickle of the number 0x1950a86a20f9469cfc6c, after its protocol.
const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// The only version of this form.
const VERSION: i64 = 1001;

/// Whether a file that begins so is of this form.
pub(super) fn is_stream(head: &[u8]) -> bool {
    matches!(head, [0x80, 2..=5, rest @ ..] if rest.starts_with(MAGIC) || is_framed(rest))
}

/// From protocol 4 on a frame may come first.
fn is_framed(rest: &[u8]) -> bool {
    rest.first() == Some(&0x95) && rest.get(9..).is_some_and(|rest| rest.starts_with(MAGIC))
}

pub(super) fn read(source: &Arc<Source>) -> Result<(Document, Storages), ReadError> {
    let mut cursor = Cursor::new(source, source.whole(), "the file")?;
    let magic = Document::read(&mut cursor)?;
    if magic.root().as_long() != Some(&MAGIC[2..12]) {
        return Err(source.damaged("the first value", "the mark of torch", "another"));
    }
    let version = Document::read(&mut cursor)?.root().as_int();
    if version != Some(VERSION) {
        return Err(source.damaged("the version", "1001", format!("{version:?}")));
    }
    let system = Document::read(&mut cursor)?;
    if system.root().get("little_endian").and_then(Value::as_bool) == Some(false) {
        return Err(big_endian(source, "big"));
    }
    let document = Document::read(&mut cursor)?;
    let order = Document::read(&mut cursor)?;
    let storages = storages(source, &mut cursor, &document, &order)?;
    Ok((document, storages))
}

/// Finds the storages, which follow in the order of their keys: a count of elements each, then the elements.
fn storages(
    source: &Source,
    cursor: &mut Cursor,
    document: &Document,
    order: &Document,
) -> Result<Storages, ReadError> {
    let broken = |found: String| source.damaged("the list of storages", "a key for each", found);
    // Bytes of an element, by key.
    let mut widths: HashMap<String, u64> = HashMap::new();
    for key in document.persistent_keys() {
        // What is no storage is refused when a tensor asks for it.
        if let Some(key) = StorageKey::read(key)
            && let Some(element_type) = key.element_type
        {
            widths.insert(key.name, element_type.bytes() as u64);
        }
    }
    let order = (order.root().elements()).ok_or_else(|| broken("no list".to_owned()))?;
    let mut storages = Storages::new();
    for key in order {
        let key = key
            .as_str()
            .ok_or_else(|| broken("a key that is no text".to_owned()))?;
        let count = cursor.u64("the length of a storage")?;
        let width = widths.get(&*key).copied().ok_or_else(|| {
            broken(format!(
                "the storage \"{}\" that nothing uses",
                key.escape_debug()
            ))
        })?;
        let bytes = count
            .checked_mul(width)
            .ok_or_else(|| broken(format!("one of {count} elements")))?;
        let span = cursor.skip(bytes, "a storage")?;
        storages.insert(key.into_owned(), span);
    }
    Ok(storages)
}
