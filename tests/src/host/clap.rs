//! The CLAP host, on clack-host.

use std::ffi::{CStr, CString};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clack_extensions::audio_ports_config::{AudioPortsConfigBuffer, PluginAudioPortsConfig};
use clack_extensions::latency::PluginLatency;
use clack_extensions::params::{ParamInfoBuffer, ParamInfoFlags, PluginParams};
use clack_extensions::render::{PluginRender, RenderMode};
use clack_extensions::state::PluginState;
use clack_extensions::tail::{PluginTail, TailLength};
use clack_host::events::Match;
use clack_host::events::event_types::{NoteOffEvent, NoteOnEvent, ParamValueEvent};
use clack_host::prelude::*;
use clack_host::utils::ClapId;

use crate::syscalls::inside;

use super::clap_gui::ClapEditor;
use super::clap_handlers::{Handlers, MainThread, Shared};
use super::drive::{Block, drive};
use super::{Change, Editor, Format, Host, Job, Mode, Note, Parameter, Setup};

/// A stream that takes or gives at most `piece` bytes at a time.
struct Pieces<T> {
    stream: T,
    piece: usize,
}

impl Write for Pieces<Vec<u8>> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.write(&bytes[..bytes.len().min(self.piece)])
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Read for Pieces<&[u8]> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let most = bytes.len().min(self.piece);
        self.stream.read(&mut bytes[..most])
    }
}

/// Normalised ↔ CLAP value of one parameter.
#[derive(Clone, Copy)]
struct Range {
    low: f64,
    high: f64,
}

impl Range {
    fn plain(self, normalised: f64) -> f64 {
        self.low + normalised * (self.high - self.low)
    }
    fn normalised(self, plain: f64) -> f64 {
        if self.high > self.low {
            (plain - self.low) / (self.high - self.low)
        } else {
            0.0
        }
    }
}

/// One CLAP plugin instance.
pub struct ClapHost {
    parameters: Vec<Parameter>,
    ranges: Vec<Range>,
    processor: Option<PluginAudioProcessor<Handlers>>,
    setup: Option<Setup>,
    position_samples: u64,
    // Last, so that it is dropped after the processor.
    instance: PluginInstance<Handlers>,
}

/// Loads the library and returns the id and name of its first plugin: what a
/// host's scanner does.
///
/// # Errors
/// When the file is not a CLAP library or lists no plugin.
pub fn scan(path: &Path) -> Result<(PluginEntry, CString, String)> {
    // SAFETY: loading a library runs its code; the tests only load what this
    // workspace built or the user named.
    let entry = unsafe { PluginEntry::load(path.as_os_str()) }
        .with_context(|| format!("cannot load {} as CLAP", path.display()))?;
    let factory = entry.get_plugin_factory().context("no plugin factory")?;
    let descriptor = factory
        .plugin_descriptors()
        .next()
        .context("no plugin in the library")?;
    let id = descriptor.id().context("plugin without id")?.to_owned();
    let name = descriptor
        .name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    Ok((entry, id, name))
}

impl ClapHost {
    /// Loads `path` and makes an instance of its first plugin. The library stays
    /// loaded for the life of the process.
    ///
    /// # Errors
    /// When loading, creating or enumerating fails.
    pub fn open(path: &Path) -> Result<Self> {
        let (entry, ..) = scan(path)?;
        std::mem::forget(entry);
        Self::open_unloading(path)
    }

