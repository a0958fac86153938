//! The frames of a thread that goes on meanwhile. It is not stopped, and gets no signal: no system
//! call of its ends early, and it does not know.
//!
//! The unwinder goes from the innermost frame outwards, and needs the registers. They are the
//! thread's own while it runs. But the *outermost* frame stands still, and where it lies is known:
//! it is the one that has polled the task, or the first on the goroutine's stack. So this goes
//! inwards from there:
//!
//! ```text
//!   root ─▶ ┌──────────────────────────┐  canonical address of the frame of f
//!           │ locals of f: n bytes     │
//!           │ return address into f ───┼──▶ for this place in f the tables say: the frame begins
//!           ├──────────────────────────┤    n + 8 bytes above; and before it is a call, of g
//!           │ frame of g               │
//!           │ return address into g    │    ... and so on
//! ```
//!
//! A word belongs to the chain if it is the address behind a call instruction, and lies where the
//! tables say that this function puts it, below a frame that has been found already. Where a
//! function has a frame pointer its size is not in the tables; there the pointer that its callee
//! has saved must be the right one. Remains of calls that have returned fit, too, now and then. So
//! the tree of all that fits is built, and its best branch is taken: one in which the calls name
//! the functions that they are followed by, and the longest; but none in which another one lies
//! where this one would have saved a register.
//!
//! All memory is read by the kernel, through `/proc/self/mem`: what has been unmapped or never
//! been there is an error and no fault, and what changes under the look gives a wrong number and
//! nothing worse.
//!
//! *A thread that sleeps in the kernel*: `/proc/self/task/N/syscall` tells its stack pointer. The
//! walk ends there, and must end there exactly; if the thread has not been on a core before the
//! walk is over, the sample is *exact*. *One that runs*: below the innermost call that is under way
//! lie the remains of calls that have returned. So the walk is done twice, some time apart, and what
//! both have in common is kept: the functions that it has been in for longer. The innermost of
//! these may have just returned. Of one that calls nobody only its beginning is known, from the call.
//!
//! Linux on x86-64, with the feature `backtrace`; elsewhere samples are empty.

/// The canonical address of an outermost frame; 0: not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Root(pub(crate) usize);

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Sample {
    /// Where the frames go on, innermost first.
    pub(crate) frames: Vec<usize>,
    /// The thread slept in the kernel, and this is all of its frames.
    pub(crate) exact: bool,
}

pub(crate) use imp::take;

impl Root {
    /// What the function calls from here on has this root, if it is inlined there.
    #[inline(always)]
    pub(crate) fn here() -> Root {
        imp::here()
    }
}

#[cfg(all(feature = "backtrace", target_os = "linux", target_arch = "x86_64"))]
mod imp {
    use std::collections::HashMap;
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;
    use std::time::Duration;

    use super::super::tables::{Frame, Tables};
    use super::super::unwind::FRAMES_MAX;
    use super::{Root, Sample};

    /// So much of a stack is looked at: half of a goroutine's.
    const DEPTH_MAX: usize = 128 << 10;
    /// Stacks are read from the top, so much at once.
    const CHUNK: usize = 8 << 10;
    /// Between two looks at a thread that runs: what is there at both is not just passing by.
    const APART: Duration = Duration::from_millis(1);
    const WORD: usize = size_of::<usize>();

    #[inline(always)]
    pub(super) fn here() -> Root {
        // SAFETY: only reads the stack pointer.
        Root(unsafe { callers_sp() })
    }

    /// The stack pointer of the caller, which is the canonical address of what it calls.
    #[unsafe(naked)]
    unsafe extern "C" fn callers_sp() -> usize {
        std::arch::naked_asm!("lea rax, [rsp + 8]", "ret")
    }

    /// Looks at `thread`, whose frames begin at one of `roots`: the one below which it is, or else the
    /// first. `known` is a function that it is in, or 0. Some 100 microseconds, or a millisecond more
    /// if it runs; the first time longer.
    pub(crate) fn take(thread: u32, roots: &[Root], known: usize) -> Sample {
        let Ok(memory) = File::open("/proc/self/mem") else { return Sample::default() };
        let before = Asleep::look(thread);
        let Some(root) = choose(roots, before.as_ref()) else { return Sample::default() };
        let look = |asleep: Option<&Asleep>| {
            Tables::with(|tables| Walk::new(tables, &memory, root, asleep, known).best(tables))
        };
        let look = |asleep| look(asleep).unwrap_or_default();
        if let Some(asleep) = &before {
            let branch = look(Some(asleep));
            if branch.is_whole && Asleep::look(thread).as_ref() == Some(asleep) {
                let frames = branch.pcs.into_iter().chain([asleep.pc]).rev().collect();
                return Sample { frames, exact: true };
            }
        }
        let first = look(None).pcs;
        std::thread::sleep(APART);
        let both = first.into_iter().zip(look(None).pcs).take_while(|(a, b)| a == b);
        let mut frames: Vec<usize> = both.map(|(pc, _)| pc).collect();
        frames.reverse();
        Sample { frames, exact: false }
    }

