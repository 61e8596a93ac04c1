//! Files that want to do harm, and files that were damaged, are refused: nothing runs, nothing panics, nothing grows.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use timbra_trainer::import;

use import::pickle::{Document, Value};
use import::retrieval::Retrieval;
use import::safetensors_file::SafetensorsFile;
use import::source::Source;
use import::{
    ReadError, Speaker, StateDict, TorchFile, clusters, npy, read_state_dict, state_dict,
};

thread_local! {
    /// Bytes that this thread holds, and the most it held.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

struct Counting;

fn count(bytes: isize) {
    // A thread that ends has no counter any more.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + bytes, most.max(now + bytes)));
    });
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches only a cell of the thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes held while `work` ran, beyond those held before.
fn peak(work: impl FnOnce()) -> usize {
    let before = HELD.with(|held| {
        let (now, _) = held.get();
        held.set((now, now));
        now
    });
    work();
    usize::try_from(HELD.with(Cell::get).1 - before).unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension != "py"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    assert!(files.len() > 50, "the fixtures are missing");
    files
}

fn source(name: &str, bytes: &[u8]) -> Arc<Source> {
    Source::from_bytes(Path::new(name), bytes.to_vec())
}

/// Visits values, no deeper than `depth` and no more than `budget`.
fn walk(value: Value<'_>, depth: u32, budget: &mut u32) {
    if depth == 0 || *budget == 0 {
        return;
    }
    *budget -= 1;
    let _ = (
        value.describe(),
        value.as_int(),
        value.as_float(),
        value.as_bool(),
    );
    let _ = value.get("model");
    if let Some(object) = value.as_object() {
        for inner in object.arguments.into_iter().chain(object.state) {
            walk(inner, depth - 1, budget);
        }
    }
    for inner in value.elements().unwrap_or_default() {
        walk(inner, depth - 1, budget);
    }
    for (key, inner) in value.entries().unwrap_or_default() {
        walk(key, depth - 1, budget);
        walk(inner, depth - 1, budget);
    }
}

fn read_all(tensors: Result<StateDict, ReadError>) -> Result<(), ReadError> {
    for tensor in tensors?.values() {
        tensor.to_f32()?;
    }
    Ok(())
}

/// Reads a file in the way its name calls for, everything in it.
fn read(name: &str, source: &Arc<Source>) -> Result<(), ReadError> {
    let end = name.rsplit('.').next().unwrap();
    match end {
        "safetensors" => read_all(SafetensorsFile::read(source)?.state_dict()),
        "npy" => npy::read(source)?.to_f32().map(drop),
        "index" => vectors(source),
        "pkl" if name.starts_with("feature") || name.starts_with("arrays") => vectors(source),
        "pkl" if name.starts_with("sklearn") => clusters::read(source).map(drop),
        "pkl" => {
            let document = Document::open(source)?;
            walk(document.root(), 12, &mut 2000);
            Ok(())
        }
        _ if name.starts_with("kmeans") => clusters::read(source).map(drop),
        _ => {
            let file = TorchFile::read(source)?;
            walk(file.root(), 12, &mut 2000);
            read_all(state_dict(&file))
        }
    }
}

fn vectors(source: &Arc<Source>) -> Result<(), ReadError> {
    let file = Retrieval::read(source)?;
    let speakers: Vec<Speaker> = file.speakers().cloned().collect();
    for speaker in speakers {
        file.vectors(&speaker)?;
    }
    Ok(())
}

/// Every reader, whatever the file is.
fn read_by_all(name: &str, source: &Arc<Source>) {
    let _ = read(name, source);
    let _ = vectors(source);
    let _ = clusters::read(source);
    let _ = npy::read(source);
    let _ = Document::open(source);
    let _ = SafetensorsFile::read(source);
}

/// What reading may hold: a few times the file and some buffers.
fn limit(bytes: usize) -> usize {
    16 * bytes + (64 << 10)
}

