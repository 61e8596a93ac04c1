//! `trainer page`: the same examples, converted, drawn and measured, as one file to open and play.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use timbra_dsp::CONTENT_RATE_HZ;
use timbra_dsp::resample::resample_all;
use timbra_engine::{Controls, FeatureFrame, LoadedVoice, features, offline};

use super::convert::{self, Timeline, output_rate_hz};
use super::prepare::encoder_folders;
use crate::config::WrongArgument;
use crate::data::atomic_file::write_atomically;
use crate::data::audio::{NonFinite, ReadOptions, is_audio_name, read_audio_with};
use crate::data::dataset::percentile;
use crate::evaluation::machine_name;
use crate::evaluation::measures::{
    Timbre, compare_f0, content_distance, f0_track_hz, similarity, typical_ratio,
};
use crate::evaluation::page::{Example, Page, Sound};
use crate::plot::{Panel, draw_spectrograms};
use crate::progress::AudioProgress;

/// Frames more than so much below the loudest say nothing of the content.
const QUIET_BELOW_PEAK_DB: f32 = 40.0;
/// Longest stretch of a recording on a page: sounds lie in the file as they are.
const MOST_SECONDS: f64 = 120.0;

/// Arguments of `trainer page`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Recordings to convert
    #[arg(required = true, value_name = "SOURCE")]
    pub sources: Vec<PathBuf>,

    /// The page to write
    #[arg(short, long, value_name = "OUT.html")]
    pub output: PathBuf,

    /// A voice; may be repeated
    #[arg(long, required = true, value_name = "FILE")]
    pub voice: Vec<PathBuf>,

    /// A recording of the singer to be reached; may be repeated
    #[arg(long, value_name = "FILE")]
    pub target: Vec<PathBuf>,

    /// A setting to try with each voice: a name, and options of `trainer convert`, e.g. "an octave up=--pitch 12"; may be
    /// repeated. Unless given: each speaker in their own register (whole semitones), and what else the voice has (tables, formant)
    #[arg(long = "try", value_name = "NAME=OPTIONS")]
    pub settings: Vec<String>,

    /// Conversions by something else to show beside: a name and a folder of recordings named as the sources; may be
    /// repeated
    #[arg(long, value_name = "NAME=FOLDER")]
    pub beside: Vec<String>,

    /// Where in each source to begin
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    pub from: f64,

    /// How much of each source to convert, at most 120
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub seconds: f64,

    /// Heading of the page
    #[arg(long, value_name = "TEXT", default_value = "Conversions")]
    pub title: String,
}

/// The options of one setting, read as the command line of `trainer convert` is.
#[derive(Debug, Parser)]
struct ConvertOptions {
    #[command(flatten)]
    args: convert::Args,
}

/// A voice with a setting to try.
struct Attempt {
    voice: Arc<LoadedVoice>,
    label: String,
    about: String,
    timeline: Timeline,
    /// Whether every source is brought into the register of the speakers, in whole semitones.
    in_register: bool,
}

impl Attempt {
    /// What a source whose F0 is this is transposed by beside what the setting says.
    fn shift_semitones(&self, f0_hz: &[f32]) -> f32 {
        let mut voiced: Vec<f32> = f0_hz.iter().copied().filter(|&f0| f0 > 0.0).collect();
        if !self.in_register || voiced.is_empty() {
            return 0.0;
        }
        let speakers = &self.voice.manifest().speakers;
        let mix = self.timeline.at(0.0).normalised_mix(speakers.len());
        let wanted_octaves: f32 = speakers
            .iter()
            .zip(mix)
            .map(|(speaker, weight)| weight * speaker.f0_median_hz.log2())
            .sum();
        (12.0 * (wanted_octaves - percentile(&mut voiced, 0.5).log2())).round()
    }
}

/// A stretch of a recording.
struct Clip {
    samples: Vec<f32>,
    rate_hz: u32,
}

