//! Python pickles as data, without running them.
//!
//! A pickle is a program for a small stack machine that may call any function of Python. Here the machine only builds
//! nodes in a list; a call becomes a node that names the function and its arguments, and only functions that stand for
//! data may be named (`names`). Everything else ends the reading with [`ReadError::Program`].
//!
//! Nodes refer to each other by number, so that a pickle that refers to itself or shares one list a million times costs
//! what it says and no more: nothing here follows references deeper than the caller asks.
//!
//! Source: Python's pickle protocols 0 to 5 (PEP 307, 3154, 574 and the comments of `pickletools`). Not understood:
//! registered extensions and buffers kept outside the pickle.

use std::borrow::Cow;
use std::sync::Arc;

use super::error::ReadError;
use super::source::{Cursor, Source, Span, Stored};

mod literal;
mod machine;
mod names;
#[cfg(test)]
mod tests;
mod value;

pub use value::{Object, Value};

/// Number of a node.
type Id = u32;

/// Nodes, stack entries and memo entries that a pickle may have; a checkpoint with its optimizer has about 10^5.
const MAX_NODES: usize = 2_000_000;

/// What the bytes of a string are.
#[derive(Clone)]
enum Literal {
    Held(Arc<[u8]>),
    /// Long ones stay in the file.
    InFile(Span),
}

impl Literal {
    fn stored(&self) -> Stored {
        match self {
            Self::Held(bytes) => Stored::Held(Arc::clone(bytes)),
            Self::InFile(span) => Stored::Raw(*span),
        }
    }

    fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Held(bytes) => Some(String::from_utf8_lossy(bytes)),
            Self::InFile(_) => None,
        }
    }
}

/// A call of an allowed function, or an object of an allowed class: never made, only noted.
struct Call {
    callable: Id,
    arguments: Id,
    state: Option<Id>,
    items: Vec<(Id, Id)>,
    elements: Vec<Id>,
}

enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// Of more than 64 bits, as it is written: little-endian two's complement, in protocol 0 decimal.
    Long(Box<[u8]>),
    Float(f64),
    Text(Literal),
    Bytes(Literal),
    List(Vec<Id>),
    Tuple(Box<[Id]>),
    Set(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// Module and name, both texts.
    Global(Id, Id),
    Call(Box<Call>),
    /// Something that the file keeps beside the pickle, under this key.
    Persistent(Id),
}

/// A pickle that was read.
pub struct Document {
    source: Arc<Source>,
    nodes: Vec<Node>,
    root: Id,
}

impl Document {
    /// Reads a file that is one pickle.
    ///
    /// # Errors
    /// [`ReadError::Program`] where it asks for a function to be called, [`ReadError::Damaged`] where it is no pickle
    /// or not whole, [`ReadError::TooLarge`] beyond 2 million values.
    pub fn open(source: &Arc<Source>) -> Result<Self, ReadError> {
        Self::read(&mut Cursor::new(source, source.whole(), "the pickle")?)
    }

    /// Reads one pickle and leaves the cursor behind it.
    pub(super) fn read(cursor: &mut Cursor) -> Result<Self, ReadError> {
        machine::run(cursor)
    }

    /// The file.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// The value that the pickle stands for.
    pub fn root(&self) -> Value<'_> {
        Value::new(self, self.root)
    }

    /// The keys of everything that is kept beside the pickle.
    pub(super) fn persistent_keys(&self) -> impl Iterator<Item = Value<'_>> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Persistent(key) => Some(Value::new(self, *key)),
            _ => None,
        })
    }

    fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    /// `module.name` of a node that is a name, old spellings replaced by new ones.
    fn global(&self, id: Id) -> Option<String> {
        global(&self.nodes, id)
    }
}

fn global(nodes: &[Node], id: Id) -> Option<String> {
    let Node::Global(module, name) = &nodes[id as usize] else {
        return None;
    };
    let text = |id: Id| match &nodes[id as usize] {
        Node::Text(literal) | Node::Bytes(literal) => literal.text(),
        _ => None,
    };
    Some(names::canonical(&text(*module)?, &text(*name)?))
}
