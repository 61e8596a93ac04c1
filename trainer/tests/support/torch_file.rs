//! Checkpoints as torch writes them: a zip of a pickle and of what tensors keep.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::Remembering;

/// Writes weights as so-vits-svc keeps them: `model` and `iteration`.
pub fn write_checkpoint(path: &Path, weights: &Remembering) {
    let mut archive = ZipWriter::new(File::create(path).unwrap());
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut put = |name: String, bytes: &[u8]| {
        archive.start_file(name, stored).unwrap();
        archive.write_all(bytes).unwrap();
    };
    let mut pickle = b"\x80\x02}(".to_vec();
    text(&mut pickle, "model");
    pickle.extend(b"}(");
    for (n, (name, (shape, values))) in weights.1.iter().enumerate() {
        text(&mut pickle, name);
        tensor(&mut pickle, &n.to_string(), shape);
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        put(format!("voice/data/{n}"), &bytes);
    }
    pickle.push(b'u');
    text(&mut pickle, "iteration");
    number(&mut pickle, 3);
    pickle.extend(b"u.");
    put("voice/data.pkl".to_owned(), &pickle);
    put("voice/version".to_owned(), b"3\n");
    archive.finish().unwrap();
}

fn text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(b'X');
    pickle.extend((text.len() as u32).to_le_bytes());
    pickle.extend(text.as_bytes());
}

fn number(pickle: &mut Vec<u8>, number: usize) {
    pickle.push(b'J');
    pickle.extend((number as i32).to_le_bytes());
}

fn numbers(pickle: &mut Vec<u8>, numbers: impl Iterator<Item = usize>) {
    pickle.push(b'(');
    numbers.for_each(|n| number(pickle, n));
    pickle.push(b't');
}

/// A whole tensor of the storage `key`, last axis fastest.
fn tensor(pickle: &mut Vec<u8>, key: &str, shape: &[usize]) {
    pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(pickle, "storage");
    pickle.extend(b"ctorch\nFloatStorage\n");
    text(pickle, key);
    text(pickle, "cpu");
    number(pickle, shape.iter().product());
    pickle.extend(b"tQ");
    number(pickle, 0);
    numbers(pickle, shape.iter().copied());
    numbers(
        pickle,
        (0..shape.len()).map(|n| shape[n + 1..].iter().product()),
    );
    pickle.extend(b"\x89ccollections\nOrderedDict\n)RtR");
}
