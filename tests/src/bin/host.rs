//! A plugin host on the command line: loads the built plugin as a studio would
//! and sends a file through it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use timbra_dsp::resample::resample_all;
use timbra_tests::host::clap::ClapHost;
use timbra_tests::host::{Change, Format, Host, Job, Mode, Pace, Setup};
use timbra_tests::singer;
use timbra_tests::state::State;
use timbra_tests::wav::{self, Sound};

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
    /// Makes, activates, plays and drops many instances, in several rounds.
    Stress {
        /// clap or vst3.
        format: String,
        /// The plugin file or bundle.
        bundle: PathBuf,
        /// Instances alive at once.
        #[arg(long, default_value_t = 32)]
        instances: usize,
    },
    /// Plays a CLAP plugin on a thread that ends after the library was unloaded.
    Unload {
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
        Command::Scan {
            format: name,
            bundle,
        } => scan(format(&name)?, &bundle),
        Command::Stress {
            format: name,
            bundle,
            instances,
        } => stress(format(&name)?, &bundle, instances),
        Command::Unload { bundle } => unload(&bundle),
        Command::Params {
            format: name,
            bundle,
        } => params(format(&name)?, &bundle),
        Command::Sing { out, rate } => {
            let sound = Sound {
                rate_hz: rate,
                channels: vec![singer::sing(rate)],
            };
            wav::write(&out, &sound)?;
            println!(
                "{}: {:.1} s",
                out.display(),
                sound.samples() as f64 / f64::from(rate)
            );
            Ok(())
        }
    }
}

fn scan(format: Format, bundle: &Path) -> Result<()> {
    use timbra_tests::host::{clap, vst3};
    let start = Instant::now();
    let name = match format {
        Format::Clap => clap::scan(bundle)?.2,
        Format::Vst3 => vst3::scan(bundle)?.name.clone(),
    };
    println!(
        "{name}: scanned as {} in {:.1} ms",
        format.name(),
        start.elapsed().as_secs_f64() * 1e3
    );
    Ok(())
}

fn stress(format: Format, bundle: &Path, instances: usize) -> Result<()> {
    let vocal: Vec<f32> = singer::sing(44_100).into_iter().take(4_410).collect();
    for (round, rate_hz) in [44_100, 48_000, 96_000].into_iter().enumerate() {
        let mut hosts = Vec::new();
        for index in 0..instances {
            let mut host = format.open(bundle)?;
            // Some never get as far as being activated, some are dropped while active.
            if index % 4 != 0 {
                let mut setup = Setup::offline(rate_hz, 64 << (index % 5)).mode(Mode::Realtime);
                setup.channels = 1 + index % 2;
                host.activate(setup)?;
            }
            hosts.push(host);
        }
        for (index, host) in hosts.iter_mut().enumerate() {
            let Some(setup) = host.setup() else { continue };
            let input = vec![vocal.clone(); setup.channels];
            let blocks = [setup.max_block_samples];
            host.render(&Job::new(&input, &blocks))?;
            if index % 3 == 0 {
                host.deactivate();
            }
        }
        // Not in the order they were made.
        while !hosts.is_empty() {
            hosts.swap_remove(hosts.len() / 2);
        }
        println!("round {}: {instances} instances came and went", round + 1);
    }
    Ok(())
}

fn unload(bundle: &Path) -> Result<()> {
    let bundle = bundle.canonicalize()?;
    let song = singer::sing(48_000)[..24_000].to_vec();
    // Threads end while others load and unload: whatever the library left behind
    // in a thread (destructors of its thread-locals) must still be there then.
    let play = |round: usize| -> Result<()> {
        let mut host = ClapHost::open_unloading(&bundle)?;
        if round % 40 != 39 {
            // Only looked at, as a scanner does.
            return host.text_of(host.find("pitch")?.id, 0.5).map(drop);
        }
        host.activate(Setup::offline(48_000, 512))?;
        let input = vec![song.clone(); 2];
        host.render(&Job::new(&input, &[512]))?;
        Ok(())
    };
    std::thread::scope(|scope| {
        for lane in 0..2 {
            let play = &play;
            scope.spawn(move || {
                for round in 0..200 {
                    let outcome =
                        std::thread::scope(|inner| inner.spawn(|| play(lane + round)).join());
                    if !matches!(outcome, Ok(Ok(()))) {
                        eprintln!("round {round}: {outcome:?}");
                        std::process::exit(1);
                    }
                }
            });
        }
    });
    println!("unloaded and gone");
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
    let (key, value) = text
        .split_once('=')
        .with_context(|| format!("{text:?} is not NAME=TEXT"))?;
    let parameter = host.find(key)?;
    Ok((parameter.id, host.value_of(parameter.id, value)?))
}

fn convert(format: Format, args: &Convert) -> Result<()> {
    let mut sound = wav::read(&args.input)?;
    if let Some(rate_hz) = args.rate.filter(|r| *r != sound.rate_hz) {
        let resampled = sound
            .channels
            .iter()
            .map(|c| resample_all(c, sound.rate_hz, rate_hz));
        sound = Sound {
            rate_hz,
            channels: resampled.collect::<Result<_, _>>()?,
        };
    }
    let channels = args.channels.unwrap_or(sound.channels.len().min(2));
    ensure!(
        (1..=2).contains(&channels),
        "a track has 1 or 2 channels, not {channels}"
    );
    let mut sound = sound.with_channels(channels);
    let wanted_samples = sound.samples();

    let mut host = format.open(&args.bundle)?;
    if let Some(path) = &args.load {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
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
        let (seconds, rest) = text
            .split_once(':')
            .with_context(|| format!("{text:?} is not SECONDS:NAME=TEXT"))?;
        let seconds: f64 = seconds
            .parse()
            .with_context(|| format!("{seconds:?} in {text:?}"))?;
        let (id, value) = setting(host.as_mut(), rest)?;
        let at_samples = (seconds * f64::from(sound.rate_hz)).round() as usize;
        changes.push(Change {
            at_samples,
            id,
            value,
        });
    }
    changes.sort_by_key(|c| c.at_samples);

    let longest = args.block.iter().copied().max().unwrap_or(512);
    let mode = if args.realtime {
        Mode::Realtime
    } else {
        Mode::Offline
    };
    let mut setup = Setup::offline(sound.rate_hz, longest).mode(mode);
    setup.channels = channels;
    host.activate(setup)?;
    host.idle(Duration::from_millis(300))?;
    let latency = host.latency_samples();
    let extra = if args.compensate { latency } else { 0 };
    for channel in &mut sound.channels {
        channel.resize(wanted_samples + extra, 0.0);
    }
    let pace = if args.realtime {
        Pace::RealTime
    } else {
        Pace::Free
    };
    let job = Job {
        changes: &changes,
        pace,
        ..Job::new(&sound.channels, &args.block)
    };
    let start = Instant::now();
    let mut output = host.render(&job)?;
    let wall_s = start.elapsed().as_secs_f64();
    for channel in &mut output {
        channel.drain(..extra);
    }
    wav::write(
        &args.output,
        &Sound {
            rate_hz: sound.rate_hz,
            channels: output,
        },
    )?;
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
