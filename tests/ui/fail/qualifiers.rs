#[gort::main]
async fn main() {}

#[gort::main]
const fn constant() {}

#[gort::main]
async unsafe fn not_safe() {}

#[gort::main]
async extern "C" fn foreign() {}

#[gort::main]
unsafe extern "C" fn plain() {}
