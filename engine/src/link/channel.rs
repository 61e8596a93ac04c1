//! A socket between a host and the worker: messages, each with at most one descriptor, between processes of one user.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest message, in bytes. The longest real one lists folders and speakers.
const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// Longest that sending may take: the other side reads at once, or is stuck.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// One connection.
pub(super) struct Channel {
    socket: UnixStream,
}

impl Channel {
    /// Connects to the worker that listens under `key`.
    pub fn connect(key: &str) -> io::Result<Self> {
        Self::new(UnixStream::connect_addr(&address(key)?)?)
    }

    fn new(socket: UnixStream) -> io::Result<Self> {
        let (other, own) = (peer_user(&socket)?, rustix::process::getuid().as_raw());
        if other != own {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("the other end belongs to user {other}, not to user {own}"),
            ));
        }
        socket.set_nonblocking(false)?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(Self { socket })
    }

    /// Sends a message; not to be called by two threads at once.
    pub fn send(&self, message: &impl Serialize, memory: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut bytes = vec![0; 4];
        serde_json::to_writer(&mut bytes, message)?;
        let length = bytes.len() - 4;
        if length > MAX_MESSAGE_BYTES {
            return Err(io::Error::other(format!("a message of {length} bytes")));
        }
        bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
        let mut sent = 0;
        while sent < bytes.len() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let descriptors = memory.map(|memory| [memory]);
            if let Some(descriptors) = descriptors.as_ref().filter(|_| sent == 0) {
                ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
            }
            let rest = [IoSlice::new(&bytes[sent..])];
            match rustix::net::sendmsg(&self.socket, &rest, &mut ancillary, send_flags()) {
                Ok(count) => sent += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits at most `timeout` for a message to begin, or for the end.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            Ok(count) => Ok(count > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The next message with what came along; `None` when the other side is gone.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Option<OwnedFd>)>> {
        let mut head = [0u8; 4];
        let mut memory = None;
        let mut read = 0;
        while read < head.len() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut rest = [IoSliceMut::new(&mut head[read..])];
            let count = match rustix::net::recvmsg(
                &self.socket,
                &mut rest,
                &mut ancillary,
                receive_flags(),
            ) {
                Ok(received) => received.bytes,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    // Any further ones are closed here.
                    memory = descriptors.into_iter().next().or(memory);
                }
            }
            if count == 0 {
                return Ok(None);
            }
            read += count;
        }
        let length = u32::from_le_bytes(head) as usize;
        if length > MAX_MESSAGE_BYTES {
            return Err(io::Error::other(format!("a message of {length} bytes")));
        }
        let mut bytes = vec![0; length];
        (&self.socket).read_exact(&mut bytes)?;
        Ok(Some((serde_json::from_slice(&bytes)?, memory)))
    }

    /// Ends the connection; whoever waits for a message sees the end.
    pub fn shut(&self) {
        // It may have ended already.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// The worker's ear.
pub(super) struct Ear {
    listener: UnixListener,
}

impl Ear {
    /// Listens under `key`; fails with `AddrInUse` when another worker does.
    pub fn bind(key: &str) -> io::Result<Self> {
        let address = address(key)?;
        let listener = UnixListener::bind_addr(&address).or_else(|error| {
            // Without abstract names a worker that was killed leaves an empty file behind, which is taken over.
            match address.as_pathname() {
                Some(path)
                    if error.kind() == io::ErrorKind::AddrInUse
                        && UnixStream::connect(path).is_err() =>
                {
                    std::fs::remove_file(path)?;
                    UnixListener::bind_addr(&address)
                }
                _ => Err(error),
            }
        })?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener })
    }

    /// The next connection of this user's within `timeout`.
    pub fn accept(&self, timeout: Duration) -> Option<Channel> {
        let mut polled = [PollFd::new(&self.listener, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // Whatever goes wrong here, the next one is waited for.
        let _ = rustix::event::poll(&mut polled, Some(&timeout));
        let (socket, _) = self.listener.accept().ok()?;
        Channel::new(socket).ok()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let address = self.listener.local_addr();
        if let Some(path) = address.as_ref().ok().and_then(SocketAddr::as_pathname) {
            // An empty file that nobody listens at is taken over by the next worker.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Where the worker `key` of this user listens: no file, where the system can do without.
fn address(key: &str) -> io::Result<SocketAddr> {
    let name = format!("timbra-{}-{key}", rustix::process::getuid().as_raw());
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        SocketAddr::from_abstract_name(name)
    }
    #[cfg(not(target_os = "linux"))]
    {
        SocketAddr::from_pathname(std::env::temp_dir().join(name))
    }
}

#[cfg(target_os = "linux")]
fn peer_user(socket: &UnixStream) -> io::Result<u32> {
    Ok(rustix::net::sockopt::socket_peercred(socket)?.uid.as_raw())
}

#[cfg(not(target_os = "linux"))]
fn peer_user(socket: &UnixStream) -> io::Result<u32> {
    use std::os::fd::AsRawFd;
    let (mut user, mut group) = (0, 0);
    // SAFETY: the socket is open, and both places can be written.
    if unsafe { libc::getpeereid(socket.as_raw_fd(), &raw mut user, &raw mut group) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(user)
}

/// A host that does not expect it would be ended by the signal of a broken pipe.
fn send_flags() -> SendFlags {
    #[cfg(not(target_vendor = "apple"))]
    return SendFlags::NOSIGNAL;
    // There the standard library asks for it when it makes a socket.
    #[cfg(target_vendor = "apple")]
    return SendFlags::empty();
}

/// A descriptor must not leak into programs the host starts.
fn receive_flags() -> RecvFlags {
    #[cfg(not(target_vendor = "apple"))]
    return RecvFlags::CMSG_CLOEXEC;
    #[cfg(target_vendor = "apple")]
    return RecvFlags::empty();
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn messages_and_memory_arrive_and_the_end_is_seen() {
        let key = format!("test-{}", std::process::id());
        assert!(Channel::connect(&key).is_err(), "nobody listens yet");
        let ear = Ear::bind(&key).unwrap();
        assert_eq!(
            Ear::bind(&key).err().unwrap().kind(),
            io::ErrorKind::AddrInUse
        );
        let here = Channel::connect(&key).unwrap();
        let there = ear.accept(Duration::from_secs(5)).unwrap();
        assert!(!there.wait(Duration::ZERO).unwrap());
        let memory = std::fs::File::open("/dev/null").unwrap();
        here.send(&"first".to_owned(), Some(memory.as_fd()))
            .unwrap();
        // Longer than what the socket holds.
        let sender = std::thread::spawn(move || here.send(&vec![7u8; 300_000], None).unwrap());
        assert!(there.wait(Duration::from_secs(5)).unwrap());
        let (text, descriptor) = there.receive::<String>().unwrap().unwrap();
        assert_eq!((text.as_str(), descriptor.is_some()), ("first", true));
        let (bytes, descriptor) = there.receive::<Vec<u8>>().unwrap().unwrap();
        assert_eq!((bytes.len(), descriptor.is_none()), (300_000, true));
        sender.join().unwrap();
        assert!(there.wait(Duration::from_secs(5)).unwrap());
        assert!(there.receive::<String>().unwrap().is_none());
    }
}
