//! How one of several cases is chosen. Go: selectgo, in three passes.
//!
//! 1. Look, without any lock, which cases seem ready; take the lock of one of these, chosen with
//!    equal chances, and complete it if it is ready indeed. That is all, mostly.
//! 2. Take the locks of all channels, in the order of their addresses, so that two selects never
//!    wait for each other. Look again, from a random case on. If none is ready, enlist a waiter
//!    for each, give all locks back and wait. No peer can meet a select that is half enlisted, so
//!    none ever has to claim two selects at once.
//! 3. Woken by the peer that has claimed the token, take the other waiters out of their lists,
//!    each under its own lock. A peer that comes across one before finds it claimed, and drops it.
//!
//! A select that may not wait does the first two passes.

use std::cell::Cell;
use std::marker::PhantomPinned;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::super::hchan::wake;
use super::super::timer::Alarm;
use super::super::wait::Token;
use super::case::{Case, Committed};
use crate::sched::wait::WaitReason;
use crate::time::Instant;
use crate::util::opaque;
use crate::util::rng::Rng;

/// A number below `n`, for choices that need no quality.
#[inline(never)]
fn random(n: usize) -> usize {
    opaque();
    thread_local!(static RNG: Cell<u64> = const { Cell::new(0) });
    let mut rng = match RNG.get() {
        0 => Rng::new(std::ptr::from_ref(&RNG).addr() as u64 ^ crate::util::clock::now()),
        state => Rng::resume(state),
    };
    let number = rng.below(n);
    RNG.set(rng.state());
    number
}

/// From so many cases on, draws are tried before all cases are looked at (a guess).
const DRAW_FROM: usize = 4;
const DRAWS: usize = 2;

/// Something that leads to a case.
pub(crate) trait AsCase {
    fn case(&self) -> &dyn Case;
}

/// How long a select waits.
#[derive(Clone, Copy)]
enum Limit {
    Never,
    For(Duration),
    Until(Instant),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    Enlisted,
}

/// A select under way: the token that its cases share, and the time.
pub(crate) struct Race {
    token: Token,
    phase: Cell<Phase>,
    limit: Cell<Limit>,
    alarm: Cell<Alarm>,
    _pin: PhantomPinned,
}

// SAFETY: the token is made for other threads; the rest is used by the one that polls.
unsafe impl Send for Race {}
// SAFETY: as above; whoever polls has the select alone.
unsafe impl Sync for Race {}

impl Race {
    /// A race that waits for `limit`, or for ever.
    pub(crate) fn new(limit: Option<Duration>) -> Race {
        Race {
            token: Token::new(false),
            phase: Cell::new(Phase::New),
            limit: Cell::new(limit.map_or(Limit::Never, Limit::For)),
            alarm: Cell::default(),
            _pin: PhantomPinned,
        }
    }

    /// What it waits for, for dumps: something, unless it is `empty` and without a limit.
    pub(crate) fn reason(&self, empty: bool) -> WaitReason {
        let ever = empty && matches!(self.limit.get(), Limit::Never);
        if ever { WaitReason::SelectNoCases } else { WaitReason::Select }
    }

    /// Pass 1: the number of a case that is completed.
    #[inline]
    pub(crate) fn glance<C: AsCase>(&self, cases: &[C]) -> Option<usize> {
        let chosen = self.pick(cases)?;
        let case = cases[chosen].case();
        case.head().lock.lock();
        let committed = case.commit_locked(false);
        case.head().lock.unlock();
        match committed {
            Committed::Yes(waker) => {
                wake(waker);
                Some(chosen)
            }
            Committed::No(waker) => {
                wake(waker);
                None
            }
        }
    }

