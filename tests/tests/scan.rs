//! What a plugin does before anybody plays it: next to nothing. Alone in its binary, because memory maps belong to the
//! process.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use timbra_tests::bundles;
use timbra_tests::host::{FORMATS, clap, vst3};

/// Files mapped into this process that belong to a voice or to what runs it.
fn loaded() -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let files = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5));
    let mut files: Vec<String> = files
        .filter(|file| file.contains("onnxruntime") || file.ends_with(".timbra"))
        .map(str::to_owned)
        .collect();
    files.dedup();
    files
}

fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("tasks");
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| name.starts_with("timbra-"))
        .collect()
}

/// Longest a host may be kept waiting for a scan.
const LONGEST_SCAN: Duration = Duration::from_millis(100);

#[test]
fn nothing_is_loaded_before_the_plugin_is_activated() {
    let (clap_bundle, vst3_bundle) = (bundles::bundle(FORMATS[0]), bundles::bundle(FORMATS[1]));
    // The first scan of this process: the only test of this binary, so that nothing is in memory already.
    let began = Instant::now();
    drop(clap::scan(&clap_bundle).expect("scan"));
    let in_clap = began.elapsed();
    drop(vst3::scan(&vst3_bundle).expect("scan"));
    let in_vst3 = began.elapsed() - in_clap;
    println!("scan: CLAP {in_clap:.1?}, VST3 {in_vst3:.1?}");
    assert!(in_clap <= LONGEST_SCAN, "CLAP {in_clap:?}");
    assert!(in_vst3 <= LONGEST_SCAN, "VST3 {in_vst3:?}");
    assert_eq!(loaded(), Vec::<String>::new(), "after scanning");
    assert_eq!(threads(), Vec::<String>::new(), "after scanning");
    for format in FORMATS {
        let mut host = bundles::open(format);
        let saved = host.save().expect("save");
        host.load(&saved).expect("load");
        host.idle(Duration::from_millis(200)).expect("idle");
        assert_eq!(
            loaded(),
            Vec::<String>::new(),
            "{}: an idle instance",
            format.name()
        );
    }
}
