//! A plugin host on the command line: loads the built plugin as a studio would
//! and sends a file through it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use timbra_dsp::resample::resample_all;
use timbra_tests::host::{Change, Format, Host, Job, Mode, Pace, Setup};
use timbra_tests::state::State;
use timbra_tests::wav::{self, Sound};
use timbra_tests::{picture, singer};

#[derive(Parser)]
#[command(about = "Runs a plugin on a file, in CLAP or VST3", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Converts a file through a CLAP plugin.
    Clap(Convert),
    /// Converts a file through a VST3 plugin.
    Vst3(Convert),
    /// Loads a library, names its plugin and lets go of it.
    Scan {
        /// clap or vst3.
        format: String,
        /// The plugin file or bundle.
        bundle: PathBuf,
    },
    /// Lists a plugin's parameters.
    Params {
        /// clap or vst3.
        format: String,
        /// The plugin file or bundle.
        bundle: PathBuf,
    },
    /// Writes the sample vocal: a synthetic singer's song.
    Sing {
        /// WAV to write.
        out: PathBuf,
        /// Samples per second.
        #[arg(long, default_value_t = 48_000)]
        rate: u32,
    },
    /// Draws spectrogram and F0 of sounds into a PNG.
    Picture {
        /// PNG to write.
        out: PathBuf,
        /// WAV files, drawn below each other.
        #[arg(required = true)]
        sounds: Vec<PathBuf>,
    },
}

#[derive(Args)]
struct Convert {
    /// The plugin file or bundle.
    bundle: PathBuf,
    /// WAV to read.
    #[arg(long = "in")]
    input: PathBuf,
    /// WAV to write (32-bit float).
    #[arg(long = "out")]
    output: PathBuf,
    /// Samples per block; several, comma-separated, take turns.
    #[arg(long, default_value = "512", value_delimiter = ',')]
    block: Vec<usize>,
    /// Rate the host runs at; the file is resampled to it. Default: the file's.
    #[arg(long)]
    rate: Option<u32>,
    /// Channels of the track: 1 or 2. Default: the file's.
    #[arg(long)]
    channels: Option<usize>,
    /// NAME=TEXT, as a user types it: pitch=5, dry_wet=50%. Repeatable.
    #[arg(long = "set", value_name = "NAME=TEXT")]
    settings: Vec<String>,
    /// SECONDS:NAME=TEXT, a step of automation. Repeatable.
    #[arg(long = "at", value_name = "SECONDS:NAME=TEXT")]
    steps: Vec<String>,
    /// Name or file of the voice. Default: the plugin's own choice.
    #[arg(long)]
    voice: Option<String>,
    /// Take the reported latency off the output, as hosts do.
    #[arg(long)]
    compensate: bool,
    /// Ask for blocks at the pace of a sound card.
    #[arg(long)]
    realtime: bool,
    /// Read a state file first.
    #[arg(long)]
    load: Option<PathBuf>,
    /// Write the state afterwards.
    #[arg(long)]
    save: Option<PathBuf>,
}

