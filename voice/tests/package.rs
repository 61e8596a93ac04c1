//! Claims about packages: what is written is read back, and what is wrong is refused with the reason.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use timbra_voice::VoiceError;
use timbra_voice::identity::IdentityVoice;
use timbra_voice::library::{self, VoiceRef};
use timbra_voice::manifest::{EncoderSpec, FORMAT_VERSION};
use timbra_voice::package::{self, EncoderPackage, Form, VoicePackage};
use timbra_voice::tables::{self, Table};
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

/// A folder of this test's own, empty.
fn folder(test: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!(
        "timbra-voice-{}-{test}-{count}",
        std::process::id()
    ));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn voice() -> IdentityVoice {
    IdentityVoice {
        lookahead_frames: 2,
        delay_samples: 40,
        ..IdentityVoice::default()
    }
}

/// A zip with these files, written without any of the checks of the real writer.
fn raw_zip(path: &Path, files: &[(&str, Vec<u8>)]) {
    let mut archive = ZipWriter::new(std::fs::File::create(path).unwrap());
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, contents) in files {
        archive.start_file(*name, options).unwrap();
        archive.write_all(contents).unwrap();
    }
    archive.finish().unwrap();
}

/// The files of a good voice, manifest first, after a change of its JSON.
fn files_with(change: impl Fn(&mut serde_json::Value)) -> Vec<(&'static str, Vec<u8>)> {
    let folder = folder("parts");
    voice().write(&folder.join("v"), Form::Folder).unwrap();
    let read = |name: &str| std::fs::read(folder.join("v").join(name)).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&read("voice.json")).unwrap();
    change(&mut json);
    vec![
        ("voice.json", serde_json::to_vec(&json).unwrap()),
        ("content.onnx", read("content.onnx")),
        ("synthesis.onnx", read("synthesis.onnx")),
    ]
}

fn refusal(files: &[(&str, Vec<u8>)]) -> VoiceError {
    let path = folder("refused").join("v.timbra");
    raw_zip(&path, files);
    let error = VoicePackage::read(&path).unwrap_err();
    assert!(
        error.to_string().contains("v.timbra") || matches!(error, VoiceError::Table { .. }),
        "{error}"
    );
    error
}

#[test]
fn both_forms_read_back_the_same_with_the_same_identity() {
    let folder = folder("forms");
    let file = voice().write(&folder.join("a.timbra"), Form::File).unwrap();
    let tree = voice().write(&folder.join("b"), Form::Folder).unwrap();
    assert_eq!(file, tree);
    let (a, b) = (
        VoicePackage::read(&folder.join("a.timbra")).unwrap(),
        VoicePackage::read(&folder.join("b")).unwrap(),
    );
    assert_eq!(a.sha256, file);
    assert_eq!(a.manifest, b.manifest);
    assert_eq!(a.synthesis_graph(), b.synthesis_graph());
    assert_eq!(a.encoder_graph(), Some(voice().content_graph().as_slice()));
    let (manifest, sha256) = package::read_manifest(&folder.join("a.timbra")).unwrap();
    assert_eq!((manifest, sha256), (a.manifest, file));
}

#[test]
fn writing_over_a_voice_leaves_one_voice_and_no_rubbish() {
    let folder = folder("over");
    for form in [Form::File, Form::Folder, Form::Folder, Form::File] {
        voice().write(&folder.join("v.timbra"), form).unwrap();
        VoicePackage::read(&folder.join("v.timbra")).unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    }
}

#[test]
fn the_same_voice_gives_the_same_bytes() {
    let folder = folder("bytes");
    for name in ["a", "b"] {
        voice().write(&folder.join(name), Form::File).unwrap();
    }
    assert_eq!(
        std::fs::read(folder.join("a")).unwrap(),
        std::fs::read(folder.join("b")).unwrap()
    );
}

