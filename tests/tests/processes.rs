//! Several hosts and the one worker they share; some of them are killed.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use timbra_tests::host::Format;
use timbra_tests::measure::rms;
use timbra_tests::state::State;
use timbra_tests::wav::{self, Sound};
use timbra_tests::{bundles, singer, worker};

const RATE_HZ: u32 = 48_000;

/// One at a time: all of them share the worker of this process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder for what hosts and the worker put down for a while; it is to stay empty.
fn litter(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("litter-{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("folder");
    folder
}

/// A host process that plays `seconds` of song in real time.
fn play(name: &str, seconds: usize, litter: &Path) -> (Playing, PathBuf) {
    let (mut host, output) = host(name, seconds, litter);
    (
        Playing(host.arg("--realtime").spawn().expect("the host starts")),
        output,
    )
}

/// The command for a host process with `seconds` of song, and where it puts what comes out.
fn host(name: &str, seconds: usize, litter: &Path) -> (Command, PathBuf) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (input, output) = (
        folder.join(format!("{name}-in.wav")),
        folder.join(format!("{name}-out.wav")),
    );
    let _ = fs::remove_file(&output);
    let song = singer::sing(RATE_HZ).into_iter().cycle();
    let channels = vec![song.take(seconds * RATE_HZ as usize).collect()];
    let rate_hz = RATE_HZ;
    wav::write(&input, &Sound { rate_hz, channels }).expect("write");
    let mut host = Command::new(env!("CARGO_BIN_EXE_host"));
    host.arg("clap")
        .arg(bundles::bundle(Format::Clap))
        .arg("--in")
        .arg(&input)
        .arg("--out")
        .arg(&output)
        .env("TMPDIR", litter)
        .env("XDG_RUNTIME_DIR", litter)
        .stdout(Stdio::null());
    (host, output)
}

/// A host process that does not outlive its test.
struct Playing(Child);

impl Drop for Playing {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits at most ten seconds.
fn within_10_s(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "not within 10 s: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    began.elapsed()
}

/// The name under which a worker listens.
fn name_of(process: u32) -> String {
    let line = fs::read_to_string(format!("/proc/{process}/cmdline")).expect("it runs");
    let key = line
        .trim_end_matches('\0')
        .rsplit('\0')
        .next()
        .expect("its key");
    // SAFETY: a plain query.
    format!("timbra-{}-{key}", unsafe { libc::getuid() })
}

/// Sockets of that name: one that listens, and one for each host that is connected.
fn sockets(name: &str) -> usize {
    let table = fs::read_to_string("/proc/net/unix").expect("table");
    let end = format!("@{name}");
    table.lines().filter(|line| line.ends_with(&end)).count()
}

/// What of ours lies in shared memory.
fn shared() -> usize {
    fs::read_dir("/dev/shm").map_or(0, |entries| {
        entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().contains("timbra"))
            .count()
    })
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).expect("folder").count()
}

#[test]
fn two_hosts_share_a_worker_which_outlives_the_one_that_is_killed_and_ends_after_both() {
    let _alone = alone();
    let program = worker::keep_private();
    let litter = litter("two");
    let (first, _) = play("killed", 60, &litter);
    let process = worker::the_process(program);
    let name = name_of(process);
    let (mut second, output) = play("survivor", 7, &litter);
    within_10_s("both are connected", || sockets(&name) == 3);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(worker::processes(program), [process], "one worker for both");
    let before = worker::proportional_bytes(process);
    drop(first);
    let freed = within_10_s("the dead host's connection is gone", || sockets(&name) == 2);
    std::thread::sleep(Duration::from_millis(1500));
    let after = worker::proportional_bytes(process);
    assert!(
        second.0.wait().expect("end").success(),
        "the other plays to the end"
    );
    let sound = wav::read(&output).expect("read");
    let channel = &sound.channels[0];
    let last = &channel[channel.len() - 2 * RATE_HZ as usize..];
    assert!(rms(last) > 1e-3, "silent after the other was killed");
    let ended = within_10_s("the worker ends", || worker::processes(program).is_empty());
    println!(
        "worker with two hosts {} KiB, {freed:?} and 1.5 s after the kill {} KiB; ended after {ended:?}",
        before >> 10,
        after >> 10
    );
    // Less by the stream; memory that is no longer shared with the dead one counts more.
    assert!(after < before + (4 << 20), "{before} then {after} bytes");
    within_10_s("its sockets are gone", || sockets(&name) == 0);
    assert_eq!(files(&litter), 0, "left behind");
}

