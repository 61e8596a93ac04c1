//! What `cargo xtask soak` does for minutes, for seconds. One after the other: they stop, kill and crowd the worker.

#![cfg(target_os = "linux")]

use std::time::Duration;

use timbra_tests::soak::{self, Row};

#[test]
fn what_must_hold_holds_under_stalls_crashes_overload_and_crowds() {
    let sections: [&dyn Fn() -> Vec<Row>; 7] = [
        &|| soak::stalls(1, Duration::from_secs(2)),
        &|| soak::crashes(1),
        &|| soak::slow_voice_in_real_time(3.0),
        &|| soak::rendering_with_a_slow_voice(2.0),
        &|| soak::real_time(3.0),
        &|| soak::many_instances(32),
        &|| soak::churn(40),
    ];
    let rows: Vec<Row> = sections.iter().flat_map(|section| section()).collect();
    let mut failed = Vec::new();
    for row in rows {
        println!("{}: {} (must be: {})", row.what, row.measured, row.bound);
        if !row.holds {
            failed.push(row);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
