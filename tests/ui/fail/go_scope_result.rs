fn main() {
    // A handle, and the scope itself, do not leave it.
    let handle = gort::scope(|s| s.go(|| 1));
    let scope = gort::scope(|s| s);
    drop((handle, scope));
}
