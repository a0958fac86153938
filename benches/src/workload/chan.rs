//! Channels: two that play ping-pong, streams of values, and select.

use crate::chan::{BlockingChannels, Channel, Channels};

/// Values that fit into the channel of a stream.
const ROOM: usize = 128;
/// Senders and receivers of the crowded stream.
const CROWD: u64 = 4;

/// `n` round trips between two tasks over two channels without room, or with the least there is.
pub async fn ping_pong<R: Channels>(n: u64) -> u64 {
    let (there, mut requests) = R::One::new(0);
    let (back, mut answers) = R::One::new(0);
    let partner = R::spawn(async move {
        while let Some(i) = R::One::recv(&mut requests).await {
            R::One::send(&back, i).await;
        }
    });
    for i in 0..n {
        R::One::send(&there, i).await;
        assert_eq!(R::One::recv(&mut answers).await, Some(i));
    }
    drop(there);
    partner.await;
    n
}

/// `n` values from one task to another.
pub async fn one_to_one<R: Channels>(n: u64) -> u64 {
    let (sender, mut receiver) = R::One::new(ROOM);
    let sending = R::spawn(async move {
        for i in 0..n {
            R::One::send(&sender, i).await;
        }
    });
    let mut sum = 0;
    while let Some(i) = R::One::recv(&mut receiver).await {
        sum += i;
    }
    sending.await;
    assert_eq!(sum, n * (n - 1) / 2);
    n
}

/// `n` values from four tasks to four others.
pub async fn four_to_four<R: Channels>(n: u64) -> u64 {
    let (sender, receiver) = R::Many::new(ROOM);
    let share = n / CROWD;
    let senders: Vec<_> = (0..CROWD)
        .map(|_| {
            let sender = sender.clone();
            R::spawn(async move {
                for i in 0..share {
                    R::Many::send(&sender, i).await;
                }
            })
        })
        .collect();
    drop(sender);
    let receivers: Vec<_> = (0..CROWD)
        .map(|_| {
            let mut receiver = receiver.clone();
            R::spawn(async move {
                let mut sum = 0;
                while let Some(i) = R::Many::recv(&mut receiver).await {
                    sum += i;
                }
                sum
            })
        })
        .collect();
    drop(receiver);
    for sender in senders {
        sender.await;
    }
    let mut sum = 0;
    for receiver in receivers {
        sum += receiver.await;
    }
    assert_eq!(sum, CROWD * share * (share - 1) / 2);
    CROWD * share
}

/// [`ping_pong`] in blocking style.
pub fn blocking_ping_pong<C: BlockingChannels>(n: u64) -> u64 {
    let (there, requests) = C::channel(0);
    let (back, answers) = C::channel(0);
    let partner = C::go(move || {
        while let Some(i) = C::recv(&requests) {
            C::send(&back, i);
        }
    });
    for i in 0..n {
        C::send(&there, i);
        assert_eq!(C::recv(&answers), Some(i));
    }
    drop(there);
    C::join(partner);
    n
}

/// [`one_to_one`] in blocking style.
pub fn blocking_one_to_one<C: BlockingChannels>(n: u64) -> u64 {
    let (sender, receiver) = C::channel(ROOM);
    let sending = C::go(move || (0..n).for_each(|i| C::send(&sender, i)));
    let mut sum = 0;
    while let Some(i) = C::recv(&receiver) {
        sum += i;
    }
    C::join(sending);
    assert_eq!(sum, n * (n - 1) / 2);
    n
}

/// [`four_to_four`] in blocking style.
pub fn blocking_four_to_four<C: BlockingChannels>(n: u64) -> u64 {
    let (sender, receiver) = C::channel(ROOM);
    let share = n / CROWD;
    let senders: Vec<_> = (0..CROWD)
        .map(|_| {
            let sender = sender.clone();
            C::go(move || (0..share).for_each(|i| C::send(&sender, i)))
        })
        .collect();
    drop(sender);
    let receivers: Vec<_> = (0..CROWD)
        .map(|_| {
            let receiver = receiver.clone();
            C::go(move || {
                let mut sum = 0;
                while let Some(i) = C::recv(&receiver) {
                    sum += i;
                }
                sum
            })
        })
        .collect();
    drop(receiver);
    senders.into_iter().for_each(C::join);
    let sum: u64 = receivers.into_iter().map(C::join).sum();
    assert_eq!(sum, CROWD * share * (share - 1) / 2);
    CROWD * share
}
