use gort::iter::{Yielder, pull_scoped};

fn main() {
    let mut kept: Option<&Yielder<u32>> = None;
    pull_scoped(|y: &Yielder<u32>| kept = Some(y), |mut p| p.next());
    kept.unwrap().yield_(1);
}
