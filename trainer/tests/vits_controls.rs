//! Every control of an imported voice does what it says, in the program as in the engine.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/small_voice.rs"]
mod small_voice;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use small_voice::imported;
use support::{
    Folder, assert_fails, assert_succeeds, float_wav, read_wav, runtime_is_there, said, song,
    trainer, write_voice,
};
use timbra_engine::controls::{HeldNote, RetuneControls, RetuneMode, Scale};
use timbra_engine::offline::{convert, load_voice};
use timbra_engine::{ClusterMethod, Controls, LoadedVoice, Service, StreamConfig, Tier, VoiceRef};
use timbra_voice::package::{self, Form, VoicePackage};

const RATE_HZ: u32 = 16_000;
/// Longest that loading a voice may take here.
const PATIENCE: Duration = Duration::from_secs(60);

fn sing(voice: &Arc<LoadedVoice>, song: &[f32], controls: Controls) -> Vec<f32> {
    convert(voice, song, RATE_HZ, &|_| controls, &mut |_| {}).unwrap()
}

#[test]
fn every_control_reaches_an_imported_voice() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("vits-reaches");
    let voice = load_voice(&imported(&folder.at(""))).unwrap();
    let song = song(RATE_HZ, 2.0);
    let own = Controls::default();
    let plain = sing(&voice, &song, own);
    assert!(plain == sing(&voice, &song, own), "the same again");
    let mut mix = own.speaker_mix;
    (mix[0], mix[1]) = (0.5, 0.5);
    let turned = |change: &dyn Fn(&mut Controls)| {
        let mut controls = own;
        change(&mut controls);
        controls
    };
    let cases: [(&str, Controls); 9] = [
        ("cluster ratio", turned(&|c| c.cluster_ratio = 0.5)),
        (
            "retrieval",
            turned(&|c| {
                c.cluster_ratio = 0.5;
                c.cluster_method = ClusterMethod::Retrieval;
            }),
        ),
        ("speaker mix", turned(&|c| c.speaker_mix = mix)),
        ("auto-F0", turned(&|c| c.auto_f0 = 1.0)),
        ("noise scale", turned(&|c| c.noise_scale = 0.0)),
        ("F0 smoothing", turned(&|c| c.f0_smoothing_ms = 60.0)),
        ("pitch", turned(&|c| c.pitch_semitones = 5.0)),
        ("loudness match", turned(&|c| c.loudness_match = 1.0)),
        ("seed", turned(&|c| c.seed = 1)),
    ];
    let mut sounds = vec![("nothing", plain.clone())];
    for (name, controls) in cases {
        let sound = sing(&voice, &song, controls);
        assert!(sound.iter().all(|sample| sample.is_finite()), "{name}");
        for (other, before) in &sounds {
            assert!(sound != *before, "{name} sounds as {other}");
        }
        sounds.push((name, sound));
    }
    let formant = turned(&|c| c.formant_semitones = 5.0);
    assert!(sing(&voice, &song, formant) == plain, "it has no formants");
}

/// A song, an imported voice, and the program that converts the one with the other as the plugin would.
struct Program {
    folder: Folder,
    path: PathBuf,
    voice: Arc<LoadedVoice>,
    song: Vec<f32>,
}

impl Program {
    /// None without ONNX Runtime.
    fn new(test: &str) -> Option<Self> {
        if !runtime_is_there() {
            return None;
        }
        let folder = Folder::new(test);
        let path = imported(&folder.at(""));
        let song = song(RATE_HZ, 1.5);
        float_wav(&folder.at("in.wav"), RATE_HZ, &[&song]);
        Some(Self {
            voice: load_voice(&path).unwrap(),
            folder,
            path,
            song,
        })
    }

    fn convert(&self, out: &Path, more: &[&str]) -> Output {
        let input = self.folder.at("in.wav");
        let mut arguments = vec!["convert", "--as-played", input.to_str().unwrap()];
        arguments.extend(["-o", out.to_str().unwrap()]);
        arguments.extend(["--voice", self.path.to_str().unwrap()]);
        arguments.extend(more);
        trainer(&arguments)
    }
}

