#[gort::test]
#[test]
async fn short() {}

#[gort::test]
#[::core::prelude::v1::test]
async fn long() {}

fn main() {}
