//! The protobuf wire format, as far as ONNX uses it. Nothing is copied, and no length is believed that its message does not have.

use super::{GraphError, Result, refused};

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// A varint.
    Number(u64),
    /// Anything with a length.
    Bytes(&'a [u8]),
    /// Four bytes.
    Word([u8; 4]),
}

/// The fields of a message in turn.
pub struct Fields<'a> {
    bytes: &'a [u8],
    what: &'static str,
    /// Fields that come once at most; a parser would merge them or take the last.
    once: &'static [u64],
    seen: u64,
}

impl<'a> Fields<'a> {
    /// The fields of the message `bytes`, which errors call `what`.
    pub fn new(bytes: &'a [u8], what: &'static str, once: &'static [u64]) -> Self {
        Self {
            bytes,
            what,
            once,
            seen: 0,
        }
    }

    fn malformed(&self) -> GraphError {
        GraphError::Malformed { what: self.what }
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8]> {
        let count = usize::try_from(count).map_err(|_| self.malformed())?;
        let (taken, rest) = self
            .bytes
            .split_at_checked(count)
            .ok_or_else(|| self.malformed())?;
        self.bytes = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed())
    }

    /// The next field and its number; `None` at the end.
    ///
    /// # Errors
    /// The message ends early, has a type of field that ONNX has not, or a field twice that comes once.
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator of results would go on after a broken field"
    )]
    pub fn next(&mut self) -> Result<Option<(u64, Field<'a>)>> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let field = key >> 3;
        if self.once.contains(&field) {
            if self.seen & (1 << field) != 0 {
                return Err(refused(
                    self.what,
                    "each field once",
                    format!("field {field} twice"),
                ));
            }
            self.seen |= 1 << field;
        }
        let value = match key & 7 {
            0 => Field::Number(self.varint()?),
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Word(self.take(4)?.try_into().map_err(|_| self.malformed())?),
            _ => return Err(self.malformed()),
        };
        Ok(Some((field, value)))
    }
}

/// Numbers without fields between them.
///
/// # Errors
/// The last one is cut.
pub fn packed(bytes: &[u8], what: &'static str) -> Result<impl Iterator<Item = i64>> {
    let mut fields = Fields::new(bytes, what, &[]);
    let mut numbers = Vec::new();
    while !fields.bytes.is_empty() {
        numbers.push(fields.varint()? as i64);
    }
    Ok(numbers.into_iter())
}

/// The one field of a message, which has this number.
///
/// # Errors
/// It has another one, or more.
pub fn only<'a>(bytes: &'a [u8], number: u64, what: &'static str) -> Result<&'a [u8]> {
    let mut fields = Fields::new(bytes, what, &[]);
    match (fields.next()?, fields.next()?) {
        (Some((field, Field::Bytes(bytes))), None) if field == number => Ok(bytes),
        _ => Err(GraphError::Malformed { what }),
    }
}
