//! The worker in a process of its own.
//!
//! A voice's graphs may crash, leak or be killed; the host must not go with them. So the worker can run in a process
//! `timbra-worker`, started by the first host that needs it, shared by all hosts of a user, with one copy of the
//! voices. Audio and controls go through the same rings as inside one process, in memory both have mapped
//! ([`memory`]); everything that is not urgent goes as messages over a socket ([`channel`], [`message`]).
//!
//! [`client`] is the host's side. When the worker is gone it starts another one, opens every stream anew in fresh
//! memory, and hands the audio thread the ends to it. [`server`] is the worker's side: it has the threads of
//! [`crate::service`] work on the streams of the hosts that are connected, and ends when none has been for a while.
//!
//! Nothing outlives a crash: the memory has no name, the socket lies in no folder (on Linux), and the worker sees the
//! end of a host by its socket.

mod channel;
mod client;
mod far_stream;
mod memory;
mod message;
pub mod server;

pub(crate) use client::Link;
pub(crate) use far_stream::FarStream;
