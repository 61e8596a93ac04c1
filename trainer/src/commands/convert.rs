//! `trainer convert`: a recording in another voice, in bounded memory.

mod channels;
mod retune;
mod source;
mod timeline;

pub use channels::ChannelMixer;
pub use retune::{Retune, ScaleName};
pub use source::{Source, output_rate_hz, samples_at};
pub use timeline::{Timeline, mix_of};

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use timbra_engine::controls::{GATE_OFF_DB, MAX_F0_SMOOTHING_MS, MAX_NOISE_SCALE};
use timbra_engine::offline::Converter;
use timbra_engine::{ClusterMethod, Controls, LoadedVoice};
use timbra_voice::manifest::Manifest;

use super::prepare::encoder_folders;
use crate::config::WrongArgument;
use crate::data::atomic_file::remove_abandoned;
use crate::data::audio::{NonFinite, ReadOptions, SampleKind, WavFile, mix_to_mono, scan};
use crate::progress::AudioProgress;

/// Arguments of `trainer convert`.
#[derive(Debug, Clone, clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// The recording: WAV, FLAC, OGG or MP3 of any rate
    #[arg(value_name = "IN")]
    pub input: PathBuf,

    /// The WAV to write: length and channels of the input, in time with it
    #[arg(short, long, value_name = "OUT.wav")]
    pub output: PathBuf,

    /// The voice
    #[arg(long, value_name = "FILE")]
    pub voice: PathBuf,

    /// Speaker of the voice; its first one unless given
    #[arg(long, value_name = "NAME", conflicts_with = "mix")]
    pub speaker: Option<String>,

    /// Several speakers by weight, e.g. anna=0.7,bela=0.3
    #[arg(long, value_name = "NAME=W,…")]
    pub mix: Option<String>,

    /// CSV of values over time: time_s, then speakers and pitch, formant, cluster-ratio, loudness-match, articulation, auto-f0,
    /// f0-smoothing, noise-scale, key (of --scale, 0 = C), note (MIDI number to sing, 0 = none), retune-ms, humanise,
    /// retune-amount, reference, gain, dry-wet
    #[arg(long, value_name = "FILE.csv")]
    pub timeline: Option<PathBuf>,

    /// Transposition, -24 to 24, cents after the point
    #[arg(long, value_name = "SEMITONES", default_value_t = 0.0)]
    pub pitch: f32,

    /// Shift the source into the speaker's register
    #[arg(long)]
    pub auto_pitch: bool,

    /// F0 from the voice's own F0 decoder instead of the one that is sung; for speech
    #[arg(long)]
    pub auto_f0: bool,

    /// Mean of F0 over so much time, 0 to 100; 20 is three frames
    #[arg(long, value_name = "MS", default_value_t = 0.0)]
    pub f0_smoothing: f32,

    /// Noise of the prior as a share of the voice's own, 0 to 2; its own is 0.4 from so-vits-svc and 0.667 from RVC
    #[arg(long, value_name = "R", default_value_t = 1.0)]
    pub noise_scale: f32,

    /// Notes of a scale.
    #[command(flatten)]
    pub retune: Retune,

    /// Formant shift, -12 to 12
    #[arg(long, value_name = "SEMITONES", default_value_t = 0.0)]
    pub formant: f32,

    /// How far the content is pulled to the speaker's own, 0 to 1
    #[arg(long, value_name = "R", default_value_t = 0.0)]
    pub cluster_ratio: f32,

    /// Which table it is pulled to
    #[arg(long, value_enum, default_value_t = Method::Kmeans)]
    pub cluster_method: Method,

    /// 0: loudness as the voice makes it; 1: the input's envelope (a bare --loudness-match means 1). So-vits-svc's loudness
    /// envelope and RVC's volume envelope turned round: their 0.25 is 0.75 here
    #[arg(long, value_name = "R", num_args = 0..=1, default_value_t = 0.0, default_missing_value = "1")]
    pub loudness_match: f32,

    /// How much of the input's articulation is kept, -1 to 1: 0 is what the voice asks for by itself, -1 nothing, 1 all. More of it, and
    /// more words are understood; less, and it is nearer to the speaker
    #[arg(
        long,
        value_name = "R",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    pub articulation: f32,

    /// Shut the voice below this input loudness; -100 is off
    #[arg(long, value_name = "DB", default_value_t = GATE_OFF_DB)]
    pub gate: f32,

    /// 0: the input; 1: the voice
    #[arg(long, value_name = "R", default_value_t = 1.0)]
    pub dry_wet: f32,

    /// Level of the output, -60 to 12
    #[arg(long, value_name = "DB", default_value_t = 0.0)]
    pub gain: f32,

    /// Which noise the voice breathes with
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u32,

    /// Sample rate of the output; the input's, or the voice's where the input's is below 44100, unless given
    #[arg(long, value_name = "HZ")]
    pub rate: Option<u32>,

    /// Sample format of the output
    #[arg(long, value_enum, default_value_t = Bits::Float)]
    pub bits: Bits,

    /// Put silence where the input has NaN or infinite samples
    #[arg(long)]
    pub replace_nan: bool,

    /// Take the steps the plugin takes, for the very samples it gives; an imported voice otherwise takes longer ones, which
    /// are cheaper and see more of the future
    #[arg(long)]
    pub as_played: bool,
}