#[test]
fn a_package_cut_anywhere_is_refused() {
    let folder = folder("cut");
    let path = folder.join("v.timbra");
    voice().write(&path, Form::File).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in [
        0,
        1,
        10,
        whole.len() / 4,
        whole.len() / 2,
        whole.len() - 30,
        whole.len() - 1,
    ] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = VoicePackage::read(&path).unwrap_err();
        assert!(
            matches!(error, VoiceError::NotAPackage { .. }),
            "{length} bytes: {error}"
        );
        assert!(
            error.to_string().contains("copied or downloaded"),
            "{error}"
        );
    }
}

#[test]
fn a_changed_byte_in_any_file_is_refused() {
    let folder = folder("changed");
    let path = folder.join("v");
    for name in ["content.onnx", "synthesis.onnx"] {
        voice().write(&path, Form::Folder).unwrap();
        let mut bytes = std::fs::read(path.join(name)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path.join(name), bytes).unwrap();
        let error = VoicePackage::read(&path).unwrap_err();
        assert!(
            matches!(&error, VoiceError::Damaged { file, what: "SHA-256", .. } if file == name),
            "{error}"
        );
    }
    std::fs::write(path.join("synthesis.onnx"), b"short").unwrap();
    assert!(matches!(
        VoicePackage::read(&path).unwrap_err(),
        VoiceError::Damaged { what: "length", .. }
    ));
    std::fs::remove_file(path.join("synthesis.onnx")).unwrap();
    assert!(matches!(
        VoicePackage::read(&path).unwrap_err(),
        VoiceError::MissingFile { .. }
    ));
}

#[test]
fn names_that_leave_the_package_or_are_not_listed_are_refused() {
    for name in [
        "../evil",
        "/etc/passwd",
        "a/b",
        "..\\evil",
        ".hidden",
        "with space",
        "ünicode",
        "C:x",
    ] {
        let mut files = files_with(|_| {});
        files.push((name, b"x".to_vec()));
        assert!(
            matches!(refusal(&files), VoiceError::FileName { .. }),
            "{name}"
        );
    }
    let mut files = files_with(|_| {});
    files.push(("extra.bin", b"x".to_vec()));
    assert!(matches!(refusal(&files), VoiceError::UnlistedFile { .. }));
    let listed =
        files_with(|json| json["files"]["../evil"] = json["files"]["content.onnx"].clone());
    assert!(matches!(refusal(&listed), VoiceError::FileName { .. }));
}

#[test]
fn the_same_name_twice_is_refused() {
    // The writer of the zip crate refuses it too, so the second name is made by hand.
    let folder = folder("twice");
    let path = folder.join("v.timbra");
    let mut files = files_with(|_| {});
    files.push(("voice.jsom", b"{}".to_vec()));
    raw_zip(&path, &files);
    let mut bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() - 10 {
        if &bytes[at..at + 10] == b"voice.jsom" {
            bytes[at..at + 10].copy_from_slice(b"voice.json");
        }
    }
    std::fs::write(&path, bytes).unwrap();
    let error = VoicePackage::read(&path).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
}

#[test]
fn compressed_packages_are_refused() {
    // A stored entry that says it is deflated.
    let folder = folder("compressed");
    let path = folder.join("v.timbra");
    raw_zip(&path, &files_with(|_| {}));
    let mut bytes = std::fs::read(&path).unwrap();
    let central = (0..bytes.len() - 4)
        .rev()
        .find(|&at| bytes[at..at + 4] == *b"PK\x01\x02")
        .unwrap();
    bytes[central + 10] = 8;
    std::fs::write(&path, bytes).unwrap();
    assert!(VoicePackage::read(&path).is_err());
}