impl Clip {
    fn duration_s(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate_hz)
    }
}

/// Names of the figures, in the order of [`Judge::figures`].
const FIGURES: [&str; 9] = [
    "timbre: target",
    "timbre: source",
    "shift, semitones",
    "F0 error, cents",
    "F0 correlation",
    "voicing error, %",
    "content distance",
    "peak over source, dB",
    "seconds a second",
];

const LEGEND: &str = "Timbre is the cosine of what sets a recording's mean spectrum apart from other speakers', 0 to 1, to the \
    target's recordings and to the source. The shift is the one that is heard, F0 is compared after it. Content distance is \
    the mean of 1 − cosine of the voice's own content features where the source sounds. What plays goes on at the same place \
    when another sound of the same table is started.";

/// Runs the verb.
///
/// # Errors
/// A recording or voice cannot be used, or a setting not be read.
pub fn run(args: &Args) -> Result<()> {
    check_arguments(args)?;
    let settings: Vec<(String, String)> = args
        .settings
        .iter()
        .map(|text| named(text, "--try"))
        .collect::<Result<_>>()?;
    let folders: Vec<(String, PathBuf)> = args
        .beside
        .iter()
        .map(|text| named(text, "--beside").map(|(name, path)| (name, PathBuf::from(path))))
        .collect::<Result<_>>()?;
    let mut page = Page {
        title: args.title.clone(),
        ..Page::default()
    };
    let mut attempts = Vec::new();
    for path in &args.voice {
        let voice = LoadedVoice::load_for_clips(path, &encoder_folders())
            .with_context(|| format!("cannot use the voice {}", path.display()))?;
        page.paragraphs.push(introduction(&voice));
        attempts.extend(attempts_with(&voice, path, &settings)?);
    }
    page.paragraphs.push(format!(
        "trainer {}, {}. {LEGEND}",
        env!("CARGO_PKG_VERSION"),
        machine_name()
    ));
    let targets = args
        .target
        .iter()
        .map(|path| Ok((name_of(path), read(path, 0.0, args.seconds)?)))
        .collect::<Result<Vec<_>>>()?;
    let reference = mean_cepstrum(&targets)?;
    if !targets.is_empty() {
        page.examples.push(targets_example(targets));
    }
    let sources = args
        .sources
        .iter()
        .map(|path| Ok((path, read(path, args.from, args.seconds)?)))
        .collect::<Result<Vec<_>>>()?;
    let total_s = sources.iter().map(|(_, clip)| clip.duration_s()).sum();
    let progress = AudioProgress::new("page", total_s);
    for (path, clip) in sources {
        let duration_s = clip.duration_s();
        let title = name_of(path);
        page.examples.push(example(
            &title,
            clip,
            &attempts,
            &folders,
            reference.as_ref(),
            args,
        )?);
        progress.add(duration_s, &title);
    }
    progress.finish();
    let html = page.html()?;
    write_atomically(&args.output, html.as_bytes())?;
    println!(
        "{}: {} sources, {:.1} MB",
        args.output.display(),
        args.sources.len(),
        html.len() as f64 / 1e6
    );
    Ok(())
}

fn check_arguments(args: &Args) -> Result<()> {
    let output = args.output.display();
    let is_page = args
        .output
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("html"));
    if !is_page {
        return Err(WrongArgument(format!("{output}: only .html is written")).into());
    }
    if !(args.from >= 0.0 && args.seconds > 0.0 && args.seconds <= MOST_SECONDS) {
        let message =
            format!("--from is at least 0 and --seconds above 0 and at most {MOST_SECONDS}");
        return Err(WrongArgument(message).into());
    }
    Ok(())
}

/// Splits `NAME=REST`.
fn named(text: &str, option: &str) -> Result<(String, String)> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, rest) = parts.ok_or_else(|| {
        WrongArgument(format!(
            "{option} \"{text}\": expected a name, = and the rest"
        ))
    })?;
    Ok((name.trim().to_owned(), rest.trim().to_owned()))
}

