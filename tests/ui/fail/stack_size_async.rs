#[gort::main(procs = 2, stack_size = 65536)]
async fn main() {}

#[gort::test(stack_size = 65536)]
async fn test() {}