#[test]
fn a_file_that_asks_for_a_program_is_refused_by_its_name() {
    let cases = [
        ("hostile_system.pkl", "`os.system`"),
        ("hostile_eval.pkl", "`builtins.eval`"),
        ("hostile_exec.pkl", "`builtins.exec`"),
        ("hostile_stack_global.pkl", "`posix.system`"),
        ("hostile_inst.pkl", "`os.system`"),
        ("hostile_obj.pkl", "`os.system`"),
        ("hostile_newobj.pkl", "`subprocess.Popen`"),
        ("hostile_newobj_ex.pkl", "`subprocess.Popen`"),
        ("hostile_torch_load.pkl", "`torch.storage._load_from_bytes`"),
        ("hostile_nested.pkl", "`torch.load`"),
        (
            "hostile_computed.pkl",
            "`a function that the file computes`",
        ),
        ("hostile_getattr.pkl", "`builtins.getattr`"),
        ("hostile_reconstructor.pkl", "`os.system`"),
        ("hostile_default.pkl", "`os.system`"),
        ("hostile_system.pth", "`os.system`"),
        ("hostile_nested.pth", "`torch.load`"),
    ];
    for (name, callable) in cases {
        let path = folder().join(name);
        let outcomes = if Path::new(name).extension().unwrap() == "pth" {
            vec![
                read_state_dict(&path).err(),
                clusters::read_clusters(&path).err(),
            ]
        } else {
            let retrieval = Retrieval::open(&path).err();
            vec![clusters::read_clusters(&path).err(), retrieval]
        };
        for error in outcomes {
            let error = error.unwrap();
            assert!(
                matches!(error, ReadError::Program { .. }),
                "{name}: {error}"
            );
            let message = error.to_string();
            for word in [name, callable, "never done", "tensors"] {
                assert!(message.contains(word), "\"{word}\" is not in: {message}");
            }
        }
    }
}

#[test]
fn absurd_sizes_are_refused_before_anything_is_sized_by_them() {
    let files = fixtures().into_iter();
    let absurd = files.filter(|(name, _)| {
        name.starts_with("hostile_tensor")
            || (name.starts_with("hostile") && name.ends_with("index"))
    });
    let mut seen = 0;
    for (name, bytes) in absurd {
        seen += 1;
        let source = source(&name, &bytes);
        let most = peak(|| assert!(read(&name, &source).is_err(), "{name}"));
        assert!(most < 1 << 20, "{name}: {most} bytes");
    }
    assert_eq!(seen, 14);
}

#[test]
fn the_counting_of_bytes_counts() {
    let most = peak(|| drop(std::hint::black_box(vec![1u8; 1 << 20])));
    assert!((1 << 20..1 << 21).contains(&most), "{most}");
}

