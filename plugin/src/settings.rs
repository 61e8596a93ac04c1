//! Settings of the user's machine, which no project carries: where voices are run.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use timbra_engine::Isolation;

use crate::folders;

/// Set to `process` or `thread` to override the file.
pub const ISOLATION_VARIABLE: &str = "TIMBRA_ISOLATION";

/// What the file holds. Unknown entries of newer versions are kept out, missing ones have their defaults.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Settings {
    /// `process` or `thread`; anything else is the default.
    worker: String,
}

fn file() -> Option<PathBuf> {
    Some(folders::user_voices()?.parent()?.join("settings.json"))
}

fn named(name: &str) -> Option<Isolation> {
    match name {
        "process" => Some(Isolation::Process),
        "thread" => Some(Isolation::Thread),
        _ => None,
    }
}

/// Where voices are run: what [`ISOLATION_VARIABLE`] says, what the user has chosen, else in a process of their own
/// where the system can do that.
pub fn isolation() -> Isolation {
    let by_variable = std::env::var(ISOLATION_VARIABLE)
        .ok()
        .and_then(|name| named(&name));
    by_variable
        .or_else(|| chosen(&file()?))
        .unwrap_or(if cfg!(unix) {
            Isolation::Process
        } else {
            Isolation::Thread
        })
}

fn chosen(file: &Path) -> Option<Isolation> {
    let text = std::fs::read_to_string(file).ok()?;
    named(&serde_json::from_str::<Settings>(&text).ok()?.worker)
}

/// Keeps the user's choice.
///
/// # Errors
/// Why it could not be written, in words.
pub fn choose(isolation: Isolation) -> Result<(), String> {
    let file = file().ok_or("the system names no folder for user data")?;
    write(&file, isolation).map_err(|error| format!("{}: {error}", file.display()))
}

fn write(file: &Path, isolation: Isolation) -> std::io::Result<()> {
    let settings = Settings {
        worker: match isolation {
            Isolation::Process => "process",
            Isolation::Thread => "thread",
        }
        .to_owned(),
    };
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let beside = file.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&beside, serde_json::to_string_pretty(&settings)?)?;
    std::fs::rename(&beside, file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_kept_and_nonsense_is_no_choice() {
        let folder = std::env::temp_dir().join(format!("timbra-settings-{}", std::process::id()));
        let file = folder.join("deep").join("settings.json");
        assert_eq!(chosen(&file), None);
        for isolation in [Isolation::Thread, Isolation::Process] {
            write(&file, isolation).unwrap();
            assert_eq!(chosen(&file), Some(isolation));
        }
        for text in ["", "{", "[]", r#"{"worker": "moon"}"#, r#"{"worker": 3}"#] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(chosen(&file), None, "{text}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
