//! `trainer import` from files to a voice that sings, and what it says of files that are no voice.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Folder, runtime_is_there, write_hubert, write_some_encoder};
use timbra_engine::offline::convert;
use timbra_engine::{Controls, LoadedVoice};
use timbra_trainer::commands::import::{self, Args, Content, Kept};
use timbra_voice::manifest::CpuWeights;
use timbra_voice::package::VoicePackage;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/sovits_fork")
        .join(name)
}

fn args(checkpoint: PathBuf, output: PathBuf) -> Args {
    Args {
        content: Content::Vec256l9,
        ..Args::new(checkpoint, output)
    }
}

#[test]
fn an_imported_voice_with_an_imported_encoder_sings() {
    if !runtime_is_there() {
        return;
    }
    let folder = Folder::new("sings");
    let hubert = folder.at("hubert.safetensors");
    write_hubert(&hubert, 12);
    import::run(&args(hubert, folder.at("encoders/content.timbra"))).unwrap();
    let path = folder.at("voice.timbra");
    import::run(&args(fixture("G_3.pth"), path.clone())).unwrap();

    let voice = LoadedVoice::load(&path, &[]).unwrap();
    let names: Vec<&str> = voice
        .manifest()
        .speakers
        .iter()
        .map(|speaker| speaker.name.as_str())
        .collect();
    assert_eq!(names, ["one", "two"]);
    let song: Vec<f32> = (0..48_000)
        .map(|n| 0.3 * (n as f32 * std::f32::consts::TAU * 220.0 / 48_000.0).sin())
        .collect();
    let sing = |speaker: usize| {
        let controls = Controls {
            speaker_mix: std::array::from_fn(|n| f32::from(n == speaker)),
            ..Controls::default()
        };
        convert(&voice, &song, 48_000, &|_| controls, &mut |_| {}).unwrap()
    };
    let (first, again, second) = (sing(0), sing(0), sing(1));
    assert_eq!(first.len(), song.len());
    let power = first.iter().map(|s| s * s).sum::<f32>() / first.len() as f32;
    assert!(power.is_finite() && power > 1e-10, "power {power}");
    assert!(first == again, "the same again");
    assert!(first != second, "the speakers differ");

    // Played in 8 bits the file is as it was and the manifest says so.
    let played = folder.at("voices/played.timbra");
    import::run(&Args {
        precision: Kept::Int8Played,
        ..args(fixture("G_3.pth"), played.clone())
    })
    .unwrap();
    let graph_of = |path: &Path| VoicePackage::read(path).unwrap();
    let (whole, played) = (graph_of(&path), graph_of(&played));
    assert_eq!(
        played.manifest.synthesis.cpu_weights,
        Some(CpuWeights::Int8)
    );
    assert!(whole.synthesis_graph() == played.synthesis_graph());

    // Whole clips: as when the package itself says that its steps are long.
    let clips = LoadedVoice::load_for_clips(&path, &[]).unwrap();
    let step = clips.manifest().step.clone().unwrap();
    let encoder_step = clips.manifest().encoder.step.clone().unwrap();
    assert!(step.frames >= 64 && encoder_step.frames >= 64);
    let in_steps = |checkpoint: PathBuf, output: &str, frames: usize, lookahead: usize| {
        let output = folder.at(output);
        import::run(&Args {
            step_frames: Some(frames),
            lookahead_frames: Some(lookahead),
            ..args(checkpoint, output.clone())
        })
        .unwrap();
        output
    };
    let (frames, lookahead) = (encoder_step.frames, encoder_step.lookahead_frames);
    let hubert = folder.at("hubert.safetensors");
    in_steps(hubert, "long/encoders/content.timbra", frames, lookahead);
    let (frames, lookahead) = (step.frames, step.lookahead_frames);
    let long = in_steps(fixture("G_3.pth"), "long/voice.timbra", frames, lookahead);
    // The two encoders are one graph, and whoever holds it decides its steps.
    drop(voice);
    let long = LoadedVoice::load(&long, &[]).unwrap();
    let of = |voice| convert(voice, &song, 48_000, &|_| Controls::default(), &mut |_| {}).unwrap();
    assert!(of(&clips) == of(&long), "the same steps give the same");
}