    /// As [`Self::open`], but with the last instance the library is unloaded, as
    /// some hosts do.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_unloading(path: &Path) -> Result<Self> {
        let (.., id, _) = scan(path)?;
        Self::open_id(path, &id)
    }

    /// As [`Self::open_unloading`], of the plugin with this id.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_id(path: &Path, id: &CStr) -> Result<Self> {
        let (entry, ..) = scan(path)?;
        let about = HostInfo::new("Timbra test host", "Timbra", "", env!("CARGO_PKG_VERSION"))?;
        let mut instance = PluginInstance::<Handlers>::new(
            |()| Shared::new(),
            |shared| MainThread(shared),
            &entry,
            id,
            &about,
        )
        .map_err(|e| anyhow!("cannot create {id:?}: {e}"))?;
        let mut parameters = Vec::new();
        let mut ranges = Vec::new();
        let handle = instance.plugin_handle();
        if let Some(params) = handle.get_extension::<PluginParams>() {
            let mut buffer = ParamInfoBuffer::new();
            for index in 0..params.count(&handle) {
                let info = params
                    .get_info(&handle, index, &mut buffer)
                    .context("param info")?;
                let range = Range {
                    low: info.min_value,
                    high: info.max_value,
                };
                let stepped = info.flags.contains(ParamInfoFlags::IS_STEPPED);
                parameters.push(Parameter {
                    id: info.id.get(),
                    name: String::from_utf8_lossy(info.name).into_owned(),
                    steps: if stepped {
                        (range.high - range.low).round() as u32
                    } else {
                        0
                    },
                    default: range.normalised(info.default_value),
                    automatable: info.flags.contains(ParamInfoFlags::IS_AUTOMATABLE),
                    bypass: info.flags.contains(ParamInfoFlags::IS_BYPASS),
                });
                ranges.push(range);
            }
        }
        Ok(Self {
            parameters,
            ranges,
            processor: None,
            setup: None,
            position_samples: 0,
            instance,
        })
    }

    fn range(&self, id: u32) -> Result<Range> {
        let index = self.parameters.iter().position(|p| p.id == id);
        index
            .map(|i| self.ranges[i])
            .with_context(|| format!("no parameter with id {id}"))
    }

    fn params(&mut self) -> Result<(PluginMainThreadHandle<'_>, PluginParams)> {
        let handle = self.instance.plugin_handle();
        let params = handle
            .get_extension::<PluginParams>()
            .context("no params extension")?;
        Ok((handle, params))
    }

    fn select_channels(&mut self, channels: usize) -> Result<()> {
        let handle = self.instance.plugin_handle();
        let Some(configs) = handle.get_extension::<PluginAudioPortsConfig>() else {
            return Ok(());
        };
        let mut buffer = AudioPortsConfigBuffer::new();
        for index in 0..configs.count(&handle) {
            let Some(config) = configs.get(&handle, index, &mut buffer) else {
                continue;
            };
            let matches = |port: Option<_>| {
                port.is_some_and(|p: clack_extensions::audio_ports_config::MainPortInfo| {
                    p.channel_count as usize == channels
                })
            };
            if matches(config.main_input) && matches(config.main_output) {
                let id = config.id;
                return configs
                    .select(&handle, id)
                    .map_err(|_| anyhow!("layout refused"));
            }
        }
        anyhow::bail!("the plugin has no layout with {channels} channels")
    }

    pub(super) fn serve_callback(instance: &mut PluginInstance<Handlers>) {
        if instance.access_shared_handler(|s| s.callback.swap(false, Ordering::AcqRel)) {
            instance.call_on_main_thread_callback();
        }
    }
}

/// The events of a block in the order of their times; at the same one, values before notes.
fn events(changes: &[Change], notes: &[Note], plain: impl Fn(&Change) -> f64) -> EventBuffer {
    let mut buffer = EventBuffer::with_capacity(changes.len() + notes.len());
    let mut notes = notes.iter().peekable();
    for change in changes {
        while let Some(note) = notes.next_if(|note| note.at_samples < change.at_samples) {
            push_note(&mut buffer, note);
        }
        if let Some(id) = ClapId::from_raw(change.id) {
            let at = change.at_samples as u32;
            buffer.push(&ParamValueEvent::new(
                at,
                id,
                Pckn::match_all(),
                plain(change),
            ));
        }
    }
    for note in notes {
        push_note(&mut buffer, note);
    }
    buffer
}

fn push_note(buffer: &mut EventBuffer, note: &Note) {
    let at = note.at_samples as u32;
    let key = Pckn::new(0u16, 0u16, u16::from(note.key), Match::All);
    if note.on {
        buffer.push(&NoteOnEvent::new(at, key, 0.8));
    } else {
        buffer.push(&NoteOffEvent::new(at, key, 0.0));
    }
}

