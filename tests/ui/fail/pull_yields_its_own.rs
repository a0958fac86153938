use gort::iter::pull;

fn main() {
    let mut frames = pull(|y| {
        let frame = [1, 2];
        y.yield_(&frame);
    });
    frames.next();
}
