//! Cluster and retrieval tables: one matrix of content frames per speaker, in a safetensors file.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::check::clip;
use crate::error::VoiceError;

/// Most rows of a table; a retrieval search looks at all of them for every frame.
pub const MAX_ROWS: usize = 1 << 20;

/// Rows of content features.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Number of rows.
    pub rows: usize,
    /// Numbers per row (C).
    pub channels: usize,
    /// Row after row.
    pub data: Vec<f32>,
}

impl Table {
    /// Row `index`.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.data[index * self.channels..][..self.channels]
    }
}

/// One table per speaker, in the order of the manifest; a speaker may have none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SpeakerTables {
    /// The tables.
    pub tables: Vec<Option<Table>>,
}

/// Reads the tables of `speakers` with `channels` numbers per row; `file` is for the message.
///
/// # Errors
/// It is no safetensors file, a tensor belongs to no speaker, or its type, shape or numbers cannot be used.
pub fn read(
    file: &str,
    bytes: &[u8],
    speakers: &[&str],
    channels: usize,
) -> Result<SpeakerTables, VoiceError> {
    let refuse = |what: String, expected: String, found: String| VoiceError::Table {
        file: file.to_owned(),
        what,
        expected,
        found,
    };
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| {
        refuse(
            "the file".into(),
            "in safetensors format".into(),
            clip(&error.to_string()),
        )
    })?;
    if let Some(stranger) = tensors
        .names()
        .into_iter()
        .find(|name| !speakers.contains(name))
    {
        return Err(refuse(
            "a tensor's name".into(),
            format!("one of {}", speakers.join(", ")),
            clip(stranger),
        ));
    }
    let mut tables = Vec::with_capacity(speakers.len());
    for speaker in speakers {
        let Ok(view) = tensors.tensor(speaker) else {
            tables.push(None);
            continue;
        };
        let shape = view.shape();
        let fits = view.dtype() == Dtype::F32
            && shape.len() == 2
            && (1..=MAX_ROWS).contains(&shape[0])
            && shape[1] == channels
            && view.data().len() == shape[0] * channels * 4;
        if !fits {
            return Err(refuse(
                format!("the table of {speaker}"),
                format!("float32 [1 to {MAX_ROWS}, {channels}]"),
                format!("{:?} {shape:?}", view.dtype()),
            ));
        }
        let data: Vec<f32> = view
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        if let Some(wrong) = data.iter().find(|value| !value.is_finite()) {
            return Err(refuse(
                format!("the table of {speaker}"),
                "finite numbers".into(),
                wrong.to_string(),
            ));
        }
        tables.push(Some(Table {
            rows: shape[0],
            channels,
            data,
        }));
    }
    Ok(SpeakerTables { tables })
}

/// Serialises tables by speaker name.
///
/// # Errors
/// A table whose data does not fill its shape.
pub fn write(tables: &BTreeMap<String, Table>) -> Result<Vec<u8>, VoiceError> {
    let refuse = |speaker: &str, expected: String, found: String| VoiceError::Table {
        file: "the tables".to_owned(),
        what: format!("the table of {speaker}"),
        expected,
        found,
    };
    let bytes: BTreeMap<&String, Vec<u8>> = tables
        .iter()
        .map(|(speaker, table)| {
            (
                speaker,
                table
                    .data
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect(),
            )
        })
        .collect();
    let mut views = Vec::with_capacity(tables.len());
    for (speaker, table) in tables {
        let view = TensorView::new(
            Dtype::F32,
            vec![table.rows, table.channels],
            &bytes[speaker],
        )
        .map_err(|error| {
            refuse(
                speaker,
                format!("{} × {} numbers", table.rows, table.channels),
                error.to_string(),
            )
        })?;
        views.push((speaker.as_str(), view));
    }
    safetensors::serialize(views, None)
        .map_err(|error| refuse("all speakers", "serialisable".into(), error.to_string()))
}
