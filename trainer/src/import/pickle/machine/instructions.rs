//! The instructions of a pickle, protocols 0 to 5.

use super::super::super::error::ReadError;
use super::super::literal::{self, parsed};
use super::super::{Literal, Node};
use super::{EMPTY, FALSE, Machine, NONE, PART, TRUE};

impl Machine<'_> {
    /// One instruction; false after the last.
    #[allow(
        clippy::too_many_lines,
        reason = "a table of instructions, an arm each"
    )]
    pub(super) fn step(&mut self) -> Result<bool, ReadError> {
        let code = self.cursor.u8(PART)?;
        match code {
            b'.' => return Ok(false),
            b'(' => {
                self.limit("groups", self.marks.len() + 1)?;
                self.marks.push(self.stack.len());
            }
            // Without a value above the last mark, POP takes the mark.
            b'0' if self.marks.last() == Some(&self.stack.len()) => {
                self.marks.pop();
            }
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let top = self.top()?;
                self.push(top)?;
            }
            b'N' => self.push(NONE)?,
            0x88 => self.push(TRUE)?,
            0x89 => self.push(FALSE)?,
            b'F' => {
                let value = parsed(self.cursor, "a real number", literal::real)?;
                self.push_new(Node::Float(value))?;
            }
            b'G' => {
                let value = f64::from_be_bytes(self.cursor.array(PART)?);
                self.push_new(Node::Float(value))?;
            }
            b'I' | b'L' => self.decimal()?,
            b'J' => {
                let value = self.cursor.i32(PART)?.into();
                self.push_new(Node::Int(value))?;
            }
            b'K' => {
                let value = self.cursor.u8(PART)?.into();
                self.push_new(Node::Int(value))?;
            }
            b'M' => {
                let value = self.cursor.u16(PART)?.into();
                self.push_new(Node::Int(value))?;
            }
            0x8a => {
                let length = self.cursor.u8(PART)?;
                self.long(length.into())?;
            }
            0x8b => {
                let length = self.length_32()?;
                self.long(length)?;
            }
            b'S' => {
                let bytes = parsed(self.cursor, "a quoted string", literal::quoted)?;
                self.push_new(Node::Bytes(Literal::Held(bytes.into())))?;
            }
            b'V' => {
                let text = parsed(self.cursor, "text", literal::raw_unicode)?;
                self.push_new(Node::Text(Literal::Held(text.into_bytes().into())))?;
            }
            b'U' | b'C' => {
                let length = self.cursor.u8(PART)?;
                self.bytes(length.into())?;
            }
            b'T' | b'B' => {
                let length = self.length_32()?;
                self.bytes(length)?;
            }
            0x8e | 0x96 => {
                let length = self.cursor.u64(PART)?;
                self.bytes(length)?;
            }
            0x8c => {
                let length = self.cursor.u8(PART)?;
                self.text(length.into())?;
            }
            b'X' => {
                let length = self.length_32()?;
                self.text(length)?;
            }
            0x8d => {
                let length = self.cursor.u64(PART)?;
                self.text(length)?;
            }
            b']' => self.push_new(Node::List(Vec::new()))?,
            b'}' => self.push_new(Node::Dict(Vec::new()))?,
            0x8f => self.push_new(Node::Set(Vec::new()))?,
            b')' => self.push(EMPTY)?,
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b't' => {
                let elements = self.pop_to_mark()?;
                self.push_new(Node::Tuple(elements.into()))?;
            }
            b'l' => {
                let elements = self.pop_to_mark()?;
                self.push_new(Node::List(elements))?;
            }
            0x91 => {
                let elements = self.pop_to_mark()?;
                self.push_new(Node::Set(elements))?;
            }
            b'd' => {
                let entries = self.pop_to_mark()?;
                let entries = self.pairs(&entries)?;
                self.push_new(Node::Dict(entries))?;
            }
            b'a' => {
                let element = self.pop()?;
                self.append(&[element])?;
            }
            b'e' | 0x90 => {
                let elements = self.pop_to_mark()?;
                self.append(&elements)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(&[(key, value)])?;
            }
            b'u' => {
                let entries = self.pop_to_mark()?;
                let entries = self.pairs(&entries)?;
                self.insert(&entries)?;
            }
            b'g' => {
                let key = parsed(self.cursor, "a number", index)?;
                self.recall(key)?;
            }
            b'h' => {
                let key = self.cursor.u8(PART)?;
                self.recall(key.into())?;
            }
            b'j' => {
                let key = self.cursor.u32(PART)?;
                self.recall(key)?;
            }
            b'p' => {
                let key = parsed(self.cursor, "a number", index)?;
                self.memoize(key)?;
            }
            b'q' => {
                let key = self.cursor.u8(PART)?;
                self.memoize(key.into())?;
            }
            b'r' => {
                let key = self.cursor.u32(PART)?;
                self.memoize(key)?;
            }
            0x94 => self.memoize(self.memo.len() as u32)?,
            b'c' => {
                let name = self.named()?;
                self.push(name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                self.push_new(Node::Global(module, name))?;
            }
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments)?;
            }
            // Arguments by name: an object of data has none that matter.
            0x92 => {
                let (_, arguments, callable) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(callable, arguments)?;
            }
            b'o' => {
                let mut group = self.pop_to_mark()?;
                if group.is_empty() {
                    return Err(self.damaged("an object", "no class"));
                }
                let callable = group.remove(0);
                let arguments = self.add(Node::Tuple(group.into()))?;
                self.call(callable, arguments)?;
            }
            b'i' => {
                let callable = self.named()?;
                let group = self.pop_to_mark()?;
                let arguments = self.add(Node::Tuple(group.into()))?;
                self.call(callable, arguments)?;
            }
            b'b' => {
                let state = self.pop()?;
                let target = self.top()?;
                match &mut self.nodes[target as usize] {
                    Node::Call(call) => call.state = Some(state),
                    _ => return Err(self.damaged("a state for an object", "one for a plain value")),
                }
            }
            b'P' => {
                let key = self.cursor.line(literal::MAX_LINE, PART)?;
                let key = self.add(Node::Text(Literal::Held(key.into())))?;
                self.push_new(Node::Persistent(key))?;
            }
            b'Q' => {
                let key = self.pop()?;
                self.push_new(Node::Persistent(key))?;
            }
            0x80 => {
                let protocol = self.cursor.u8(PART)?;
                if protocol > 5 {
                    return Err(self.damaged("of protocol 0 to 5", &format!("{protocol}")));
                }
            }
            0x95 => {
                let length = self.cursor.u64(PART)?;
                if length > self.cursor.remaining() {
                    return Err(self.damaged("a frame inside the file", "one beyond its end"));
                }
            }
            0x82..=0x84 => {
                return Err(self.unsupported("a value of a registered extension"));
            }
            0x97 | 0x98 => {
                return Err(self.unsupported("a value kept outside the pickle"));
            }
            _ => {
                return Err(self.damaged("a pickle", &format!("the instruction {code:#04x}")));
            }
        }
        Ok(true)
    }

    /// A whole number written in decimal.
    fn decimal(&mut self) -> Result<(), ReadError> {
        let number = parsed(self.cursor, "a whole number", |line| match line {
            // The only way that protocol 0 has to write truth values.
            b"00" => Some(Node::Bool(false)),
            b"01" => Some(Node::Bool(true)),
            _ => literal::integer(line)
                .map(Node::Int)
                .or_else(|| literal::is_integer(line).then(|| Node::Long(line.into()))),
        })?;
        self.push_new(number)
    }
}

fn index(line: &[u8]) -> Option<u32> {
    u32::try_from(literal::integer(line)?).ok()
}
