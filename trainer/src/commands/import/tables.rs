//! Cluster centres and vectors for retrieval, for the speakers of a voice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Result, bail};
use timbra_voice::tables::{self, Table};

use crate::import::retrieval::Retrieval;
use crate::import::{Matrix, Speaker as Whose, clusters};
use crate::model::vits::spec::VitsSpec;

/// Speakers by their row in the checkpoint.
type Speakers<'a> = &'a [(usize, String)];

/// The cluster centres in a file.
pub(super) fn centres(path: &Path) -> Result<Vec<(Whose, Matrix)>> {
    let clusters = clusters::read_clusters(path)?.into_iter();
    Ok(clusters.map(|of| (of.speaker, of.centers)).collect())
}

/// The vectors in a file.
pub(super) fn vectors(path: &Path) -> Result<Vec<(Whose, Matrix)>> {
    let index = Retrieval::open(path)?;
    let mut tables = Vec::new();
    for whose in index.speakers() {
        if let Some(vectors) = index.vectors(whose)? {
            tables.push((whose.clone(), vectors));
        }
    }
    Ok(tables)
}

/// A table per speaker from a file, as a file of the package. What is left out, and who has nothing, is noted.
///
/// `all` are the speakers of the voice, `taken` those that go into the package.
pub(super) fn tables_of(
    path: Option<&Path>,
    (all, taken): (Speakers<'_>, Speakers<'_>),
    spec: &VitsSpec,
    notes: &mut Vec<String>,
    read: impl FnOnce(&Path) -> Result<Vec<(Whose, Matrix)>>,
) -> Result<Option<Vec<u8>>> {
    let Some(path) = path else {
        return Ok(None);
    };
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let (mut tables, mut whose_tables) = (BTreeMap::new(), Vec::new());
    for (whose, matrix) in read(path)? {
        if matrix.columns() != spec.content_channels {
            bail!(
                "{}: the vectors of {whose}: expected {} channels, as the voice's content has, found {}; give the file that was \
                 made with this voice",
                path.display(),
                spec.content_channels,
                matrix.columns()
            );
        }
        whose_tables.push(whose.to_string());
        if let Some(name) = name_of(&whose, taken) {
            let table = Table {
                rows: matrix.rows(),
                channels: matrix.columns(),
                data: matrix.into_values(),
            };
            tables.insert(name.to_owned(), table);
        } else if name_of(&whose, all).is_none() {
            notes.push(format!(
                "{file}: {whose} is not in the voice, which has {}; left out",
                names(all)
            ));
        }
    }
    if tables.is_empty() {
        bail!(
            "{}: expected a table for {}, found one for {}; give the file that was made with this voice",
            path.display(),
            names(taken),
            whose_tables.join(", ")
        );
    }
    let without: BTreeSet<&str> = taken
        .iter()
        .map(|(_, name)| name.as_str())
        .filter(|name| !tables.contains_key(*name))
        .collect();
    for name in without {
        notes.push(format!(
            "{file}: nothing for {name}, whose content stays as it is"
        ));
    }
    Ok(Some(tables::write(&tables)?))
}

/// Who of `speakers` is meant. A table of nobody is of the first.
fn name_of<'a>(whose: &Whose, speakers: Speakers<'a>) -> Option<&'a str> {
    speakers.iter().find_map(|(row, name)| {
        let this = match whose {
            Whose::Only => true,
            Whose::Index(index) => *index == *row as i64,
            Whose::Name(known) => known == name,
        };
        this.then_some(name.as_str())
    })
}

fn names(speakers: Speakers<'_>) -> String {
    let numbered: Vec<String> = speakers
        .iter()
        .map(|(row, name)| format!("{name} ({row})"))
        .collect();
    numbered.join(", ")
}
