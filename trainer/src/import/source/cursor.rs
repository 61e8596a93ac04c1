//! Reading forwards through a part of a file.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use super::super::error::ReadError;
use super::{Source, Span, io_error};

/// Small, because the directory of an archive is read here and there.
const BUFFER_BYTES: u64 = 8192;

/// A position in a [`Span`] of a [`Source`], with a small buffer.
pub(crate) struct Cursor {
    source: Arc<Source>,
    span: Span,
    position: u64,
    buffer: Vec<u8>,
    buffer_start: u64,
}

impl Cursor {
    /// Reads `span` from its beginning; `part` is its name in errors.
    pub fn new(source: &Arc<Source>, span: Span, part: &str) -> Result<Self, ReadError> {
        let span = source.span(span.start, span.length, part)?;
        Ok(Self {
            source: Arc::clone(source),
            span,
            position: span.start,
            buffer: Vec::new(),
            buffer_start: span.start,
        })
    }

    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Byte of the source that is read next.
    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn remaining(&self) -> u64 {
        self.span.end().saturating_sub(self.position)
    }

    /// The next `count` bytes are in the span.
    fn expect(&self, count: u64, part: &str) -> Result<(), ReadError> {
        if count <= self.remaining() {
            return Ok(());
        }
        Err(self.source.damaged(
            part,
            format!("{count} bytes at byte {}", self.position),
            format!("{} before the end", self.remaining()),
        ))
    }

    fn buffered(&self) -> &[u8] {
        let skip = self
            .position
            .checked_sub(self.buffer_start)
            .and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.buffer.get(skip..)).unwrap_or(&[])
    }

    fn fill(&mut self, part: &str) -> Result<(), ReadError> {
        let count = self.remaining().min(BUFFER_BYTES);
        self.buffer.resize(count as usize, 0);
        self.buffer_start = self.position;
        let outcome = self
            .source
            .read_exact_at(self.position, &mut self.buffer, part);
        if outcome.is_err() {
            self.buffer.clear();
        }
        outcome
    }

    /// Fills `bytes` with what comes next.
    pub fn read_into(&mut self, bytes: &mut [u8], part: &str) -> Result<(), ReadError> {
        self.expect(bytes.len() as u64, part)?;
        if self.buffered().len() < bytes.len() {
            if bytes.len() as u64 >= BUFFER_BYTES {
                self.source.read_exact_at(self.position, bytes, part)?;
                self.position += bytes.len() as u64;
                return Ok(());
            }
            self.fill(part)?;
        }
        bytes.copy_from_slice(&self.buffered()[..bytes.len()]);
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self, part: &str) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        self.read_into(&mut bytes, part)?;
        Ok(bytes)
    }

    pub fn u8(&mut self, part: &str) -> Result<u8, ReadError> {
        Ok(self.array::<1>(part)?[0])
    }

    pub fn u16(&mut self, part: &str) -> Result<u16, ReadError> {
        Ok(u16::from_le_bytes(self.array(part)?))
    }

    pub fn u32(&mut self, part: &str) -> Result<u32, ReadError> {
        Ok(u32::from_le_bytes(self.array(part)?))
    }

    pub fn i32(&mut self, part: &str) -> Result<i32, ReadError> {
        Ok(i32::from_le_bytes(self.array(part)?))
    }

    pub fn u64(&mut self, part: &str) -> Result<u64, ReadError> {
        Ok(u64::from_le_bytes(self.array(part)?))
    }

    pub fn i64(&mut self, part: &str) -> Result<i64, ReadError> {
        Ok(i64::from_le_bytes(self.array(part)?))
    }

    /// The next `count` bytes; nothing is allocated before they are known to be there.
    pub fn take(&mut self, count: u64, part: &str) -> Result<Vec<u8>, ReadError> {
        self.expect(count, part)?;
        let mut bytes = vec![0; count as usize];
        self.read_into(&mut bytes, part)?;
        Ok(bytes)
    }

    /// Steps over the next `count` bytes and says where they are.
    pub fn skip(&mut self, count: u64, part: &str) -> Result<Span, ReadError> {
        self.expect(count, part)?;
        let start = self.position;
        self.position += count;
        Ok(Span {
            start,
            length: count,
        })
    }

    /// The bytes up to the next line feed, which is read too.
    pub fn line(&mut self, limit: usize, part: &str) -> Result<Vec<u8>, ReadError> {
        let mut line = Vec::new();
        loop {
            let byte = self.u8(part)?;
            if byte == b'\n' {
                return Ok(line);
            }
            line.push(byte);
            self.source
                .too_large(format!("a line in {part}"), line.len() as u64, limit as u64)?;
        }
    }
}

impl Read for Cursor {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.remaining().min(bytes.len() as u64) as usize;
        self.read_into(&mut bytes[..count], "the file")
            .map_err(io_error)?;
        Ok(count)
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => self.span.start.checked_add(offset),
            SeekFrom::End(offset) => self.span.end().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        let target = target.filter(|target| *target >= self.span.start);
        let target = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.position = target;
        Ok(target - self.span.start)
    }
}