#[test]
fn numbers_that_cannot_be_true_are_refused_by_name() {
    type Change = fn(&mut serde_json::Value);
    let cases: &[(&str, Change)] = &[
        ("model_rate_hz", |json| {
            json["model_rate_hz"] = 4_000_000_000u32.into()
        }),
        ("model_rate_hz", |json| {
            json["model_rate_hz"] = 16_050.into()
        }),
        ("hop_samples", |json| {
            json["hop_samples"] = 1_000_000_000_000u64.into()
        }),
        ("delay_samples", |json| {
            json["delay_samples"] = u64::MAX.into()
        }),
        ("receptive_field_frames", |json| {
            json["receptive_field_frames"] = 1_000_000.into()
        }),
        ("encoder.channels", |json| {
            json["encoder"]["channels"] = 1_000_000_000.into()
        }),
        ("encoder.lookahead_samples", |json| {
            json["encoder"]["lookahead_samples"] = 1_000_000_000.into()
        }),
        ("encoder.rate_hz", |json| {
            json["encoder"]["rate_hz"] = 48_000.into()
        }),
        ("synthesis.states", |json| {
            json["synthesis"]["states"][0]["shape"] = vec![1_000_000u64; 3].into()
        }),
        ("synthesis.states", |json| {
            json["synthesis"]["states"][0]["shape"] = vec![u64::MAX, 2].into()
        }),
        ("synthesis.states", |json| {
            json["synthesis"]["states"][0]["shape"] = vec![0].into()
        }),
        ("synthesis.states", |json| {
            json["synthesis"]["states"][0]["ring"] = true.into()
        }),
        ("synthesis.inputs", |json| {
            json["synthesis"]["inputs"] = vec!["contents"].into()
        }),
        ("synthesis.inputs", |json| {
            json["synthesis"]["inputs"] = vec!["f0_hz"].into()
        }),
        ("synthesis.outputs", |json| {
            json["synthesis"]["outputs"] = vec!["mel"].into()
        }),
        ("synthesis.file", |json| {
            json["synthesis"]["file"] = "other.onnx".into()
        }),
        ("encoder.sha256", |json| {
            json["encoder"]["sha256"] = "00".into()
        }),
        ("encoder.sha256", |json| {
            json["encoder"]["sha256"] = "0".repeat(64).into()
        }),
        ("speakers", |json| json["speakers"] = serde_json::json!([])),
        ("speakers.f0_median_hz", |json| {
            json["speakers"][0]["f0_median_hz"] = 1e30.into()
        }),
        ("f0_max_hz", |json| json["f0_max_hz"] = 20.0.into()),
        ("clusters", |json| {
            json["clusters"] = "missing.safetensors".into()
        }),
        ("retrieval_ratio", |json| {
            json["retrieval_ratio"] = 0.25.into()
        }),
        ("retrieval_unvoiced", |json| {
            json["retrieval_unvoiced"] = 1.5.into()
        }),
        ("speakers.articulation", |json| {
            json["speakers"][0]["articulation"] = 1.5.into()
        }),
        ("name", |json| json["name"] = "\n".into()),
    ];
    for (field, change) in cases {
        let error = refusal(&files_with(change));
        assert!(
            matches!(&error, VoiceError::Manifest { field: found, .. } if found.starts_with(field)),
            "{field}: {error}"
        );
    }
    let huge = refusal(&files_with(|json| {
        json["files"]["content.onnx"]["bytes"] = u64::MAX.into()
    }));
    assert!(matches!(huge, VoiceError::TooLarge { .. }));
}

#[test]
fn a_newer_format_is_named_even_when_it_looks_different() {
    let newer = files_with(|json| {
        json["format_version"] = (FORMAT_VERSION + 1).into();
        json["speakers"] = "somewhere else".into();
    });
    assert!(
        matches!(refusal(&newer), VoiceError::NewerFormat { found, .. } if found == FORMAT_VERSION + 1)
    );
    let mut broken = files_with(|_| {});
    broken[0].1 = b"{ not json".to_vec();
    assert!(matches!(refusal(&broken), VoiceError::Json { .. }));
    broken[0].1 = vec![b' '; 2 << 20];
    assert!(matches!(refusal(&broken), VoiceError::TooLarge { .. }));
}

#[test]
fn things_that_are_no_package_are_refused() {
    let folder = folder("other");
    let read = |name: &str| VoicePackage::read(&folder.join(name)).unwrap_err();
    assert!(matches!(read("nothing"), VoiceError::Io { .. }));
    std::fs::write(folder.join("text.timbra"), "hello").unwrap();
    assert!(matches!(
        read("text.timbra"),
        VoiceError::NotAPackage { .. }
    ));
    raw_zip(&folder.join("empty.timbra"), &[]);
    assert!(matches!(
        read("empty.timbra"),
        VoiceError::NotAPackage { .. }
    ));
    std::fs::create_dir(folder.join("empty")).unwrap();
    assert!(matches!(read("empty"), VoiceError::NotAPackage { .. }));
}

