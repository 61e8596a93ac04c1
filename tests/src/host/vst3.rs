//! The VST3 host, on the interfaces of the vst3 crate.

use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use libloading::Library;
use vst3::Steinberg::Vst::{
    AudioBusBuffers, AudioBusBuffers__type0, BusDirections_, BusTypes_, IAudioProcessor,
    IAudioProcessorTrait, IComponent, IComponentHandler, IComponentTrait, IEditController,
    IEditControllerTrait, IEventList, IHostApplication, IParameterChanges, MediaTypes_,
    ParameterInfo, ParameterInfo_::ParameterFlags_, ProcessContext,
    ProcessContext_::StatesAndFlags_, ProcessData, ProcessModes_, ProcessSetup, SpeakerArr,
    String128, SymbolicSampleSizes_, TChar,
};
use vst3::Steinberg::{
    FUnknown, IBStream, IPluginBaseTrait, IPluginFactory, IPluginFactoryTrait, PClassInfo, TUID,
    int32, kResultOk, kResultTrue, tresult,
};
use vst3::{ComPtr, ComWrapper, Interface};

use crate::syscalls::inside;

use super::drive::{Block, drive};
use super::vst3_objects::{Application, Changes, Events, Handler, Stream};
use super::vst3_view::View;
use super::{Editor, Format, Host, Job, Mode, Parameter, Setup};

/// One VST3 plugin instance.
pub struct Vst3Host {
    parameters: Vec<Parameter>,
    component: ComPtr<IComponent>,
    controller: ComPtr<IEditController>,
    processor: ComPtr<IAudioProcessor>,
    handler: ComWrapper<Handler>,
    view: View,
    setup: Option<Setup>,
    position_samples: i64,
    application: ComWrapper<Application>,
    _module: Module,
}

/// A loaded library; it stays loaded for the life of the process, as hosts keep
/// it, because its threads may outlive every instance.
pub struct Module {
    factory: ComPtr<IPluginFactory>,
    /// The class of the first audio effect.
    class: TUID,
    /// Its name.
    pub name: String,
    _library: ManuallyDrop<Library>,
}

/// Where the binary lies in a bundle.
fn binary(bundle: &Path) -> Result<PathBuf> {
    if bundle.is_file() {
        return Ok(bundle.to_owned());
    }
    let stem = bundle
        .file_stem()
        .context("a bundle needs a name")?
        .to_string_lossy();
    let (folder, extension) = if cfg!(target_os = "macos") {
        ("MacOS".to_owned(), "")
    } else if cfg!(target_os = "windows") {
        (format!("{}-win", std::env::consts::ARCH), ".vst3")
    } else {
        (format!("{}-linux", std::env::consts::ARCH), ".so")
    };
    let path = bundle
        .join("Contents")
        .join(folder)
        .join(format!("{stem}{extension}"));
    ensure!(
        path.is_file(),
        "{} holds no binary for this machine",
        bundle.display()
    );
    Ok(path)
}

fn check(result: tresult, what: &str) -> Result<()> {
    if result == kResultOk || result == kResultTrue {
        Ok(())
    } else {
        bail!("{what}: {result}")
    }
}

