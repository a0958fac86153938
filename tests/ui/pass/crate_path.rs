mod base {
    pub(crate) use gort as rt;
}

#[gort::main(crate = base::rt)]
async fn main() {
    quoted();
    global();
}

#[gort::main(crate = "crate::base::rt", worker_threads = 1)]
async fn quoted() {}

#[gort::main(crate = ::gort,)]
async fn global() {}
