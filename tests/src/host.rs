//! A plugin host for tests: one trait, a CLAP and a VST3 implementation.
//!
//! It behaves as a studio host does: the thread that made it is the main
//! thread, blocks are processed on another one, restart requests lead to a
//! deactivation and a new activation, and outputs are handed over filled with
//! NaN so that an unwritten sample shows. Parameter values are normalised
//! (0..1) everywhere; each format's own units stay inside its file.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::syscalls::Watch;

pub mod clap;
mod clap_gui;
mod clap_handlers;
mod drive;
pub mod vst3;
mod vst3_objects;
mod vst3_view;

/// A plugin standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// CLAP, through clack-host.
    Clap,
    /// VST3, through the vst3 crate's interfaces.
    Vst3,
}

/// Both formats, for loops.
pub const FORMATS: [Format; 2] = [Format::Clap, Format::Vst3];

impl Format {
    /// Lower-case name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Clap => "clap",
            Self::Vst3 => "vst3",
        }
    }

    /// Loads the bundle at `path` and makes one instance of its first plugin.
    ///
    /// # Errors
    /// When the file cannot be loaded or holds no plugin of this format.
    pub fn open(self, path: &Path) -> Result<Box<dyn Host>> {
        // Hosts name plugins by absolute paths.
        let path = &path
            .canonicalize()
            .with_context(|| format!("no {}", path.display()))?;
        Ok(match self {
            Self::Clap => Box::new(clap::ClapHost::open(path)?),
            Self::Vst3 => Box::new(vst3::Vst3Host::open(path)?),
        })
    }
}

/// What a plugin says about one parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// The id the host stores in projects.
    pub id: u32,
    /// Name on screen.
    pub name: String,
    /// Steps between the ends; 0 for a continuous parameter.
    pub steps: u32,
    /// Normalised default.
    pub default: f64,
    /// The host may record automation for it.
    pub automatable: bool,
    /// The host's bypass button is wired to it.
    pub bypass: bool,
}

/// A parameter value that applies from one input sample on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Position in the job's input.
    pub at_samples: usize,
    /// Which parameter.
    pub id: u32,
    /// Normalised value.
    pub value: f64,
}

/// A MIDI key that goes down or up at an input sample, on the first channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// Position in the job's input.
    pub at_samples: usize,
    /// MIDI number.
    pub key: u8,
    /// Down, or up.
    pub on: bool,
}

/// What the host tells the plugin about the time it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// "Real time", whether it is true or not.
    Realtime,
    /// A bounce.
    Offline,
}

/// How a plugin is activated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setup {
    /// Host rate.
    pub rate_hz: f64,
    /// Longest block that will be processed.
    pub max_block_samples: usize,
    /// 1 or 2.
    pub channels: usize,
    /// What the plugin is told.
    pub mode: Mode,
}

impl Setup {
    /// Stereo, offline.
    #[must_use]
    pub fn offline(rate_hz: u32, max_block_samples: usize) -> Self {
        Self {
            rate_hz: f64::from(rate_hz),
            max_block_samples,
            channels: 2,
            mode: Mode::Offline,
        }
    }

    /// The same in mono.
    #[must_use]
    pub fn mono(self) -> Self {
        Self {
            channels: 1,
            ..self
        }
    }

    /// The same with another mode.
    #[must_use]
    pub fn mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }
}

/// How fast blocks follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As fast as they are processed.
    Free,
    /// As a sound card asks for them: one that was not served in time goes on without what it missed.
    RealTime,
    /// As [`Self::RealTime`], to the microsecond and without asking the kernel: never early, and what was late is not
    /// made up for.
    Strict,
}

/// What the main thread does with an editor while a job is processed.
pub type Meanwhile<'a> = dyn Fn(&mut dyn Editor) + Sync + 'a;

/// One stretch of audio to send through an active plugin.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// Channels of equal length.
    pub input: &'a [Vec<f32>],
    /// Block lengths, repeated until the input is used up.
    pub blocks: &'a [usize],
    /// Sorted by position.
    pub changes: &'a [Change],
    /// Sorted by position.
    pub notes: &'a [Note],
    /// Speed.
    pub pace: Pace,
    /// Where to note what each call cost.
    pub calls: Option<&'a Calls>,
    /// Called with the position before each block, on the audio thread: a stall, a kill.
    pub before: Option<&'a (dyn Fn(usize) + Sync)>,
    /// Notes what the audio thread asks of the kernel inside the plugin.
    pub watch: Option<&'a Watch>,
    /// Input and output are the same memory.
    pub in_place: bool,
    /// Called again and again on the main thread while the job is processed.
    pub meanwhile: Option<&'a Meanwhile<'a>>,
}

/// What each call of `process` cost, in the order of the calls.
#[derive(Debug, Default)]
pub struct Calls(Mutex<Vec<Call>>);

/// What one call of `process` cost.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// By the clock on the wall.
    pub took: Duration,
    /// Samples in the block.
    pub samples: usize,
    /// Times the thread let go of its core by itself: a wait, a sleep, a contended lock. 0 where the system does not
    /// say.
    pub waits: u64,
}

impl Calls {
    /// All of them.
    #[must_use]
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for Job<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Job")
            .field("blocks", &self.blocks)
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}

impl<'a> Job<'a> {
    /// As fast as it goes, nothing automated.
    #[must_use]
    pub fn new(input: &'a [Vec<f32>], blocks: &'a [usize]) -> Self {
        Self {
            input,
            blocks,
            changes: &[],
            notes: &[],
            pace: Pace::Free,
            calls: None,
            before: None,
            watch: None,
            in_place: false,
            meanwhile: None,
        }
    }
}