fn narrow(text: &[std::ffi::c_char]) -> String {
    let bytes: Vec<u8> = text
        .iter()
        .take_while(|c| **c != 0)
        .map(|c| *c as u8)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn wide(text: &[TChar]) -> String {
    let units: Vec<u16> = text.iter().take_while(|c| **c != 0).copied().collect();
    String::from_utf16_lossy(&units)
}

/// Loads the library and lists its classes: what a host's scanner does.
///
/// # Errors
/// When the file is not a VST3 library or lists no audio effect.
pub fn scan(bundle: &Path) -> Result<Module> {
    let path = binary(bundle)?;
    type GetFactory = unsafe extern "system" fn() -> *mut c_void;
    // SAFETY: loading a library runs its code; the tests only load what this
    // workspace built or the user named. The symbols have the types of the
    // VST3 module interface.
    unsafe {
        let library = Library::new(&path)
            .with_context(|| format!("cannot load {} as VST3", path.display()))?;
        let library = enter(library, bundle)?;
        let get = library.get::<GetFactory>(b"GetPluginFactory\0")?;
        let factory = ComPtr::from_raw(get().cast::<IPluginFactory>()).context("no factory")?;
        let library = ManuallyDrop::new(library);
        for index in 0..factory.countClasses() {
            let mut info: PClassInfo = std::mem::zeroed();
            check(factory.getClassInfo(index, &mut info), "getClassInfo")?;
            if narrow(&info.category) == "Audio Module Class" {
                let (class, name) = (info.cid, narrow(&info.name));
                return Ok(Module {
                    factory,
                    class,
                    name,
                    _library: library,
                });
            }
        }
    }
    bail!("{} lists no audio effect", path.display())
}

/// Calls the module's entry point for the platform.
#[cfg(target_os = "linux")]
unsafe fn enter(library: Library, _bundle: &Path) -> Result<Library> {
    use libloading::os::unix::Library as Raw;
    let handle = Raw::from(library).into_raw();
    // SAFETY: the handle was just taken out of a live library.
    let library = Library::from(unsafe { Raw::from_raw(handle) });
    type Entry = unsafe extern "system" fn(*mut c_void) -> bool;
    // SAFETY: ModuleEntry has this type on Linux and wants the library's handle.
    let entered = unsafe { library.get::<Entry>(b"ModuleEntry\0")?(handle) };
    ensure!(entered, "ModuleEntry refused");
    Ok(library)
}

/// Calls the module's entry point for the platform.
#[cfg(not(target_os = "linux"))]
unsafe fn enter(library: Library, _bundle: &Path) -> Result<Library> {
    #[cfg(target_os = "windows")]
    {
        type Entry = unsafe extern "system" fn() -> bool;
        // SAFETY: InitDll has this type and is optional.
        unsafe {
            if let Ok(entry) = library.get::<Entry>(b"InitDll\0") {
                ensure!(entry(), "InitDll refused");
            }
        }
    }
    #[cfg(target_os = "macos")]
    {
        type Entry = unsafe extern "system" fn(*mut c_void) -> bool;
        // SAFETY: bundleEntry has this type; the plugin framework ignores the
        // bundle reference, so none is made.
        unsafe {
            ensure!(
                library.get::<Entry>(b"bundleEntry\0")?(null_mut()),
                "bundleEntry refused"
            );
        }
    }
    Ok(library)
}

impl Vst3Host {
    /// Loads `bundle` and makes an instance of its first audio effect.
    ///
    /// # Errors
    /// When loading, creating or enumerating fails.
    pub fn open(bundle: &Path) -> Result<Self> {
        let module = scan(bundle)?;
        let application = ComWrapper::new(Application);
        let handler = ComWrapper::new(Handler::default());
        let mut object = null_mut();
        // SAFETY: calls follow the order of the VST3 life cycle, with objects
        // that live as long as the host.
        unsafe {
            let iid = IComponent::IID;
            check(
                module.factory.createInstance(
                    module.class.as_ptr().cast(),
                    iid.as_ptr().cast(),
                    &mut object,
                ),
                "createInstance",
            )?;
            let component =
                ComPtr::from_raw(object.cast::<IComponent>()).context("no component")?;
            let context = application
                .to_com_ptr::<IHostApplication>()
                .context("application")?;
            check(
                component.initialize(context.as_ptr().cast::<FUnknown>()),
                "initialize",
            )?;
            let controller = component
                .cast::<IEditController>()
                .context("a separate controller is not supported by this host")?;
            let processor = component
                .cast::<IAudioProcessor>()
                .context("no processor")?;
            let handler_ptr = handler
                .to_com_ptr::<IComponentHandler>()
                .context("handler")?;
            check(
                controller.setComponentHandler(handler_ptr.as_ptr()),
                "setComponentHandler",
            )?;
            let mut parameters = Vec::new();
            for index in 0..controller.getParameterCount() {
                let mut info: ParameterInfo = std::mem::zeroed();
                check(
                    controller.getParameterInfo(index, &mut info),
                    "getParameterInfo",
                )?;
                let has = |flag| info.flags & flag as int32 != 0;
                parameters.push(Parameter {
                    id: info.id,
                    name: wide(&info.title),
                    steps: info.stepCount as u32,
                    default: info.defaultNormalizedValue,
                    automatable: has(ParameterFlags_::kCanAutomate),
                    bypass: has(ParameterFlags_::kIsBypass),
                });
            }
            Ok(Self {
                parameters,
                view: View::new(controller.clone()),
                component,
                controller,
                processor,
                handler,
                setup: None,
                position_samples: 0,
                application,
                _module: module,
            })
        }
    }

    /// The component, for what a studio host does not do.
    #[must_use]
    pub fn component(&self) -> &ComPtr<IComponent> {
        &self.component
    }

    /// The processor, likewise.
    #[must_use]
    pub fn processor(&self) -> &ComPtr<IAudioProcessor> {
        &self.processor
    }

    /// The controller, likewise.
    #[must_use]
    pub fn controller(&self) -> &ComPtr<IEditController> {
        &self.controller
    }

    /// The host, as `initialize` wants it; it lives as long as this.
    #[must_use]
    pub fn context(&self) -> *mut FUnknown {
        let context = self.application.as_com_ref::<IHostApplication>();
        context.map_or(null_mut(), |context| context.as_ptr().cast())
    }

    fn known(&self, id: u32) -> Result<()> {
        ensure!(
            self.parameters.iter().any(|p| p.id == id),
            "no parameter with id {id}"
        );
        Ok(())
    }
}

impl Host for Vst3Host {
    fn format(&self) -> Format {
        Format::Vst3
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn value(&mut self, id: u32) -> Result<f64> {
        self.known(id)?;
        // SAFETY: a controller call on the main thread.
        Ok(unsafe { self.controller.getParamNormalized(id) })
    }

    fn set(&mut self, id: u32, value: f64) -> Result<()> {
        self.known(id)?;
        if self.setup.is_some() {
            // A block of 0 samples is VST3's way to hand over values while active.
            let changes = [super::Change {
                at_samples: 0,
                id,
                value,
            }];
            // Neither has it buses.
            let setup = self.setup.context("not active")?;
            let block = Block {
                position_samples: 0,
                input: &mut [],
                output: &mut [],
                changes: &changes,
                notes: &[],
                in_place: false,
            };
            process(&self.processor, setup, self.position_samples, block)?;
        }
        // SAFETY: a controller call on the main thread.
        check(
            unsafe { self.controller.setParamNormalized(id, value) },
            "setParamNormalized",
        )
    }

    fn text_of(&mut self, id: u32, value: f64) -> Result<String> {
        let mut text: String128 = [0; 128];
        // SAFETY: a controller call with a valid buffer.
        let result = unsafe { self.controller.getParamStringByValue(id, value, &mut text) };
        check(result, "getParamStringByValue")?;
        Ok(wide(&text))
    }

    fn value_of(&mut self, id: u32, text: &str) -> Result<f64> {
        let mut units: Vec<TChar> = text.encode_utf16().chain([0]).map(|c| c as TChar).collect();
        let mut value = 0.0;
        // SAFETY: a controller call with a terminated string.
        let result = unsafe {
            self.controller
                .getParamValueByString(id, units.as_mut_ptr(), &mut value)
        };
        check(result, "getParamValueByString")?;
        Ok(value)
    }

    fn save_in_pieces(&mut self, piece: usize) -> Result<Vec<u8>> {
        let stream = Stream::new(&[], piece);
        let pointer = stream.to_com_ptr::<IBStream>().context("stream")?;
        // SAFETY: the stream outlives the call.
        let result = unsafe { self.component.getState(pointer.as_ptr()) };
        check(result, "getState")?;
        Ok(stream.bytes.borrow().clone())
    }

    fn load_in_pieces(&mut self, state: &[u8], piece: usize) -> Result<()> {
        for component in [true, false] {
            let stream = Stream::new(state, piece);
            let pointer = stream.to_com_ptr::<IBStream>().context("stream")?;
            // SAFETY: the stream outlives the call.
            let result = unsafe {
                if component {
                    self.component.setState(pointer.as_ptr())
                } else {
                    self.controller.setComponentState(pointer.as_ptr())
                }
            };
            check(result, "setState")?;
        }
        Ok(())
    }

    fn activate(&mut self, setup: Setup) -> Result<()> {
        ensure!(self.setup.is_none(), "already active");
        let mut arrangement = if setup.channels == 1 {
            SpeakerArr::kMono
        } else {
            SpeakerArr::kStereo
        };
        let mut arrangement_out = arrangement;
        let mut process_setup = ProcessSetup {
            processMode: process_mode(setup.mode),
            symbolicSampleSize: SymbolicSampleSizes_::kSample32 as int32,
            maxSamplesPerBlock: setup.max_block_samples as int32,
            sampleRate: setup.rate_hz,
        };
        // SAFETY: the order of the VST3 life cycle, with valid pointers.
        unsafe {
            check(
                self.processor
                    .setBusArrangements(&mut arrangement, 1, &mut arrangement_out, 1),
                "setBusArrangements",
            )?;
            check(
                self.processor.setupProcessing(&mut process_setup),
                "setupProcessing",
            )?;
            for direction in [BusDirections_::kInput, BusDirections_::kOutput] {
                let audio = MediaTypes_::kAudio as int32;
                let main = BusTypes_::kMain as int32;
                check(
                    self.component
                        .activateBus(audio, direction as int32, main, 1),
                    "activateBus",
                )?;
            }
            let (notes, input) = (
                MediaTypes_::kEvent as int32,
                BusDirections_::kInput as int32,
            );
            if self.component.getBusCount(notes, input) > 0 {
                check(
                    self.component.activateBus(notes, input, 0, 1),
                    "activateBus",
                )?;
            }
            check(self.component.setActive(1), "setActive")?;
            self.setup = Some(setup);
            check(self.processor.setProcessing(1), "setProcessing")?;
        }
        // A latency that was announced during activation is asked for anyway.
        self.handler.restart.store(false, Ordering::Release);
        self.position_samples = 0;
        Ok(())
    }

    fn deactivate(&mut self) {
        if self.setup.take().is_some() {
            // SAFETY: the order of the VST3 life cycle; nothing to do when refused.
            unsafe {
                self.processor.setProcessing(0);
                self.component.setActive(0);
            }
        }
    }

    fn setup(&self) -> Option<Setup> {
        self.setup
    }

    fn latency_samples(&mut self) -> usize {
        // SAFETY: a plain query.
        unsafe { self.processor.getLatencySamples() as usize }
    }

    fn tail_samples(&mut self) -> usize {
        // SAFETY: a plain query.
        match unsafe { self.processor.getTailSamples() } {
            u32::MAX => usize::MAX,
            samples => samples as usize,
        }
    }

    fn reset(&mut self) -> Result<()> {
        ensure!(self.setup.is_some(), "not active");
        // SAFETY: a stop and a start is how VST3 clears a plugin.
        unsafe {
            check(self.processor.setProcessing(0), "setProcessing(0)")?;
            check(self.processor.setProcessing(1), "setProcessing(1)")?;
        }
        self.position_samples = 0;
        Ok(())
    }

    fn render(&mut self, job: &Job) -> Result<Vec<Vec<f32>>> {
        let setup = self.setup.context("not active")?;
        let start = self.position_samples;
        let processor = &self.processor;
        let view = &mut self.view;
        let result = std::thread::scope(|scope| {
            let audio = || drive(job, setup, |block| process(processor, setup, start, block));
            let thread = scope.spawn(audio);
            if let Some(meanwhile) = job.meanwhile {
                while !thread.is_finished() {
                    meanwhile(view);
                    std::thread::sleep(Duration::from_micros(500));
                }
            }
            thread.join()
        });
        self.position_samples += job.input.first().map_or(0, Vec::len) as i64;
        result.map_err(|_| anyhow!("the audio thread panicked"))?
    }

    fn editor(&mut self) -> Box<dyn Editor + '_> {
        Box::new(&mut self.view)
    }

    fn take_restart_request(&mut self) -> bool {
        self.handler.restart.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Vst3Host {
    fn drop(&mut self) {
        self.deactivate();
        // SAFETY: ends the life cycle; the handler dies after the controller let go of it.
        unsafe {
            self.controller.setComponentHandler(null_mut());
            self.component.terminate();
        }
    }
}

fn process_mode(mode: Mode) -> int32 {
    match mode {
        Mode::Realtime => ProcessModes_::kRealtime as int32,
        Mode::Offline => ProcessModes_::kOffline as int32,
    }
}

/// One process call.
fn process(
    processor: &ComPtr<IAudioProcessor>,
    setup: Setup,
    start_samples: i64,
    block: Block,
) -> Result<()> {
    let samples = block.input.first().map_or(0, Vec::len) as int32;
    let mut out_channels: Vec<*mut f32> = block.output.iter_mut().map(|c| c.as_mut_ptr()).collect();
    let mut in_channels: Vec<*mut f32> = if block.in_place {
        out_channels.clone()
    } else {
        block.input.iter_mut().map(|c| c.as_mut_ptr()).collect()
    };
    let buses = int32::from(!in_channels.is_empty());
    let bus = |channels: &mut Vec<*mut f32>| AudioBusBuffers {
        numChannels: channels.len() as int32,
        silenceFlags: 0,
        __field0: AudioBusBuffers__type0 {
            channelBuffers32: channels.as_mut_ptr(),
        },
    };
    let mut input = bus(&mut in_channels);
    let mut output = bus(&mut out_channels);
    let changes = Changes::new(block.changes);
    let changes_ptr = changes
        .to_com_ptr::<IParameterChanges>()
        .context("changes")?;
    let events = Events::new(block.notes);
    let events_ptr = events.to_com_ptr::<IEventList>().context("events")?;
    let time = start_samples + block.position_samples as i64;
    // SAFETY: a plain C structure of numbers.
    let mut context: ProcessContext = unsafe { std::mem::zeroed() };
    #[allow(
        clippy::unnecessary_cast,
        reason = "these constants are signed on Windows"
    )]
    {
        context.state = StatesAndFlags_::kPlaying as u32;
    }
    context.sampleRate = setup.rate_hz;
    context.projectTimeSamples = time;
    context.continousTimeSamples = time;
    let mut data = ProcessData {
        processMode: process_mode(setup.mode),
        symbolicSampleSize: SymbolicSampleSizes_::kSample32 as int32,
        numSamples: samples,
        numInputs: buses,
        numOutputs: buses,
        inputs: &mut input,
        outputs: &mut output,
        inputParameterChanges: changes_ptr.as_ptr(),
        outputParameterChanges: null_mut(),
        inputEvents: events_ptr.as_ptr(),
        outputEvents: null_mut(),
        processContext: &mut context,
    };
    // SAFETY: every pointer in `data` is valid for the length it announces and
    // outlives the call.
    check(
        inside(|| unsafe { processor.process(&mut data) }),
        "process",
    )
}

/// Milliseconds a scanner spends on the library.
///
/// # Errors
/// As [`scan`].
pub fn scan_ms(bundle: &Path) -> Result<f64> {
    let start = Instant::now();
    scan(bundle)?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
