//! Random programs.
//!
//! First against a model: futures of one channel are made, polled and dropped by one thread, and
//! each result is compared with that of a channel made of plain queues. Then without a model: up to
//! eight bodies of all kinds do what comes to mind, and in the end the books must balance.

mod chan_kinds;

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};

use futures::FutureExt;
use gort::chan::{Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError};
use gort::chan::{bounded, unbounded};
use gort::prelude::*;
use gort_tests::{CountWaker, Rng, for_procs};

use chan_kinds::{Kind, start};

type SendResult = Result<(), SendError<u64>>;
type RecvResult = Result<u64, RecvError>;

/// What a waiting operation of the model has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Waiting,
    /// Of a receive: the value and its turn. Of a send: (0, 0).
    Served(u64, u64),
    Closed,
}

/// A channel made of queues. Operations are named by numbers, and looked up in `states`.
#[derive(Debug, Default)]
struct Model {
    capacity: Option<usize>,
    closed: bool,
    buffer: VecDeque<u64>,
    /// Values whose receivers went, by turns.
    returned: Vec<(u64, u64)>,
    receivers: VecDeque<usize>,
    senders: VecDeque<(usize, u64)>,
    states: Vec<State>,
    turns: u64,
}

impl Model {
    fn has_room(&self) -> bool {
        self.capacity.is_none_or(|capacity| self.buffer.len() < capacity)
    }

    fn hand_over(&mut self, value: u64) -> bool {
        let Some(receiver) = self.receivers.pop_front() else { return false };
        self.states[receiver] = State::Served(value, self.turns);
        self.turns += 1;
        true
    }

    fn try_send(&mut self, value: u64) -> Result<(), TrySendError<u64>> {
        if self.closed {
            Err(TrySendError::Disconnected(value))
        } else if self.hand_over(value) {
            Ok(())
        } else if self.has_room() {
            self.buffer.push_back(value);
            Ok(())
        } else {
            Err(TrySendError::Full(value))
        }
    }

    fn try_recv(&mut self) -> Result<u64, TryRecvError> {
        if !self.returned.is_empty() {
            return Ok(self.returned.remove(0).1);
        }
        let mut value = self.buffer.pop_front();
        if !self.closed
            && (value.is_some() || self.capacity == Some(0))
            && let Some((sender, waiting)) = self.senders.pop_front()
        {
            self.states[sender] = State::Served(0, 0);
            match value {
                Some(_) => self.buffer.push_back(waiting),
                None => value = Some(waiting),
            }
        }
        let none = if self.closed { TryRecvError::Disconnected } else { TryRecvError::Empty };
        value.ok_or(none)
    }

    fn poll_send(&mut self, id: usize, value: u64) -> Poll<SendResult> {
        if self.states[id] == State::New {
            match self.try_send(value) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(TrySendError::Disconnected(value)) => {
                    return Poll::Ready(Err(SendError(value)));
                }
                Err(TrySendError::Full(_)) => {
                    self.states[id] = State::Waiting;
                    self.senders.push_back((id, value));
                }
            }
        }
        match self.states[id] {
            State::Served(..) => Poll::Ready(Ok(())),
            State::Closed => Poll::Ready(Err(SendError(value))),
            _ => Poll::Pending,
        }
    }

    fn poll_recv(&mut self, id: usize) -> Poll<RecvResult> {
        if self.states[id] == State::New {
            match self.try_recv() {
                Ok(value) => return Poll::Ready(Ok(value)),
                Err(TryRecvError::Disconnected) => return Poll::Ready(Err(RecvError)),
                Err(TryRecvError::Empty) => {
                    self.states[id] = State::Waiting;
                    self.receivers.push_back(id);
                }
            }
        }
        match self.states[id] {
            State::Served(value, _) => Poll::Ready(Ok(value)),
            State::Closed => Poll::Ready(Err(RecvError)),
            _ => Poll::Pending,
        }
    }

    fn drop_send(&mut self, id: usize) {
        self.senders.retain(|(sender, _)| *sender != id);
    }

    fn drop_recv(&mut self, id: usize) {
        self.receivers.retain(|receiver| *receiver != id);
        if let State::Served(value, turn) = self.states[id]
            && !self.hand_over(value)
        {
            let at = self.returned.partition_point(|(there, _)| *there < turn);
            self.returned.insert(at, (turn, value));
        }
    }

    fn close(&mut self) -> bool {
        let senders = self.senders.drain(..).map(|(sender, _)| sender);
        for id in self.receivers.drain(..).chain(senders) {
            self.states[id] = State::Closed;
        }
        !std::mem::replace(&mut self.closed, true)
    }
}

