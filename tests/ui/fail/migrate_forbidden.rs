// The lint sees the keyword in the attribute.
#![forbid(unsafe_code)]

#[gort::main(unsafe(migrate))]
fn main() {}
