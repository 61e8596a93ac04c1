//! Graphs may be loaded by several threads at once, the first ones of a process too.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Barrier;

use timbra_engine::onnx::{NamedTensor, evaluate};
use timbra_voice::onnx_writer::GraphBuilder;

const THREADS: usize = 8;

// The only test of this file: what it looks for happens once in a process.
#[test]
fn the_first_graphs_of_a_process_may_be_loaded_at_the_same_time() {
    if !support::runtime_is_there() {
        return;
    }
    let mut graph = GraphBuilder::new("twice");
    graph.input("x", &[2.into()]);
    graph.node("Add", &["x", "x"], &["y"], vec![]);
    graph.output("y", &[2.into()]);
    let bytes = graph.finish();
    let x = NamedTensor {
        name: "x".to_owned(),
        shape: vec![2],
        data: vec![1.0, 2.5],
    };
    let together = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        let load = || {
            together.wait();
            evaluate(&bytes, std::slice::from_ref(&x)).map(|found| found[0].data.clone())
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(load)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap().unwrap(), [2.0, 5.0]);
        }
    });
}
