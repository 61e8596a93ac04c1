//! What the user is told when ONNX Runtime is not there. A process of its own,
//! because the library is found once per process.

use std::time::Duration;

use timbra_engine::{Service, StreamConfig, VoiceRef};
use timbra_tests::voices;

#[test]
fn a_missing_onnx_runtime_is_named_with_what_to_do() {
    // SAFETY: the only test of this process; no other thread reads the environment yet.
    unsafe { std::env::set_var("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so") };
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-runtime");
    let voice = voices::identity(&folder, "no-runtime");
    let config = StreamConfig {
        host_rate_hz: 48_000,
        max_block_samples: 512,
        channels: 2,
        tier: timbra_engine::controls::Tier::Live,
    };
    let (mut port, handle) = Service::global()
        .open(config, VoiceRef::at(voice))
        .expect("a stream without a voice");
    assert!(
        !handle.wait_ready(Duration::from_secs(20)),
        "a voice without a runtime"
    );
    let message = handle.status().message;
    for needed in [
        "onnxruntime",
        "/nowhere/libonnxruntime.so",
        "ORT_DYLIB_PATH",
    ] {
        assert!(message.contains(needed), "{needed:?} is not in {message:?}");
    }
    let (mut left, mut right) = (vec![0.5f32; 512], vec![0.5f32; 512]);
    for _ in 0..100 {
        port.process(
            &mut [&mut left, &mut right],
            &timbra_engine::Controls::default(),
        );
        assert!(
            left.iter().chain(&right).all(|s| *s == 0.0),
            "dry sound leaks"
        );
        left.fill(0.5);
        right.fill(0.5);
    }
}
