//! The network poller of the gort runtime: readiness from [mio], delivered as [`Waker`]s.
//!
//! This crate knows mio and [`std::task::Waker`], and nothing of gort. It has no thread of its
//! own: the scheduler's threads poll, when they look for work and when there is none.
//!
//! # The contract
//!
//! What a scheduler calls:
//!
//! - [`Netpoll::new`]: one per runtime.
//! - [`Netpoll::waiters`]: is anything registered? If not, a poll is a waste.
//! - [`Netpoll::try_poll`]: collect what is ready, without blocking. Any thread, between two tasks.
//! - [`Netpoll::blocker`], [`Blocker::prepare`], [`Blocker::block`]: the last resort of one thread
//!   that has nothing to run: announce, look again, sleep until an event or a deadline.
//! - [`Netpoll::break_`]: there is work, get the sleeper out.
//! - [`Netpoll::wake_at`]: a timer earlier than the sleeper's deadline has been armed.
//! - [`Netpoll::close`]: the runtime shuts down; nobody waits any longer.
//!
//! What a socket calls:
//!
//! - [`Netpoll::register`], [`Netpoll::register_connecting`], [`Netpoll::deregister`]: one
//!   edge-triggered registration for both directions, from the socket's birth to its end.
//! - [`Desc::poll_ready`]: may I try? If not, wake me when I may.
//! - [`Desc::ready`]: the same, without waiting.
//! - [`Desc::clear`]: I tried, and the kernel had nothing (more) for me.
//! - [`Desc::expire`], [`Desc::revive`]: a deadline of the socket has passed, or lies ahead again.
//!
//! # Edges, ticks and generations
//!
//! The kernel tells each change once. So readiness is remembered in a slot per socket, and taken
//! back only by the one who found it false: `clear` names the tick of the readiness it saw, and
//! does nothing if an event has come since. A token holds the slot's index and its generation, so
//! that an event of a socket already closed cannot reach the next owner of the slot; slots are
//! never freed while the `Netpoll` or any `Desc` lives.
//!
//! # One poller at a time
//!
//! `mio::Poll::poll` takes `&mut self`, and its waker is edge-triggered: whoever polls first
//! swallows the wake. Hence a lock, and the rule that a blocking poller is *published* only by the
//! holder of that lock: a wake is sent only to a published sleeper, and while there is one nobody
//! else polls. Rejected: a lock-free poller on raw epoll (level-triggered eventfd, as Go has it;
//! then this crate would be a second mio), and a poller thread (each event would cost two context
//! switches).
//!
//! # Deadlines
//!
//! epoll's timeout counts milliseconds. A sleep that is to end within 100 µs of its deadline needs a
//! timerfd, registered like a socket. Being edge-triggered it is never read, and it is set only
//! when the time it is set for would let the sleeper oversleep.
//!
//! The proofs of the two protocols stand in this crate's README; the loom models of both beside
//! the code, in `slot.rs` and `handshake.rs`.
//!
//! [`Waker`]: std::task::Waker

#![deny(unsafe_code)] // and none is needed
#![warn(missing_debug_implementations)]
#![cfg_attr(all(test, loom), allow(dead_code))] // the models leave out the callers

#[cfg(not(target_pointer_width = "64"))]
compile_error!("gort-netpoll packs index and generation of a slot into a 64-bit token");

mod handshake;
mod loom;
mod slot;

#[cfg(not(all(test, loom)))]
mod desc;
#[cfg(not(all(test, loom)))]
mod poller;
#[cfg(not(all(test, loom)))]
mod slab;
#[cfg(not(all(test, loom)))]
mod timer;

pub use self::slot::{Direction, Readiness, Wakers};
#[cfg(not(all(test, loom)))]
pub use self::{
    desc::Desc,
    poller::{Blocker, Netpoll},
};
