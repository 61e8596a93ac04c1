//! Singing voice conversion as a CLAP and VST3 effect.
//!
//! This crate is glue: it hands the host's blocks and parameter values to the
//! engine, keeps what a project saves, and draws the editor. `process` reaches
//! nothing but the engine's [`AudioPort`] and atomics.

pub mod editor;
pub mod folders;
pub mod notes;
pub mod params;
pub mod presets;
pub mod settings;
pub mod state;
pub mod steward;
pub mod voices;

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use nice_plug::context::gui::AsyncExecutor;
use nice_plug::prelude::*;
use timbra_engine::controls::HeldKeys;
use timbra_engine::{AudioPort, Service, StreamConfig};

use crate::editor::TimbraEditor;
use crate::params::{Fallback, Tier, TimbraParams};
use crate::steward::{OpenStream, Session, Steward};

/// Longest wait for the voice on activation in real time: hosts freeze meanwhile.
const REALTIME_WAIT: Duration = Duration::from_secs(3);
/// The same for a bounce, where a gap is worse than a wait.
const OFFLINE_WAIT: Duration = Duration::from_secs(60);
/// Longest wait for the framework's thread when the host deactivates the plugin.
const DRAIN_WAIT: Duration = Duration::from_secs(1);

/// The plugin.
pub struct Timbra {
    params: Arc<TimbraParams>,
    steward: Arc<Steward>,
    port: Option<AudioPort>,
    /// The tier the port was opened for.
    tier: Tier,
    /// The host was asked to restart because the tier has changed.
    tier_restart_asked: bool,
    /// The MIDI keys that are down.
    keys: HeldKeys,
    /// The framework's thread.
    executor: Option<AsyncExecutor<Self>>,
}

impl Default for Timbra {
    fn default() -> Self {
        let params = Arc::new(TimbraParams::default());
        Self {
            steward: Arc::new(Steward::new(params.clone())),
            tier: params.tier.value(),
            params,
            port: None,
            tier_restart_asked: false,
            keys: HeldKeys::default(),
            executor: None,
        }
    }
}

impl Timbra {
    /// What the instance's parts share.
    pub fn session(&self) -> &Session {
        self.steward.session()
    }

    /// Waits until the framework's thread has done what it was given while the plugin was playing.
    ///
    /// In VST3 on Linux it is given every automated value. One of them left when the instance goes ends that thread for
    /// all instances, and the last to go then aborts the host.
    fn drain(&self) {
        let Some(executor) = &self.executor else {
            return;
        };
        let started = Instant::now();
        while started.elapsed() < DRAIN_WAIT {
            let (done, wait) = sync_channel(1);
            executor.execute_background(done);
            match wait.recv_timeout(DRAIN_WAIT) {
                // The thread has more to do than it can be given.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(Duration::from_millis(1)),
                Err(RecvTimeoutError::Timeout) => return,
                Ok(()) => {
                    // It holds the instance a moment longer, and must not be the last to let go.
                    std::thread::sleep(Duration::from_millis(2));
                    return;
                }
            }
        }
    }
}

const fn layout(channels: u32, name: &'static str) -> AudioIOLayout {
    AudioIOLayout {
        main_input_channels: NonZeroU32::new(channels),
        main_output_channels: NonZeroU32::new(channels),
        names: PortNames {
            layout: Some(name),
            ..PortNames::const_default()
        },
        ..AudioIOLayout::const_default()
    }
}

impl Plugin for Timbra {
    const NAME: &'static str = "Timbra";
    const VENDOR: &'static str = "Timbra";
    const URL: &'static str = "https://timbra.audio";
    const EMAIL: &'static str = "";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const AUDIO_IO_LAYOUTS: &'static [AudioIOLayout] = &[layout(2, "Stereo"), layout(1, "Mono")];
    const SAMPLE_ACCURATE_AUTOMATION: bool = true;
    const MIDI_INPUT: MidiConfig = MidiConfig::Basic;

    type Editor = TimbraEditor;
    type SysExMessage = ();
    /// Is told when everything before it was done.
    type BackgroundTask = SyncSender<()>;

    fn params(&self) -> Arc<dyn Params> {
        self.params.clone()
    }

    fn task_executor(&mut self) -> TaskExecutor<Self> {
        Box::new(|done| {
            // Nobody may be waiting any more.
            let _ = done.try_send(());
        })
    }

    fn editor(&mut self, executor: AsyncExecutor<Self>) -> Option<TimbraEditor> {
        self.executor = Some(executor);
        Some(TimbraEditor::new(self.steward.clone()))
    }

    fn filter_state(state: &mut PluginState) {
        state::filter(state);
    }