impl Host for ClapHost {
    fn format(&self) -> Format {
        Format::Clap
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn value(&mut self, id: u32) -> Result<f64> {
        let range = self.range(id)?;
        let (handle, params) = self.params()?;
        let plain = params
            .get_value(&handle, ClapId::new(id))
            .context("no value")?;
        Ok(range.normalised(plain))
    }

    fn set(&mut self, id: u32, value: f64) -> Result<()> {
        let plain = self.range(id)?.plain(value);
        let (_, params) = self.params()?;
        let buffer = events(
            &[Change {
                at_samples: 0,
                id,
                value,
            }],
            &[],
            |_| plain,
        );
        match &mut self.processor {
            None => {
                let mut handle = self
                    .instance
                    .inactive_plugin_handle()
                    .context("is active")?;
                params.flush(&mut handle, &buffer.as_input(), &mut OutputEvents::void());
            }
            Some(processor) => std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut handle = processor.plugin_handle();
                    params.flush_active(&mut handle, &buffer.as_input(), &mut OutputEvents::void());
                });
            }),
        }
        Ok(())
    }

    fn text_of(&mut self, id: u32, value: f64) -> Result<String> {
        let plain = self.range(id)?.plain(value);
        let (handle, params) = self.params()?;
        let mut buffer = [0u8; 256];
        let text = params
            .value_to_text(&handle, ClapId::new(id), plain, &mut buffer)
            .map_err(|_| anyhow!("no text for {plain}"))?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn value_of(&mut self, id: u32, text: &str) -> Result<f64> {
        let range = self.range(id)?;
        let (handle, params) = self.params()?;
        let c_text = CString::new(text)?;
        let plain = params
            .text_to_value(&handle, ClapId::new(id), &c_text)
            .with_context(|| format!("the plugin does not understand {text:?}"))?;
        Ok(range.normalised(plain))
    }

    fn save_in_pieces(&mut self, piece: usize) -> Result<Vec<u8>> {
        let handle = self.instance.plugin_handle();
        let state = handle
            .get_extension::<PluginState>()
            .context("no state extension")?;
        let mut stream = Pieces {
            stream: Vec::new(),
            piece,
        };
        state.save(&handle, &mut stream)?;
        Ok(stream.stream)
    }

    fn load_in_pieces(&mut self, bytes: &[u8], piece: usize) -> Result<()> {
        let handle = self.instance.plugin_handle();
        let state = handle
            .get_extension::<PluginState>()
            .context("no state extension")?;
        let mut stream = Pieces {
            stream: bytes,
            piece,
        };
        state.load(&handle, &mut stream)?;
        Self::serve_callback(&mut self.instance);
        Ok(())
    }

    fn activate(&mut self, setup: Setup) -> Result<()> {
        ensure!(self.processor.is_none(), "already active");
        self.select_channels(setup.channels)?;
        let handle = self.instance.plugin_handle();
        if let Some(render) = handle.get_extension::<PluginRender>() {
            let mode = match setup.mode {
                Mode::Realtime => RenderMode::Realtime,
                Mode::Offline => RenderMode::Offline,
            };
            render.set(&handle, mode)?;
        }
        let configuration = PluginAudioConfiguration {
            sample_rate: setup.rate_hz,
            min_frames_count: 1,
            max_frames_count: setup.max_block_samples as u32,
        };
        // Asking to restart before the activation asks for nothing after it.
        self.instance
            .access_shared_handler(|s| s.restart.store(false, Ordering::Release));
        let stopped = self
            .instance
            .activate(|_, _| (), configuration)
            .map_err(|e| anyhow!("activation refused: {e}"))?;
        self.processor = Some(stopped.into());
        self.setup = Some(setup);
        self.position_samples = 0;
        Self::serve_callback(&mut self.instance);
        Ok(())
    }

    fn deactivate(&mut self) {
        if let Some(processor) = self.processor.take() {
            let stopped = std::thread::scope(|scope| {
                scope
                    .spawn(|| processor.into_stopped())
                    .join()
                    .expect("stop on the audio thread")
            });
            self.instance.deactivate(stopped);
        }
        self.setup = None;
    }

    fn setup(&self) -> Option<Setup> {
        self.setup
    }

    fn latency_samples(&mut self) -> usize {
        let handle = self.instance.plugin_handle();
        handle
            .get_extension::<PluginLatency>()
            .map_or(0, |l| l.get(&handle) as usize)
    }

    fn tail_samples(&mut self) -> usize {
        let Some(processor) = &mut self.processor else {
            return 0;
        };
        let handle = processor.plugin_handle();
        let tail = handle.shared().get_extension::<PluginTail>();
        match tail.map_or(TailLength::Finite(0), |t| t.get(&handle)) {
            TailLength::Finite(samples) => samples as usize,
            TailLength::Infinite => usize::MAX,
        }
    }

    fn reset(&mut self) -> Result<()> {
        let processor = self.processor.as_mut().context("not active")?;
        std::thread::scope(|scope| {
            scope.spawn(|| processor.reset());
        });
        self.position_samples = 0;
        Ok(())
    }

    fn render(&mut self, job: &Job) -> Result<Vec<Vec<f32>>> {
        let setup = self.setup.context("not active")?;
        let start = self.position_samples;
        let ids: Vec<u32> = self.parameters.iter().map(|p| p.id).collect();
        let ranges = &self.ranges;
        let processor = self.processor.as_mut().context("not active")?;
        let instance = &mut self.instance;
        let mut audio = move || -> Result<Vec<Vec<f32>>> {
            let started = processor
                .ensure_processing_started()
                .map_err(|e| anyhow!("start refused: {e}"))?;
            let mut in_ports = AudioPorts::with_capacity(setup.channels, 1);
            let mut out_ports = AudioPorts::with_capacity(setup.channels, 1);
            drive(job, setup, |block: Block| {
                let events = events(block.changes, block.notes, |change| {
                    let index = ids.iter().position(|&id| id == change.id);
                    index.map_or(change.value, |i| ranges[i].plain(change.value))
                });
                let places: Vec<(*mut f32, usize)> = if block.in_place {
                    block
                        .output
                        .iter_mut()
                        .map(|c| (c.as_mut_ptr(), c.len()))
                        .collect()
                } else {
                    block
                        .input
                        .iter_mut()
                        .map(|c| (c.as_mut_ptr(), c.len()))
                        .collect()
                };
                let channels = places.iter().map(|&(start, length)| {
                    // SAFETY: only the addresses are handed on, and only the plugin follows them.
                    InputChannel::variable(unsafe { std::slice::from_raw_parts_mut(start, length) })
                });
                let input = in_ports.with_input_buffers([AudioPortBuffer {
                    latency: 0,
                    channels: AudioPortBufferType::f32_input_only(channels),
                }]);
                let mut output = out_ports.with_output_buffers([AudioPortBuffer {
                    latency: 0,
                    channels: AudioPortBufferType::f32_output_only(
                        block.output.iter_mut().map(Vec::as_mut_slice),
                    ),
                }]);
                let time = start + block.position_samples as u64;
                let events = events.as_input();
                inside(|| {
                    let mut ignored = OutputEvents::void();
                    started.process(&input, &mut output, &events, &mut ignored, Some(time), None)
                })
                .map_err(|e| anyhow!("process failed at {}: {e}", block.position_samples))?;
                Ok(())
            })
        };
        let result = std::thread::scope(|scope| {
            // Dropped when the audio thread is done.
            let (playing, done) = sync_channel::<()>(0);
            let thread = scope.spawn(move || {
                let _playing = playing;
                audio()
            });
            // A main thread has little to do while nobody turns anything.
            let pause = Duration::from_millis(if job.meanwhile.is_some() { 5 } else { 25 });
            while done.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                Self::serve_callback(instance);
                if let Some(meanwhile) = job.meanwhile {
                    meanwhile(&mut ClapEditor(instance));
                }
            }
            thread.join()
        });
        self.position_samples += job.input.first().map_or(0, Vec::len) as u64;
        let strayed = self
            .instance
            .access_shared_handler(|shared| shared.strayed.load(Ordering::Acquire));
        ensure!(
            !strayed,
            "a function of the main thread was called on another"
        );
        result.map_err(|_| anyhow!("the audio thread panicked"))?
    }

    fn editor(&mut self) -> Box<dyn Editor + '_> {
        Box::new(ClapEditor(&mut self.instance))
    }

    fn take_restart_request(&mut self) -> bool {
        Self::serve_callback(&mut self.instance);
        self.instance
            .access_shared_handler(|s| s.restart.swap(false, Ordering::AcqRel))
    }
}

impl Drop for ClapHost {
    fn drop(&mut self) {
        self.deactivate();
    }
}

/// Milliseconds a scanner spends on the library.
///
/// # Errors
/// As [`scan`].
pub fn scan_ms(path: &Path) -> Result<f64> {
    let start = Instant::now();
    scan(path)?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
