//! From recordings to tables, measures and pictures with an encoder that passes audio through.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use support::{
    Folder, assert_fails, assert_succeeds, float_wav, read_wav, relative_error, runtime_is_there,
    said, song, trainer, write_encoder, write_voice,
};
use timbra_trainer::data::dataset::Dataset;
use timbra_trainer::data::features::ClipFeatures;
use timbra_trainer::training::clips::load_clips;
use timbra_voice::package::VoicePackage;

/// Two speakers with the names of the test voice, `clips` recordings each.
fn recordings(folder: &Folder, clips: usize, seconds: f64) -> PathBuf {
    for (speaker, rate_hz) in [("anybody", 44_100), ("nobody", 16_000)] {
        for clip in 0..clips {
            let samples: Vec<f32> = song(rate_hz, seconds + clip as f64 * 0.1)
                .iter()
                .map(|sample| sample * (1.0 - 0.05 * clip as f32))
                .collect();
            float_wav(
                &folder.at(&format!("recordings/{speaker}/take {clip}.wav")),
                rate_hz,
                &[&samples],
            );
        }
    }
    folder.at("recordings")
}

fn prepare_command(recordings: &Path, work: &Path, encoder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command
        .arg("prepare")
        .arg(recordings)
        .arg("--work")
        .arg(work)
        .arg("--encoder")
        .arg(encoder)
        .args(["--rate", "16000"]);
    command
}

fn prepare(recordings: &Path, work: &Path, encoder: &Path) -> Dataset {
    assert_succeeds(&prepare_command(recordings, work, encoder).output().unwrap());
    Dataset::load(&work.join("features")).unwrap()
}

/// Every file below a folder with its bytes and date, while another program may write there.
fn files(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else {
            // One that is being written is renamed when it is done.
            let (Ok(metadata), Ok(bytes)) = (fs::metadata(&path), fs::read(&path)) else {
                continue;
            };
            found.insert(path, (bytes, metadata.modified().unwrap()));
        }
    }
    found
}

#[test]
fn what_another_speaker_sings_is_read_in_time_with_the_recording() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("sung_by");
    let (work, encoder) = (folder.at("work"), folder.at("encoder.timbra"));
    write_encoder(&encoder);
    let voice = folder.at("voice.timbra");
    write_voice(&voice, |manifest, _| {
        "somebody".clone_into(&mut manifest.speakers[0].name);
    });
    let dataset = prepare(&recordings(&folder, 3, 1.0), &work, &encoder);
    let plain = load_clips(&dataset, &[], &[]).unwrap();
    let read = load_clips(&dataset, std::slice::from_ref(&voice), &[]).unwrap();
    let again = load_clips(&dataset, std::slice::from_ref(&voice), &[]).unwrap();
    // Nobody is asked to be sung but the second speaker.
    let second = load_clips(&dataset, std::slice::from_ref(&voice), &[false, true]).unwrap();
    for (index, clip) in second.iter().enumerate() {
        let expected = if clip.speaker == 0 { &plain } else { &read };
        assert_eq!(clip.contents, expected[index].contents);
    }
    for ((before, clip), again) in plain.iter().zip(&read).zip(&again) {
        assert_eq!(clip.contents, again.contents);
        // Nobody is sung by somebody alone, anybody by both; what is held out is heard as it is.
        let singers = match &dataset.speakers[clip.speaker].name[..] {
            _ if clip.held_out => 0,
            "nobody" => 1,
            _ => 2,
        };
        assert_eq!(clip.contents.len(), before.contents.len() + singers);
        // The test voice sings what it hears, so its content is the recording's.
        for sung in &clip.contents[before.contents.len()..] {
            let error = relative_error(&sung[800..15_000], &clip.contents[0][800..15_000]);
            assert!(error < 0.05, "{}: {error}", clip.name);
        }
    }
}

#[test]
fn features_are_in_time_with_the_recording_at_every_rate() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("aligned");
    let (work, encoder) = (folder.at("work"), folder.at("encoder.timbra"));
    write_encoder(&encoder);
    let dataset = prepare(&recordings(&folder, 3, 1.0), &work, &encoder);
    assert_eq!(dataset.speakers.len(), 2);
    for clip in &dataset.clips {
        let features = dataset.load_clip(clip).unwrap();
        assert_eq!(features.audio.len(), features.frames * 160);
        // The test encoder's content of frame k is the audio of the 10 ms that end there.
        let (mut error, mut energy) = (0.0, 0.0);
        for (&content, &audio) in features.content[160..]
            .iter()
            .zip(&features.audio)
            .skip(1600)
            .take(8000)
        {
            error += (content - audio) * (content - audio);
            energy += audio * audio;
        }
        let relative = (error / energy).sqrt();
        assert!(
            relative < 0.05,
            "{}: content is off by {relative}",
            clip.name
        );
        let voiced: Vec<f32> = features
            .f0_hz
            .iter()
            .copied()
            .filter(|&f0| f0 > 0.0)
            .collect();
        assert!(
            voiced.len() * 10 > features.frames * 7,
            "{} of {}",
            voiced.len(),
            features.frames
        );
    }
    for speaker in &dataset.speakers {
        assert!(
            (200.0..290.0).contains(&speaker.f0_median_hz),
            "{speaker:?}"
        );
        assert!(speaker.held_out_minutes > 0.0 && speaker.train_minutes > speaker.held_out_minutes);
    }
}