fn name_of(path: &Path) -> String {
    let name = path.file_stem().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn introduction(voice: &LoadedVoice) -> String {
    let manifest = voice.manifest();
    let speakers: Vec<&str> = manifest.speakers.iter().map(|s| s.name.as_str()).collect();
    let certificate = manifest
        .certificate
        .as_ref()
        .map(|certificate| {
            format!(
                "; {:.0} ms of latency at 48 kHz without the host's block, load {:.2} of a core ({})",
                certificate.latency_ms, certificate.load, certificate.machine
            )
        })
        .unwrap_or_default();
    format!(
        "Voice {} ({}): speakers {}; licence {}{certificate}.",
        manifest.name,
        &voice.sha256()[..12],
        speakers.join(", "),
        manifest.licence
    )
}

/// Everything that is tried with a voice.
fn attempts_with(
    voice: &Arc<LoadedVoice>,
    path: &Path,
    settings: &[(String, String)],
) -> Result<Vec<Attempt>> {
    let manifest = voice.manifest();
    let usual = usual_settings(voice);
    let wanted = if settings.is_empty() {
        &usual
    } else {
        settings
    };
    let mut attempts = Vec::new();
    for (name, options) in wanted {
        let wrong = |why: String| WrongArgument(format!("--try \"{name}={options}\": {why}"));
        let mut line = vec!["page", "in", "--output", "out.wav", "--voice", "voice"];
        let words = shlex::split(options)
            .ok_or_else(|| wrong("a quotation mark is not closed".to_owned()))?;
        line.extend(words.iter().map(String::as_str));
        let parsed = ConvertOptions::try_parse_from(line)
            .map_err(|error| wrong(error.to_string()))?
            .args;
        if parsed.as_played || parsed.rate.is_some() || parsed.replace_nan {
            let why = "a page has no --as-played, --rate and --replace-nan of its settings";
            return Err(wrong(why.to_owned()).into());
        }
        convert::check_ranges(&parsed)?;
        let controls = convert::controls(&parsed, manifest)?;
        let timeline = match &parsed.timeline {
            Some(file) => Timeline::read(file, manifest, controls)?,
            None => Timeline::constant(controls),
        };
        attempts.push(Attempt {
            voice: Arc::clone(voice),
            label: format!("{}: {name}", name_of(path)),
            about: options.clone(),
            timeline,
            in_register: settings.is_empty(),
        });
    }
    Ok(attempts)
}

/// What shows a voice where nothing else is asked for.
fn usual_settings(voice: &LoadedVoice) -> Vec<(String, String)> {
    let manifest = voice.manifest();
    let mut settings: Vec<(String, String)> = manifest
        .speakers
        .iter()
        .map(|speaker| {
            let name = &speaker.name;
            // A name has no NUL, which is all that can not be quoted.
            let quoted = shlex::try_quote(name).unwrap_or(name.into());
            (name.clone(), format!("--speaker {quoted}"))
        })
        .collect();
    let mut add = |there: bool, name: &str, options: &str| {
        if there {
            settings.push((name.to_owned(), options.to_owned()));
        }
    };
    add(
        manifest.clusters.is_some(),
        "cluster ratio 0.5",
        "--cluster-ratio 0.5",
    );
    add(
        manifest.retrieval.is_some(),
        "retrieval 0.5",
        "--cluster-method retrieval --cluster-ratio 0.5",
    );
    add(
        manifest.takes("formant_semitones"),
        "formant 3 up",
        "--formant 3",
    );
    settings
}

fn read(path: &Path, from_s: f64, seconds: f64) -> Result<Clip> {
    let options = ReadOptions {
        non_finite: NonFinite::Silence,
        ..ReadOptions::default()
    };
    let audio = read_audio_with(path, options)?;
    let rate_hz = audio.rate_hz;
    let place = |time_s: f64| (time_s * f64::from(rate_hz)) as usize;
    let mut samples = audio.to_mono();
    samples.drain(..place(from_s).min(samples.len()));
    samples.truncate(place(seconds));
    ensure!(
        !samples.is_empty(),
        "{} is {:.1} s long; nothing is at {from_s} s",
        path.display(),
        audio.duration_s()
    );
    Ok(Clip { samples, rate_hz })
}

/// Mean cepstrum of the target's recordings; none without recordings.
fn mean_cepstrum(targets: &[(String, Clip)]) -> Result<Option<[f64; 20]>> {
    if targets.is_empty() {
        return Ok(None);
    }
    let mut sums = [0.0; 20];
    for (_, clip) in targets {
        let cepstrum = Timbre::of(&clip.samples, clip.rate_hz)?.mean_cepstrum();
        sums.iter_mut().zip(cepstrum).for_each(|(sum, c)| *sum += c);
    }
    Ok(Some(sums.map(|sum| sum / targets.len() as f64)))
}

fn targets_example(targets: Vec<(String, Clip)>) -> Example {
    let sound = |(label, clip): (String, Clip)| Sound {
        label,
        about: String::new(),
        samples: clip.samples,
        rate_hz: clip.rate_hz,
        figures: Vec::new(),
    };
    Example {
        title: "The target's own recordings".to_owned(),
        figures: Vec::new(),
        sounds: targets.into_iter().map(sound).collect(),
        picture: Vec::new(),
    }
}

/// What conversions of one source are compared with.
struct Judge<'a> {
    timbre: [f64; 20],
    reference: Option<&'a [f64; 20]>,
    f0_hz: Vec<f32>,
    peak: f32,
    /// The source at 16 kHz.
    content_rate: Vec<f32>,
}

