//! The worker's process, seen and disturbed from outside (Linux).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::bundles;

/// Has the plugin in this process use a worker of its own: a copy of the bundle's program with a few bytes more, which
/// makes it another worker. Tests that stop or kill it then disturb nobody else.
///
/// # Panics
/// When the copy cannot be written.
pub fn keep_private() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = bundles::folder().join("../test-voices");
        fs::create_dir_all(&folder).expect("folder");
        let folder = folder.canonicalize().expect("folder");
        let program = folder.join(format!("timbra-worker-{}", std::process::id()));
        let mut bytes =
            fs::read(bundles::folder().join("lib/timbra-worker")).expect("the bundle has a worker");
        bytes.extend(std::process::id().to_le_bytes());
        fs::write(&program, bytes).expect("write");
        make_executable(&program);
        // SAFETY: called before the plugin of this process is activated for the first time, by every test.
        unsafe {
            std::env::set_var("TIMBRA_WORKER", &program);
            std::env::set_var("TIMBRA_ISOLATION", "process");
        }
        program
    })
}

/// Lets a file be run.
///
/// # Panics
/// When it cannot be.
pub fn make_executable(program: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("permissions");
    }
    #[cfg(not(unix))]
    let _ = program;
}

/// Processes that run `program` and serve, by id.
#[must_use]
pub fn processes(program: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|process| {
            let serves = fs::read(format!("/proc/{process}/cmdline"))
                .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == b"serve"));
            serves && fs::read_link(format!("/proc/{process}/exe")).is_ok_and(|exe| exe == program)
        })
        .collect()
}

/// The one process that runs `program`, waiting for it a little.
///
/// # Panics
/// When there is none, or more than one.
#[must_use]
pub fn the_process(program: &Path) -> u32 {
    let began = Instant::now();
    loop {
        let found = processes(program);
        if let [one] = found[..] {
            return one;
        }
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "one worker is expected, not {found:?}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sends a signal by its number.
#[cfg(unix)]
pub fn signal(process: u32, number: i32) {
    // SAFETY: the process is a worker that a test has started; one that has ended is an error that changes nothing.
    unsafe { libc::kill(process as i32, number) };
}

/// Memory that would be free again without the process, in bytes: its own, and its part of what it shares.
#[must_use]
pub fn proportional_bytes(process: u32) -> u64 {
    fs::read_to_string(format!("/proc/{process}/smaps_rollup"))
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("Pss:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .unwrap_or(0)
        * 1024
}

/// What a process has had of processors.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    /// Time on them.
    pub time: Duration,
    /// How often a thread of it came to run.
    pub turns: u64,
}

impl std::ops::Sub for Spent {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            time: self.time.saturating_sub(earlier.time),
            turns: self.turns.saturating_sub(earlier.turns),
        }
    }
}

impl std::iter::Sum for Spent {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            time: sum.time + one.time,
            turns: sum.turns + one.turns,
        })
    }
}

/// What all threads of a process have had of processors.
#[must_use]
pub fn spent(process: u32) -> Spent {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Spent::default();
    };
    tasks.filter_map(|task| spent_of(&task.ok()?.path())).sum()
}

/// What the calling thread has had of processors.
#[must_use]
pub fn spent_here() -> Spent {
    spent_of(Path::new("/proc/thread-self")).unwrap_or_default()
}

/// What a thread has had of processors, from its folder under `/proc`.
fn spent_of(task: &Path) -> Option<Spent> {
    // Nanoseconds on a processor, nanoseconds of waiting for one, turns.
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    let mut numbers = text.split_whitespace().map(str::parse);
    let (time, _, turns) = (numbers.next()?, numbers.next()?, numbers.next()?);
    Some(Spent {
        time: Duration::from_nanos(time.ok()?),
        turns: turns.ok()?,
    })
}
