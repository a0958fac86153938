//! The channel for one value, by each runtime's own. (async-lock has none: smol takes that of `futures`.)

use crate::Rt;

/// A message that carries the way back.
struct Ball<R: Rt>(R::Sender<Option<Ball<R>>>);

/// `n` round trips between two tasks; each message is a oneshot and carries the sender for its answer.
pub async fn ping_pong<R: Rt>(n: u64) -> u64 {
    let (serve, first) = R::oneshot();
    let partner = R::spawn(return_balls::<R>(first));
    let mut racket = serve;
    for _ in 0..n {
        let (next, answer) = R::oneshot();
        R::send(racket, Some(Ball(next)));
        let Ball(back) = answer.await.expect("the partner goes on");
        racket = back;
    }
    R::send(racket, None);
    partner.await;
    n
}

async fn return_balls<R: Rt>(mut incoming: R::Receiver<Option<Ball<R>>>) {
    while let Some(Ball(back)) = incoming.await {
        let (next, answer) = R::oneshot();
        R::send(back, Some(Ball(next)));
        incoming = answer;
    }
}

/// `n` times: a spawned task answers through a oneshot.
pub async fn answers<R: Rt>(n: u64) -> u64 {
    for i in 0..n {
        let (send, receive) = R::oneshot();
        R::detach(async move { R::send(send, i) });
        assert_eq!(receive.await, i);
    }
    n
}
