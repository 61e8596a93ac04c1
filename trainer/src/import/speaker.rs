//! Whose table it is.

use std::fmt;

use super::error::ReadError;
use super::pickle::Value;
use super::source::Source;

/// Speakers of a file; voices have a few, seldom hundreds.
const MAX_SPEAKERS: u64 = 1000;

/// The key a table is kept under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Speaker {
    /// The file has one table and no key.
    Only,
    /// The number of the speaker in the voice's configuration.
    Index(i64),
    /// The name of the speaker.
    Name(String),
}

impl Speaker {
    /// The entries of a dictionary whose keys are speakers.
    pub(super) fn entries<'a>(
        source: &Source,
        value: Value<'a>,
    ) -> Result<Vec<(Self, Value<'a>)>, ReadError> {
        let entries = value.entries().unwrap_or_default();
        source.too_large("the number of speakers", entries.len() as u64, MAX_SPEAKERS)?;
        let entries = entries.into_iter();
        Ok(entries
            .filter_map(|(key, value)| Some((Self::from_key(key)?, value)))
            .collect())
    }

    /// The key of a dictionary, where it is a name or a number.
    fn from_key(key: Value<'_>) -> Option<Self> {
        if let Some(index) = key.as_int() {
            return Some(Self::Index(index));
        }
        key.as_str().map(|name| Self::Name(name.into_owned()))
    }
}

impl fmt::Display for Speaker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => formatter.write_str("the only speaker"),
            Self::Index(index) => write!(formatter, "speaker {index}"),
            Self::Name(name) => write!(formatter, "speaker \"{}\"", name.escape_debug()),
        }
    }
}
