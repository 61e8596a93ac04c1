//! What the VST3 format asks of a plugin beside sound.

use std::ptr::null_mut;

use timbra_tests::bundles;
use timbra_tests::host::vst3::Vst3Host;
use timbra_tests::host::{Format, Host, Job, Setup};
use vst3::Steinberg::Vst::{
    AudioBusBuffers, AudioBusBuffers__type0, BusDirections_, BusInfo, IAudioProcessorTrait,
    IComponentTrait, IEditControllerTrait, MediaTypes_, ProcessData, ProcessModes_, SpeakerArr,
    SymbolicSampleSizes_,
};
use vst3::Steinberg::{IPluginBaseTrait, kResultOk, kResultTrue};

const RATE_HZ: u32 = 48_000;

#[test]
fn vst3_buses_are_a_main_input_and_output_in_mono_or_stereo_and_notes_in() {
    let host = Vst3Host::open(&bundles::bundle(Format::Vst3)).expect("open");
    let (component, processor) = (host.component(), host.processor());
    let audio = MediaTypes_::kAudio as i32;
    // SAFETY: queries on the main thread with valid pointers.
    unsafe {
        for (direction, of_notes) in [
            (BusDirections_::kInput as i32, 1),
            (BusDirections_::kOutput as i32, 0),
        ] {
            assert_eq!(component.getBusCount(audio, direction), 1);
            assert_eq!(
                component.getBusCount(MediaTypes_::kEvent as i32, direction),
                of_notes
            );
            let mut info: BusInfo = std::mem::zeroed();
            assert_eq!(
                component.getBusInfo(audio, direction, 0, &mut info),
                kResultOk
            );
            assert_eq!(info.channelCount, 2);
            assert_ne!(info.name[0], 0, "a bus without a name");
            assert_ne!(
                component.getBusInfo(audio, direction, 1, &mut info),
                kResultOk
            );
            assert_ne!(component.activateBus(audio, direction, 1, 1), kResultOk);
        }
        let (mono, stereo) = (SpeakerArr::kMono, SpeakerArr::kStereo);
        let ask = |mut from, mut to| processor.setBusArrangements(&mut from, 1, &mut to, 1);
        assert_eq!(ask(mono, mono), kResultTrue);
        assert_eq!(ask(stereo, stereo), kResultTrue);
        for (from, to) in [
            (mono, stereo),
            (stereo, mono),
            (SpeakerArr::k51, SpeakerArr::k51),
        ] {
            assert_ne!(ask(from, to), kResultTrue, "{from:x} to {to:x}");
            let mut now = 0;
            processor.getBusArrangement(BusDirections_::kInput as i32, 0, &mut now);
            assert_eq!(now, stereo, "a refused layout was taken");
        }
        let can = |size| processor.canProcessSampleSize(size as i32);
        assert_eq!(can(SymbolicSampleSizes_::kSample32), kResultTrue);
        assert_ne!(can(SymbolicSampleSizes_::kSample64), kResultTrue);
    }
}

#[test]
fn vst3_silence_flags_tell_the_truth() {
    let mut host = Vst3Host::open(&bundles::bundle(Format::Vst3)).expect("open");
    host.set_text("dry_wet", "0 %").expect("set");
    host.activate(Setup::offline(RATE_HZ, 256))
        .expect("activate");
    let latency = host.latency_samples();
    let mut heard = Vec::new();
    for block in 0..(latency / 256 + 8) {
        let loud = block == 1;
        let level = if loud { 0.5 } else { 0.0 };
        let (mut left, mut right) = (vec![level; 256], vec![level; 256]);
        let (mut out_left, mut out_right) = (vec![f32::NAN; 256], vec![f32::NAN; 256]);
        let mut inputs = [left.as_mut_ptr(), right.as_mut_ptr()];
        let mut outputs = [out_left.as_mut_ptr(), out_right.as_mut_ptr()];
        let bus = |channels: &mut [*mut f32; 2], silent| AudioBusBuffers {
            numChannels: 2,
            silenceFlags: silent,
            __field0: AudioBusBuffers__type0 {
                channelBuffers32: channels.as_mut_ptr(),
            },
        };
        let mut input = bus(&mut inputs, if loud { 0 } else { 3 });
        // The framework leaves them as the host hands them over: cleared.
        let mut output = bus(&mut outputs, 0);
        let mut data = ProcessData {
            processMode: ProcessModes_::kOffline as i32,
            symbolicSampleSize: SymbolicSampleSizes_::kSample32 as i32,
            numSamples: 256,
            numInputs: 1,
            numOutputs: 1,
            inputs: &mut input,
            outputs: &mut output,
            inputParameterChanges: null_mut(),
            outputParameterChanges: null_mut(),
            inputEvents: null_mut(),
            outputEvents: null_mut(),
            processContext: null_mut(),
        };
        // SAFETY: every pointer is valid for the length it announces; hosts may leave the others out.
        assert_eq!(unsafe { host.processor().process(&mut data) }, kResultOk);
        for (channel, samples) in [&out_left, &out_right].into_iter().enumerate() {
            let flagged = output.silenceFlags & 1 << channel != 0;
            let silent = samples.iter().all(|sample| *sample == 0.0);
            assert!(
                silent || !flagged,
                "block {block}: sound that is flagged as silence"
            );
        }
        heard.extend(out_left);
    }
    let at = heard.iter().position(|sample| *sample == 0.5);
    assert_eq!(at, Some(256 + latency), "the only sound");
}

#[test]
fn vst3_may_be_terminated_and_initialised_again() {
    let mut host = Vst3Host::open(&bundles::bundle(Format::Vst3)).expect("open");
    let names: Vec<String> = host.parameters().iter().map(|p| p.name.clone()).collect();
    for _ in 0..3 {
        // SAFETY: the order of the life cycle, on the main thread.
        unsafe {
            assert_eq!(host.component().terminate(), kResultOk);
            assert_eq!(host.component().initialize(host.context()), kResultOk);
        }
        host.activate(Setup::offline(RATE_HZ, 64))
            .expect("activate");
        let input = vec![vec![0.1; 640]; 2];
        host.render(&Job::new(&input, &[64])).expect("render");
        host.deactivate();
    }
    assert_eq!(host.parameters().len(), names.len());
    // SAFETY: a query on the main thread.
    let count = unsafe { host.controller().getParameterCount() };
    assert_eq!(count as usize, names.len());
    for parameter in host.parameters().to_vec() {
        // SAFETY: queries on the main thread.
        unsafe {
            for value in [0.0, 0.25, 0.5, 1.0] {
                let plain = host
                    .controller()
                    .normalizedParamToPlain(parameter.id, value);
                let back = host
                    .controller()
                    .plainParamToNormalized(parameter.id, plain);
                let step = if parameter.steps == 0 {
                    1e-4
                } else {
                    0.51 / f64::from(parameter.steps)
                };
                assert!(
                    (back - value).abs() <= step,
                    "{}: {value} is {back}",
                    parameter.name
                );
            }
        }
    }
}