/// Names of [`ClusterMethod`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Centres found by k-means
    Kmeans,
    /// Nearest frames of the speaker's recordings
    Retrieval,
}

/// Names of [`SampleKind`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Bits {
    /// 32-bit floating point
    #[value(name = "float")]
    Float,
    /// 24-bit integer
    #[value(name = "24")]
    Int24,
    /// 16-bit integer
    #[value(name = "16")]
    Int16,
}

/// Runs the verb.
///
/// # Errors
/// The input or the voice cannot be used, or the disk is full.
pub fn run(args: &Args) -> Result<()> {
    // Arguments first, then the input: loading a voice takes longest.
    check_arguments(args)?;
    let options = ReadOptions {
        non_finite: if args.replace_nan {
            NonFinite::Silence
        } else {
            NonFinite::Refuse
        },
        ..ReadOptions::default()
    };
    let about = scan(&args.input, options)?;
    let load = if args.as_played {
        LoadedVoice::load
    } else {
        LoadedVoice::load_for_clips
    };
    let voice = load(&args.voice, &encoder_folders())
        .with_context(|| format!("cannot use the voice {}", args.voice.display()))?;
    let manifest = voice.manifest();
    warn_of_missing_parts(args, manifest);
    let controls = controls(args, manifest)?;
    let timeline = match &args.timeline {
        Some(path) => Timeline::read(path, manifest, controls)?,
        None => Timeline::constant(controls),
    };
    let rate_hz = args
        .rate
        .unwrap_or_else(|| output_rate_hz(about.rate_hz, manifest.model_rate_hz));
    let samples = samples_at(about.samples, about.rate_hz, rate_hz);
    let at = |position: u64| timeline.at(position as f64 / f64::from(rate_hz));

    let channels = about.levels.len();
    let kind = match args.bits {
        Bits::Float => SampleKind::Float32,
        Bits::Int24 => SampleKind::Int24,
        Bits::Int16 => SampleKind::Int16,
    };
    remove_abandoned(&args.output);
    let mut file = WavFile::create(&args.output, rate_hz, channels, kind)?;
    file.check_length(samples)?;

    let weights = about.mono_weights();
    let progress = AudioProgress::new("convert", about.duration_s());
    let mut source = Source::open(
        &args.input,
        options,
        channels,
        about.samples,
        (about.rate_hz, rate_hz),
    )?;
    let mut converter = Converter::new(&voice, rate_hz)?;
    let mut mixer = ChannelMixer::new(channels);
    let bare = |position| ChannelMixer::bare(at(position));
    let (mut mono, mut wet) = (Vec::new(), Vec::new());
    while let Some(packet) = source.next_packet()? {
        mono.clear();
        mix_to_mono(packet, &weights, &mut mono);
        mixer.push_dry(packet);
        wet.clear();
        converter.push(&mono, &bare, &mut wet)?;
        file.write(mixer.mix(&wet, &at))?;
        progress.add(mono.len() as f64 / f64::from(rate_hz), "");
    }
    wet.clear();
    let status = converter.finish(&bare, &mut wet)?;
    file.write(mixer.mix(&wet, &at))?;
    ensure!(
        file.samples_written() == samples,
        "the engine gave {} samples for {samples}; this is a bug",
        file.samples_written()
    );
    if status.replaced_frames > 0 {
        eprintln!(
            "warning: the voice gave {} frames that are no numbers; they are silent",
            status.replaced_frames
        );
    }
    let clipped = file.clipped_samples();
    file.finish()?;
    let speed = progress.finish();
    if clipped > 0 {
        eprintln!("warning: {clipped} samples are clipped; lower --gain or use --bits float");
    }
    println!(
        "{}: {:.1} s in {} Hz, {channels} channels, {speed:.1} × real time",
        args.output.display(),
        about.duration_s(),
        rate_hz
    );
    Ok(())
}

