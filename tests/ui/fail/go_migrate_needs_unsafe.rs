fn main() {
    let _runtime = gort::Builder::new().migrate_goroutines().build();
}