fn with_table(file: Vec<u8>) -> Result<VoicePackage, VoiceError> {
    let path = folder("table").join("v.timbra");
    let (mut manifest, mut files) = voice().parts();
    manifest.clusters = Some("clusters.safetensors".to_owned());
    files.insert("clusters.safetensors".to_owned(), file);
    package::write_voice(&path, &manifest, &files, Form::File).unwrap();
    VoicePackage::read(&path)
}

#[test]
fn tables_are_read_back_and_wrong_ones_refused() {
    let table = |rows: usize, channels: usize, value: f32| {
        let table = Table {
            rows,
            channels,
            data: vec![value; rows * channels],
        };
        tables::write(&BTreeMap::from([("anybody".to_owned(), table)])).unwrap()
    };
    let clusters = with_table(table(3, 160, 0.5))
        .unwrap()
        .clusters()
        .unwrap()
        .unwrap();
    assert_eq!(clusters.tables[0].as_ref().unwrap().row(2), [0.5; 160]);
    for wrong in [
        table(3, 64, 0.5),
        table(3, 160, f32::NAN),
        b"nonsense".to_vec(),
        Vec::new(),
        vec![0xff; 4096],
    ] {
        assert!(matches!(
            with_table(wrong).unwrap_err(),
            VoiceError::Table { .. }
        ));
    }
    let stranger = Table {
        rows: 1,
        channels: 160,
        data: vec![0.0; 160],
    };
    let stranger = tables::write(&BTreeMap::from([("nobody".to_owned(), stranger)])).unwrap();
    assert!(matches!(
        with_table(stranger).unwrap_err(),
        VoiceError::Table { .. }
    ));
}

#[test]
fn voices_are_found_by_path_hash_and_name() {
    let (first, second) = (folder("first"), folder("second"));
    let folders = [first.clone(), second.clone(), first.join("missing")];
    let named = |name: &str, delay_samples| IdentityVoice {
        name: name.to_owned(),
        delay_samples,
        ..voice()
    };
    named("alpha", 0)
        .write(&first.join("a.timbra"), Form::File)
        .unwrap();
    let hash = named("alpha", 10)
        .write(&second.join("other.timbra"), Form::File)
        .unwrap();
    named("beta", 0)
        .write(&second.join("beta"), Form::Folder)
        .unwrap();
    std::fs::write(second.join("broken.timbra"), "no").unwrap();
    std::fs::write(second.join("notes.txt"), "no").unwrap();

    let listings = library::list(&folders);
    let names: Vec<_> = listings
        .iter()
        .map(|listing| listing.voice.name.as_str())
        .collect();
    assert_eq!(names, ["alpha", "beta", "broken", "alpha"]);
    assert!(listings[2].manifest.is_err());

    let find = |name: &str, path: &Path, sha256: &str| {
        let wanted = VoiceRef {
            name: name.to_owned(),
            path: path.to_path_buf(),
            sha256: sha256.to_owned(),
        };
        library::find(&wanted, &folders).map(|found| found.path)
    };
    let nowhere = Path::new("");
    assert_eq!(find("alpha", nowhere, ""), Some(first.join("a.timbra")));
    assert_eq!(
        find("alpha", nowhere, &hash),
        Some(second.join("other.timbra"))
    );
    assert_eq!(
        find("x", &first.join("a.timbra"), ""),
        Some(first.join("a.timbra"))
    );
    assert_eq!(
        find("x", &first.join("a.timbra"), &hash),
        Some(second.join("other.timbra")),
        "the hash wins"
    );
    assert_eq!(
        find("beta", &first.join("gone.timbra"), "00"),
        Some(second.join("beta")),
        "moved and changed"
    );
    assert_eq!(find("gamma", nowhere, ""), None);
    assert_eq!(find("", nowhere, ""), None);
}