#[test]
fn what_is_no_voice_is_refused_in_words_and_leaves_nothing_behind() {
    let folder = Folder::new("refused");
    let whole = fs::read(fixture("G_3.pth")).unwrap();
    let config = fs::read_to_string(fixture("config.json")).unwrap();
    let checkpoint = folder.at("G_3.pth");
    let write_config = |text: &str| fs::write(folder.at("config.json"), text).unwrap();
    let refusal = |args: &Args| {
        let error = format!("{:#}", import::run(args).expect_err("it is no voice"));
        assert!(!args.output.exists(), "something was written: {error}");
        error
    };
    let output = folder.at("voice.timbra");
    let standard = args(checkpoint.clone(), output);

    fs::write(&checkpoint, &whole).unwrap();
    write_config(&config);
    let error = refusal(&Args {
        measure_on: Some(folder.at("take.wav")),
        ..args(checkpoint.clone(), folder.at("voice.timbra"))
    });
    assert!(error.contains("--measure-on"), "{error}");

    fs::write(&checkpoint, &whole[..whole.len() / 2]).unwrap();
    let error = refusal(&standard);
    assert!(error.contains("G_3.pth"), "{error}");

    fs::write(&checkpoint, &whole).unwrap();
    fs::remove_file(folder.at("config.json")).unwrap();
    let error = refusal(&standard);
    assert!(error.contains("config.json"), "{error}");

    // A configuration of another voice: tensor, expected and found extents.
    write_config(&config.replace("\"hidden_channels\": 8", "\"hidden_channels\": 16"));
    let error = refusal(&standard);
    for part in ["G_3.pth", "pre.weight", "[16, 12, 5]", "[8, 12, 5]"] {
        assert!(error.contains(part), "{part} in: {error}");
    }
    write_config(&config.replace("\"n_layers\": 2", "\"n_layers\": 3"));
    let error = refusal(&standard);
    assert!(error.contains("enc_p.enc_.attn_layers.2"), "{error}");
    for (what, from, to) in [
        ("n_heads", "\"n_heads\": 2", "\"n_heads\": 3"),
        ("upsample_rates", "5,\n   4,\n   4", "5,\n   4,\n   2"),
        ("hop_length", "\"hop_length\": 80", "\"hop_length\": 81"),
        (
            "sampling_rate",
            "\"sampling_rate\": 16000",
            "\"sampling_rate\": 16",
        ),
        ("resblock", "\"resblock\": \"1\"", "\"resblock\": \"3\""),
        ("whole file", "{", "["),
    ] {
        let changed = config.replacen(from, to, 1);
        assert_ne!(changed, config, "{what}");
        write_config(&changed);
        let error = refusal(&standard);
        assert!(error.contains("config.json"), "{what}: {error}");
    }

    write_config(&config);
    let error = refusal(&Args {
        speakers: vec!["three".to_owned()],
        ..standard.clone()
    });
    assert!(
        error.contains("three") && error.contains("one, two"),
        "{error}"
    );

    // An encoder of the right width that is not the one the voice was trained with.
    let encoder = folder.at("encoder.timbra");
    write_some_encoder(&encoder, 12);
    let with_encoder = Args {
        encoder: Some(encoder),
        ..standard.clone()
    };
    let model = "\"hidden_channels\": 8";
    write_config(&config.replace(
        model,
        &format!("\"speech_encoder\": \"hubertsoft\",\n{model}"),
    ));
    let error = refusal(&with_encoder);
    assert!(
        error.contains("encoder.timbra") && error.contains("hubertsoft"),
        "{error}"
    );
    write_config(&config);
    import::run(&with_encoder).expect("a voice that does not name its encoder");
    fs::remove_file(&with_encoder.output).unwrap();

    // A discriminator, or anything else that torch has saved.
    let readers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let error = refusal(&Args {
        retrieval: Some(readers.join("added_IVF4_Flat.index")),
        ..standard.clone()
    });
    assert!(error.contains("added_IVF4_Flat.index"), "{error}");
    import::run(&standard).expect("as it is, it is a voice");
}
