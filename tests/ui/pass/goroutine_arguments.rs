// SAFETY: nothing in this program ties a value to a thread.
#[gort::main(procs = 2, stack_size = 65_536, unsafe(migrate), crate = ::gort)]
fn main() {
    future();
}

// SAFETY: as for `main`.
#[gort::main(unsafe(migrate), start_paused = true,)]
async fn future() {}