/// The plugin's window inside one of the host's, on the main thread (X11).
pub trait Editor {
    /// Makes it, puts it into the window `parent` and shows it; gives its width and height.
    ///
    /// # Errors
    /// When the plugin has no editor, or refuses a step.
    fn open(&mut self, parent: u32) -> Result<(u32, u32)>;
    /// Hides it and makes an end of it.
    ///
    /// # Errors
    /// When it closed by itself, or refuses a step.
    fn close(&mut self) -> Result<()>;
}

impl<T: Editor> Editor for &mut T {
    fn open(&mut self, parent: u32) -> Result<(u32, u32)> {
        T::open(self, parent)
    }
    fn close(&mut self) -> Result<()> {
        T::close(self)
    }
}

/// One loaded plugin instance.
pub trait Host {
    /// The standard spoken.
    fn format(&self) -> Format;
    /// All parameters in the plugin's order.
    fn parameters(&self) -> &[Parameter];
    /// Normalised value now.
    ///
    /// # Errors
    /// When the plugin does not know the id.
    fn value(&mut self, id: u32) -> Result<f64>;
    /// Sets a value outside of processing.
    ///
    /// # Errors
    /// When the plugin does not know the id.
    fn set(&mut self, id: u32, value: f64) -> Result<()>;
    /// The plugin's text for a normalised value.
    ///
    /// # Errors
    /// When the plugin refuses.
    fn text_of(&mut self, id: u32, value: f64) -> Result<String>;
    /// The normalised value for a text.
    ///
    /// # Errors
    /// When the plugin cannot read the text.
    fn value_of(&mut self, id: u32, text: &str) -> Result<f64>;
    /// The state a host writes into its project.
    ///
    /// # Errors
    /// When the plugin refuses.
    fn save(&mut self) -> Result<Vec<u8>> {
        self.save_in_pieces(usize::MAX)
    }
    /// Restores a state.
    ///
    /// # Errors
    /// When the plugin refuses.
    fn load(&mut self, state: &[u8]) -> Result<()> {
        self.load_in_pieces(state, usize::MAX)
    }
    /// As [`Self::save`], through a stream that takes at most `piece` bytes at a time.
    ///
    /// # Errors
    /// When the plugin refuses.
    fn save_in_pieces(&mut self, piece: usize) -> Result<Vec<u8>>;
    /// As [`Self::load`], from a stream that gives at most `piece` bytes at a time.
    ///
    /// # Errors
    /// When the plugin refuses.
    fn load_in_pieces(&mut self, state: &[u8], piece: usize) -> Result<()>;
    /// Prepares for processing.
    ///
    /// # Errors
    /// When the plugin refuses the set-up.
    fn activate(&mut self, setup: Setup) -> Result<()>;
    /// Ends processing; nothing happens when inactive.
    fn deactivate(&mut self);
    /// The set-up of the running activation.
    fn setup(&self) -> Option<Setup>;
    /// Latency as reported now.
    fn latency_samples(&mut self) -> usize;
    /// Tail as reported now; `usize::MAX` for an endless one.
    fn tail_samples(&mut self) -> usize;
    /// Clears the sound in flight as a transport stop does.
    ///
    /// # Errors
    /// When the plugin is not active.
    fn reset(&mut self) -> Result<()>;
    /// Processes a job on an audio thread while the main thread serves callbacks.
    ///
    /// # Errors
    /// When the plugin is not active, reports an error or leaves samples unwritten.
    fn render(&mut self, job: &Job) -> Result<Vec<Vec<f32>>>;
    /// The plugin's window.
    fn editor(&mut self) -> Box<dyn Editor + '_>;
    /// Serves pending main-thread callbacks; true once per restart request.
    fn take_restart_request(&mut self) -> bool;

    /// Lets `duration` pass as an idle host does and obeys restart requests.
    ///
    /// # Errors
    /// When an asked-for activation fails.
    fn idle(&mut self, duration: Duration) -> Result<()> {
        let end = Instant::now() + duration;
        loop {
            if self.take_restart_request()
                && let Some(setup) = self.setup()
            {
                self.deactivate();
                self.activate(setup)?;
            }
            if Instant::now() >= end {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The parameter whose id is the hash of `key`, or that is called `key`.
    ///
    /// # Errors
    /// When there is none.
    fn find(&self, key: &str) -> Result<Parameter> {
        let wanted = key.to_lowercase();
        let hash = parameter_id(key);
        let all = self.parameters();
        all.iter()
            .find(|p| p.id == hash)
            .or_else(|| all.iter().find(|p| p.name.to_lowercase() == wanted))
            .cloned()
            .with_context(|| {
                let names: Vec<_> = all.iter().map(|p| p.name.as_str()).collect();
                format!("no parameter {key:?}; the plugin has: {}", names.join(", "))
            })
    }

    /// Sets a parameter from text, as a user typing into the host would.
    ///
    /// # Errors
    /// When the name or the text is not understood.
    fn set_text(&mut self, key: &str, text: &str) -> Result<()> {
        let parameter = self.find(key)?;
        let value = self.value_of(parameter.id, text)?;
        self.set(parameter.id, value)
    }
}

/// The number a string id becomes in both formats: the polynomial hash with
/// factor 31 over its bytes, without the top bit, which VST3 keeps for hosts.
#[must_use]
pub fn parameter_id(key: &str) -> u32 {
    key.bytes().fold(0u32, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(u32::from(byte))
    }) & 0x7fff_ffff
}