#[test]
fn a_long_recording_becomes_parts_that_fit_without_a_seam() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("parts");
    let (work, encoder) = (folder.at("work"), folder.at("encoder.timbra"));
    write_encoder(&encoder);
    let samples = song(11_025, 130.0);
    float_wav(&folder.at("recordings/anna/long.wav"), 11_025, &[&samples]);
    let dataset = prepare(&folder.at("recordings"), &work, &encoder);
    let parts: Vec<ClipFeatures> = dataset
        .clips
        .iter()
        .map(|clip| dataset.load_clip(clip).unwrap())
        .collect();
    let frames: Vec<usize> = parts.iter().map(|part| part.frames).collect();
    assert_eq!(frames, [6_000, 7_000]);
    assert_eq!(dataset.clips[1].first_frame, 6_000);
    assert_eq!(dataset.clips.iter().filter(|clip| clip.held_out).count(), 1);
    let whole = timbra_dsp::resample::resample_all(&samples, 11_025, 16_000).unwrap();
    let joined: Vec<f32> = parts
        .iter()
        .flat_map(|part| part.audio.iter().copied())
        .collect();
    let worst = whole
        .iter()
        .zip(&joined)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(worst < 1e-3, "the parts differ from the whole by {worst}");
}

#[test]
fn a_killed_prepare_goes_on_and_gives_the_same_features() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("killed");
    let encoder = folder.at("encoder.timbra");
    write_encoder(&encoder);
    let recordings = recordings(&folder, 8, 6.0);
    let (killed, whole) = (folder.at("killed"), folder.at("whole"));
    let mut child = prepare_command(&recordings, &killed, &encoder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Killed when a part is done; however far it came, the rest follows.
    let done = |work: &Path| {
        let features = work.join("features");
        if features.is_dir() {
            files(&features)
                .keys()
                .filter(|path| path.extension().is_some_and(|e| e == "json"))
                .count()
        } else {
            0
        }
    };
    while done(&killed) < 3 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = files(&killed.join("features"));
    let first = prepare(&recordings, &killed, &encoder);
    let second = prepare(&recordings, &whole, &encoder);
    assert_eq!(first.clips, second.clips);
    assert_eq!(first.speakers, second.speakers);
    let after = files(&killed.join("features"));
    for (path, state) in kept
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|e| e == "json"))
    {
        let part = path.with_extension("000.safetensors");
        assert_eq!(
            after.get(path),
            Some(state),
            "a finished record was touched"
        );
        assert_eq!(
            after.get(&part),
            kept.get(&part),
            "a finished part was computed again"
        );
    }
    for clip in &first.clips {
        assert_eq!(
            first.load_clip(clip).unwrap(),
            second.load_clip(clip).unwrap(),
            "{}",
            clip.name
        );
    }
    // Nothing to do: nothing is touched.
    let before = files(&whole.join("features"));
    prepare(&recordings, &whole, &encoder);
    assert_eq!(files(&whole.join("features")), before);
}

#[test]
fn a_broken_recording_is_left_out_and_named() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("left-out");
    let encoder = folder.at("encoder.timbra");
    write_encoder(&encoder);
    let recordings = recordings(&folder, 2, 1.0);
    fs::write(recordings.join("nobody/broken.wav"), b"RIFF, or not").unwrap();
    float_wav(&recordings.join("nobody/click.wav"), 16_000, &[&[0.5; 800]]);
    let output = prepare_command(&recordings, &folder.at("work"), &encoder)
        .output()
        .unwrap();
    assert_succeeds(&output);
    for word in [
        "broken.wav",
        "click.wav",
        "50.00 ms",
        "2 recordings were left out",
    ] {
        assert!(said(&output).contains(word), "{word}: {}", said(&output));
    }
    fs::remove_dir_all(recordings.join("anybody")).unwrap();
    for take in 0..2 {
        fs::remove_file(recordings.join(format!("nobody/take {take}.wav"))).unwrap();
    }
    let output = prepare_command(&recordings, &folder.at("work"), &encoder)
        .output()
        .unwrap();
    assert_fails(&output, 1, &["none of the 2 recordings of nobody"]);
}

