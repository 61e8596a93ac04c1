//! Every form of file is read to the values that were put into it (`fixtures/make.py`), and what is not understood is
//! refused with a word on what to do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use timbra_trainer::import;

use import::clusters::{Clusters, read_clusters};
use import::npy;
use import::pickle::{Document, Value};
use import::retrieval::Retrieval;
use import::safetensors_file::SafetensorsFile;
use import::source::Source;
use import::{Matrix, ReadError, Speaker, StateDict, TorchFile, read_state_dict};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn expected(name: &str) -> Vec<f32> {
    let path = fixture(&format!("{name}.expected.npy"));
    npy::open(&path).unwrap().to_f32().unwrap()
}

/// All values, tensor after tensor in the order of their names.
fn flat(tensors: &StateDict) -> Vec<f32> {
    let values = tensors.values().map(|tensor| tensor.to_f32().unwrap());
    values.flatten().collect()
}

#[test]
fn checkpoints_of_every_form_hold_the_same_weights() {
    for name in [
        "sovits.pth",
        "flat.pt",
        "rvc_legacy.pth",
        "rvc_protocol4.pth",
        "rvc_legacy_protocol4.pth",
    ] {
        let tensors = read_state_dict(&fixture(name)).unwrap();
        assert_eq!(tensors.len(), 17, "{name}");
        assert_eq!(flat(&tensors), expected("weights"), "{name}");
        assert_eq!(tensors["m_transposed"].shape(), [6, 4], "{name}");
        assert_eq!(tensors["n_shared"].shape(), [2, 3], "{name}");
        assert!(tensors["k_scalar"].shape().is_empty(), "{name}");
    }
}

#[test]
fn safetensors_hold_the_same_weights() {
    let path = fixture("weights.safetensors");
    let tensors = read_state_dict(&path).unwrap();
    assert_eq!(flat(&tensors), expected("safetensors"));
    assert_eq!(SafetensorsFile::open(&path).unwrap().notes()["sr"], "48k");
}

#[test]
fn settings_beside_the_weights_are_read() {
    let sovits = TorchFile::open(&fixture("sovits.pth")).unwrap();
    let root = sovits.root();
    assert_eq!(root.get("iteration").unwrap().as_int(), Some(1234));
    assert_eq!(root.get("learning_rate").unwrap().as_float(), Some(1e-4));
    let settings = root.get("settings").unwrap();
    assert_eq!(settings.as_object().unwrap().name, "utils.HParams");
    assert_eq!(settings.get("hop").unwrap().as_int(), Some(512));
    assert_eq!(settings.get("name").unwrap().as_str().unwrap(), "é");
    assert!(root.get("nothing").is_none());

    for name in ["rvc_legacy.pth", "rvc_protocol4.pth"] {
        let rvc = TorchFile::open(&fixture(name)).unwrap();
        let root = rvc.root();
        assert_eq!(root.get("sr").unwrap().as_str().unwrap(), "48k");
        assert_eq!(root.get("version").unwrap().as_str().unwrap(), "v2");
        assert_eq!(root.get("f0").unwrap().as_int(), Some(1));
        let config = root.get("config").unwrap().elements().unwrap();
        assert_eq!(config[0].as_int(), Some(1025));
        let kernels = config[3].elements().unwrap();
        let kernels: Vec<_> = kernels.into_iter().map(Value::as_int).collect();
        assert_eq!(kernels, [Some(3), Some(7), Some(11)]);
        assert_eq!(config[5].as_float(), Some(0.5));
    }
}

fn table(clusters: &[Clusters]) -> Vec<f32> {
    clusters
        .iter()
        .flat_map(|clusters| clusters.centers.values().to_vec())
        .collect()
}

