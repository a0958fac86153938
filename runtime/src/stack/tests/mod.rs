//! Tests of the island, and what they share: a bare coroutine, and processes of their own for
//! whatever kills one, counts mappings or measures memory.

mod fault;
mod measure;
mod memory;
mod switch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Output, exit};

use super::switch::{Ctx, Transfer, init_m, make, switch};
use super::{Slot, StackSlot};

/// The other side, as a coroutine and its resumer see each other.
struct Peer(Option<Ctx>);

impl Peer {
    /// Switches to the other side and returns what it answers.
    #[inline(always)]
    fn send(&mut self, word: usize) -> usize {
        let peer = self.0.take().expect("suspended");
        // SAFETY: the context is the one the last switch gave us; tests keep the slot meanwhile.
        let (peer, word) = unsafe { switch(peer, word) };
        self.0 = Some(peer);
        word
    }
}

type Body = Box<dyn FnOnce(&mut Peer) -> usize>;

/// What a coroutine sends as its last word if its body panicked.
const PANICKED: usize = usize::MAX;

/// A coroutine on `slot`, stopped just before its body. What the body returns is its last word.
fn start(slot: Slot, body: impl FnOnce(&mut Peer) -> usize + 'static) -> Peer {
    extern "C" fn entry(Transfer { context, data }: Transfer) -> ! {
        // SAFETY: `start` sends the address of a box it gave away.
        let body = unsafe { Box::from_raw(std::ptr::with_exposed_provenance_mut::<Body>(data)) };
        let mut peer = Peer(Some(context));
        peer.send(0);
        let last = catch_unwind(AssertUnwindSafe(|| body(&mut peer))).unwrap_or(PANICKED);
        peer.send(last);
        unreachable!("resumed after its last word");
    }

    init_m();
    // SAFETY: the tests own the slot until the coroutine has sent its last word, or leak it.
    let mut peer = Peer(Some(unsafe { make(slot.top(), slot.limit(), entry) }));
    let body: Box<Body> = Box::new(Box::new(body));
    peer.send(Box::into_raw(body).expose_provenance());
    peer
}

/// Runs `body` to its end on `slot`.
fn run_on(slot: &StackSlot, body: impl FnOnce() -> usize + 'static) -> usize {
    start(**slot, |_| body()).send(0)
}

/// The exit code of a child whose body came back; not what a run of no test at all ends with.
const CAME_BACK: i32 = 42;

/// Runs `body` in a fresh process: this test program again, told to run only the test called `name`,
/// which comes here a second time.
fn isolated(name: &str, body: impl FnOnce()) -> Output {
    const CHILD: &str = "GORT_STACK_TEST_CHILD";
    if std::env::var(CHILD).is_ok_and(|child| child == name) {
        body();
        exit(CAME_BACK);
    }
    let (_, path) = name.split_once("::").expect("a path from the crate down");
    Command::new(std::env::current_exe().unwrap())
        .args([path, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .output()
        .unwrap()
}

/// As [`isolated`], for a body that is expected to come back.
fn passes_isolated(name: &str, body: impl FnOnce()) {
    let output = isolated(name, body);
    assert_eq!(output.status.code(), Some(CAME_BACK), "{}", stderr(&output));
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The full path of a test of this file's, for [`isolated`].
macro_rules! test_path {
    ($name:ident) => {
        concat!(module_path!(), "::", stringify!($name))
    };
}
use test_path;