/// The constant controls that the arguments ask for.
///
/// # Errors
/// The voice has no such speaker.
pub fn controls(args: &Args, manifest: &Manifest) -> Result<Controls> {
    let mut controls = Controls {
        pitch_semitones: args.pitch,
        formant_semitones: args.formant,
        cluster_ratio: args.cluster_ratio,
        cluster_method: match args.cluster_method {
            Method::Kmeans => ClusterMethod::KMeans,
            Method::Retrieval => ClusterMethod::Retrieval,
        },
        auto_pitch: args.auto_pitch,
        auto_f0: f32::from(u8::from(args.auto_f0)),
        f0_smoothing_ms: args.f0_smoothing,
        noise_scale: args.noise_scale,
        retune: args.retune.controls(),
        loudness_match: args.loudness_match,
        articulation: args.articulation,
        gate_db: args.gate,
        dry_wet: args.dry_wet,
        output_gain_db: args.gain,
        seed: args.seed,
        ..Controls::default()
    };
    let wanted = args.mix.as_deref().or(args.speaker.as_deref());
    if let Some(wanted) = wanted {
        controls.speaker_mix = mix_of(wanted, manifest)?;
    }
    Ok(controls)
}

fn check_arguments(args: &Args) -> Result<()> {
    let output = args.output.display();
    let is_wav = args
        .output
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("wav"));
    if !is_wav {
        return Err(WrongArgument(format!("{output}: only .wav is written")).into());
    }
    let (input_file, output_file) = (args.input.canonicalize(), args.output.canonicalize());
    if input_file.is_ok() && input_file.ok() == output_file.ok() {
        let message = format!("{output} is the input; it would be lost");
        return Err(WrongArgument(message).into());
    }
    check_ranges(args)
}

/// Refuses a control outside its range.
///
/// # Errors
/// The first that is.
pub fn check_ranges(args: &Args) -> Result<()> {
    let ranges = [
        ("--pitch", args.pitch, -24.0, 24.0),
        ("--formant", args.formant, -12.0, 12.0),
        ("--cluster-ratio", args.cluster_ratio, 0.0, 1.0),
        ("--loudness-match", args.loudness_match, 0.0, 1.0),
        ("--articulation", args.articulation, -1.0, 1.0),
        (
            "--f0-smoothing",
            args.f0_smoothing,
            0.0,
            MAX_F0_SMOOTHING_MS,
        ),
        ("--noise-scale", args.noise_scale, 0.0, MAX_NOISE_SCALE),
        ("--gate", args.gate, GATE_OFF_DB, 0.0),
        ("--dry-wet", args.dry_wet, 0.0, 1.0),
        ("--gain", args.gain, -60.0, 12.0),
    ];
    for (name, value, low, high) in ranges.into_iter().chain(args.retune.ranges()) {
        if !(low..=high).contains(&value) {
            let message = format!("{name} is {value}; expected {low} to {high}");
            return Err(WrongArgument(message).into());
        }
    }
    Ok(())
}

fn warn_of_missing_parts(args: &Args, manifest: &Manifest) {
    let has_table = manifest.clusters.is_some() || manifest.retrieval.is_some();
    if args.cluster_ratio > 0.0 && !has_table {
        eprintln!("warning: the voice has no table; --cluster-ratio does nothing");
    }
    if args.retune.lacks_a_scale() && args.timeline.is_none() {
        eprintln!(
            "warning: without --scale, --key, --retune-ms, --humanise, --retune-amount and --reference do nothing"
        );
    }
    let parts = [
        (
            "--formant",
            args.formant != 0.0,
            "formant_semitones",
            "formant control",
        ),
        ("--auto-f0", args.auto_f0, "auto_f0", "F0 decoder"),
        (
            "--noise-scale",
            args.noise_scale != 1.0,
            "prior_noise",
            "noise of a prior",
        ),
    ];
    for (option, used, input, part) in parts {
        if used && !manifest.takes(input) {
            eprintln!("warning: the voice has no {part}; {option} does nothing");
        }
    }
}