#[test]
fn nothing_is_left_behind_when_host_and_worker_are_killed() {
    let _alone = alone();
    let program = worker::keep_private();
    let litter = litter("killed");
    let shared_before = shared();
    let (host, _) = play("both-killed", 60, &litter);
    let process = worker::the_process(program);
    let name = name_of(process);
    within_10_s("it is connected", || sockets(&name) == 2);
    std::thread::sleep(Duration::from_secs(1));
    // The host first: it would start another worker.
    drop(host);
    worker::signal(process, libc::SIGKILL);
    within_10_s("both are gone", || worker::processes(program).is_empty());
    within_10_s("their sockets are gone", || sockets(&name) == 0);
    assert_eq!(files(&litter), 0, "left behind");
    assert!(shared() <= shared_before, "shared memory is left behind");
}

#[test]
fn another_user_is_not_served() {
    const NOBODY: libc::c_long = 65_534;
    // SAFETY: a plain query.
    if unsafe { libc::geteuid() } != 0 {
        println!("SKIP another user: only root can be somebody else");
        return;
    }
    let _alone = alone();
    let program = worker::keep_private();
    let litter = litter("user");
    let (host, _) = play("user", 60, &litter);
    let name = name_of(worker::the_process(program));
    within_10_s("the host is connected", || sockets(&name) == 2);
    let heard = |become_nobody: bool| {
        let name = &name;
        std::thread::scope(|scope| {
            let stranger = scope.spawn(move || {
                if become_nobody {
                    // SAFETY: the call itself, unlike the library's function, changes this thread alone, which ends.
                    let changed =
                        unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
                    assert_eq!(changed, 0, "another user");
                }
                let address = SocketAddr::from_abstract_name(name).expect("name");
                let mut socket = UnixStream::connect_addr(&address)?;
                socket.set_read_timeout(Some(Duration::from_secs(5)))?;
                let mut bytes = [0; 64];
                socket.read(&mut bytes)
            });
            stranger.join().expect("no panic")
        })
    };
    let (own, strange) = (heard(false), heard(true));
    drop(host);
    assert!(
        matches!(own, Ok(1..)),
        "the worker greets its user: {own:?}"
    );
    match strange {
        Ok(count) => assert_eq!(count, 0, "bytes for a stranger"),
        // Closed; not merely silent until the time was over.
        Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
    }
}

#[test]
fn a_worker_without_memory_for_the_voice_is_silence_and_the_project_keeps_the_voice() {
    let _alone = alone();
    let folder = litter("memory");
    let real = &folder.join("real-worker");
    fs::copy(worker::keep_private(), real).expect("copy");
    let needed_kib = with_addresses(None, real, &folder);
    // With 92 % it still sings; with the half it does not always begin.
    with_addresses(Some(needed_kib * 2 / 3), real, &folder);
}

/// A song through a worker that may have `limit_kib` of addresses, which sings only without a limit.
/// Returns the most it had, in KiB.
fn with_addresses(limit_kib: Option<u64>, real: &Path, folder: &Path) -> u64 {
    let starts = folder.join("starts");
    let limit = limit_kib.map_or("unlimited".to_owned(), |kib| kib.to_string());
    let program = folder.join(format!("worker-{limit}"));
    // With one arena alone: glibc reserves 64 MiB of addresses for each further one, and does without where it must.
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = start ] && echo >>'{}'\nulimit -v {limit}\nMALLOC_ARENA_MAX=1 exec '{}' \"$@\"\n",
        starts.display(),
        real.display()
    );
    fs::write(&program, script).expect("write");
    worker::make_executable(&program);
    let _ = fs::remove_file(&starts);
    let saved = folder.join("state");
    let (mut host, output) = host("memory", 4, folder);
    host.arg("--save")
        .arg(&saved)
        .env("TIMBRA_WORKER", &program);
    let mut host = Playing(host.spawn().expect("the host starts"));
    let mut most_kib = 0;
    let ended = loop {
        for process in worker::processes(real) {
            most_kib = most_kib.max(addresses_kib(process));
        }
        if let Some(status) = host.0.try_wait().expect("the host can be asked") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(ended.success(), "the host lives");
    let sound = wav::read(&output).expect("read");
    let level = rms(&sound.channels[0]);
    let times = fs::read_to_string(&starts)
        .expect("started")
        .lines()
        .count();
    println!(
        "limit {limit} KiB: at most {most_kib}, level {level:.4}, worker started {times} times"
    );
    assert_eq!(
        level > 1e-3,
        limit_kib.is_none(),
        "limit {limit}: level {level}"
    );
    let state = State::parse(&fs::read(&saved).expect("read")).expect("ours");
    assert_eq!(state.field("voice").expect("voice")["name"], "trio");
    // Where memory ends while it loads: two strikes, and one to listen to the host. Where it ends just after that: as often
    // as a worker may end in half a minute. Which of the two it is differs from run to run.
    assert!(times <= 5, "started {times} times");
    within_10_s("the worker ends", || worker::processes(real).is_empty());
    most_kib
}

/// The most addresses a process has had, in KiB; none if it has ended.
fn addresses_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(0)
}