#[test]
fn shared_and_cyclic_values_cost_what_they_say() {
    for (name, bytes) in fixtures() {
        if name.starts_with("shared") || name.starts_with("own") {
            let source = source(&name, &bytes);
            let started = Instant::now();
            let most = peak(|| read_by_all(&name, &source));
            assert!(read(&name, &source).is_ok(), "{name}");
            assert!(most < 1 << 20, "{name}: {most} bytes");
            assert!(started.elapsed() < Duration::from_secs(2), "{name}");
        }
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    for (name, bytes) in fixtures() {
        if name.starts_with("hostile") || name.starts_with("refused") || name.starts_with("trained")
        {
            continue;
        }
        read(&name, &source(&name, &bytes)).unwrap_or_else(|error| panic!("{error}"));
        // All lengths of small files; of the others every few.
        for length in (0..bytes.len()).step_by(1 + bytes.len() / 2000) {
            let source = source(&name, &bytes[..length]);
            let most = peak(|| assert!(read(&name, &source).is_err(), "{name} of {length} bytes"));
            assert!(
                most <= limit(length),
                "{name} of {length} bytes: {most} bytes"
            );
        }
    }
}

/// Marsaglia's xorshift: the same bytes on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[test]
fn changed_bytes_do_no_harm() {
    let rounds: u64 = std::env::var("IMPORT_FUZZ_ROUNDS").map_or(150, |text| text.parse().unwrap());
    for (name, bytes) in fixtures() {
        for round in 0..rounds {
            let seed = 0x9e37_79b9_7f4a_7c15 ^ (round + 1).wrapping_mul(0x2545_f491_4f6c_dd1d);
            let mut random = Random(seed);
            let mut changed = bytes.clone();
            for _ in 0..=random.below(6) {
                let place = random.below(changed.len());
                match random.below(4) {
                    0 => changed[place] ^= 1 << random.below(8),
                    1 => changed[place] = random.below(256) as u8,
                    // Sizes at the edges.
                    2 => changed[place] = [0, 0x7f, 0x80, 0xff][random.below(4)],
                    _ => {
                        let from = random.below(changed.len());
                        let count = random.below(16).min(changed.len() - from.max(place));
                        changed.copy_within(from..from + count, place);
                    }
                }
            }
            let source = source(&name, &changed);
            let most = peak(|| read_by_all(&name, &source));
            assert!(
                most <= limit(changed.len()),
                "{name}, seed {seed:#x}: {most} bytes of {}",
                changed.len()
            );
        }
    }
}

#[test]
fn changed_bytes_of_an_export_do_no_harm() {
    let rounds: u64 = std::env::var("IMPORT_FUZZ_ROUNDS").map_or(150, |text| text.parse().unwrap());
    let bytes = std::fs::read(folder().join("rvc_onnx/voice.onnx")).unwrap();
    let (mut read, mut refused) = (0, 0);
    for round in 0..rounds {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (round + 1).wrapping_mul(0x2545_f491));
        let mut changed = bytes.clone();
        for _ in 0..=random.below(6) {
            let place = random.below(changed.len());
            changed[place] = match random.below(2) {
                0 => random.below(256) as u8,
                _ => [0, 0x7f, 0x80, 0xff][random.below(4)],
            };
        }
        let source = source("changed.onnx", &changed);
        let most = peak(|| match understand(&source) {
            Ok(()) => read += 1,
            Err(_) => refused += 1,
        });
        assert!(most <= limit(changed.len()), "round {round}: {most} bytes");
    }
    // Most changes hit numbers of weights; others what they are called or how long they are.
    assert!(read > 0 && refused > 0, "{read} and {refused}");
}

/// Reads an export as an import does, up to the weights themselves.
fn understand(source: &Arc<Source>) -> Result<(), ReadError> {
    let found = import::onnx_weights::weights(&import::OnnxFile::read(source)?)?;
    let extents = import::derived::Extents {
        strides: &found.strides,
        dilations: &found.dilations,
    };
    let settings = import::Settings::default();
    import::derived::derive(source.path(), &found.weights, extents, &settings, None)?;
    for tensor in found.weights.values() {
        tensor.to_f32()?;
    }
    Ok(())
}

#[test]
fn bytes_without_sense_do_no_harm() {
    let mut random = Random(7);
    let heads: [&[u8]; 6] = [
        b"\x80\x04",
        b"\x80\x02",
        b"PK\x03\x04",
        b"\x93NUMPY\x01\x00",
        b"IwFl",
        b"",
    ];
    for round in 0..20_000 {
        let mut bytes = heads[round % heads.len()].to_vec();
        // Instructions of pickles are more frequent than chance has them.
        let codes =
            b"()]}tuseabNK\x01q\x00h\x00\x85\x86\x87\x94\x93R\x81.0122lood\x8f\x90\x91Qcos\nx\n";
        for _ in 0..random.below(300) {
            bytes.push(match random.below(3) {
                0 => random.below(256) as u8,
                _ => codes[random.below(codes.len())],
            });
        }
        let source = source("nonsense", &bytes);
        let most = peak(|| read_by_all("nonsense.pkl", &source));
        assert!(most <= limit(bytes.len()), "round {round}: {most} bytes");
    }
}
