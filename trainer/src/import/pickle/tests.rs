//! Pickles written by hand: each instruction, and what it must refuse.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use super::super::error::ReadError;
use super::super::source::Source;
use super::{Document, MAX_NODES};

fn read(pickle: &[u8]) -> Result<Document, ReadError> {
    Document::open(&Source::from_bytes(Path::new("p.pkl"), pickle.to_vec()))
}

fn ints(pickle: &[u8]) -> Vec<i64> {
    let document = read(pickle).unwrap();
    let elements = document.root().elements().unwrap();
    elements
        .into_iter()
        .map(|value| value.as_int().unwrap())
        .collect()
}

#[test]
fn stack_and_memo_do_what_python_does() {
    assert_eq!(ints(b"(K\x01K\x02t."), [1, 2]);
    assert_eq!(ints(b"(K\x01K\x02l."), [1, 2]);
    assert_eq!(ints(b"](K\x01K\x02eK\x03a."), [1, 2, 3]);
    // DUP, POP of a value, POP of a mark, POP_MARK.
    assert_eq!(ints(b"K\x072\x86."), [7, 7]);
    assert_eq!(ints(b"K\x07K\x080\x85."), [7]);
    assert_eq!(ints(b"K\x07(0\x85."), [7]);
    assert_eq!(ints(b"K\x07(K\x01K\x021\x85."), [7]);
    // Every way to remember.
    assert_eq!(ints(b"K\x05p9\n0g9\n\x85."), [5]);
    assert_eq!(ints(b"K\x05q\x090h\x09\x85."), [5]);
    assert_eq!(ints(b"K\x05r\x00\x00\x00\x800j\x00\x00\x00\x80\x85."), [5]);
    assert_eq!(ints(b"K\x05\x940K\x06\x940h\x00h\x01\x86."), [5, 6]);
    // Numbers.
    assert_eq!(
        ints(b"(I-3\nI01\nL4L\nM\x00\x01J\xff\xff\xff\xff\x8a\x01\x80\x8b\x01\x00\x00\x00\x02t."),
        [-3, 1, 4, 256, -1, -128, 2]
    );
    // A dictionary at once, and a set.
    let document = read(b"(X\x01\x00\x00\x00aK\x01d.").unwrap();
    assert_eq!(document.root().get("a").unwrap().as_int(), Some(1));
    assert_eq!(ints(b"\x8f(K\x04\x90."), [4]);
    assert_eq!(ints(b"(K\x04\x91."), [4]);
    // Of two entries of a name the last counts.
    let document = read(b"}(X\x01\x00\x00\x00aK\x01X\x01\x00\x00\x00aK\x02u.").unwrap();
    assert_eq!(document.root().get("a").unwrap().as_int(), Some(2));
}

#[test]
fn objects_of_old_protocols_have_their_attributes() {
    let attributes = b"}X\x01\x00\x00\x00aK\x05sb.";
    for start in [
        &b"(iargparse\nNamespace\n"[..],
        b"(cargparse\nNamespace\no",
        b"cargparse\nNamespace\n)R",
        b"cargparse\nNamespace\n)\x81",
        b"cargparse\nNamespace\n)}\x92",
        b"ccopy_reg\n_reconstructor\n(cargparse\nNamespace\nc__builtin__\nobject\nNtR",
    ] {
        let document = read(&[start, attributes].concat()).unwrap();
        assert_eq!(document.root().get("a").unwrap().as_int(), Some(5));
        assert_eq!(
            document.root().as_object().unwrap().name,
            "argparse.Namespace"
        );
    }
    // As Python 2 wrote ordered dictionaries.
    let document = read(b"ccollections\nOrderedDict\n((lp0\n(lp1\nS'a'\naI5\naatR.").unwrap();
    assert_eq!(document.root().get("a").unwrap().as_int(), Some(5));
}

#[test]
fn persistent_values_keep_their_key() {
    let text = read(b"Pkey\n.").unwrap();
    let binary = read(b"X\x03\x00\x00\x00keyQ.").unwrap();
    for document in [text, binary] {
        let key = document.root().as_persistent().unwrap();
        assert_eq!(key.as_str().unwrap(), "key");
        assert_eq!(document.persistent_keys().count(), 1);
    }
}

#[test]
fn what_is_no_pickle_is_refused() {
    for pickle in [
        &b""[..],
        b".",
        b"\x80\x06N.",
        b"t.",
        b"1.",
        b"0.",
        b"2.",
        b"(.",
        b"\x86.",
        b"K\x01\x86.",
        b"(K\x01\x85\x86.",
        b"h\x00.",
        b"q\x00.",
        b"NK\x01a.",
        b"K\x01K\x02K\x03s.",
        b"}(K\x01u.",
        b"(K\x01d.",
        b"N}b.",
        b"cos\nsystem\n}b.",
        b"cargparse\nNamespace\nK\x01R.",
        b"(o.",
        b"I1x\n.",
        b"Fx\n.",
        b"S'a\n.",
        b"g-1\n.",
        b"\x95\xff\x00\x00\x00\x00\x00\x00\x00N.",
        b"X\xff\xff\xff\xffN.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffN.",
        b"\x8b\xff\xff\xff\xffN.",
        b"\x82\x01.",
        b"\x83\x01\x00.",
        b"\x97.",
        b"\xff.",
        b"not a pickle",
    ] {
        assert!(read(pickle).is_err(), "{}", pickle.escape_ascii());
    }
}

#[test]
fn names_alone_are_data_and_calls_are_not() {
    let document = read(b"cos\nsystem\n.").unwrap();
    assert_eq!(document.root().as_name().unwrap(), "os.system");
    for pickle in [
        &b"cos\nsystem\n)R."[..],
        b"K\x01)R.",
        // A name made of values that are no texts.
        b"K\x01K\x02\x93)R.",
        b"ccollections\nOrderedDict\n(cos\nsystem\ntR.",
    ] {
        let outcome = read(pickle).err();
        assert!(matches!(outcome, Some(ReadError::Program { .. })));
    }
}

#[test]
fn depth_costs_nothing_and_numbers_of_values_are_limited() {
    let depth = 200_000;
    let deep = [vec![b']'; depth], vec![b'a'; depth - 1], vec![b'.']].concat();
    let document = read(&deep).unwrap();
    assert_eq!(document.root().elements().unwrap().len(), 1);
    // All arguments of a call are looked at, each time.
    let many = [&b"cbuiltins\nlist\n("[..], &[b'N'; 65], b"tR."].concat();
    assert!(matches!(
        read(&many).err(),
        Some(ReadError::TooLarge { .. })
    ));
    for code in [b']', b'N', b'('] {
        let outcome = read(&vec![code; MAX_NODES + 10]).err();
        assert!(matches!(outcome, Some(ReadError::TooLarge { .. })));
    }
}
