#[gort::main(stack_size = "64 KiB")]
fn main() {}

#[gort::main(stack_size = 64 * 1024)]
fn computed() {}

#[gort::main(stack_size)]
fn missing() {}

#[gort::main(stack_size = 65536, stack_size = 65536)]
fn twice() {}

#[gort::test(stack_size = 99999999999999999999)]
fn too_large() {}
