#[gort::main(migrate)]
fn main() {}

#[gort::main(unsafe)]
fn alone() {}

#[gort::main(unsafe = migrate)]
fn value() {}

#[gort::main(unsafe())]
fn empty() {}

#[gort::main(unsafe(move))]
fn other() {}

#[gort::main(unsafe(migrate = true))]
fn more() {}

#[gort::main(unsafe[migrate])]
fn brackets() {}

#[gort::main(unsafe(migrate), unsafe(migrate))]
fn twice() {}