    /// One of those that seem ready, with equal chances. A few draws come first: each hits any of
    /// the ready ones with the same probability, and spares the look at all of them.
    #[inline]
    pub(crate) fn pick<C: AsCase>(&self, cases: &[C]) -> Option<usize> {
        if cases.len() >= DRAW_FROM {
            for _ in 0..DRAWS {
                let i = random(cases.len());
                if cases[i].case().is_ready() {
                    return Some(i);
                }
            }
        }
        let mut ready = (0..cases.len()).filter(|i| cases[*i].case().is_ready());
        let first = ready.next()?;
        let others = ready.count();
        if others == 0 {
            return Some(first);
        }
        let ready = (first..cases.len()).filter(|i| cases[*i].case().is_ready());
        ready.take(1 + random(1 + others)).last().or(Some(first))
    }

    /// Passes 1 and 2, without a wait.
    pub(crate) fn try_now<C: AsCase>(&self, cases: &[C], order: &mut [u32]) -> Option<usize> {
        if let Some(chosen) = self.glance(cases) {
            return Some(chosen);
        }
        if let [case] = cases
            && !case.case().is_ready()
        {
            return None; // there is nothing that the other cases could change meanwhile
        }
        self.lock_and_look(cases, order, |_| ())
    }

    /// The number of the case that is completed, or None when the time is over.
    pub(crate) fn poll<C: AsCase>(
        &self,
        cases: &[C],
        order: &mut [u32],
        cx: &mut Context<'_>,
    ) -> Poll<Option<usize>> {
        loop {
            match self.phase.get() {
                Phase::New => {
                    if let Some(chosen) = self.start(cases, order, cx) {
                        return Poll::Ready(chosen);
                    }
                }
                Phase::Enlisted => {
                    if let Some(number) = self.token.served() {
                        self.withdraw(cases);
                        if cases[number].case().accept() {
                            return Poll::Ready(Some(number));
                        }
                        continue;
                    }
                    if !self.renew(cases, cx) {
                        continue;
                    }
                }
            }
            if self.poll_time(cases, cx).is_pending() {
                return Poll::Pending;
            }
            if let Some(chosen) = self.time_is_over(cases) {
                return Poll::Ready(chosen);
            }
        }
    }

    /// Passes 1 and 2. None: all cases are enlisted.
    fn start<C: AsCase>(
        &self,
        cases: &[C],
        order: &mut [u32],
        cx: &Context<'_>,
    ) -> Option<Option<usize>> {
        if let Some(chosen) = self.glance(cases) {
            return Some(Some(chosen));
        }
        if let Limit::For(limit) = self.limit.get() {
            if limit.is_zero() {
                return Some(self.try_now(cases, order));
            }
            self.limit.set(Limit::Until(Instant::now() + limit));
        }
        let mut waker = Some(cx.waker().clone()); // user code, so before the locks
        let enlist = |from| self.enlist(cases, from, &mut waker);
        let chosen = self.lock_and_look(cases, order, enlist);
        chosen.map(Some)
    }

    /// Under all locks, from a random case on: of several at one channel, the first is served.
    fn enlist<C: AsCase>(&self, cases: &[C], from: usize, waker: &mut Option<Waker>) {
        let waker = waker.take().expect("called once");
        // SAFETY: none of the cases is enlisted, and this select has the token. The cases are
        // pinned, and unlinked before they and the token go.
        unsafe {
            self.token.arm(waker);
            for number in (from..cases.len()).chain(0..from) {
                cases[number].case().enlist_locked(&self.token, number);
            }
        }
        self.phase.set(Phase::Enlisted);
    }

