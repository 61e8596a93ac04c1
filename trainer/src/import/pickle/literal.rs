//! The values that protocol 0 writes as lines of text.

use super::super::error::ReadError;
use super::super::source::{Cursor, Stored};

/// Longest line; long contents are never written so today.
pub(super) const MAX_LINE: usize = 1 << 20;

/// A number in decimal.
pub(super) fn integer(line: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(line).ok()?.trim();
    text.strip_suffix('L').unwrap_or(text).parse().ok()
}

/// Whether a line is a number in decimal, of any length.
pub(super) fn is_integer(line: &[u8]) -> bool {
    let digits = line.strip_prefix(b"-").unwrap_or(line);
    let digits = digits.strip_suffix(b"L").unwrap_or(digits);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// A real number as Python writes it.
pub(super) fn real(line: &[u8]) -> Option<f64> {
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

/// The bytes of a quoted string with its escapes.
pub(super) fn quoted(line: &[u8]) -> Option<Vec<u8>> {
    let line = line.trim_ascii();
    let (&quote, rest) = line.split_first()?;
    let (&last, body) = rest.split_last()?;
    if last != quote || !matches!(quote, b'\'' | b'"') {
        return None;
    }
    let mut bytes = Vec::with_capacity(body.len());
    let mut body = body.iter().copied();
    while let Some(byte) = body.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match body.next()? {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'x' => {
                let high = (body.next()? as char).to_digit(16)?;
                let low = (body.next()? as char).to_digit(16)?;
                (high * 16 + low) as u8
            }
            other @ (b'\\' | b'\'' | b'"') => other,
            _ => return None,
        });
    }
    Some(bytes)
}

/// The text of a line in which only `\uXXXX` and `\UXXXXXXXX` are escapes and other bytes are characters up to 255.
pub(super) fn raw_unicode(line: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let digits = match (byte, after.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                text.push(byte as char);
                continue;
            }
        };
        let code = std::str::from_utf8(after.get(1..=digits)?).ok()?;
        let code = u32::from_str_radix(code, 16).ok()?;
        text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = &after[1 + digits..];
    }
    Some(text)
}

/// A line of the pickle that must mean something.
pub(super) fn parsed<T>(
    cursor: &mut Cursor,
    what: &str,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Result<T, ReadError> {
    let line = cursor.line(MAX_LINE, "the pickle")?;
    parse(&line).ok_or_else(|| {
        let shown = String::from_utf8_lossy(&line[..line.len().min(40)]).into_owned();
        cursor
            .source()
            .damaged("the pickle", what, format!("\"{}\"", shown.escape_debug()))
    })
}

/// An integer of any length from its little-endian bytes, where it fits.
pub(super) fn long(bytes: &[u8]) -> Option<i64> {
    if bytes.len() > 8 {
        return None;
    }
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut whole = [if negative { 0xff } else { 0 }; 8];
    whole[..bytes.len()].copy_from_slice(bytes);
    Some(i64::from_le_bytes(whole))
}

/// What the text `stored`, encoded as Latin-1, is.
pub(super) fn encoded(stored: &Stored) -> Option<Stored> {
    match stored {
        Stored::Raw(span) => Some(Stored::Latin1(*span)),
        Stored::Held(bytes) => {
            super::super::source::latin1(bytes.to_vec()).map(|bytes| Stored::Held(bytes.into()))
        }
        Stored::Latin1(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_protocol_0_is_understood() {
        assert_eq!(integer(b"-12L"), Some(-12));
        assert_eq!(integer(b"x"), None);
        assert_eq!(real(b"1e-3"), Some(0.001));
        assert_eq!(quoted(br"'a\'\x00\n'"), Some(b"a'\x00\n".to_vec()));
        assert_eq!(quoted(b"'a"), None);
        assert_eq!(quoted(b"'"), None);
        assert_eq!(quoted(br"'\x0"), None);
        assert_eq!(
            raw_unicode(br"a\u00e9\U0001f600b").as_deref(),
            Some("aé😀b")
        );
        assert_eq!(raw_unicode(br"\u00"), None);
        assert_eq!(long(&[0xff]), Some(-1));
        assert_eq!(long(&[0xff, 0]), Some(255));
        assert_eq!(long(&[]), Some(0));
        assert_eq!(long(&[0; 9]), None);
    }
}