#[test]
fn clusters_are_read_by_speaker() {
    let two = read_clusters(&fixture("kmeans_5.pt")).unwrap();
    assert_eq!(table(&two), expected("clusters"));
    assert_eq!(two[0].speaker, Speaker::Name("alice".to_owned()));
    assert_eq!(two[1].speaker, Speaker::Name("böb".to_owned()));
    assert_eq!((two[1].centers.rows(), two[1].centers.columns()), (5, 8));

    let single = read_clusters(&fixture("kmeans_single.pth")).unwrap();
    assert_eq!(single[0].speaker, Speaker::Only);
    assert_eq!(single[0].centers, two[0].centers);

    let tensor = read_clusters(&fixture("kmeans_tensor_legacy.pt")).unwrap();
    assert_eq!(tensor[0].speaker, Speaker::Index(0));
    for (half, single) in tensor[0]
        .centers
        .values()
        .iter()
        .zip(two[0].centers.values())
    {
        assert!((half - single).abs() < 2e-3);
    }

    // Column order, float64, too long to be kept in memory.
    let large = read_clusters(&fixture("kmeans_large.pt")).unwrap();
    assert_eq!(table(&large), expected("clusters_large"));
    let sklearn = read_clusters(&fixture("sklearn.pkl")).unwrap();
    assert_eq!(table(&sklearn), expected("sklearn"));
}

fn vectors(name: &str, speaker: &Speaker) -> Matrix {
    let file = Retrieval::open(&fixture(name)).unwrap();
    file.vectors(speaker).unwrap().unwrap()
}

#[test]
fn indexes_of_every_form_give_their_vectors_in_order() {
    let all = expected("index");
    for name in [
        "added_IVF4_Flat.index",
        "direct_map.index",
        "flat_l2.index",
        "flat_ip.index",
        "flat_l1.index",
    ] {
        let found = vectors(name, &Speaker::Only);
        assert_eq!(found.columns(), 4, "{name}");
        assert_eq!(found.values(), all, "{name}");
    }
    assert_eq!(vectors("sparse.index", &Speaker::Only).values(), &all[..12]);
    for name in ["old_IvFl.index", "old_IvFL.index"] {
        assert_eq!(vectors(name, &Speaker::Only).values(), &all[..16], "{name}");
    }
    let numbered = vectors("numbered.index", &Speaker::Only);
    assert_eq!(numbered.values(), expected("numbered"));
    assert_eq!(numbered.rows(), 5);
}

#[test]
fn pickled_indexes_are_read_by_speaker() {
    let all = expected("index");
    for name in ["feature_and_index_2.pkl", "feature_and_index_4.pkl"] {
        let file = Retrieval::open(&fixture(name)).unwrap();
        let text = Speaker::Name("x".to_owned());
        let speakers: Vec<_> = file.speakers().cloned().collect();
        assert_eq!(
            speakers,
            [Speaker::Index(0), Speaker::Index(1), text.clone()]
        );
        assert_eq!(vectors(name, &speakers[0]).values(), all);
        assert_eq!(vectors(name, &speakers[1]).values(), &all[..12]);
        assert_eq!(vectors(name, &text).values(), all);
        assert!(file.vectors(&Speaker::Only).unwrap().is_none());
    }
}

#[test]
fn arrays_of_every_form_are_vectors() {
    let all = expected("vectors");
    for name in ["total_fea.npy", "fortran_f8.npy", "version_3.npy"] {
        assert_eq!(vectors(name, &Speaker::Only).values(), all, "{name}");
    }
    let half = vectors("half.npy", &Speaker::Only);
    let close = |(half, single): (&f32, &f32)| (half - single).abs() < 2e-3;
    assert!(half.values().iter().zip(&all).all(close));
    for protocol in 2..=5 {
        let name = format!("arrays_{protocol}.pkl");
        assert_eq!(vectors(&name, &Speaker::Index(0)).values(), all, "{name}");
        assert_eq!(vectors(&name, &Speaker::Index(7)).values(), all, "{name}");
    }
}

/// A value as text, all of it.
fn shown(value: Value<'_>) -> String {
    let list = |values: Vec<Value<'_>>| values.into_iter().map(shown).collect::<Vec<_>>().join(" ");
    if let Some(elements) = value.elements() {
        format!("({})", list(elements))
    } else if let Some(entries) = value.entries() {
        let entry =
            |(key, value): (Value<'_>, Value<'_>)| format!("{}={}", shown(key), shown(value));
        format!(
            "{{{}}}",
            entries.into_iter().map(entry).collect::<Vec<_>>().join(" ")
        )
    } else if let Some(bytes) = value.read_bytes().unwrap() {
        format!("{bytes:?}")
    } else if let Some(flag) = value.as_bool() {
        flag.to_string()
    } else if let Some(number) = value.as_int() {
        number.to_string()
    } else if let Some(number) = value.as_float() {
        format!("{number:?}")
    } else {
        value
            .as_str()
            .map_or_else(|| value.kind().to_owned(), |text| format!("{text:?}"))
    }
}

