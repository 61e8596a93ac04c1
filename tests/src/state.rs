//! What is inside a saved state.
//!
//! The framework writes JSON `{version, params, fields}`; CLAP puts the length
//! in eight bytes before it.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A saved state taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// CLAP's length prefix was there.
    prefixed: bool,
    /// `version`, `params` and `fields`.
    pub json: Value,
}

impl State {
    /// Takes `bytes` apart.
    ///
    /// # Errors
    /// When they are not a state of this plugin.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let (prefixed, text) = match bytes {
            [b'{', ..] => (false, bytes),
            [_, _, _, _, _, _, _, _, text @ ..] => (true, text),
            _ => bail!("a state of {} bytes", bytes.len()),
        };
        Ok(Self {
            prefixed,
            json: serde_json::from_slice(text).context("state is not JSON")?,
        })
    }

    /// Puts it together again.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let text = self.json.to_string().into_bytes();
        if self.prefixed {
            let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
            bytes.extend(text);
            bytes
        } else {
            text
        }
    }

    /// A persisted field, itself JSON inside a string.
    ///
    /// # Errors
    /// When the field is missing or not JSON.
    pub fn field(&self, name: &str) -> Result<Value> {
        let text = self.json["fields"][name].as_str();
        let text = text.with_context(|| format!("the state has no field {name:?}"))?;
        Ok(serde_json::from_str(text)?)
    }

    /// Replaces a persisted field.
    pub fn set_field(&mut self, name: &str, value: &Value) {
        self.json["fields"][name] = Value::String(value.to_string());
    }

    /// Asks for a voice; `sha256` may be empty.
    pub fn set_voice(&mut self, name: &str, path: &str, sha256: &str) {
        self.set_field(
            "voice",
            &json!({ "name": name, "path": path, "sha256": sha256 }),
        );
    }
}
