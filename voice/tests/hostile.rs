//! Claims about packages and tables made to do harm: every seed of the fuzz targets, and every input that once broke
//! something, is read or refused in the ordinary way.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../fuzz/checks/seeds.rs"]
mod seeds;
#[path = "../../fuzz/checks/voice.rs"]
mod voice;

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
#[cfg(unix)]
use std::path::Path;

use timbra_voice::identity::IdentityVoice;
use timbra_voice::manifest::FileEntry;
use timbra_voice::onnx_check;
use timbra_voice::onnx_check::Known;
use timbra_voice::onnx_writer::{Attr, GraphBuilder};
use timbra_voice::package::{self, Form, VoicePackage};
use timbra_voice::tables::{self, Table};
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

/// Names that would leave the folder of a package if they were followed.
const LEAVING: [&str; 6] = [
    "../evil",
    "a/../../evil",
    "/etc/passwd",
    "..\\evil",
    "C:\\evil",
    "\\\\server\\evil",
];

#[test]
fn packages_are_read_or_refused() {
    seeds::all("package", voice::package);
}

#[test]
fn tables_are_read_or_refused() {
    seeds::all("tables", voice::tables);
}

#[test]
fn archives_with_names_that_leave_them_are_refused_whole() {
    let folder = std::env::temp_dir().join(format!("timbra-leaving-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("v.timbra");
    for name in LEAVING {
        std::fs::write(&path, leaving(name)).unwrap();
        for error in [
            VoicePackage::read(&path).unwrap_err(),
            package::read_manifest(&path).unwrap_err(),
        ] {
            assert!(error.to_string().contains("is refused"), "{name}: {error}");
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "{name}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
#[cfg(unix)]
fn pipes_and_devices_are_refused_unopened() {
    // Whoever opens a pipe waits for its other end, and a project may name any path for its voice.
    let error = VoicePackage::read(Path::new("/dev/zero")).unwrap_err();
    assert!(error.to_string().contains("neither"), "{error}");
}

/// A voice that is right but for one more file, which the manifest lists.
fn leaving(name: &str) -> Vec<u8> {
    let (mut manifest, mut files) = small();
    files.insert(name.to_owned(), b"x".to_vec());
    manifest.files = entries(&files);
    zipped(
        "voice.json",
        &serde_json::to_vec(&manifest).unwrap(),
        &files,
    )
}

/// Why a graph is refused; its one input has 160 numbers.
fn graph_refusal(graph: &[u8]) -> String {
    onnx_check::check(
        graph,
        &[Known {
            name: "content",
            shape: &[1, 160],
            fixed: None,
        }],
        1,
    )
    .unwrap_err()
    .to_string()
}

/// A message with these fields, all of which have a length.
fn message(fields: &[(u8, &[u8])]) -> Vec<u8> {
    let field =
        |&(number, bytes): &(u8, &[u8])| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    fields.iter().flat_map(field).collect()
}

/// A model of operator set 17 with this graph.
fn model(graph: &[u8]) -> Vec<u8> {
    message(&[(7, graph), (8, &[0x10, 17])])
}

#[test]
fn graphs_that_name_other_files_are_refused() {
    // The runtime opens what a constant names, seen from the folder the host happens to run in.
    let location = message(&[(1, b"location"), (2, b"../../.ssh/id_rsa")]);
    let constant = message(&[(8, b"w"), (13, &location)]);
    let error = graph_refusal(&model(&message(&[(5, &constant)])));
    assert!(error.contains("another file"), "{error}");
    let constant = [&message(&[(8, b"w")])[..], &[14 << 3, 1]].concat();
    let error = graph_refusal(&model(&message(&[(5, &constant)])));
    assert!(error.contains("another file"), "{error}");
}

#[test]
fn graphs_with_subgraphs_functions_and_foreign_operators_are_refused() {
    let branch = message(&[(1, b"then_branch"), (6, &[])]);
    let node = message(&[(2, b"y"), (4, b"If"), (5, &branch)]);
    let error = graph_refusal(&model(&message(&[(1, &node)])));
    assert!(
        error.contains("an attribute") && error.contains("field 6"),
        "{error}"
    );
    let node = message(&[(2, b"y"), (4, b"Loop")]);
    assert!(graph_refusal(&model(&message(&[(1, &node)]))).contains("Loop"));
    let node = message(&[(2, b"y"), (4, b"Add"), (7, b"com.microsoft")]);
    assert!(graph_refusal(&model(&message(&[(1, &node)]))).contains("com.microsoft"));
    let functions = [&model(&[])[..], &[0xca, 1, 0]].concat();
    assert!(graph_refusal(&functions).contains("field 25"));
    // A parser would merge the two.
    let twice = message(&[(7, &[]), (7, &[]), (8, &[0x10, 17])]);
    assert!(graph_refusal(&twice).contains("twice"));
}

#[test]
fn graphs_of_a_few_bytes_that_ask_for_gigabytes_are_refused() {
    type Grow = fn(&mut GraphBuilder) -> String;
    let cases: [(&str, Grow); 6] = [
        ("numbers", |graph| {
            let shape = graph.i64s(&[1 << 20, 1 << 10]);
            let one = graph.f32s(&[], &[1.0]);
            graph.op("Expand", &[&one, &shape], vec![])
        }),
        ("numbers", |graph| {
            let zero = graph.i64s(&[0]);
            let none = graph.op("Squeeze", &["content", &zero], vec![]);
            let one = graph.i64s(&[1]);
            let column = graph.op("Unsqueeze", &[&none, &one], vec![]);
            let square = graph.op("Mul", &[&column, "content"], vec![]);
            let long = graph.i64s(&[1, -1]);
            let long = graph.op("Reshape", &[&square, &long], vec![]);
            let tall = graph.i64s(&[-1, 1]);
            let tall = graph.op("Reshape", &[&square, &tall], vec![]);
            graph.op("MatMul", &[&tall, &long], vec![])
        }),
        ("numbers", |graph| {
            let pads = graph.i64s(&[0, 0, 0, i64::MAX]);
            graph.op("Pad", &["content", &pads], vec![])
        }),
        ("numbers", |graph| {
            graph.constant_i64("from", &[], &[i64::MIN]);
            graph.constant_i64("to", &[], &[i64::MAX]);
            graph.constant_i64("by", &[], &[1]);
            graph.op("Range", &["from", "to", "by"], vec![])
        }),
        ("multiplications", |graph| {
            let one = graph.f32s(&[], &[1.0]);
            let shape = graph.i64s(&[2048, 2048]);
            let square = graph.op("Expand", &[&one, &shape], vec![]);
            graph.op("MatMul", &[&square, &square], vec![])
        }),
        // Its size is known only when it runs.
        ("known before it runs", |graph| {
            let shape = graph.op("Cast", &["content"], vec![Attr::Int("to", 7)]);
            let one = graph.f32s(&[], &[1.0]);
            graph.op("Expand", &[&one, &shape], vec![])
        }),
    ];
    for (reason, grow) in cases {
        let mut graph = GraphBuilder::new("synthesis");
        graph.input("content", &[1.into(), "T".into()]);
        graph.output("audio", &[1.into(), "samples".into()]);
        let grown = grow(&mut graph);
        graph.node("Identity", &[&grown], &["audio"], vec![]);
        let error = graph_refusal(&graph.finish());
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

type Parts = (timbra_voice::Manifest, BTreeMap<String, Vec<u8>>);

fn small() -> Parts {
    let voice = IdentityVoice {
        lookahead_frames: 1,
        delay_samples: 40,
        ..IdentityVoice::default()
    };
    voice.parts()
}

fn entries(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, FileEntry> {
    let entry = |contents: &Vec<u8>| FileEntry {
        sha256: package::sha256_hex(contents),
        bytes: contents.len() as u64,
    };
    files
        .iter()
        .map(|(name, contents)| (name.clone(), entry(contents)))
        .collect()
}

/// A zip without any of the checks of the real writer.
fn zipped(manifest_name: &str, manifest: &[u8], files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let files = files
        .iter()
        .map(|(name, contents)| (name.as_str(), contents.as_slice()));
    for (name, contents) in std::iter::once((manifest_name, manifest)).chain(files) {
        archive.start_file(name, options).unwrap();
        archive.write_all(contents).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn table(rows: usize, channels: usize) -> Table {
    Table {
        rows,
        channels,
        data: (0..rows * channels).map(|n| n as f32 * 0.25).collect(),
    }
}

#[test]
#[ignore = "writes fuzz/seeds/package and fuzz/seeds/tables again"]
fn write_seeds() {
    let folder = std::env::temp_dir().join(format!("timbra-seeds-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("v.timbra");
    let written = |manifest, files: &_| {
        package::write_voice(&path, manifest, files, Form::File).unwrap();
        std::fs::read(&path).unwrap()
    };
    let (manifest, files) = small();
    let plain = written(&manifest, &files);
    seeds::write("package", "voice", &plain);
    seeds::write("package", "cut", &plain[..plain.len() - 40]);

    let (mut with_tables, mut more) = small();
    for name in ["clusters", "retrieval"] {
        let tables = tables::write(&[("anybody".to_owned(), table(1, 160))].into()).unwrap();
        more.insert(format!("{name}.safetensors"), tables);
    }
    with_tables.clusters = Some("clusters.safetensors".to_owned());
    with_tables.retrieval = Some("retrieval.safetensors".to_owned());
    seeds::write(
        "package",
        "voice-with-tables",
        &written(&with_tables, &more),
    );

    let (mut alone, mut rest) = small();
    rest.remove("content.onnx");
    alone.encoder.id = "elsewhere".to_owned();
    seeds::write("package", "voice-without-encoder", &written(&alone, &rest));

    let (encoder, files) = IdentityVoice::default().encoder_parts();
    package::write_encoder(&path, &encoder, &files, Form::File).unwrap();
    seeds::write("package", "encoder", &std::fs::read(&path).unwrap());

    for (number, name) in LEAVING.iter().enumerate() {
        seeds::write("package", &format!("leaving-{number}"), &leaving(name));
    }
    let lists = |count: usize| {
        (0..count)
            .map(|n| (format!("f{n}"), Vec::new()))
            .collect::<BTreeMap<_, _>>()
    };
    seeds::write(
        "package",
        "too-many-files",
        &zipped("voice.json", b"{}", &lists(70)),
    );
    // A file that says it is deflated, and one that says it has four gigabytes.
    let central = plain
        .windows(4)
        .rposition(|bytes| bytes == b"PK\x01\x02")
        .unwrap();
    let mut deflated = plain.clone();
    deflated[central + 10] = 8;
    seeds::write("package", "deflated", &deflated);
    let mut huge = plain;
    huge[central + 20..central + 28].fill(0xfe);
    seeds::write("package", "huge", &huge);
    std::fs::remove_dir_all(&folder).unwrap();

    let both = [
        ("anna".to_owned(), table(3, 4)),
        ("bela".to_owned(), table(1, 4)),
    ];
    seeds::write("tables", "both", &tables::write(&both.into()).unwrap());
    for (name, rows, channels) in [
        ("anna", 2, 4),
        ("bela", 2, 5),
        ("carla", 1, 4),
        ("anna", 0, 4),
    ] {
        let tables = tables::write(&[(name.to_owned(), table(rows, channels))].into()).unwrap();
        seeds::write("tables", &format!("{name}-{rows}-{channels}"), &tables);
    }
    let header = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    for (name, text) in [
        (
            "huge",
            r#"{"anna":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16]}}"#,
        ),
        (
            "overflow",
            r#"{"anna":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,8]}}"#,
        ),
        (
            "backwards",
            r#"{"anna":{"dtype":"F32","shape":[1,4],"data_offsets":[16,0]}}"#,
        ),
        (
            "halves",
            r#"{"anna":{"dtype":"F16","shape":[1,4],"data_offsets":[0,8]},"__metadata__":{"a":"b"}}"#,
        ),
    ] {
        seeds::write("tables", name, &[header(text), vec![0; 16]].concat());
    }
    seeds::write("tables", "long-header", &u64::MAX.to_le_bytes());
}
