//! Pictures and pages for people who would rather look and listen.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{
    Folder, assert_fails, assert_succeeds, float_wav, runtime_is_there, song, write_encoder,
    write_voice,
};

#[test]
fn pictures_are_drawn_without_fonts_or_display() {
    let folder = Folder::new("pictures");
    let (a, b, png) = (folder.at("a.wav"), folder.at("b.wav"), folder.at("out.png"));
    float_wav(&a, 44_100, &[&song(44_100, 1.0)]);
    float_wav(&b, 16_000, &[&[0.0; 8_000]]);
    let plot = |inputs: &[&Path]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command
            .arg("plot")
            .args(inputs)
            .arg("-o")
            .arg(&png)
            .env_clear()
            .output()
            .unwrap()
    };
    assert_succeeds(&plot(&[&a, &b]));
    assert!(fs::read(&png).unwrap().starts_with(b"\x89PNG"));
    let csv = folder.at("figures.csv");
    fs::write(
        &csv,
        "step,train loss,similarity\n1,4.0,0.2\n2,nan,0.3\n3,2.0,0.4\n2,2.5,0.3\n4,1.0,0",
    )
    .unwrap();
    assert_succeeds(&plot(&[&csv]));
    fs::write(&csv, "time,loss\n1,2\n").unwrap();
    assert_fails(&plot(&[&csv]), 1, &["figures.csv", "\"step\""]);
    fs::remove_file(&png).unwrap();
}

#[test]
fn a_page_shows_every_source_with_every_setting_and_what_was_made_elsewhere() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("page");
    let (encoder, voice, page) = (
        folder.at("encoders/encoder.timbra"),
        folder.at("voice.timbra"),
        folder.at("page.html"),
    );
    fs::create_dir_all(folder.at("encoders")).unwrap();
    fs::create_dir_all(folder.at("elsewhere")).unwrap();
    write_encoder(&encoder);
    write_voice(&voice, |_, _| {});
    let (a, b) = (folder.at("a & b.wav"), folder.at("c.wav"));
    float_wav(&a, 44_100, &[&song(44_100, 2.0)]);
    float_wav(&b, 16_000, &[&song(16_000, 1.0)]);
    float_wav(&folder.at("elsewhere/c.wav"), 16_000, &[&song(16_000, 1.0)]);
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command
            .arg("page")
            .args([&a, &b])
            .arg("--voice")
            .arg(&voice)
            .arg("--target")
            .arg(&b)
            .args(["--seconds", "1.5", "-o"])
            .arg(&page)
            .args(more)
            .output()
            .unwrap()
    };
    let elsewhere = format!("elsewhere={}", folder.at("elsewhere").display());
    let settings = ["--try", "plain=", "--try", "up=--pitch 12"];
    assert_succeeds(&run(&[&settings[..], &["--beside", &elsewhere]].concat()));
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains("<h2>a &amp; b</h2>"));
    // The target; two sources with two settings each; one of them made elsewhere.
    assert_eq!(
        html.matches("data:audio/wav;base64,").count(),
        1 + 2 * 3 + 1
    );
    assert_eq!(html.matches("data:image/png;base64,").count(), 2);
    // The voice gives back what it hears: nothing differs but the pitch that was asked for.
    let rows: Vec<Vec<&str>> = html
        .split("<tr>")
        .filter(|row| row.contains("voice: plain") || row.contains("elsewhere<"))
        .map(|row| row.split("<td>").skip(3).collect())
        .collect();
    assert_eq!(rows.len(), 3);
    for row in rows {
        let number = |index: usize| -> f64 {
            let text: &str = row[index].split('<').next().unwrap();
            text.parse().unwrap()
        };
        assert!(number(1) > 0.95, "timbre of the source: {row:?}");
        assert_eq!(number(2), 0.0, "shift: {row:?}");
        assert!(number(3) < 3.0 && number(5) < 5.0, "F0: {row:?}");
    }
    assert_fails(
        &run(&["--try", "up=--pitch 99"]),
        2,
        &["--pitch is 99", "-24 to 24"],
    );
    assert_fails(&run(&["--try", "x=--nothing"]), 2, &["x=--nothing"]);
    // A name with a space is one word, as the names of imported voices may be; what a page can not do is not passed over.
    assert_fails(
        &run(&["--try", "x=--speaker 'no body'"]),
        2,
        &["no speaker \"no body\""],
    );
    assert_fails(&run(&["--try", "x=--as-played"]), 2, &["--as-played"]);
    assert_eq!(fs::read_to_string(&page).unwrap(), html, "nothing is lost");
}