#[test]
fn encoders_are_written_read_and_found_by_the_hash_of_their_graph() {
    let folder = folder("encoder");
    let (manifest, files) = voice().encoder_parts();
    let path = folder.join("identity.timbra");
    package::write_encoder(&path, &manifest, &files, Form::File).unwrap();
    let read = EncoderPackage::read(&path).unwrap();
    assert_eq!(read.graph(), voice().content_graph());
    assert_eq!(
        library::find_encoder(&manifest.encoder, std::slice::from_ref(&folder)),
        Some(path.clone())
    );
    let with_hash = |sha256: String| EncoderSpec {
        sha256,
        ..manifest.encoder.clone()
    };
    let folders = [folder];
    let find = |sha256| library::find_encoder(&with_hash(sha256), &folders);
    assert_eq!(find("1".repeat(64)), None);
    assert_eq!(find(package::ANY_ENCODER.to_owned()), Some(path.clone()));
    let narrower = EncoderSpec {
        channels: manifest.encoder.channels - 1,
        ..with_hash(package::ANY_ENCODER.to_owned())
    };
    assert_eq!(library::find_encoder(&narrower, &folders), None);
    assert!(matches!(
        VoicePackage::read(&path).unwrap_err(),
        VoiceError::NotAPackage { .. }
    ));
}

#[test]
fn a_manifest_that_cannot_be_true_is_not_written() {
    let path = folder("unwritten").join("v.timbra");
    let (mut manifest, files) = voice().parts();
    manifest.f0_max_hz = f32::NAN;
    assert!(package::write_voice(&path, &manifest, &files, Form::File).is_err());
    assert!(!path.exists());
}

/// A small generator, so that a failure can be repeated from its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        // Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014), SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

#[test]
fn random_damage_never_panics_and_never_changes_a_graph_unnoticed() {
    let folder = folder("damage");
    let path = folder.join("v.timbra");
    let (mut manifest, mut files) = voice().parts();
    let table = Table {
        rows: 2,
        channels: 160,
        data: vec![0.25; 320],
    };
    files.insert(
        "t.safetensors".into(),
        tables::write(&BTreeMap::from([("anybody".to_owned(), table)])).unwrap(),
    );
    manifest.retrieval = Some("t.safetensors".to_owned());
    package::write_voice(&path, &manifest, &files, Form::File).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for seed in 0..3000u64 {
        let mut dice = Dice(seed);
        let mut bytes = whole.clone();
        for _ in 0..=dice.below(4) {
            let at = dice.below(bytes.len());
            match dice.below(4) {
                0 => bytes[at] ^= 1 << dice.below(8),
                1 => bytes[at] = [0, 0xff, b'9', b'"'][dice.below(4)],
                2 => drop(bytes.splice(at..(at + dice.below(40)).min(bytes.len()), [])),
                _ => drop(bytes.splice(at..at, [b'0'; 7])),
            }
        }
        std::fs::write(&path, bytes).unwrap();
        if let Ok(read) = VoicePackage::read(&path) {
            assert_eq!(
                read.synthesis_graph(),
                files["synthesis.onnx"],
                "seed {seed}"
            );
            assert_eq!(
                read.encoder_graph(),
                Some(files["content.onnx"].as_slice()),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn random_tables_never_panic() {
    let good = tables::write(&BTreeMap::from([(
        "anybody".to_owned(),
        Table {
            rows: 4,
            channels: 3,
            data: vec![0.5; 12],
        },
    )]))
    .unwrap();
    for seed in 0..20_000u64 {
        let mut dice = Dice(seed);
        let mut bytes = good.clone();
        for _ in 0..=dice.below(3) {
            let at = dice.below(bytes.len());
            bytes[at] = [0, 0xff, b'9', b'1', b'"', b'}'][dice.below(6)];
        }
        bytes.truncate(bytes.len() - dice.below(3));
        if let Ok(read) = tables::read("t", &bytes, &["anybody"], 3) {
            assert!(
                read.tables[0]
                    .as_ref()
                    .is_none_or(|table| table.data.len() == table.rows * 3),
                "seed {seed}"
            );
        }
    }
}