    fn activate(
        &mut self,
        audio_io_layout: &AudioIOLayout,
        buffer_config: &BufferConfig,
        context: &mut impl ActivateContext<Self>,
    ) -> bool {
        let channels = audio_io_layout
            .main_input_channels
            .map_or(2, |channels| channels.get() as usize);
        self.tier = self.params.tier.value();
        self.tier_restart_asked = false;
        let generation = self.params.voice.generation();
        let config = StreamConfig {
            host_rate_hz: buffer_config.sample_rate.round() as u32,
            max_block_samples: buffer_config.max_buffer_size.max(1) as usize,
            channels,
            tier: self.tier.into(),
        };
        Service::global().set_isolation(settings::isolation());
        match Service::global().open(config, self.params.voice.get()) {
            Ok((mut port, handle)) => {
                let offline = buffer_config.process_mode == ProcessMode::Offline;
                port.set_offline(offline);
                context.set_latency_samples(port.latency_samples());
                handle.wait_ready(if offline { OFFLINE_WAIT } else { REALTIME_WAIT });
                let stream = OpenStream {
                    handle,
                    tier: self.tier,
                };
                self.steward.session().opened(stream, generation);
                self.steward.session().watch();
                self.port = Some(port);
            }
            Err(error) => {
                // The plugin stays loaded: the project keeps its settings and the editor says why it is silent.
                context.set_latency_samples(0);
                self.port = None;
                self.steward.session().closed(error.to_string());
            }
        }
        self.steward.wake();
        true
    }

    fn reset(&mut self) {
        // What was held before a jump is not let go after it.
        self.keys.clear();
        if let Some(port) = &mut self.port {
            port.reset();
        }
    }

    fn process(
        &mut self,
        buffer: &mut Buffer,
        _aux: &mut AuxiliaryBuffers,
        context: &mut impl ProcessContext<Self>,
    ) -> ProcessStatus {
        let Some(port) = &mut self.port else {
            if self.params.fallback.value() == Fallback::Silence && !self.params.bypass.value() {
                for channel in buffer.as_slice() {
                    channel.fill(0.0);
                }
            }
            return ProcessStatus::Normal;
        };
        if self.params.tier.value() == self.tier {
            self.tier_restart_asked = false;
        } else if !self.tier_restart_asked {
            self.tier_restart_asked = true;
            context.request_restart();
        }
        if self.steward.session().take_restart_request() {
            context.request_restart();
        }
        let mut controls = self.params.controls();
        notes::process(
            port,
            buffer.as_slice(),
            &mut controls,
            &mut self.keys,
            || context.next_event(),
        );
        ProcessStatus::Tail(port.tail_samples())
    }

    fn deactivate(&mut self) {
        self.port = None;
        self.drain();
        self.steward.session().closed(String::new());
    }
}

impl ClapPlugin for Timbra {
    // Frozen: projects find the plugin by it.
    const CLAP_ID: &'static str = "audio.timbra.timbra";
    const CLAP_DESCRIPTION: Option<&'static str> =
        Some("Sings a vocal track again in another voice");
    const CLAP_MANUAL_URL: Option<&'static str> = None;
    const CLAP_SUPPORT_URL: Option<&'static str> = None;
    const CLAP_FEATURES: &'static [ClapFeature] = &[
        ClapFeature::AudioEffect,
        ClapFeature::PitchShifter,
        ClapFeature::Stereo,
        ClapFeature::Mono,
        ClapFeature::Custom("timbra:voice-conversion"),
    ];

    fn remote_controls(&self, context: &mut impl RemoteControlsContext) {
        context.add_section("Timbra", |section| {
            section.add_page("Voice", |page| {
                page.add_param(&self.params.pitch);
                page.add_param(&self.params.formant);
                page.add_param(&self.params.auto_pitch);
                page.add_param(&self.params.cluster_ratio);
                page.add_param(&self.params.loudness_match);
                page.add_param(&self.params.gate);
                page.add_param(&self.params.dry_wet);
                page.add_param(&self.params.output_gain);
            });
            section.add_page("Retune", |page| {
                let retune = &self.params.retune;
                page.add_param(&retune.mode);
                page.add_param(&retune.key);
                page.add_param(&retune.scale);
                page.add_param(&retune.speed);
                page.add_param(&retune.humanise);
                page.add_param(&retune.amount);
                page.add_param(&retune.reference);
            });
            section.add_page("Synthesis", |page| {
                page.add_param(&self.params.auto_f0);
                page.add_param(&self.params.f0_smoothing);
                page.add_param(&self.params.noise_scale);
                page.add_param(&self.params.articulation);
                page.add_param(&self.params.cluster_method);
                page.add_param(&self.params.seed);
            });
            section.add_page("Speakers", |page| {
                for weight in self.params.mix.all() {
                    page.add_param(weight);
                }
            });
        });
    }
}

impl Vst3Plugin for Timbra {
    // Frozen: projects find the plugin by it.
    const VST3_CLASS_ID: [u8; 16] = *b"TimbraVoiceConv1";
    const VST3_SUBCATEGORIES: &'static [Vst3SubCategory] = &[
        Vst3SubCategory::Fx,
        Vst3SubCategory::PitchShift,
        Vst3SubCategory::Mono,
        Vst3SubCategory::Stereo,
    ];
}

nice_export_clap!(Timbra);
nice_export_vst3!(Timbra);