#[test]
fn a_voice_that_is_pulled_by_itself_sings_as_one_that_is_told_to() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("vits-pulled");
    let path = imported(&folder.at(""));
    let song = song(RATE_HZ, 1.0);
    let told = |ratio: f32| Controls {
        cluster_ratio: ratio,
        cluster_method: ClusterMethod::Retrieval,
        ..Controls::default()
    };
    let voice = load_voice(&path).unwrap();
    let (quarter, more) = (
        sing(&voice, &song, told(0.25)),
        sing(&voice, &song, told(0.625)),
    );

    let package = VoicePackage::read(&path).unwrap();
    let mut manifest = package.manifest.clone();
    let mut pulled = |ratio: f32| {
        manifest.retrieval_ratio = ratio;
        let files = manifest.files.keys();
        let files = files.map(|name| (name.clone(), package.file(name).unwrap().to_vec()));
        let path = folder.at("pulled.timbra");
        package::write_voice(&path, &manifest, &files.collect(), Form::File)
    };
    pulled(0.25).unwrap();
    let voice = load_voice(&folder.at("pulled.timbra")).unwrap();
    assert!(sing(&voice, &song, Controls::default()) == quarter);
    // On the half of what is left.
    assert!(sing(&voice, &song, told(0.5)) == more);
    let centres = Controls {
        cluster_method: ClusterMethod::KMeans,
        ..told(0.5)
    };
    assert!(sing(&voice, &song, centres) != quarter);

    // The editor says so.
    let config = StreamConfig {
        host_rate_hz: RATE_HZ,
        max_block_samples: 160,
        channels: 1,
        tier: Tier::Studio,
    };
    let service = Service::global();
    for (path, ratio) in [(&path, 0.0), (&folder.at("pulled.timbra"), 0.25)] {
        let (_port, handle) = service.open(config, VoiceRef::at(path)).unwrap();
        assert!(handle.wait_ready(PATIENCE), "{}", handle.status().message);
        assert_eq!(handle.status().own_retrieval, ratio);
    }

    for wrong in [-0.1, 1.1, f32::NAN] {
        let refused = pulled(wrong).unwrap_err().to_string();
        assert!(refused.contains("retrieval_ratio"), "{refused}");
    }
}

#[test]
fn unvoiced_frames_are_pulled_by_the_share_the_voice_says() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("vits-protected");
    let path = imported(&folder.at(""));
    let package = VoicePackage::read(&path).unwrap();
    let with_share = |share: f32| {
        let mut manifest = package.manifest.clone();
        manifest.retrieval_unvoiced = share;
        let files = manifest.files.keys();
        let files = files.map(|name| (name.clone(), package.file(name).unwrap().to_vec()));
        let path = folder.at("protected.timbra");
        package::write_voice(&path, &manifest, &files.collect(), Form::File).unwrap();
        load_voice(&path).unwrap()
    };
    let told = |ratio: f32| Controls {
        cluster_ratio: ratio,
        cluster_method: ClusterMethod::Retrieval,
        ..Controls::default()
    };
    // Clicks far apart: loud, and of no pitch.
    let clicks: Vec<f32> = (0..RATE_HZ as usize)
        .map(|n| if n % 2_731 == 0 { 0.9 } else { 0.0 })
        .collect();
    let plain = sing(&with_share(1.0), &clicks, told(0.0));
    assert!(sing(&with_share(0.0), &clicks, told(0.5)) == plain);
    assert!(sing(&with_share(1.0), &clicks, told(0.5)) != plain);
    let half = sing(&with_share(1.0), &clicks, told(0.25));
    assert!(sing(&with_share(0.5), &clicks, told(0.5)) == half);
    let song = song(RATE_HZ, 1.0);
    assert!(sing(&with_share(0.0), &song, told(0.5)) != sing(&with_share(0.0), &song, told(0.0)));
}

#[test]
fn the_program_and_its_timelines_make_what_the_engine_makes() {
    let Some(program) = Program::new("vits-program") else {
        return;
    };
    let (voice, song) = (&program.voice, &program.song);
    let (out, csv) = (program.folder.at("out.wav"), program.folder.at("time.csv"));
    let run = |more: &[&str]| program.convert(&out, more);
    let mut speaker_mix = [0.0; 8];
    (speaker_mix[0], speaker_mix[1]) = (0.5, 0.5);
    let controls = Controls {
        auto_f0: 1.0,
        f0_smoothing_ms: 30.0,
        noise_scale: 0.5,
        loudness_match: 0.25,
        cluster_ratio: 0.25,
        cluster_method: ClusterMethod::Retrieval,
        speaker_mix,
        ..Controls::default()
    };
    let expected = sing(voice, song, controls);
    let common = [
        "--cluster-ratio",
        "0.25",
        "--cluster-method",
        "retrieval",
        "--mix",
        "one=1,two=1",
        "--loudness-match",
        "0.25",
    ];
    let mut arguments = common.to_vec();
    arguments.extend(["--auto-f0", "--f0-smoothing", "30", "--noise-scale", "0.5"]);
    let output = run(&arguments);
    assert_succeeds(&output);
    assert!(!said(&output).contains("does nothing"), "{}", said(&output));
    assert!(read_wav(&out).1[0] == expected, "with options");

    fs::write(
        &csv,
        "time_s,auto-f0,f0-smoothing,noise-scale\n0,1,30,0.5\n",
    )
    .unwrap();
    let mut arguments = common.to_vec();
    arguments.extend(["--timeline", csv.to_str().unwrap()]);
    assert_succeeds(&run(&arguments));
    assert!(read_wav(&out).1[0] == expected, "with a timeline");

    for (option, value, words) in [
        ("--noise-scale", "2.5", ["--noise-scale is 2.5", "0 to 2"]),
        ("--f0-smoothing", "-1", ["--f0-smoothing is -1", "0 to 100"]),
    ] {
        assert_fails(&run(&[option, value]), 2, &words);
    }
    fs::write(&csv, "time_s,noise-scale\n0,3\n").unwrap();
    let output = run(&["--timeline", csv.to_str().unwrap()]);
    assert_fails(&output, 1, &["line 2", "3 is outside of 0 to 2"]);
}

