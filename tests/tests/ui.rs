//! What the compiler says: `ui/fail/*.rs` with the expected words beside each, and
//! `ui/pass/*.rs`, which have to compile, run, and exit with success.
//!
//! The words are those of the pinned compiler of CI. After a change that is meant, rewrite them
//! with `TRYBUILD=overwrite cargo test -p gort-tests --test ui` and read the diff.

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("ui/fail/*.rs");
    cases.pass("ui/pass/*.rs");
}