fn main() {
    if let Err(error) = run(Cli::parse().command) {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

fn format(name: &str) -> Result<Format> {
    match name {
        "clap" => Ok(Format::Clap),
        "vst3" => Ok(Format::Vst3),
        other => anyhow::bail!("unknown format {other:?}; clap or vst3"),
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Clap(args) => convert(Format::Clap, &args),
        Command::Vst3(args) => convert(Format::Vst3, &args),
        Command::Scan { format: name, bundle } => scan(format(&name)?, &bundle),
        Command::Params { format: name, bundle } => params(format(&name)?, &bundle),
        Command::Sing { out, rate } => {
            let sound = Sound { rate_hz: rate, channels: vec![singer::sing(rate)] };
            wav::write(&out, &sound)?;
            println!("{}: {:.1} s", out.display(), sound.samples() as f64 / f64::from(rate));
            Ok(())
        }
        Command::Picture { out, sounds } => {
            let read: Vec<Sound> = sounds.iter().map(|p| wav::read(p)).collect::<Result<_>>()?;
            let names: Vec<String> = sounds.iter().map(|p| name_of(p)).collect();
            let named: Vec<_> = names.iter().map(String::as_str).zip(&read).collect();
            picture::draw(&out, &named)?;
            println!("{}", out.display());
            Ok(())
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn scan(format: Format, bundle: &Path) -> Result<()> {
    use timbra_tests::host::{clap, vst3};
    let start = Instant::now();
    let name = match format {
        Format::Clap => clap::scan(bundle)?.2,
        Format::Vst3 => vst3::scan(bundle)?.name.clone(),
    };
    println!("{name}: scanned as {} in {:.1} ms", format.name(), start.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn params(format: Format, bundle: &Path) -> Result<()> {
    let mut host = format.open(bundle)?;
    println!("{:>10}  {:<20} {:>5}  default", "id", "name", "steps");
    for p in host.parameters().to_vec() {
        let text = host.text_of(p.id, p.default)?;
        println!("{:>10}  {:<20} {:>5}  {text}", p.id, p.name, p.steps);
    }
    Ok(())
}

/// `NAME=TEXT` as a parameter id and a normalised value.
fn setting(host: &mut dyn Host, text: &str) -> Result<(u32, f64)> {
    let (key, value) = text.split_once('=').with_context(|| format!("{text:?} is not NAME=TEXT"))?;
    let parameter = host.find(key)?;
    Ok((parameter.id, host.value_of(parameter.id, value)?))
}

fn convert(format: Format, args: &Convert) -> Result<()> {
    let mut sound = wav::read(&args.input)?;
    if let Some(rate_hz) = args.rate.filter(|r| *r != sound.rate_hz) {
        let resampled = sound.channels.iter().map(|c| resample_all(c, sound.rate_hz, rate_hz));
        sound = Sound { rate_hz, channels: resampled.collect::<Result<_, _>>()? };
    }
    let channels = args.channels.unwrap_or(sound.channels.len().min(2));
    ensure!((1..=2).contains(&channels), "a track has 1 or 2 channels, not {channels}");
    let mut sound = sound.with_channels(channels);
    let wanted_samples = sound.samples();

    let mut host = format.open(&args.bundle)?;
    if let Some(path) = &args.load {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        host.load(&bytes)?;
    }
    if let Some(voice) = &args.voice {
        let mut state = State::parse(&host.save()?)?;
        let file = Path::new(voice);
        if file.exists() {
            let stem = file.file_stem().map(|s| s.to_string_lossy().into_owned());
            let full = file.canonicalize()?;
            state.set_voice(&stem.unwrap_or_default(), &full.to_string_lossy(), "");
        } else {
            state.set_voice(voice, "", "");
        }
        host.load(&state.bytes())?;
    }
    for text in &args.settings {
        let (id, value) = setting(host.as_mut(), text)?;
        host.set(id, value)?;
    }
    let mut changes = Vec::new();
    for text in &args.steps {
        let (seconds, rest) =
            text.split_once(':').with_context(|| format!("{text:?} is not SECONDS:NAME=TEXT"))?;
        let seconds: f64 = seconds.parse().with_context(|| format!("{seconds:?} in {text:?}"))?;
        let (id, value) = setting(host.as_mut(), rest)?;
        let at_samples = (seconds * f64::from(sound.rate_hz)).round() as usize;
        changes.push(Change { at_samples, id, value });
    }
    changes.sort_by_key(|c| c.at_samples);

    let longest = args.block.iter().copied().max().unwrap_or(512);
    let mode = if args.realtime { Mode::Realtime } else { Mode::Offline };
    let mut setup = Setup::offline(sound.rate_hz, longest).mode(mode);
    setup.channels = channels;
    host.activate(setup)?;
    host.idle(Duration::from_millis(300))?;
    let latency = host.latency_samples();
    let extra = if args.compensate { latency } else { 0 };
    for channel in &mut sound.channels {
        channel.resize(wanted_samples + extra, 0.0);
    }
    let pace = if args.realtime { Pace::RealTime } else { Pace::Free };
    let job = Job { input: &sound.channels, blocks: &args.block, changes: &changes, pace };
    let start = Instant::now();
    let mut output = host.render(&job)?;
    let wall_s = start.elapsed().as_secs_f64();
    for channel in &mut output {
        channel.drain(..extra);
    }
    wav::write(&args.output, &Sound { rate_hz: sound.rate_hz, channels: output })?;
    if let Some(path) = &args.save {
        std::fs::write(path, host.save()?)?;
    }
    let audio_s = wanted_samples as f64 / f64::from(sound.rate_hz);
    println!(
        "{} → {}: {} {} at {} Hz, blocks of {:?}, latency {latency} samples ({:.1} ms{}), \
         {audio_s:.1} s of audio in {wall_s:.1} s",
        args.input.display(),
        args.output.display(),
        format.name(),
        if channels == 1 { "mono" } else { "stereo" },
        sound.rate_hz,
        args.block,
        latency as f64 * 1e3 / f64::from(sound.rate_hz),
        if args.compensate { ", taken off" } else { "" },
    );
    Ok(())
}