#[test]
fn tables_and_certificate_come_into_the_voice_and_it_still_converts() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("tables");
    let (work, encoder, voice) = (
        folder.at("work"),
        folder.at("encoder.timbra"),
        folder.at("voice.timbra"),
    );
    write_encoder(&encoder);
    write_voice(&voice, |_, _| {});
    let recordings = recordings(&folder, 4, 2.0);
    prepare(&recordings, &work, &encoder);
    let with_work = |verb: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command
            .arg(verb)
            .arg("--work")
            .arg(&work)
            .arg("--voice")
            .arg(&voice)
            .args(more)
            .output()
            .unwrap()
    };
    assert_succeeds(&with_work("cluster", &["--clusters", "12"]));
    let first = fs::read(work.join("clusters.safetensors")).unwrap();
    assert_succeeds(&with_work("cluster", &["--clusters", "12"]));
    assert_eq!(
        fs::read(work.join("clusters.safetensors")).unwrap(),
        first,
        "the same seed gives the same table"
    );
    assert_succeeds(&with_work("index", &["--frames", "100"]));
    let output = with_work("evaluate", &["--draw", "1"]);
    assert_succeeds(&output);

    let package = VoicePackage::read(&voice).unwrap();
    let clusters = package.clusters().unwrap().unwrap();
    assert!(
        clusters
            .tables
            .iter()
            .all(|table| table.as_ref().is_some_and(|table| table.rows == 12))
    );
    let retrieval = package.retrieval().unwrap().unwrap();
    assert!(retrieval.tables.iter().all(|table| {
        table
            .as_ref()
            .is_some_and(|table| (60..=100).contains(&table.rows))
    }));
    // The voice gives back what it hears, so everything measured has to say so.
    let certificate = package.manifest.certificate.unwrap();
    assert!(certificate.similarity > 0.9, "{certificate:?}");
    assert!(
        certificate.f0_cents < 3.0 && certificate.voicing_error < 0.05,
        "{certificate:?}"
    );
    assert!(certificate.content_distance < 0.01, "{certificate:?}");
    assert!(
        certificate.load > 0.0 && certificate.latency_ms > 20.0,
        "{certificate:?}"
    );
    let pictures = files(&work.join("evaluation"));
    let png = pictures
        .iter()
        .find(|(path, _)| path.extension().is_some_and(|e| e == "png"))
        .unwrap();
    assert!(png.1.0.starts_with(b"\x89PNG"));

    let output = trainer(&[
        "inspect".as_ref(),
        voice.as_os_str(),
        work.as_os_str(),
        encoder.as_os_str(),
    ]);
    assert_succeeds(&output);
    for word in [
        "anybody 12, nobody 12 rows",
        "certificate",
        "every hash is right",
        "min to train on",
        "identity-2",
    ] {
        assert!(said(&output).contains(word), "{word}: {}", said(&output));
    }
    let (input, out) = (recordings.join("nobody/take 0.wav"), folder.at("out.wav"));
    for method in ["kmeans", "retrieval"] {
        let mut arguments: Vec<OsString> = [
            "convert",
            "--cluster-ratio",
            "0.5",
            "--cluster-method",
            method,
        ]
        .map(Into::into)
        .into();
        arguments.extend([
            "-o".into(),
            out.clone().into(),
            "--voice".into(),
            voice.clone().into(),
            input.clone().into(),
        ]);
        assert_succeeds(&trainer(&arguments));
        assert!(read_wav(&out).1[0].iter().all(|sample| sample.is_finite()));
    }
}

