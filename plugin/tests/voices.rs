//! How an instance comes by its voice: with the project, after it, by hand, and when it cannot.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use support::{
    Host, activate, folder, load_state, process, runtime_is_there, sine, want, write_identity,
};
use timbra::Timbra;
use timbra_engine::{Service, VoiceState};
use timbra_voice::VoiceRef;

/// Longest wait for a thing that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder every test of this binary finds voices in.
fn library() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = folder("library");
        for name in ["trio", "other"] {
            write_identity(&folder, name, 1);
        }
        write_identity(&folder, "slow", 20);
        Service::global().set_voice_folders(vec![folder.clone()]);
        folder
    })
}

/// Level of one second after the plugin has settled.
fn level(plugin: &mut Timbra, host: &Host) -> f32 {
    let mut audio = vec![sine(48_000); 2];
    process(plugin, host, &mut audio, 512);
    let last = &audio[0][24_000..];
    (last.iter().map(|sample| sample * sample).sum::<f32>() / last.len() as f32).sqrt()
}

/// Processes until `reached`, or gives up.
fn wait(plugin: &mut Timbra, host: &Host, reached: impl Fn(&Timbra) -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let mut audio = vec![sine(4_800); 2];
        process(plugin, host, &mut audio, 512);
        if reached(plugin) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

fn plays(plugin: &Timbra, name: &str) -> bool {
    plugin.session().status().is_some_and(|status| {
        matches!(
            status.voice_state,
            VoiceState::Ready | VoiceState::Replacing
        ) && status.playing.is_some_and(|playing| playing.name == name)
    })
}

#[test]
fn a_fresh_instance_sounds_in_the_shipped_voice_without_allocating() {
    if !runtime_is_there() {
        return;
    }
    library();
    let host = Host::default();
    let mut plugin = Timbra::default();
    activate(&mut plugin, &host, 2, 48_000.0, 512);
    assert!(wait(&mut plugin, &host, |plugin| plays(plugin, "trio")));
    assert!(level(&mut plugin, &host) > 0.05);
    assert_eq!(host.latency_calls_in_process.get(), 0);
    assert_eq!(host.restarts.get(), 0);
}

#[test]
fn a_voice_that_was_found_is_saved_with_its_place_and_hash() {
    if !runtime_is_there() {
        return;
    }
    let folder = library();
    let host = Host::default();
    let mut plugin = Timbra::default();
    activate(&mut plugin, &host, 2, 48_000.0, 512);
    assert!(wait(&mut plugin, &host, |plugin| {
        let saved = plugin.session().params.voice.get();
        saved.path == folder.join("trio.timbra") && saved.sha256.len() == 64
    }));
}

#[test]
fn a_state_that_comes_after_activation_sounds_by_itself() {
    if !runtime_is_there() {
        return;
    }
    let folder = library();
    let host = Host::default();
    let mut plugin = Timbra::default();
    activate(&mut plugin, &host, 2, 48_000.0, 512);
    let other = VoiceRef {
        name: "other".into(),
        path: folder.join("moved away.timbra"),
        sha256: timbra_voice::package::read_manifest(&folder.join("other.timbra"))
            .unwrap()
            .1,
    };
    load_state(&plugin, &other);
    assert!(wait(&mut plugin, &host, |plugin| plays(plugin, "other")));
    assert!(level(&mut plugin, &host) > 0.05);
    assert_eq!(host.restarts.get(), 0);
}

#[test]
fn a_project_never_sounds_in_another_voice_than_its_own() {
    if !runtime_is_there() {
        return;
    }
    library();
    // The second was saved on another system.
    for path in ["", "C:\\Users\\amy\\lost.timbra"] {
        let host = Host::default();
        let mut plugin = Timbra::default();
        activate(&mut plugin, &host, 2, 48_000.0, 512);
        assert!(wait(&mut plugin, &host, |plugin| plays(plugin, "trio")));
        let lost = VoiceRef {
            name: "lost".into(),
            path: path.into(),
            ..VoiceRef::default()
        };
        load_state(&plugin, &lost);
        assert!(wait(&mut plugin, &host, |plugin| {
            plugin
                .session()
                .status()
                .is_some_and(|status| status.voice_state == VoiceState::Empty)
        }));
        assert!(wait(&mut plugin, &host, |_| true));
        assert_eq!(level(&mut plugin, &host), 0.0);
        assert!(plugin.session().failure().contains("lost"));
        assert_eq!(plugin.session().params.voice.get(), lost);
    }
}

#[test]
fn a_choice_that_is_refused_leaves_the_old_voice_playing_and_saved() {
    if !runtime_is_there() {
        return;
    }
    library();
    let host = Host::default();
    let mut plugin = Timbra::default();
    activate(&mut plugin, &host, 2, 48_000.0, 512);
    assert!(wait(&mut plugin, &host, |plugin| plays(plugin, "trio")));
    want(&plugin, "lost");
    assert!(wait(&mut plugin, &host, |plugin| {
        let saved = plugin.session().params.voice.get().name;
        plays(plugin, "trio") && saved == "trio"
    }));
    let message = plugin.session().status().unwrap().message;
    assert!(message.contains("lost"), "{message}");
}

#[test]
fn a_voice_with_a_longer_delay_asks_for_one_restart_and_then_sounds() {
    if !runtime_is_there() {
        return;
    }
    library();
    let host = Host::default();
    let mut plugin = Timbra::default();
    activate(&mut plugin, &host, 2, 48_000.0, 512);
    let before = host.latency_samples.get();
    assert!(wait(&mut plugin, &host, |plugin| plays(plugin, "trio")));
    want(&plugin, "slow");
    assert!(wait(&mut plugin, &host, |_| host.restarts.get() > 0));
    assert_eq!(host.latency_samples.get(), before);

    activate(&mut plugin, &host, 2, 48_000.0, 512);
    assert!(host.latency_samples.get() > before);
    assert!(wait(&mut plugin, &host, |plugin| plays(plugin, "slow")));
    assert!(level(&mut plugin, &host) > 0.05);
    assert_eq!(host.restarts.get(), 1);
}

#[test]
fn a_file_that_is_no_voice_is_refused_with_its_name() {
    let folder = library();
    let path = folder.join("not a voice.txt");
    std::fs::write(&path, "hello").unwrap();
    let problem = timbra::voices::at(path).unwrap_err();
    assert!(problem.contains("not a voice.txt"), "{problem}");
}

#[test]
fn what_is_saved_is_complete_once_the_plugin_is_active() {
    if !runtime_is_there() {
        return;
    }
    let folder = library();
    let host = Host::default();
    let mut plugin = Timbra::default();
    activate(&mut plugin, &host, 2, 48_000.0, 512);
    let saved = plugin.session().params.voice.get();
    assert_eq!(saved.path, folder.join("trio.timbra"));
    assert_eq!(saved.sha256.len(), 64);
}