impl<'a> Judge<'a> {
    fn of(clip: &Clip, reference: Option<&'a [f64; 20]>) -> Result<Self> {
        let content_rate = resample_all(&clip.samples, clip.rate_hz, CONTENT_RATE_HZ)?;
        Ok(Self {
            timbre: Timbre::of(&clip.samples, clip.rate_hz)?.mean_cepstrum(),
            reference,
            f0_hz: f0_track_hz(&clip.samples, clip.rate_hz)?,
            peak: peak(&clip.samples),
            content_rate,
        })
    }

    /// In the order of [`FIGURES`]; `voice` is the one it was made with, if it was one of ours.
    fn figures(
        &self,
        samples: &[f32],
        rate_hz: u32,
        voice: Option<&LoadedVoice>,
        load: Option<f64>,
    ) -> Result<Vec<String>> {
        let timbre = Timbre::of(samples, rate_hz)?.mean_cepstrum();
        let made_hz = f0_track_hz(samples, rate_hz)?;
        let shift = (12.0 * typical_ratio(&self.f0_hz, &made_hz).log2()).round();
        let ratio = (shift / 12.0).exp2() as f32;
        let moved_hz: Vec<f32> = self.f0_hz.iter().map(|f0| f0 * ratio).collect();
        let f0 = compare_f0(&moved_hz, &made_hz);
        let distance = voice
            .map(|voice| self.content_distance(voice, samples, rate_hz))
            .transpose()?;
        let over_db = 20.0 * (peak(samples).max(1e-9) / self.peak.max(1e-9)).log10();
        let shown = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.3}"));
        Ok(vec![
            shown(self.reference.map(|target| similarity(target, &timbre))),
            shown(Some(similarity(&self.timbre, &timbre))),
            format!("{shift:+.0}"),
            format!("{:.1}", f0.cents),
            format!("{:.3}", f0.correlation),
            format!("{:.1}", 100.0 * f0.voicing_error),
            shown(distance),
            format!("{over_db:+.1}"),
            shown(load),
        ])
    }

    fn content_distance(&self, voice: &LoadedVoice, samples: &[f32], rate_hz: u32) -> Result<f64> {
        let encoder = voice.encoder();
        let made = resample_all(samples, rate_hz, CONTENT_RATE_HZ)?;
        let source = features::extract(encoder, &self.content_rate)?;
        let made = features::extract(encoder, &made)?;
        let loudness_db: Vec<f32> = source.iter().map(|frame| frame.loudness_db).collect();
        let loudest = loudness_db.iter().copied().fold(-120.0, f32::max);
        let flat = |frames: Vec<FeatureFrame>| -> Vec<f32> {
            frames.into_iter().flat_map(|f| f.content).collect()
        };
        Ok(content_distance(
            &flat(source),
            &flat(made),
            encoder.spec().channels,
            &loudness_db,
            loudest - QUIET_BELOW_PEAK_DB,
        ))
    }
}