enum Op<'a> {
    Send(Pin<Box<dyn Future<Output = SendResult> + 'a>>, u64),
    Recv(Pin<Box<dyn Future<Output = RecvResult> + 'a>>),
}

/// One random program of one thread, against the model.
fn against_the_model(rng: &mut Rng) {
    let capacity = [None, Some(0), Some(1), Some(3)][rng.below(4) as usize];
    let (tx, rx) = capacity.map_or_else(unbounded, bounded);
    let mut model = Model { capacity, ..Model::default() };
    let wakers: Vec<_> = (0..3).map(|_| CountWaker::pair()).collect();
    let mut ops: Vec<(usize, Op<'_>)> = Vec::new();
    for value in 0..120 {
        match rng.below(12) {
            0 => assert_eq!(tx.try_send(value), model.try_send(value)),
            1 => assert_eq!(rx.try_recv(), model.try_recv()),
            2 if value > 60 && rng.one_in(10) => assert_eq!(tx.close(), model.close()),
            2..=4 => {
                model.states.push(State::New);
                let id = model.states.len() - 1;
                ops.push((id, Op::Send(Box::pin(tx.send(value)), value)));
            }
            5..=7 => {
                model.states.push(State::New);
                let id = model.states.len() - 1;
                // In a select with one case, in two of the same channel, or plain.
                let recv: Pin<Box<dyn Future<Output = RecvResult>>> = match rng.below(2) {
                    0 => Box::pin(async {
                        select_async! { recv(rx) -> value => value }
                    }),
                    _ => Box::pin(rx.recv()),
                };
                ops.push((id, Op::Recv(recv)));
            }
            n if !ops.is_empty() => {
                let at = rng.below(ops.len() as u64) as usize;
                let waker = &wakers[rng.below(3) as usize].1;
                if n == 11 || poll_one(&mut model, &mut ops[at], waker) {
                    let (id, op) = ops.swap_remove(at);
                    if n == 11 {
                        match op {
                            Op::Send(..) => model.drop_send(id),
                            Op::Recv(_) => model.drop_recv(id),
                        }
                    }
                }
            }
            _ => {}
        }
        assert_eq!(tx.len(), model.buffer.len() + model.returned.len());
        assert_eq!(rx.is_closed(), model.closed);
    }
}

/// Polls an operation in both worlds. True if it is over.
fn poll_one(model: &mut Model, (id, op): &mut (usize, Op<'_>), waker: &Waker) -> bool {
    let mut cx = Context::from_waker(waker);
    match op {
        Op::Send(future, value) => {
            let polled = future.as_mut().poll(&mut cx);
            assert_eq!(polled, model.poll_send(*id, *value));
            polled.is_ready()
        }
        Op::Recv(future) => {
            let polled = future.as_mut().poll(&mut cx);
            assert_eq!(polled, model.poll_recv(*id));
            polled.is_ready()
        }
    }
}

#[test]
fn one_thread_against_the_model() {
    let mut rng = Rng::from_env();
    for _ in 0..3000 {
        against_the_model(&mut rng);
    }
}

/// A value that counts its drops.
#[derive(Debug)]
struct Value {
    id: usize,
    drops: Arc<[AtomicUsize]>,
}

impl Drop for Value {
    fn drop(&mut self) {
        assert_eq!(self.drops[self.id].fetch_add(1, SeqCst), 0, "dropped twice");
    }
}

/// What became of the values of a body.
#[derive(Debug, Default)]
struct Books {
    /// The send gave `Ok`.
    sent: HashSet<usize>,
    /// The send was dropped: one or the other.
    unsure: HashSet<usize>,
    received: Vec<usize>,
}

const BODIES: u64 = 8;
const VALUES: usize = 60;

/// What each body does with its three channels.
struct Program {
    rng: Rng,
    first: usize,
    drops: Arc<[AtomicUsize]>,
    txs: Vec<Sender<Value>>,
    rxs: Vec<Receiver<Value>>,
    books: Books,
}

impl Program {
    async fn run(mut self) -> Books {
        for i in 0..VALUES {
            let value = Value { id: self.first + i, drops: self.drops.clone() };
            let (tx, rx) = (self.rng.below(3) as usize, self.rng.below(3) as usize);
            match self.rng.below(9) {
                0 => self.sent(value.id, self.txs[tx].try_send(value).map_err(drop)),
                1 => {
                    let received = self.rxs[rx].try_recv();
                    self.received(received.ok());
                }
                2 | 3 => {
                    let id = value.id;
                    let send = self.txs[tx].clone();
                    match self.some_polls(send.send(value)).await {
                        Some(result) => self.sent(id, result.map_err(drop)),
                        None => _ = self.books.unsure.insert(id),
                    }
                }
                4 | 5 => {
                    let recv = self.rxs[rx].clone();
                    let received = self.some_polls(recv.recv()).await;
                    self.received(received.and_then(Result::ok));
                }
                6 | 7 => self.select(value, tx, rx).await,
                _ if self.rng.one_in(40) => _ = self.txs[tx].close(),
                _ => gort::yield_now().await,
            }
        }
        self.books
    }

    fn sent(&mut self, id: usize, result: Result<(), ()>) {
        if result.is_ok() {
            self.books.sent.insert(id);
        }
    }

    fn received(&mut self, value: Option<Value>) {
        self.books.received.extend(value.map(|value| value.id));
    }

    async fn select(&mut self, value: Value, tx: usize, rx: usize) {
        let (txs, rxs) = (self.txs.clone(), self.rxs.clone());
        let id = value.id;
        let select = async {
            select_async! {
                send(txs[tx], value) -> result => Err(result.map_err(drop)),
                recv(rxs[rx]) -> value => Ok(value.ok()),
                recv(rxs[(rx + 1) % 3]) -> value => Ok(value.ok()),
            }
        };
        match self.some_polls(select).await {
            Some(Err(result)) => self.sent(id, result),
            Some(Ok(value)) => self.received(value),
            None => {} // then it has done nothing
        }
    }

    /// Polls a few times, in between others run; then it is dropped.
    async fn some_polls<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        for _ in 0..=self.rng.below(6) {
            if let Some(output) = futures::poll!(future.as_mut()).map(Some).into_option() {
                return output;
            }
            gort::yield_now().await;
        }
        future.now_or_never()
    }
}

trait IntoOption<T> {
    fn into_option(self) -> Option<T>;
}

impl<T> IntoOption<T> for Poll<T> {
    fn into_option(self) -> Option<T> {
        match self {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }
}

#[test]
fn the_books_balance() {
    let rng = std::cell::RefCell::new(Rng::from_env());
    for_procs(|rt| {
        for _ in 0..40 {
            let mut rng = rng.borrow_mut();
            let bodies = 1 + rng.below(BODIES) as usize;
            let drops: Arc<[_]> = (0..bodies * VALUES).map(|_| AtomicUsize::new(0)).collect();
            let channels = [bounded(0), bounded(rng.below(4) as usize), unbounded()];
            let (txs, rxs): (Vec<_>, Vec<_>) = channels.into_iter().unzip();
            let started: Vec<_> = (0..bodies)
                .map(|i| {
                    let program = Program {
                        rng: rng.split(),
                        first: i * VALUES,
                        drops: drops.clone(),
                        txs: txs.clone(),
                        rxs: rxs.clone(),
                        books: Books::default(),
                    };
                    let kinds = [Kind::Task, Kind::Goroutine, Kind::Thread, Kind::Foreign];
                    start(&rt.handle(), kinds[rng.below(4) as usize], program.run())
                })
                .collect();
            let mut all = Books::default();
            for body in started {
                let books = body.join();
                all.sent.extend(books.sent);
                all.unsure.extend(books.unsure);
                all.received.extend(books.received);
            }
            // What is left inside.
            all.received.extend(rxs.iter().flat_map(Receiver::try_iter).map(|value| value.id));
            let received: HashSet<_> = all.received.iter().copied().collect();
            assert_eq!(received.len(), all.received.len(), "received twice");
            assert!(all.sent.is_subset(&received), "lost: {:?}", all.sent.difference(&received));
            let made_up = received.difference(&all.sent).find(|id| !all.unsure.contains(id));
            assert_eq!(made_up, None, "received, but not sent");
            drop((txs, rxs));
            assert!(drops.iter().all(|n| n.load(SeqCst) == 1), "a value was not dropped");
        }
    });
}
