//! What each format asks of a plugin beside sound: the lists of the formats' own validators.

use std::collections::BTreeSet;
use std::ffi::CString;

use timbra_tests::bundles;
use timbra_tests::host::clap::{ClapHost, scan};
use timbra_tests::host::{FORMATS, Format, Host, Job, Mode, Setup};

const RATE_HZ: u32 = 48_000;

fn text(text: Option<&std::ffi::CStr>) -> String {
    text.unwrap_or_default().to_string_lossy().into_owned()
}

#[test]
fn the_clap_descriptor_says_who_it_is_and_what_it_does_once() {
    let (entry, id, name) = scan(&bundles::bundle(Format::Clap)).expect("scan");
    let factory = entry.get_plugin_factory().expect("factory");
    assert_eq!(factory.plugin_count(), 1);
    let descriptor = factory.plugin_descriptor(0).expect("descriptor");
    assert_eq!(
        (id.to_str(), name.as_str()),
        (Ok("audio.timbra.timbra"), "Timbra")
    );
    assert_eq!(text(descriptor.vendor()), "Timbra");
    assert_eq!(text(descriptor.version()), env!("CARGO_PKG_VERSION"));
    let features: Vec<String> = descriptor.features().map(|f| text(Some(f))).collect();
    let different: BTreeSet<&String> = features.iter().collect();
    assert_eq!(different.len(), features.len(), "{features:?}");
    assert!(
        features.contains(&"audio-effect".to_owned()),
        "{features:?}"
    );
    assert!(factory.plugin_descriptor(1).is_none());
}

#[test]
fn clap_makes_nothing_that_was_not_listed() {
    let (entry, id, _) = scan(&bundles::bundle(Format::Clap)).expect("scan");
    let get = entry.raw_entry().get_factory.expect("get_factory");
    for unknown in [
        c"audio.timbra.no-such-factory",
        c"",
        c"clap.plugin-factory!",
    ] {
        // SAFETY: a terminated string, and the entry is initialised.
        assert!(unsafe { get(unknown.as_ptr()) }.is_null(), "{unknown:?}");
    }
    let id = id.to_str().expect("id");
    for wrong in [
        format!("{id}x"),
        format!("{id} "),
        id[1..].to_owned(),
        String::new(),
    ] {
        let wrong = CString::new(wrong).expect("no zero");
        assert!(
            ClapHost::open_id(&bundles::bundle(Format::Clap), &wrong).is_err(),
            "{wrong:?}"
        );
    }
}

#[test]
fn parameters_that_do_not_exist_are_no_parameters() {
    for format in FORMATS {
        let mut host = bundles::open(format);
        let ids: BTreeSet<u32> = host.parameters().iter().map(|p| p.id).collect();
        assert_eq!(
            ids.len(),
            host.parameters().len(),
            "{}: ids repeat",
            format.name()
        );
        let names: BTreeSet<String> = host.parameters().iter().map(|p| p.name.clone()).collect();
        assert_eq!(names.len(), ids.len(), "{}: names repeat", format.name());
        let values = |host: &mut dyn Host| {
            let values = ids.iter().map(|&id| host.value(id).expect("value"));
            values.collect::<Vec<f64>>()
        };
        let before = values(host.as_mut());
        host.activate(Setup::offline(RATE_HZ, 64))
            .expect("activate");
        let changes = [timbra_tests::host::Change {
            at_samples: 0,
            id: (1..).find(|id| !ids.contains(id)).expect("a free id"),
            value: 0.5,
        }];
        let input = vec![vec![0.0; 64]; 2];
        let job = Job {
            changes: &changes,
            ..Job::new(&input, &[64])
        };
        host.render(&job)
            .expect("an unknown parameter is passed over");
        assert_eq!(values(host.as_mut()), before, "{}", format.name());
    }
}

#[test]
fn text_out_of_range_is_text_or_refused_and_never_a_value_out_of_range() {
    for format in FORMATS {
        let mut host = bundles::open(format);
        for parameter in host.parameters().to_vec() {
            for value in [-1e9, -0.5, 1.5, 1e9] {
                // Which of both is the plugin's choice; it must survive and stay within its range.
                if let Ok(shown) = host.text_of(parameter.id, value)
                    && let Ok(read) = host.value_of(parameter.id, &shown)
                {
                    assert!((0.0..=1.0).contains(&read), "{}: {shown:?}", parameter.name);
                }
            }
            for typed in [
                "1e30",
                "-1e30",
                "999999999999999999999",
                "1".repeat(120).as_str(),
            ] {
                if let Ok(read) = host.value_of(parameter.id, typed) {
                    assert!(
                        (0.0..=1.0).contains(&read),
                        "{}: {typed:?} is {read}",
                        parameter.name
                    );
                }
            }
        }
    }
}

#[test]
fn activations_follow_each_other_in_any_set_up() {
    for format in FORMATS {
        let mut host = bundles::open(format);
        for round in 0..24usize {
            let rate_hz = [44_100, 48_000, 96_000][round % 3];
            let block = [1, 64, 8192, 333][round % 4];
            let mut setup = Setup::offline(rate_hz, block);
            setup.channels = 1 + round % 2;
            if round % 5 == 0 {
                setup = setup.mode(Mode::Realtime);
            }
            host.activate(setup).expect("activate");
            if round % 3 != 0 {
                let input = vec![vec![0.1; 700]; setup.channels];
                host.render(&Job::new(&input, &[block])).expect("render");
                host.reset().expect("reset");
            }
            host.deactivate();
            host.deactivate();
        }
    }
}
