//! MIDI notes on their way to the engine: a block is cut where the note to be sung changes, as it is cut where a
//! parameter does.

use nice_plug::prelude::NoteEvent;
use timbra_engine::controls::{HeldKeys, HeldNote, RetuneMode};
use timbra_engine::{AudioPort, Controls};

/// Processes a block whose notes `next_event` gives in the order of their times, which count from its first sample.
///
/// The note is left out of the controls where retuning does not listen to MIDI; which keys are down is known all the same
/// when it begins to.
///
/// Real-time: no allocation, no lock, no system call but those of [`AudioPort::process`].
pub fn process<S>(
    port: &mut AudioPort,
    channels: &mut [&mut [f32]],
    controls: &mut Controls,
    keys: &mut HeldKeys,
    mut next_event: impl FnMut() -> Option<NoteEvent<S>>,
) {
    let samples = channels
        .iter()
        .map(|channel| channel.len())
        .min()
        .unwrap_or(0);
    let listens = controls.retune.mode == RetuneMode::Midi;
    let sung = |keys: &HeldKeys| if listens { keys.note() } else { HeldNote::NONE };
    controls.note = sung(keys);
    let mut start = 0;
    while let Some(event) = next_event() {
        apply(&event, keys);
        let note = sung(keys);
        if note != controls.note {
            // Not before what was processed, and a note at the end of the block belongs to the next.
            let at = (event.timing() as usize).clamp(start, samples);
            process_piece(port, channels, start, at, controls);
            start = at;
            controls.note = note;
        }
    }
    if start == 0 {
        port.process(channels, controls);
    } else {
        process_piece(port, channels, start, samples, controls);
    }
}

fn apply<S>(event: &NoteEvent<S>, keys: &mut HeldKeys) {
    match event {
        NoteEvent::NoteOn { channel, key, .. } => {
            // A note for every key is none.
            if let Some(note) = key.number() {
                keys.press(channel.number().unwrap_or(0), note);
            }
        }
        NoteEvent::NoteOff { channel, key, .. } | NoteEvent::Choke { channel, key, .. } => {
            keys.release(channel.number(), key.number());
        }
        _ => {}
    }
}

fn process_piece(
    port: &mut AudioPort,
    channels: &mut [&mut [f32]],
    start: usize,
    end: usize,
    controls: &Controls,
) {
    if start == end {
        return;
    }
    match channels {
        [] => {}
        [mono] => port.process(&mut [&mut mono[start..end]], controls),
        // The layouts have one channel or two.
        [left, right, ..] => port.process(
            &mut [&mut left[start..end], &mut right[start..end]],
            controls,
        ),
    }
}
