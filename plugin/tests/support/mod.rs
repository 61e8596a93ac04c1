//! A host's side of the plugin that only remembers what it was told, and voices made for tests.
#![allow(dead_code, reason = "every test binary uses a part")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use nice_plug::context::process::SendEventError;
use nice_plug::prelude::*;
use timbra::Timbra;
use timbra_voice::VoiceRef;
use timbra_voice::identity::IdentityVoice;
use timbra_voice::package::Form;

/// A host's side of activation and processing that only remembers what it was told.
#[derive(Default)]
pub struct Host {
    pub latency_samples: Cell<Option<u32>>,
    pub latency_calls_in_process: Cell<u32>,
    pub restarts: Cell<u32>,
    /// Note events of the next block, in order.
    pub events: RefCell<VecDeque<PluginNoteEvent<Timbra>>>,
}

pub struct Activation<'a>(&'a Host);

impl ActivateContext<Timbra> for Activation<'_> {
    fn plugin_api(&self) -> PluginApi {
        PluginApi::Clap
    }
    fn execute(&self, _task: std::sync::mpsc::SyncSender<()>) {}
    fn set_latency_samples(&self, samples: u32) {
        self.0.latency_samples.set(Some(samples));
    }
    fn set_current_voice_capacity(&self, _capacity: u32) {}
}

pub struct Processing<'a>(&'a Host, Transport);

impl ProcessContext<Timbra> for Processing<'_> {
    fn plugin_api(&self) -> PluginApi {
        PluginApi::Clap
    }
    fn execute_background(&self, _task: std::sync::mpsc::SyncSender<()>) {}
    fn execute_gui(&self, _task: std::sync::mpsc::SyncSender<()>) {}
    fn transport(&self) -> &Transport {
        &self.1
    }
    fn next_event(&mut self) -> Option<PluginNoteEvent<Timbra>> {
        self.0.events.borrow_mut().pop_front()
    }
    fn try_send_event(
        &mut self,
        event: PluginNoteEvent<Timbra>,
    ) -> Result<(), (PluginNoteEvent<Timbra>, SendEventError)> {
        Err((event, SendEventError::NoOutputBuffer))
    }
    fn set_latency_samples(&self, _samples: u32) {
        let calls = &self.0.latency_calls_in_process;
        calls.set(calls.get() + 1);
    }
    fn request_restart(&self) {
        self.0.restarts.set(self.0.restarts.get() + 1);
    }
    fn set_current_voice_capacity(&self, _capacity: u32) {}
}

pub fn activate(plugin: &mut Timbra, host: &Host, channels: u32, rate_hz: f32, max_block: u32) {
    let layout = AudioIOLayout {
        main_input_channels: NonZeroU32::new(channels),
        main_output_channels: NonZeroU32::new(channels),
        ..AudioIOLayout::const_default()
    };
    let config = BufferConfig {
        sample_rate: rate_hz,
        min_buffer_size: None,
        max_buffer_size: max_block,
        process_mode: ProcessMode::Realtime,
    };
    assert!(plugin.activate(&layout, &config, &mut Activation(host)));
    plugin.reset();
}

/// Processes `channels` in place in blocks of `block`, with the allocation guard armed.
pub fn process(plugin: &mut Timbra, host: &Host, channels: &mut [Vec<f32>], block: usize) {
    let samples = channels[0].len();
    let mut context = Processing(host, Transport::new(48_000.0));
    let mut start = 0;
    while start < samples {
        let end = (start + block).min(samples);
        let mut buffer = Buffer::default();
        // SAFETY: the slices live until the end of this turn, longer than `buffer` is used.
        unsafe {
            buffer.set_slices(end - start, |slices| {
                *slices = channels
                    .iter_mut()
                    .map(|channel| &mut channel[start..end])
                    .collect();
            });
        }
        let mut aux = AuxiliaryBuffers {
            inputs: &mut [],
            outputs: &mut [],
        };
        let status = nice_assert_no_alloc::assert_no_alloc(|| {
            plugin.process(&mut buffer, &mut aux, &mut context)
        });
        assert!(!matches!(status, ProcessStatus::Error(_)));
        start = end;
    }
}

pub fn sine(samples: usize) -> Vec<f32> {
    (0..samples)
        .map(|n| 0.3 * (n as f32 * 220.0 * std::f32::consts::TAU / 48_000.0).sin())
        .collect()
}

/// Sets a parameter by its text, as a host does between two blocks.
pub fn set(plugin: &Timbra, id: &str, text: &str) {
    let params = plugin.params();
    let map = params.param_map();
    let (_, pointer, _) = map.iter().find(|(known, _, _)| known == id).unwrap();
    // SAFETY: `params` is alive, and nothing else sets parameters meanwhile.
    unsafe {
        let normalized = pointer.string_to_normalized_value(text).unwrap();
        pointer._internal_set_normalized_value(normalized);
    }
}

/// Asks for a voice by its name, as the editor does.
pub fn want(plugin: &Timbra, name: &str) {
    plugin.session().params.voice.ask_for(VoiceRef {
        name: name.into(),
        ..VoiceRef::default()
    });
}

/// Loads a state that has only the voice, as a host does.
pub fn load_state(plugin: &Timbra, voice: &VoiceRef) {
    let mut state = PluginState {
        version: env!("CARGO_PKG_VERSION").into(),
        params: Default::default(),
        fields: [("voice".to_owned(), serde_json::to_string(voice).unwrap())].into(),
    };
    timbra::state::filter(&mut state);
    plugin.params().deserialize_fields(&state.fields);
}

/// Whether graphs can run here. On a laptop without ONNX Runtime such tests are skipped, in CI they fail.
pub fn runtime_is_there() -> bool {
    match timbra_engine::onnx::ensure_runtime() {
        Ok(()) => true,
        Err(error) if std::env::var_os("CI").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("SKIPPED: {error}");
            false
        }
    }
}

/// A folder of this test's own, empty.
pub fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("timbra-plugin-{}-{test}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Writes a voice that gives its input back, delayed, and returns how a project refers to it.
pub fn write_identity(folder: &Path, name: &str, lookahead_frames: usize) -> VoiceRef {
    let path = folder.join(format!("{name}.timbra"));
    let voice = IdentityVoice {
        name: name.into(),
        lookahead_frames,
        delay_samples: 240,
        step: None,
    };
    let sha256 = voice.write(&path, Form::File).unwrap();
    VoiceRef {
        name: name.into(),
        path,
        sha256,
    }
}
