//! Plays, disturbs and measures the plugin for as long as asked, and prints what held.
//!
//! `soak [MINUTES] [SECTION…]`; all sections unless named.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use std::time::Duration;

    use timbra_tests::soak::{self, Row};

    let minutes: f64 = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(10.0);
    let seconds = minutes * 60.0;
    let named: Vec<String> = std::env::args().skip(2).collect();
    type Section = Box<dyn Fn() -> Vec<Row>>;
    // A tenth is spent on rendering, which takes three times as long as its audio, four times over.
    let sections: [(&str, Section); 8] = [
        (
            "rendering",
            Box::new(move || soak::rendering_with_a_slow_voice(seconds / 60.0)),
        ),
        (
            "real time",
            Box::new(move || soak::real_time(seconds / 4.0)),
        ),
        (
            "stalls",
            Box::new(move || {
                soak::stalls((seconds / 24.0).ceil() as usize, Duration::from_secs(2))
            }),
        ),
        (
            "crashes",
            Box::new(move || soak::crashes((seconds / 60.0).ceil() as usize)),
        ),
        (
            "overload",
            Box::new(move || soak::slow_voice_in_real_time(seconds / 10.0)),
        ),
        ("instances", Box::new(|| soak::many_instances(32))),
        (
            "crowd",
            Box::new(move || soak::crowd_in_real_time((seconds / 20.0).max(5.0))),
        ),
        (
            "coming and going",
            Box::new(move || soak::churn((seconds as usize).clamp(50, 500))),
        ),
    ];
    let mut failed = 0;
    for (name, section) in sections {
        if !named.is_empty() && !named.iter().any(|wanted| wanted == name) {
            continue;
        }
        println!("{name}");
        for row in section() {
            failed += usize::from(!row.holds);
            let verdict = if row.holds { "  ok  " } else { " FAIL " };
            println!(
                "{verdict} {}: {} (must be: {})",
                row.what, row.measured, row.bound
            );
        }
    }
    println!(
        "{}",
        if failed == 0 {
            "all held"
        } else {
            "something did not hold"
        }
    );
    std::process::ExitCode::from(u8::from(failed > 0))
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("error: it looks into /proc, which only Linux has");
    std::process::ExitCode::FAILURE
}
