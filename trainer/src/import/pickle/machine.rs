//! The stack machine that turns the bytes of a pickle into nodes: its stack, memo and calls.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::error::ReadError;
use super::super::source::Cursor;
use super::names::role;
use super::{Call, Document, Id, Literal, MAX_NODES, Node, global, literal};

mod instructions;

const PART: &str = "the pickle";
/// Strings above this stay in the file.
const HELD_BYTES: u64 = 4096;
/// Bytes of the longest whole number; Python's own limit for printing one is near.
const MAX_LONG_BYTES: u64 = 2048;
/// Arguments of a call; what torch and NumPy write has at most 9. All are looked at, so more would cost time.
const MAX_ARGUMENTS: usize = 64;
/// Nodes that every pickle shares.
const NONE: Id = 0;
const FALSE: Id = 1;
const TRUE: Id = 2;
const EMPTY: Id = 3;

/// Runs until STOP.
pub(super) fn run(cursor: &mut Cursor) -> Result<Document, ReadError> {
    let mut machine = Machine {
        nodes: vec![
            Node::None,
            Node::Bool(false),
            Node::Bool(true),
            Node::Tuple(Box::new([])),
        ],
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        cursor,
    };
    while machine.step()? {}
    let root = machine.pop()?;
    Ok(Document {
        source: Arc::clone(machine.cursor.source()),
        nodes: machine.nodes,
        root,
    })
}

