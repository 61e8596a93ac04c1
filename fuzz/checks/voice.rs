//! What holds for packages and tables whatever bytes are in them. The fuzz targets run it, and the tests of the crate.
#![allow(dead_code, reason = "every target uses a part")]
#![allow(clippy::unwrap_used, reason = "a check fails by panicking")]

#[path = "folder.rs"]
mod folder;

use std::collections::BTreeMap;
use std::io::Cursor;

use timbra_voice::package::{self, EncoderPackage, VoicePackage};
use timbra_voice::tables::{self, MAX_ROWS};

/// Bytes as a package in one file.
pub fn package(bytes: &[u8]) {
    let folder = folder::folder("package");
    let path = folder.join("v.timbra");
    std::fs::write(&path, bytes).unwrap();
    let leaves = zip::ZipArchive::new(Cursor::new(bytes)).is_ok_and(|archive| {
        archive
            .file_names()
            .flatten()
            .any(|name| name.contains(['/', '\\', ':']) || name.starts_with('.'))
    });
    let manifest = package::read_manifest(&path);
    let encoder_manifest = package::read_encoder_manifest(&path);
    if leaves {
        assert!(manifest.is_err() && encoder_manifest.is_err());
    }
    match VoicePackage::read(&path) {
        Ok(package) => {
            assert_eq!(
                manifest.unwrap(),
                (package.manifest.clone(), package.sha256.clone())
            );
            package.clusters().unwrap();
            package.retrieval().unwrap();
            assert_eq!(
                package.synthesis_graph().len() as u64,
                package.manifest.files[&package.manifest.synthesis.file].bytes
            );
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match EncoderPackage::read(&path) {
        Ok(package) => assert_eq!(encoder_manifest.unwrap(), package.manifest),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    // Reading writes nothing.
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}

/// Bytes as the cluster or retrieval tables of two speakers.
pub fn tables(bytes: &[u8]) {
    let speakers = ["anna", "bela"];
    let Ok(read) = tables::read("clusters.safetensors", bytes, &speakers, 4) else {
        return;
    };
    assert_eq!(read.tables.len(), speakers.len());
    let mut again = BTreeMap::new();
    for (speaker, table) in speakers.iter().zip(&read.tables) {
        let Some(table) = table else { continue };
        assert!((1..=MAX_ROWS).contains(&table.rows) && table.channels == 4);
        assert_eq!(table.data.len(), table.rows * table.channels);
        assert!(table.data.len() * 4 <= bytes.len());
        assert!(
            table
                .row(table.rows - 1)
                .iter()
                .all(|value| value.is_finite())
        );
        again.insert((*speaker).to_owned(), table.clone());
    }
    let written = tables::write(&again).unwrap();
    assert_eq!(tables::read("again", &written, &speakers, 4).unwrap(), read);
}
