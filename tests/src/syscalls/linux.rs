//! A seccomp filter on the audio thread reports every system call to a supervisor, which lets it go on and notes it if
//! the plugin was being called just then. What needs no kernel (clocks read through the vDSO, a lock nobody holds) does
//! not show. The filter cannot be taken off again and goes with the thread. Needs Linux 5.5.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

use super::Calls;

#[derive(Debug, Default)]
struct Shared {
    inside: AtomicBool,
    listener: AtomicI32,
    done: AtomicBool,
    calls: Mutex<Calls>,
}

thread_local! {
    /// Set while this thread is watched.
    static WATCHED: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
}

/// Runs the plugin's code: system calls count here.
pub fn inside<T>(plugin: impl FnOnce() -> T) -> T {
    let shared = WATCHED.with(|watched| watched.borrow().clone());
    let set = |value| {
        if let Some(shared) = &shared {
            shared.inside.store(value, Ordering::SeqCst);
        }
    };
    set(true);
    let result = plugin();
    set(false);
    result
}

/// Watches one thread.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

impl Default for Watch {
    fn default() -> Self {
        let shared = Arc::new(Shared {
            listener: AtomicI32::new(-1),
            ..Shared::default()
        });
        Self {
            shared,
            supervisor: Mutex::default(),
        }
    }
}

impl Watch {
    /// Watches the calling thread from here to its end.
    ///
    /// # Errors
    /// The kernel does not allow it.
    pub fn this_thread(&self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let supervisor = std::thread::spawn(move || supervise(&shared));
        *self
            .supervisor
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(supervisor);
        WATCHED.with(|watched| *watched.borrow_mut() = Some(Arc::clone(&self.shared)));
        let listener = install().context("seccomp filter")?;
        self.shared.listener.store(listener, Ordering::SeqCst);
        Ok(())
    }

    /// What was seen; the watched thread has ended.
    pub fn finish(self) -> Calls {
        self.shared.done.store(true, Ordering::SeqCst);
        let supervisor = self.supervisor.into_inner();
        if let Some(thread) = supervisor.unwrap_or_else(PoisonError::into_inner) {
            // It only ends early when the kernel refused, and then nothing was seen.
            let _ = thread.join();
        }
        let calls = &self.shared.calls;
        calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A filter that reports everything; gives the listener's descriptor.
fn install() -> std::io::Result<i32> {
    let mut program = [libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_USER_NOTIF,
    }];
    let program = libc::sock_fprog {
        len: 1,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: both calls take numbers and a pointer to a program that outlives them; the thread gives up privileges only.
    let listener = unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    if listener < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(listener as i32)
}

fn supervise(shared: &Shared) {
    let listener = loop {
        let listener = shared.listener.load(Ordering::SeqCst);
        if listener >= 0 {
            break listener;
        }
        if shared.done.load(Ordering::SeqCst) {
            return;
        }
        std::thread::yield_now();
    };
    while !shared.done.load(Ordering::SeqCst) {
        let mut ready = libc::pollfd {
            fd: listener,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one structure, as announced.
        let polled = unsafe { libc::poll(&raw mut ready, 1, 20) };
        if polled <= 0 || ready.revents & libc::POLLIN == 0 {
            continue;
        }
        // SAFETY: plain numbers; the kernel wants them zeroed and fills or reads structures of the sizes announced.
        unsafe {
            let mut call: libc::seccomp_notif = std::mem::zeroed();
            if libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) != 0 {
                continue;
            }
            if shared.inside.load(Ordering::SeqCst) {
                let mut calls = shared.calls.lock().unwrap_or_else(PoisonError::into_inner);
                *calls.entry(name(&call.data)).or_default() += 1;
            }
            let mut response: libc::seccomp_notif_resp = std::mem::zeroed();
            response.id = call.id;
            response.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
            libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response);
        }
    }
    // SAFETY: the descriptor is this function's; the thread that used the filter has ended.
    unsafe { libc::close(listener) };
}

fn name(call: &libc::seccomp_data) -> String {
    let number = i64::from(call.nr);
    if number == libc::SYS_futex {
        // The low bits are the operation, the others say how.
        return match call.args[1] as i32 & 127 {
            libc::FUTEX_WAKE | libc::FUTEX_WAKE_BITSET => "futex wake".to_owned(),
            _ => "futex wait".to_owned(),
        };
    }
    let known = [
        (libc::SYS_nanosleep, "nanosleep"),
        (libc::SYS_clock_nanosleep, "clock_nanosleep"),
        (libc::SYS_clock_gettime, "clock_gettime"),
        (libc::SYS_write, "write"),
        (libc::SYS_mmap, "mmap"),
        (libc::SYS_munmap, "munmap"),
        (libc::SYS_mprotect, "mprotect"),
        (libc::SYS_brk, "brk"),
        (libc::SYS_madvise, "madvise"),
        (libc::SYS_gettid, "gettid"),
        (libc::SYS_sched_yield, "sched_yield"),
        (libc::SYS_openat, "openat"),
    ];
    known
        .iter()
        .find(|(other, _)| *other == number)
        .map_or_else(
            || format!("system call {number}"),
            |(_, name)| (*name).to_owned(),
        )
}
