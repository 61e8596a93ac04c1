//! A value of a pickle that was read.

use std::borrow::Cow;
use std::fmt;

use super::super::error::ReadError;
use super::super::source::Stored;
use super::literal::encoded;
use super::names::{Role, role};
use super::{Call, Document, Id, Node};

/// A value in a [`Document`]; copying it copies a reference.
///
/// A pickle may refer to itself: who walks through values counts how deep.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    document: &'a Document,
    id: Id,
}

/// An object or call that the pickle describes.
pub struct Object<'a> {
    /// The class or function, `module.name` in its newer spelling (`builtins`, `numpy.core`, `faiss`).
    pub name: String,
    /// What it would be made from.
    pub arguments: Vec<Value<'a>>,
    /// What its attributes would be set from.
    pub state: Option<Value<'a>>,
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.kind())
    }
}

impl<'a> Value<'a> {
    pub(super) fn new(document: &'a Document, id: Id) -> Self {
        Self { document, id }
    }

    fn at(self, id: Id) -> Self {
        Self { id, ..self }
    }

    fn node(self) -> &'a Node {
        self.document.node(self.id)
    }

    /// What kind of value it is, for messages.
    pub fn kind(self) -> &'static str {
        match self.node() {
            Node::None => "nothing (None)",
            Node::Bool(_) => "a truth value",
            Node::Int(_) | Node::Long(_) => "a whole number",
            Node::Float(_) => "a real number",
            Node::Text(_) => "text",
            Node::Bytes(_) => "bytes",
            Node::List(_) => "a list",
            Node::Tuple(_) => "a tuple",
            Node::Set(_) => "a set",
            Node::Dict(_) => "a dictionary",
            Node::Global(..) => "a name",
            Node::Call(_) => match self.role() {
                Some(Role::Mapping) => "a dictionary",
                Some(Role::Sequence) => "a list",
                _ => "an object",
            },
            Node::Persistent(_) => "a storage",
        }
    }

    /// Python's `None`.
    pub fn is_none(self) -> bool {
        matches!(self.node(), Node::None)
    }

    /// A whole number of up to 64 bits; truth values are 0 and 1, as in Python.
    pub fn as_int(self) -> Option<i64> {
        match self.node() {
            Node::Int(value) => Some(*value),
            Node::Bool(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    /// A number.
    pub fn as_float(self) -> Option<f64> {
        match self.node() {
            Node::Float(value) => Some(*value),
            _ => self.as_int().map(|value| value as f64),
        }
    }

    /// A truth value.
    pub fn as_bool(self) -> Option<bool> {
        match self.node() {
            Node::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// A text of up to 4096 bytes; bytes count too, as Python 2 wrote names so. What is no Unicode is replaced.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        match self.node() {
            Node::Text(literal) | Node::Bytes(literal) => literal.text(),
            _ => None,
        }
    }

    /// A number too long for [`Value::as_int`], as it is written.
    pub(in super::super) fn as_long(self) -> Option<&'a [u8]> {
        match self.node() {
            Node::Long(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The name of a class or function, `module.name`.
    pub(in super::super) fn as_name(self) -> Option<String> {
        self.document.global(self.id)
    }

    /// The key of something kept beside the pickle.
    pub(in super::super) fn as_persistent(self) -> Option<Self> {
        match self.node() {
            Node::Persistent(key) => Some(self.at(*key)),
            _ => None,
        }
    }

    /// Where bytes lie, in any of the ways in which pickles write them.
    pub(in super::super) fn as_bytes(self) -> Option<Stored> {
        match self.node() {
            Node::Bytes(literal) => return Some(literal.stored()),
            Node::Call(_) => {}
            _ => return None,
        }
        let (name, first) = self.first_argument()?;
        match (name.as_str(), first.map(Self::node)) {
            ("builtins.bytes" | "builtins.bytearray", None) => {
                Some(Stored::Held(Vec::new().into()))
            }
            ("builtins.bytearray", Some(Node::Bytes(literal))) => Some(literal.stored()),
            ("_codecs.encode" | "builtins.bytearray", Some(Node::Text(literal))) => {
                encoded(&literal.stored())
            }
            // One level and no more: such calls could be nested a million times.
            ("builtins.bytearray", Some(Node::Call(_))) => match first?.first_argument()? {
                (name, Some(text)) if name == "_codecs.encode" => match text.node() {
                    Node::Text(literal) => encoded(&literal.stored()),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        }
    }

    /// The function of a call and the first of its arguments.
    fn first_argument(self) -> Option<(String, Option<Self>)> {
        let call = self.call()?;
        let first = match self.document.node(call.arguments) {
            Node::Tuple(arguments) => arguments.first().map(|id| self.at(*id)),
            _ => None,
        };
        Some((self.document.global(call.callable)?, first))
    }

    /// Bytes in any of the ways in which pickles write them, `None` where the value is something else.
    ///
    /// # Errors
    /// [`ReadError::Io`] or [`ReadError::Damaged`] where bytes that were left in the file cannot be read.
    pub fn read_bytes(self) -> Result<Option<Vec<u8>>, ReadError> {
        let stored = self.as_bytes();
        let read = stored.map(|stored| stored.read(&self.document.source, "bytes in the pickle"));
        read.transpose()
    }

    fn call(self) -> Option<&'a Call> {
        match self.node() {
            Node::Call(call) => Some(call),
            _ => None,
        }
    }

    fn role(self) -> Option<Role> {
        role(&self.document.global(self.call()?.callable)?)
    }

    /// An object; its class where it is made by way of `copyreg`.
    pub fn as_object(self) -> Option<Object<'a>> {
        let call = self.call()?;
        let mut name = self.document.global(call.callable)?;
        let arguments: Vec<_> = match self.document.node(call.arguments) {
            Node::Tuple(ids) => ids.iter().map(|id| self.at(*id)).collect(),
            _ => Vec::new(),
        };
        if let "copyreg._reconstructor" | "copyreg.__newobj__" = name.as_str()
            && let Some(class) = arguments.first().and_then(|first| first.as_name())
        {
            name = class;
        }
        Some(Object {
            name,
            arguments,
            state: call.state.map(|state| self.at(state)),
        })
    }

    /// The elements of a list, tuple or set.
    pub fn elements(self) -> Option<Vec<Value<'a>>> {
        let ids: Vec<Id> = match self.node() {
            Node::List(ids) | Node::Set(ids) => ids.clone(),
            Node::Tuple(ids) => ids.to_vec(),
            Node::Call(call) if self.role() == Some(Role::Sequence) => {
                let Node::Tuple(arguments) = self.document.node(call.arguments) else {
                    return None;
                };
                let mut ids = match arguments.first().map(|id| self.document.node(*id)) {
                    Some(Node::List(ids) | Node::Set(ids)) => ids.clone(),
                    Some(Node::Tuple(ids)) => ids.to_vec(),
                    _ => Vec::new(),
                };
                ids.extend(&call.elements);
                ids
            }
            _ => return None,
        };
        Some(ids.into_iter().map(|id| self.at(id)).collect())
    }

    /// The elements, where there are no more than `limit`; a file may name a long list a million times.
    pub(in super::super) fn few_elements(self, limit: usize) -> Option<Vec<Value<'a>>> {
        let few = match self.node() {
            Node::List(ids) | Node::Set(ids) => ids.len() <= limit,
            Node::Tuple(ids) => ids.len() <= limit,
            Node::Call(call) => {
                let given = self.first_argument().and_then(|(_, first)| first);
                let given = given.map_or(0, |first| match first.node() {
                    Node::List(ids) | Node::Set(ids) => ids.len(),
                    Node::Tuple(ids) => ids.len(),
                    _ => 0,
                });
                given + call.elements.len() <= limit
            }
            _ => false,
        };
        if few { self.elements() } else { None }
    }

    /// The entries of a dictionary of any kind, or the attributes of an object, in the file's order.
    pub fn entries(self) -> Option<Vec<(Value<'a>, Value<'a>)>> {
        let pairs: Vec<(Id, Id)> = match self.node() {
            Node::Dict(pairs) => pairs.clone(),
            Node::Call(call) => match self.role()? {
                Role::Mapping => {
                    let mut pairs = self.given_pairs(call);
                    pairs.extend(&call.items);
                    pairs
                }
                Role::Attributes => self.attributes(call),
                Role::Sequence | Role::Data => return None,
            },
            _ => return None,
        };
        let pairs = pairs.into_iter();
        Some(
            pairs
                .map(|(key, value)| (self.at(key), self.at(value)))
                .collect(),
        )
    }

    /// The last entry or attribute of this name.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        let entries = self.entries()?.into_iter().rev();
        let mut entries = entries.filter(|(name, _)| name.as_str().as_deref() == Some(key));
        entries.next().map(|(_, value)| value)
    }

    /// The names of the entries, for messages: a few of them.
    pub fn describe(self) -> String {
        const SHOWN: usize = 8;
        let Some(entries) = self.entries() else {
            return self.kind().to_owned();
        };
        let mut names: Vec<String> = (entries.iter().take(SHOWN))
            .map(|(key, _)| match (key.as_str(), key.as_int()) {
                (Some(name), _) => {
                    let shown: String = name.chars().take(60).collect();
                    format!("\"{}\"", shown.escape_debug())
                }
                (None, Some(number)) => number.to_string(),
                (None, None) => key.kind().to_owned(),
            })
            .collect();
        if entries.len() > SHOWN {
            names.push(format!("{} more", entries.len() - SHOWN));
        }
        if names.is_empty() {
            return "an empty dictionary".to_owned();
        }
        format!("{} with {}", self.kind(), names.join(", "))
    }

    /// `OrderedDict([[key, value], …])`, as Python 2 wrote it.
    fn given_pairs(self, call: &Call) -> Vec<(Id, Id)> {
        let Node::Tuple(arguments) = self.document.node(call.arguments) else {
            return Vec::new();
        };
        let first = arguments.first().map(|id| self.document.node(*id));
        match first {
            Some(Node::Dict(pairs)) => pairs.clone(),
            Some(Node::List(ids)) => {
                let pair = |id: &Id| match self.document.node(*id) {
                    Node::List(pair) => <[Id; 2]>::try_from(pair.as_slice()).ok(),
                    Node::Tuple(pair) => <[Id; 2]>::try_from(&**pair).ok(),
                    _ => None,
                };
                ids.iter()
                    .filter_map(pair)
                    .map(|[key, value]| (key, value))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// The state of an object: a dictionary, or a pair of one and the values of slots.
    fn attributes(self, call: &Call) -> Vec<(Id, Id)> {
        let mut pairs = call.items.clone();
        match call.state.map(|state| self.document.node(state)) {
            Some(Node::Dict(state)) => pairs.extend(state),
            Some(Node::Tuple(states)) => {
                for state in states.iter().take(2) {
                    if let Node::Dict(state) = self.document.node(*state) {
                        pairs.extend(state);
                    }
                }
            }
            _ => {}
        }
        pairs
    }
}