fn peak(samples: &[f32]) -> f32 {
    samples.iter().fold(0.0, |top, s| top.max(s.abs()))
}

/// A source with all that became of it.
fn example(
    title: &str,
    clip: Clip,
    attempts: &[Attempt],
    folders: &[(String, PathBuf)],
    reference: Option<&[f64; 20]>,
    args: &Args,
) -> Result<Example> {
    let judge = Judge::of(&clip, reference)?;
    let mut sounds = vec![Sound {
        label: "source".to_owned(),
        about: String::new(),
        figures: vec![reference.map_or(String::new(), |target| {
            format!("{:.3}", similarity(target, &judge.timbre))
        })],
        samples: clip.samples.clone(),
        rate_hz: clip.rate_hz,
    }];
    for attempt in attempts {
        let rate_hz = output_rate_hz(clip.rate_hz, attempt.voice.manifest().model_rate_hz);
        let input = resample_all(&clip.samples, clip.rate_hz, rate_hz)?;
        let shift_semitones = attempt.shift_semitones(&judge.f0_hz);
        let at = |position: u64| {
            let controls = attempt.timeline.at(position as f64 / f64::from(rate_hz));
            Controls {
                pitch_semitones: controls.pitch_semitones + shift_semitones,
                ..controls
            }
        };
        let began = Instant::now();
        let samples = offline::convert(&attempt.voice, &input, rate_hz, &at, &mut |_| {})?;
        let load = began.elapsed().as_secs_f64() / clip.duration_s();
        sounds.push(Sound {
            label: attempt.label.clone(),
            about: attempt.about.clone(),
            figures: judge.figures(&samples, rate_hz, Some(&attempt.voice), Some(load))?,
            samples,
            rate_hz,
        });
    }
    for (name, folder) in folders {
        let Some(path) = found(folder, title)? else {
            continue;
        };
        let made = read(&path, args.from, args.seconds)?;
        sounds.push(Sound {
            label: name.clone(),
            about: String::new(),
            figures: judge.figures(&made.samples, made.rate_hz, None, None)?,
            samples: made.samples,
            rate_hz: made.rate_hz,
        });
    }
    let panels: Vec<Panel> = sounds
        .iter()
        .map(|sound| Panel::new(&sound.label, &sound.samples, sound.rate_hz))
        .collect();
    Ok(Example {
        title: title.to_owned(),
        figures: FIGURES.map(str::to_owned).to_vec(),
        picture: picture(&panels, &args.output)?,
        sounds,
    })
}

/// The recording in `folder` that has the source's name.
fn found(folder: &Path, stem: &str) -> Result<Option<PathBuf>> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_audio_name(path) && name_of(path) == stem)
        .collect();
    paths.sort();
    Ok(paths.into_iter().next())
}

/// A PNG in memory; it passes through a file beside the page.
fn picture(panels: &[Panel], output: &Path) -> Result<Vec<u8>> {
    let path = output.with_extension("drawing.png");
    draw_spectrograms(&path, panels)?;
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    Ok(bytes)
}