struct Machine<'a> {
    cursor: &'a mut Cursor,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl Machine<'_> {
    fn damaged(&self, expected: &str, found: &str) -> ReadError {
        let at = self.cursor.position();
        self.cursor
            .source()
            .damaged(PART, expected, format!("{found} before byte {at}"))
    }

    fn limit(&self, what: &str, count: usize) -> Result<(), ReadError> {
        self.cursor.source().too_large(
            format!("the number of {what} in the pickle"),
            count as u64,
            MAX_NODES as u64,
        )
    }

    fn add(&mut self, node: Node) -> Result<Id, ReadError> {
        self.limit("values", self.nodes.len() + 1)?;
        self.nodes.push(node);
        Ok((self.nodes.len() - 1) as Id)
    }

    fn push(&mut self, id: Id) -> Result<(), ReadError> {
        self.limit("unfinished values", self.stack.len() + 1)?;
        self.stack.push(id);
        Ok(())
    }

    fn push_new(&mut self, node: Node) -> Result<(), ReadError> {
        let id = self.add(node)?;
        self.push(id)
    }

    /// Nothing is taken from below the last mark.
    fn pop(&mut self) -> Result<Id, ReadError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() > floor
            && let Some(id) = self.stack.pop()
        {
            return Ok(id);
        }
        Err(self.damaged("a pickle", "a value taken from an empty stack"))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, ReadError> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => Err(self.damaged("a pickle", "the end of a group that has no beginning")),
        }
    }

    /// The value that items are added to or a state is given.
    fn top(&self) -> Result<Id, ReadError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(id) if self.stack.len() > floor => Ok(*id),
            _ => Err(self.damaged("a pickle", "an addition to nothing")),
        }
    }

    fn memoize(&mut self, key: u32) -> Result<(), ReadError> {
        let id = self.top()?;
        self.limit("remembered values", self.memo.len() + 1)?;
        self.memo.insert(key, id);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), ReadError> {
        match self.memo.get(&key) {
            Some(id) => self.push(*id),
            None => Err(self.damaged("a pickle", "a reference to nothing")),
        }
    }

    fn literal(&mut self, length: u64) -> Result<Literal, ReadError> {
        Ok(if length <= HELD_BYTES {
            Literal::Held(self.cursor.take(length, PART)?.into())
        } else {
            Literal::InFile(self.cursor.skip(length, PART)?)
        })
    }

    fn text(&mut self, length: u64) -> Result<(), ReadError> {
        let text = self.literal(length)?;
        self.push_new(Node::Text(text))
    }

    fn bytes(&mut self, length: u64) -> Result<(), ReadError> {
        let bytes = self.literal(length)?;
        self.push_new(Node::Bytes(bytes))
    }

    fn long(&mut self, length: u64) -> Result<(), ReadError> {
        self.cursor
            .source()
            .too_large("the bytes of a number", length, MAX_LONG_BYTES)?;
        let bytes = self.cursor.take(length, PART)?;
        self.push_new(match literal::long(&bytes) {
            Some(value) => Node::Int(value),
            None => Node::Long(bytes.into()),
        })
    }

    fn tuple(&mut self, count: usize) -> Result<(), ReadError> {
        let mut elements = vec![NONE; count];
        for element in elements.iter_mut().rev() {
            *element = self.pop()?;
        }
        self.push_new(Node::Tuple(elements.into()))
    }

    fn length_32(&mut self) -> Result<u64, ReadError> {
        self.cursor.u32(PART).map(u64::from)
    }

    fn unsupported(&self, found: &str) -> ReadError {
        ReadError::Unsupported {
            path: self.cursor.source().path().to_path_buf(),
            part: PART.to_owned(),
            found: found.to_owned(),
            supported: "values written in the file itself",
            remedy: "Save the file again with torch.save or pickle.dump",
        }
    }

    /// The name in the next two lines.
    fn named(&mut self) -> Result<Id, ReadError> {
        let module = self.cursor.line(HELD_BYTES as usize, PART)?;
        let name = self.cursor.line(HELD_BYTES as usize, PART)?;
        let module = self.add(Node::Text(Literal::Held(module.into())))?;
        let name = self.add(Node::Text(Literal::Held(name.into())))?;
        self.add(Node::Global(module, name))
    }

    fn pairs(&self, entries: &[Id]) -> Result<Vec<(Id, Id)>, ReadError> {
        let (pairs, rest) = entries.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.damaged("pairs of key and value", "a key without a value"));
        }
        Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
    }

    fn append(&mut self, elements: &[Id]) -> Result<(), ReadError> {
        let target = self.top()?;
        match &mut self.nodes[target as usize] {
            Node::List(list) | Node::Set(list) => list.extend_from_slice(elements),
            Node::Call(call) => call.elements.extend_from_slice(elements),
            _ => return Err(self.damaged("elements for a list", "ones for another value")),
        }
        Ok(())
    }

    fn insert(&mut self, entries: &[(Id, Id)]) -> Result<(), ReadError> {
        let target = self.top()?;
        match &mut self.nodes[target as usize] {
            Node::Dict(dict) => dict.extend_from_slice(entries),
            Node::Call(call) => call.items.extend_from_slice(entries),
            _ => return Err(self.damaged("entries for a mapping", "ones for another value")),
        }
        Ok(())
    }

    /// Notes a call where its function, and every name it is handed, stands for data.
    fn call(&mut self, callable: Id, arguments: Id) -> Result<(), ReadError> {
        let Node::Tuple(elements) = &self.nodes[arguments as usize] else {
            return Err(self.damaged("arguments", "a value that is no tuple"));
        };
        self.cursor.source().too_large(
            "the number of arguments of a call",
            elements.len() as u64,
            MAX_ARGUMENTS as u64,
        )?;
        let names = std::iter::once(callable).chain(
            elements
                .iter()
                .copied()
                .filter(|id| matches!(self.nodes[*id as usize], Node::Global(..))),
        );
        for id in names {
            let name = global(&self.nodes, id)
                .unwrap_or_else(|| "a function that the file computes".to_owned());
            if role(&name).is_none() {
                return Err(ReadError::Program {
                    path: self.cursor.source().path().to_path_buf(),
                    callable: name.escape_debug().take(200).collect(),
                });
            }
        }
        self.push_new(Node::Call(Box::new(Call {
            callable,
            arguments,
            state: None,
            items: Vec::new(),
            elements: Vec::new(),
        })))
    }
}