#[test]
fn slices_hold_every_sound_once_and_a_second_run_changes_nothing() {
    let folder = Folder::new("slices");
    let samples = song(22_050, 41.0);
    let input = folder.at("takes/anna/song.wav");
    float_wav(&input, 22_050, &[&samples, &samples]);
    let clips = folder.at("clips");
    let slice = || {
        trainer(&[
            "slice".as_ref(),
            folder.at("takes").as_os_str(),
            "-o".as_ref(),
            clips.as_os_str(),
        ])
    };
    assert_succeeds(&slice());
    let first = files(&clips);
    let mut total = 0;
    for path in first
        .keys()
        .filter(|path| path.extension().is_some_and(|e| e == "wav"))
    {
        let (rate_hz, channels) = read_wav(path);
        assert_eq!((rate_hz, channels.len()), (22_050, 1));
        let clip = &channels[0];
        assert!(
            (22_050..=22_050 * 15).contains(&clip.len()),
            "{} samples",
            clip.len()
        );
        // It is a stretch of the take, bit for bit.
        let start = samples
            .windows(64)
            .position(|window| window == &clip[3000..3064])
            .unwrap()
            - 3000;
        assert_eq!(clip[..], samples[start..start + clip.len()]);
        total += clip.len();
    }
    let sounding = samples
        .iter()
        .enumerate()
        .filter(|(index, _)| (*index as f64 / 22_050.0) % 4.0 < 3.2)
        .count();
    assert!(
        total >= sounding,
        "{total} samples in clips, {sounding} sound"
    );
    assert_succeeds(&slice());
    assert_eq!(files(&clips), first);
}

#[test]
fn a_timeline_moves_the_mix_and_bad_lines_are_named() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("timeline");
    let (input, out, voice, csv) = (
        folder.at("in.wav"),
        folder.at("out.wav"),
        folder.at("voice.timbra"),
        folder.at("time.csv"),
    );
    write_voice(&voice, |_, _| {});
    let samples = song(16_000, 2.0);
    float_wav(&input, 16_000, &[&samples]);
    let convert = || {
        trainer(&[
            "convert".as_ref(),
            input.as_os_str(),
            "-o".as_ref(),
            out.as_os_str(),
            "--voice".as_ref(),
            voice.as_os_str(),
            "--timeline".as_ref(),
            csv.as_os_str(),
        ])
    };
    fs::write(
        &csv,
        "# a fade\ntime_s,anybody,nobody,gain\n0,1,0,0\n1.0,0.5,0.5,-60\n\n",
    )
    .unwrap();
    assert_succeeds(&convert());
    let output = &read_wav(&out).1[0];
    let level = |range: std::ops::Range<usize>| {
        let energy = |signal: &[f32]| {
            signal[range.clone()]
                .iter()
                .map(|s| f64::from(s * s))
                .sum::<f64>()
        };
        10.0 * (energy(output) / energy(&samples)).log10()
    };
    assert!(
        level(0..160).abs() < 1.0,
        "{} dB at the start",
        level(0..160)
    );
    assert!(
        (level(17_000..30_000) + 60.0).abs() < 0.5,
        "{} dB at the end",
        level(17_000..30_000)
    );
    for (text, words) in [
        ("", &["empty"][..]),
        ("anybody\n1\n", &["first column", "time_s"]),
        ("time_s,else\n0,1\n", &["\"else\"", "anybody, nobody"]),
        ("time_s,anybody\n0,1\n0,1\n", &["line 3", "rise"]),
        ("time_s,anybody\n0,much\n", &["line 2", "not all numbers"]),
        (
            "time_s,anybody,nobody\n0,0,0\n",
            &["line 2", "all weights are 0"],
        ),
        ("time_s,gain\n0,99\n", &["line 2", "99", "-60 to 12"]),
        ("time_s,anybody\n", &["no line of values"]),
    ] {
        fs::write(&csv, text).unwrap();
        assert_fails(&convert(), 1, words);
    }
}

#[test]
fn a_narrow_recording_is_sung_at_the_rate_of_the_voice_and_in_time() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("rates");
    let (input, out, voice) = (
        folder.at("in.wav"),
        folder.at("out.wav"),
        folder.at("voice.timbra"),
    );
    write_voice(&voice, |_, _| {});
    let samples = song(8_000, 2.0);
    float_wav(&input, 8_000, &[&samples[..15_999], &samples[..15_999]]);
    let convert = |more: &[&str]| {
        let words = [
            "convert",
            input.to_str().unwrap(),
            "-o",
            out.to_str().unwrap(),
            "--voice",
            voice.to_str().unwrap(),
        ];
        assert_succeeds(&trainer(
            &words.iter().chain(more).map(OsStr::new).collect::<Vec<_>>(),
        ));
        read_wav(&out)
    };
    let (rate_hz, channels) = convert(&[]);
    assert_eq!(
        (rate_hz, channels.len(), channels[0].len()),
        (16_000, 2, 31_998)
    );
    let wanted = timbra_dsp::resample::resample_all(&samples, 8_000, 16_000).unwrap();
    // Away from the ends, where the filters look past the recording.
    let error = relative_error(&wanted[400..31_000], &channels[1][400..31_000]);
    assert!(error < 0.02, "{error}");
    let (rate_hz, channels) = convert(&["--rate", "8000"]);
    assert_eq!((rate_hz, channels[0].len()), (8_000, 15_999));
}
