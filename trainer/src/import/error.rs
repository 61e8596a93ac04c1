//! Why a file of another program is refused.

use std::path::PathBuf;

/// Why a file is not read, with what was expected, what was found and what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The system refused to read.
    #[error("cannot {action} {}: {reason}", .path.display())]
    Io {
        /// "open", "read".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Another kind of file than its place calls for.
    #[error("{} is not {expected}: it is {found}. {remedy}", .path.display())]
    NotRecognised {
        /// The file.
        path: PathBuf,
        /// The kind needed.
        expected: &'static str,
        /// The kind it seems to be.
        found: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A pickle that wants a function called which data has no need of.
    #[error(
        "{} asks for a program to be run while it is read: `{callable}`. That is never done, so the file was not read. A \
         voice is numbers only: do not load this file in other programs either unless you trust who made it; if you do, \
         ask them for a file that holds nothing but tensors (.safetensors, or the state_dict saved alone)", .path.display()
    )]
    Program {
        /// The file.
        path: PathBuf,
        /// The function or class, `module.name`.
        callable: String,
    },
    /// Contents that contradict themselves or end early.
    #[error(
        "{}: {part} should be {expected}, found {found}. The file is damaged or cut short: copy or download it again",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The thing checked.
        part: String,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// More than any voice needs.
    #[error("{}: {part} is {found}, at most {limit} is accepted. This is not a usable voice file", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The thing measured.
        part: String,
        /// Its measure.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A sound file in a form that is not understood.
    #[error("{}: {part} is {found}; {supported} can be read. {remedy}", .path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The thing that is of an unknown form.
        part: String,
        /// Its form.
        found: String,
        /// The forms that are understood.
        supported: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Something needed is not in a file that could be read.
    #[error("{}: {part} is not in the file, which holds {found}. {remedy}", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The thing needed.
        part: String,
        /// What there is instead.
        found: String,
        /// What to do.
        remedy: &'static str,
    },
}