    /// Pass 2, from a random case on; calls `otherwise` with that one, under the locks, if no case
    /// is ready.
    fn lock_and_look<C: AsCase>(
        &self,
        cases: &[C],
        order: &mut [u32],
        otherwise: impl FnOnce(usize),
    ) -> Option<usize> {
        sort(cases, order);
        each_channel(cases, order, |case| case.head().lock.lock());
        let start = if cases.len() > 1 { random(cases.len()) } else { 0 };
        let (mut chosen, mut to_wake) = (None, None);
        for ask in [false, true] {
            for i in (start..cases.len()).chain(0..start) {
                match cases[i].case().commit_locked(ask) {
                    Committed::Yes(waker) => (chosen, to_wake) = (Some(i), waker),
                    Committed::No(None) => continue,
                    Committed::No(waker) => to_wake = waker, // one is asked, and may answer
                }
                break;
            }
            if chosen.is_some() {
                break;
            }
        }
        if chosen.is_none() {
            otherwise(start);
        }
        each_channel(cases, order, |case| case.head().lock.unlock());
        wake(to_wake);
        chosen
    }

    /// Polled while enlisted. False: a peer was faster, look again.
    fn renew<C: AsCase>(&self, cases: &[C], cx: &Context<'_>) -> bool {
        if self.token.will_wake(cx.waker()) {
            return true;
        }
        // SAFETY: this select has the token.
        match unsafe { self.token.renew(cx.waker().clone()) } {
            Ok(_) => true,
            Err(waker) => match self.token.spoken_for() {
                Some(number) => cases[number].case().renew(&self.token, waker),
                None => false,
            },
        }
    }

    /// Ready when the limit has come, or a channel of the clock is due.
    fn poll_time<C: AsCase>(&self, cases: &[C], cx: &mut Context<'_>) -> Poll<()> {
        let limit = match self.limit.get() {
            Limit::Until(limit) => Some(limit),
            _ => None,
        };
        let due = cases.iter().filter_map(|case| case.case().due()).min();
        let at = match (limit, due) {
            (Some(limit), Some(due)) => Some(limit.min(due)),
            (limit, due) => limit.or(due),
        };
        if at.is_none() {
            return Poll::Pending;
        }
        let mut alarm = self.alarm.take();
        let polled = alarm.poll(at, cx);
        if polled.is_pending() {
            self.alarm.set(alarm);
        }
        polled
    }

    /// The result, if that is known now; else all starts anew.
    fn time_is_over<C: AsCase>(&self, cases: &[C]) -> Option<Option<usize>> {
        if let Some(number) = self.withdraw(cases) {
            return cases[number].case().accept().then_some(Some(number));
        }
        match self.limit.get() {
            Limit::Until(limit) if Instant::now() >= limit => Some(self.glance(cases)),
            _ => None,
        }
    }

    /// Pass 3: no case is enlisted any more. The number of the one that was served, if any.
    pub(crate) fn withdraw<C: AsCase>(&self, cases: &[C]) -> Option<usize> {
        if self.phase.replace(Phase::New) == Phase::New {
            return None;
        }
        let early = self.token.served();
        for (number, case) in cases.iter().enumerate() {
            if early != Some(number) {
                case.case().unlink();
            }
        }
        let served = self.token.served();
        // SAFETY: no case is enlisted.
        drop(unsafe { self.token.swap_waker(None) });
        served
    }

    /// Starts anew with a limit.
    pub(crate) fn reset(&self, limit: Option<Duration>) {
        self.limit.set(limit.map_or(Limit::Never, Limit::For));
        self.alarm.take();
    }
}

fn address<C: AsCase>(case: &C) -> usize {
    std::ptr::from_ref(case.case().head()).addr()
}

/// The numbers of the cases in the order of their channels' addresses.
fn sort<C: AsCase>(cases: &[C], order: &mut [u32]) {
    order.iter_mut().zip(0..).for_each(|(at, i)| *at = i);
    order.sort_unstable_by_key(|i| address(&cases[*i as usize]));
}

/// Calls `f` with one case of each channel, in that order.
fn each_channel<C: AsCase>(cases: &[C], order: &[u32], f: impl Fn(&dyn Case)) {
    let mut last = 0;
    for i in order {
        let case = &cases[*i as usize];
        if address(case) != last {
            last = address(case);
            f(case.case());
        }
    }
}