#[test]
fn every_protocol_says_the_same() {
    let long_bytes = format!("{:?}", [b'y'; 300]);
    let expected = [
        r#"{"none"=nothing (None) "bools"=(true false)"#,
        r#""ints"=(0 255 256 65535 65536 -1 -2147483648 2147483648 4611686018427387904 -9223372036854775808)"#,
        r#""long"=a whole number"#,
        r#""floats"=(0.1 -1e300 inf)"#,
        &format!(r#""texts"=("" "a\n'\\" "é€😀" "{}")"#, "x".repeat(300)),
        &format!(r#""bytes"=([] [0, 255, 39, 10] {long_bytes} [122, 233])"#),
        r#""sets"=((1) (2))"#,
        r#""tuples"=(() (1) (1 2) (1 2 3) (1 2 3 4))"#,
        r#""ordered"={"b"=1 "a"=2}"#,
        r#""default"={"k"=(1)}"#,
        r#""namespace"={"rate"=48000}"#,
        r#""scalar"=an object 3="index""#,
        r#""again"=(0 255 256 65535 65536 -1 -2147483648 2147483648 4611686018427387904 -9223372036854775808)}"#,
    ]
    .join(" ");
    for protocol in 0..=5 {
        let source = Source::open(&fixture(&format!("values_{protocol}.pkl"))).unwrap();
        let document = Document::open(&source).unwrap();
        assert_eq!(shown(document.root()), expected, "protocol {protocol}");
    }
}

/// The error names the file and contains the words.
fn assert_says<T>(outcome: Result<T, ReadError>, name: &str, words: &[&str]) {
    let message = outcome
        .err()
        .unwrap_or_else(|| panic!("{name} was read"))
        .to_string();
    for word in [name].iter().chain(words) {
        assert!(message.contains(word), "\"{word}\" is not in: {message}");
    }
}

#[test]
fn what_is_not_understood_is_refused_with_a_remedy() {
    let weights = |name: &str, words: &[&str]| {
        assert_says(read_state_dict(&fixture(name)), name, words);
    };
    weights(
        "refused_compressed.pth",
        &["compressed", "stored", "packed again"],
    );
    weights("refused_big_endian.pth", &["big", "little-endian"]);
    weights("refused_complex.pth", &["\"a\"", "ComplexFloat", "float32"]);
    weights("refused_script.pt", &["TorchScript", "checkpoints"]);
    weights("kmeans_5.pt", &["\"alice\"", "\"model\"", "Choose"]);
    weights("added_IVF4_Flat.index", &["a faiss index"]);
    weights("total_fea.npy", &["a NumPy array"]);
    weights("make.py", &["unknown kind"]);

    let index = |name: &str, words: &[&str]| {
        let outcome = Retrieval::open(&fixture(name)).and_then(|file| file.vectors(&Speaker::Only));
        assert_says(outcome, name, words);
    };
    index(
        "refused_PQ2x4.index",
        &["product quantisation", "IwPQ", "Flat"],
    );
    index("refused_SQ8.index", &["scalar quantisation", "Flat"]);
    index("refused_HNSW.index", &["HNSW", "Flat"]);
    index(
        "trained_IVF4_Flat.index",
        &["trained but empty", "added_*.index"],
    );
    index("weights.safetensors", &[".safetensors"]);
    index("sovits.pth", &["an index or array"]);

    assert_says(
        read_clusters(&fixture("sovits.pth")),
        "sovits.pth",
        &["kmeans_*.pt"],
    );
    assert_says(npy::open(&fixture("sovits.pth")), "sovits.pth", &["a zip"]);
    assert_says(
        npy::open(Path::new("nowhere.npy")),
        "nowhere.npy",
        &["cannot open"],
    );
    assert_says(npy::open(&fixture("")), "fixtures", &["not a file"]);
}