#[test]
fn notes_are_asked_for_with_options_or_a_timeline() {
    let Some(program) = Program::new("vits-notes") else {
        return;
    };
    let (voice, song) = (&program.voice, &program.song);
    let (out, csv) = (program.folder.at("out.wav"), program.folder.at("time.csv"));
    let run = |more: &[&str]| program.convert(&out, more);
    let controls = Controls {
        retune: RetuneControls {
            mode: RetuneMode::Scale,
            key: 6,
            scale: Scale::HarmonicMinor,
            speed_ms: 12.5,
            humanise: 0.75,
            amount: 0.9,
            reference_hz: 442.0,
        },
        ..Controls::default()
    };
    let expected = sing(voice, song, controls);
    assert!(expected != sing(voice, song, Controls::default()));
    let numbers = "12.5,0.75,0.9,442";
    let options = [
        "--scale",
        "harmonic-minor",
        "--key",
        "Gb",
        "--retune-ms",
        "12.5",
        "--humanise",
        "0.75",
        "--retune-amount",
        "0.9",
        "--reference",
        "442",
    ];
    let output = run(&options);
    assert_succeeds(&output);
    assert!(!said(&output).contains("nothing"), "{}", said(&output));
    assert!(read_wav(&out).1[0] == expected, "with options");
    let columns = "retune-ms,humanise,retune-amount,reference";
    fs::write(&csv, format!("time_s,key,{columns}\n0,6,{numbers}\n")).unwrap();
    let with_csv = ["--timeline", csv.to_str().unwrap()];
    let of_scale = [&options[..2], &with_csv].concat();
    assert_succeeds(&run(&of_scale));
    assert!(read_wav(&out).1[0] == expected, "with a timeline");

    let by_midi = |note| Controls {
        retune: RetuneControls {
            mode: RetuneMode::Midi,
            key: 0,
            scale: Scale::Chromatic,
            ..controls.retune
        },
        note,
        ..controls
    };
    fs::write(&csv, format!("time_s,note,{columns}\n0,55,{numbers}\n")).unwrap();
    assert_succeeds(&run(&with_csv));
    let held = sing(voice, song, by_midi(HeldNote::of(55)));
    assert!(read_wav(&out).1[0] == held, "a note of a timeline");
    // No line leads from one note to the next: up to the second row the first is sung.
    fs::write(
        &csv,
        format!("time_s,note,{columns}\n0,55,{numbers}\n1,62,{numbers}\n"),
    )
    .unwrap();
    assert_succeeds(&run(&with_csv));
    let found = read_wav(&out).1.swap_remove(0);
    let changed = RATE_HZ as usize;
    let before = changed - RATE_HZ as usize / 10;
    assert!(found[..before] == held[..before], "up to the second note");
    assert!(found[changed..] != held[changed..], "from there on");

    for (options, words) in [
        (vec!["--key", "H"], ["H", "is no key"]),
        (
            vec!["--retune-ms", "401"],
            ["--retune-ms is 401", "0 to 400"],
        ),
        (
            vec!["--reference", "400"],
            ["--reference is 400", "415 to 466"],
        ),
    ] {
        assert_fails(&run(&options), 2, &words);
    }
    let output = run(&["--humanise", "0.5"]);
    assert_succeeds(&output);
    assert!(
        said(&output).contains("without --scale"),
        "{}",
        said(&output)
    );
    for (text, options, words) in [
        (
            "time_s,note\n0,60\n",
            &options[..2],
            ["column note", "--scale"],
        ),
        ("time_s,key\n0,7\n", &[][..], ["column key", "--scale"]),
        (
            "time_s,note\n0,60.5\n",
            &[][..],
            ["line 2", "between two notes"],
        ),
        (
            "time_s,note\n0,128\n",
            &[][..],
            ["line 2", "outside of 0 to 127"],
        ),
    ] {
        fs::write(&csv, text).unwrap();
        assert_fails(&run(&[options, &with_csv].concat()), 1, &words);
    }
}

#[test]
fn a_voice_without_the_part_is_named_with_the_option() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("vits-lacks");
    let (input, out, voice) = (
        folder.at("in.wav"),
        folder.at("out.wav"),
        folder.at("voice.timbra"),
    );
    write_voice(&voice, |_, _| {});
    float_wav(&input, RATE_HZ, &[&song(RATE_HZ, 0.3)]);
    let output = trainer(&[
        "convert",
        "--as-played",
        input.to_str().unwrap(),
        "-o",
        out.to_str().unwrap(),
        "--voice",
        voice.to_str().unwrap(),
        "--auto-f0",
        "--noise-scale",
        "0.5",
    ]);
    assert_succeeds(&output);
    for words in [
        "no F0 decoder; --auto-f0 does nothing",
        "no noise of a prior; --noise-scale does nothing",
    ] {
        assert!(said(&output).contains(words), "{}", said(&output));
    }
}
