#[gort::main]
async fn main() {}

#[gort::main]
async fn typed<T: Default>() -> T {
    T::default()
}

#[gort::main]
async fn bounded()
where
    String: Clone,
{
}
