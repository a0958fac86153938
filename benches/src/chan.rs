//! The channels that users of each runtime take, behind one pair of traits: async, and in blocking style.
//!
//! gort's is one type for all. tokio's has one receiver; where several are needed its users take async-channel, as smol's do.
//! None of tokio, async-channel and may has unbuffered channels: where gort and Go pass a value from hand to hand, tokio and
//! async-channel have room for one, and may for any number, which is less work.

use std::future::Future;

use gort::Wait as _;

use crate::Rt;
use crate::co::{Co, GortGo, May};
use crate::rt::{Gort, Smol, Tokio};

/// One kind of channel.
pub trait Channel: 'static {
    /// The sending end.
    type Sender: Clone + Send + Sync + 'static;
    /// The receiving end.
    type Receiver: Send + 'static;

    /// A channel with room for `capacity` values, or the least room that there is.
    fn new(capacity: usize) -> (Self::Sender, Self::Receiver);

    /// Sends a value; there is a receiver.
    fn send(sender: &Self::Sender, value: u64) -> impl Future<Output = ()> + Send;

    /// Receives a value, or learns that all senders have gone.
    fn recv(receiver: &mut Self::Receiver) -> impl Future<Output = Option<u64>> + Send;
}

/// A runtime with its users' channels.
pub trait Channels: Rt {
    /// For one receiver.
    type One: Channel;
    /// For several.
    type Many: Channel<Receiver: Clone>;
}

/// gort's channel.
#[derive(Debug)]
pub enum GortChannel {}

impl Channel for GortChannel {
    type Sender = gort::chan::Sender<u64>;
    type Receiver = gort::chan::Receiver<u64>;

    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        gort::chan::bounded(capacity)
    }

    async fn send(sender: &Self::Sender, value: u64) {
        sender.send(value).await.expect("there is a receiver");
    }

    async fn recv(receiver: &mut Self::Receiver) -> Option<u64> {
        receiver.recv().await.ok()
    }
}

impl Channels for Gort {
    type One = GortChannel;
    type Many = GortChannel;
}

/// tokio's channel for one receiver.
#[derive(Debug)]
pub enum TokioMpsc {}

impl Channel for TokioMpsc {
    type Sender = tokio::sync::mpsc::Sender<u64>;
    type Receiver = tokio::sync::mpsc::Receiver<u64>;

    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        tokio::sync::mpsc::channel(capacity.max(1))
    }

    async fn send(sender: &Self::Sender, value: u64) {
        sender.send(value).await.expect("there is a receiver");
    }

    async fn recv(receiver: &mut Self::Receiver) -> Option<u64> {
        receiver.recv().await
    }
}

impl Channels for Tokio {
    type One = TokioMpsc;
    type Many = AsyncChannel;
}

/// smol's channel.
#[derive(Debug)]
pub enum AsyncChannel {}

impl Channel for AsyncChannel {
    type Sender = async_channel::Sender<u64>;
    type Receiver = async_channel::Receiver<u64>;

    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        async_channel::bounded(capacity.max(1))
    }

    async fn send(sender: &Self::Sender, value: u64) {
        sender.send(value).await.expect("there is a receiver");
    }

    async fn recv(receiver: &mut Self::Receiver) -> Option<u64> {
        receiver.recv().await.ok()
    }
}

impl Channels for Smol {
    type One = AsyncChannel;
    type Many = AsyncChannel;
}

/// A runtime with coroutines, and its channel.
pub trait BlockingChannels: Co {
    /// The sending end.
    type Sender: Clone + Send + 'static;
    /// The receiving end.
    type Receiver: Clone + Send + 'static;

    /// A channel with room for `capacity` values, or the least room that there is.
    fn channel(capacity: usize) -> (Self::Sender, Self::Receiver);

    /// Sends a value; there is a receiver.
    fn send(sender: &Self::Sender, value: u64);

    /// Receives a value, or learns that all senders have gone.
    fn recv(receiver: &Self::Receiver) -> Option<u64>;
}

impl BlockingChannels for GortGo {
    type Sender = gort::chan::Sender<u64>;
    type Receiver = gort::chan::Receiver<u64>;

    fn channel(capacity: usize) -> (Self::Sender, Self::Receiver) {
        gort::chan::bounded(capacity)
    }

    fn send(sender: &Self::Sender, value: u64) {
        sender.send(value).wait().expect("there is a receiver");
    }

    fn recv(receiver: &Self::Receiver) -> Option<u64> {
        receiver.recv().wait().ok()
    }
}

impl BlockingChannels for May {
    type Sender = may::sync::mpmc::Sender<u64>;
    type Receiver = may::sync::mpmc::Receiver<u64>;

    fn channel(_: usize) -> (Self::Sender, Self::Receiver) {
        may::sync::mpmc::channel()
    }

    fn send(sender: &Self::Sender, value: u64) {
        sender.send(value).expect("there is a receiver");
    }

    fn recv(receiver: &Self::Receiver) -> Option<u64> {
        receiver.recv().ok()
    }
}