    /// The nearest root above the stack pointer; without one, the first.
    fn choose(roots: &[Root], asleep: Option<&Asleep>) -> Option<Root> {
        let known = roots.iter().filter(|root| root.0 != 0);
        let above = |it: &Asleep| known.clone().filter(|root| root.0 > it.sp).min_by_key(|r| r.0);
        asleep.and_then(above).or_else(|| known.clone().next()).copied()
    }

    /// A thread that sleeps in the kernel.
    #[derive(PartialEq, Eq)]
    struct Asleep {
        sp: usize,
        pc: usize,
        /// How often it has been put on a core.
        turns: Option<u64>,
    }

    impl Asleep {
        /// None: it runs, or wants to, or the system does not say.
        fn look(thread: u32) -> Option<Asleep> {
            let turns = turns(thread); // first: if it is the same later, it has not run since
            // proc_pid_syscall(5): the number, perhaps six arguments, the stack pointer, the pc.
            let text = fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).ok()?;
            let mut words = text.split_ascii_whitespace().rev();
            let mut hex = || usize::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
            let pc = hex()?;
            Some(Asleep { pc, sp: hex()?, turns })
        }
    }

    /// sched-stats, "/proc/<pid>/schedstat": the third number.
    fn turns(thread: u32) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
        text.split_ascii_whitespace().nth(2)?.parse().ok()
    }

    /// What may be a return address.
    struct Call {
        at: usize,
        pc: usize,
        /// The function that it is in, and the one that it has called, if the call says so.
        function: usize,
        called: Option<usize>,
        /// Where the frame begins that it is in, as far as that is known; and whether it is so for sure.
        frame: Option<usize>,
        is_sized: bool,
        /// So much of the frame holds saved registers.
        saved: usize,
        /// The best of what goes on below it.
        inner: Option<usize>,
        score: Score,
    }

    impl Call {
        /// Whether this one, which lies above `other`, and not that one is in the frame of both.
        fn is_better(&self, other: &Call) -> bool {
            let whole = (self.score.is_whole, other.score.is_whole);
            let is_in_saved = other.frame.is_some_and(|frame| self.at >= frame - other.saved);
            whole.0 >= whole.1 && is_in_saved || self.score > other.score
        }
    }

    /// Which branch is better: in this order.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
    struct Score {
        /// It ends where it must.
        is_whole: bool,
        /// The call before has named it.
        is_named: bool,
        /// It goes through the function that must be there.
        is_known: bool,
        calls: u32,
    }

    /// From the outermost frame to the innermost.
    #[derive(Default)]
    struct Branch {
        pcs: Vec<usize>,
        is_whole: bool,
    }

    struct Walk {
        root: usize,
        /// From the top of the stack down.
        calls: Vec<Call>,
    }

    impl Walk {
        /// Builds the tree, from below.
        fn new(
            tables: &mut Tables,
            memory: &File,
            root: Root,
            asleep: Option<&Asleep>,
            known: usize,
        ) -> Walk {
            let low = asleep.map_or(root.0 - DEPTH_MAX, |it| it.sp);
            let words = read(memory, root.0, low);
            let mut walk = Walk { root: root.0, calls: find(tables, root.0, &words) };
            let end = asleep.and_then(|it| it.innermost(tables));
            let by_at: HashMap<usize, usize> =
                walk.calls.iter().enumerate().map(|(i, call)| (call.at, i)).collect();
            for i in (0..walk.calls.len()).rev() {
                walk.finish(i, end.as_ref(), known);
                let outer = walk.calls[i].frame.and_then(|it| by_at.get(&(it - WORD)));
                if let Some(&outer) = outer {
                    walk.offer(outer, i);
                }
            }
            walk
        }

        /// All that goes on below call `i` is known.
        fn finish(&mut self, i: usize, end: Option<&Innermost>, known: usize) {
            if self.calls[i].inner.is_none() {
                // A callee may leave the frame pointer alone: then its caller's frame is of any size.
                let called = self.calls[i].called;
                let fits = |it: &Call| {
                    let named = called.map_or(end.is_some(), |called| called == it.function);
                    !it.is_sized && named
                };
                self.calls[i].inner = (i + 1..self.calls.len()).find(|&j| fits(&self.calls[j]));
            }
            let inner = self.calls[i].inner.map(|inner| self.calls[inner].score);
            let call = &mut self.calls[i];
            call.score = Score { is_named: false, calls: 1, ..inner.unwrap_or_default() };
            call.score.calls += inner.map_or(0, |inner| inner.calls);
            call.score.is_known |= call.function == known;
            if inner.is_none() {
                call.score.is_whole = end.is_some_and(|end| end.is_called_by(call));
            }
        }

        /// Call `i` may come below `outer`.
        fn offer(&mut self, outer: usize, i: usize) {
            let named = self.calls[outer].called == Some(self.calls[i].function);
            self.calls[i].score.is_named = named;
            let inner = self.calls[outer].inner.map(|inner| &self.calls[inner]);
            if inner.is_none_or(|inner| self.calls[i].is_better(inner)) {
                self.calls[outer].inner = Some(i);
            }
        }

        /// The best branch.
        fn best(&self, tables: &mut Tables) -> Branch {
            let begins = |i: &usize| self.calls[*i].frame == Some(self.root);
            let better =
                |a: usize, b: usize| if self.calls[b].is_better(&self.calls[a]) { b } else { a };
            let first = (0..self.calls.len()).rev().filter(begins).reduce(better);
            let is_whole = first.is_some_and(|first| self.calls[first].score.is_whole);
            let branch = || std::iter::successors(first, |&i| self.calls[i].inner);
            let mut pcs: Vec<usize> = branch().take(FRAMES_MAX).map(|i| self.calls[i].pc).collect();
            // Where the last call has led to, as far as it says.
            let called = branch().last().and_then(|i| self.calls[i].called).filter(|_| !is_whole);
            let function = called.and_then(|it| Some(tables.place(it)?.function));
            pcs.extend(function.filter(|_| function == called).map(|function| function + 1));
            Branch { pcs, is_whole }
        }
    }

    /// The innermost frame of a thread that sleeps.
    struct Innermost {
        function: usize,
        begin: Option<usize>,
    }

    impl Asleep {
        fn innermost(&self, tables: &mut Tables) -> Option<Innermost> {
            let place = tables.place(self.pc)?;
            let begin = match place.frame {
                Frame::AboveSp(n) => Some(self.sp + n),
                _ => None,
            };
            Some(Innermost { function: place.function, begin })
        }
    }

    impl Innermost {
        fn is_called_by(&self, call: &Call) -> bool {
            match self.begin {
                Some(begin) => begin == call.at + WORD,
                None => call.called == Some(self.function),
            }
        }
    }

    /// Everything below `top` that may be a return address.
    fn find(tables: &mut Tables, top: usize, words: &[usize]) -> Vec<Call> {
        let mut calls = Vec::new();
        for (i, &pc) in words.iter().enumerate() {
            let at = top - (i + 1) * WORD;
            let Some(before) = tables.call_before(pc) else { continue };
            let Some(place) = tables.place(pc - 1) else { continue };
            let is_sized = matches!(place.frame, Frame::AboveSp(_));
            let frame = match place.frame {
                Frame::AboveSp(n) => Some(at + WORD + n),
                // The next word is the callee's; if it is this function's frame pointer, fine.
                Frame::AboveFp => {
                    words.get(i + 1).map(|fp| fp + 2 * WORD).filter(|&it| at < it && it <= top)
                }
                Frame::Other => None,
            };
            let (function, called, saved) = (place.function, before.target, place.saved);
            let (inner, score) = (None, Score::default());
            calls.push(Call { at, pc, function, called, frame, is_sized, saved, inner, score });
        }
        calls
    }

    /// The words of a stack from `top` down to `low`, or to where there is no more memory.
    fn read(memory: &File, top: usize, low: usize) -> Vec<usize> {
        const PAGE: usize = 4 << 10;
        let mut words = Vec::new();
        let (mut chunk, mut end) = ([0; CHUNK], top);
        while end > low {
            let mut start = (end - CHUNK).max(low);
            if memory.read_exact_at(&mut chunk[..end - start], start as u64).is_err() {
                // A guard, or the end of the mapping: up to that, page by page.
                start = (end.next_multiple_of(PAGE) - PAGE).max(low);
                if memory.read_exact_at(&mut chunk[..end - start], start as u64).is_err() {
                    break;
                }
            }
            let read = chunk[..end - start].rchunks_exact(WORD);
            words.extend(read.map(|it| usize::from_ne_bytes(it.try_into().expect("a word"))));
            end = start;
        }
        words
    }
}

#[cfg(not(all(feature = "backtrace", target_os = "linux", target_arch = "x86_64")))]
mod imp {
    use super::{Root, Sample};

    pub(super) fn here() -> Root {
        Root(0)
    }

    pub(crate) fn take(_: u32, _: &[Root], _: usize) -> Sample {
        Sample::default()
    }
}
