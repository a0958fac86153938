//! The C side of the tests of `gort::ffi`.

fn main() {
    println!("cargo::rerun-if-changed=src/shim.c");
    cc::Build::new().file("src/shim.c").compile("gort_test_shim");
}
