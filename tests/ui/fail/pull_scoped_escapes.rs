use gort::iter::{Yielder, pull_scoped};

fn main() {
    let kept = pull_scoped(|y: &Yielder<u32>| y.yield_(1), |p| p);
    drop(kept);
    pull_scoped(
        |y: &Yielder<u32>| y.yield_(1),
        |mut p| pull_scoped(|y: &Yielder<u32>| y.yield_(2), |mut q| std::mem::swap(&mut p, &mut q)),
    );
}
