//! Datagrams that go to a server and come back. One datagram per client is under way, so none is lost.

use crate::udp::{BlockingDatagrams, Datagrams};

/// A datagram of these is a small request.
const BYTES: usize = 64;

/// `n` round trips in all, of `CLIENTS` clients with a server that echoes by one socket and one task.
pub async fn echo<R: Datagrams, const CLIENTS: u64>(n: u64) -> u64 {
    let (server, addr) = R::udp().await;
    let each = n / CLIENTS;
    let serve = R::spawn(async move {
        let mut buf = [0; 2048];
        for _ in 0..each * CLIENTS {
            let (len, from) = R::recv_from(&server, &mut buf).await;
            R::send_to(&server, &buf[..len], from).await;
        }
    });
    let client = |i: u64| {
        R::spawn(async move {
            let (client, _) = R::udp().await;
            let mut buf = [0; 2048];
            for _ in 0..each {
                R::send_to(&client, &[i as u8; BYTES], addr).await;
                let (len, _) = R::recv_from(&client, &mut buf).await;
                assert_eq!(buf[..len], [i as u8; BYTES]);
            }
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    for client in clients {
        client.await;
    }
    serve.await;
    each * CLIENTS
}

/// [`echo`] in blocking style.
pub fn echo_blocking<C: BlockingDatagrams, const CLIENTS: u64>(n: u64) -> u64 {
    let (server, addr) = C::udp();
    let each = n / CLIENTS;
    let serve = C::go(move || {
        let mut buf = [0; 2048];
        for _ in 0..each * CLIENTS {
            let (len, from) = C::recv_from(&server, &mut buf);
            C::send_to(&server, &buf[..len], from);
        }
    });
    let client = |i: u64| {
        C::go(move || {
            let (client, _) = C::udp();
            let mut buf = [0; 2048];
            for _ in 0..each {
                C::send_to(&client, &[i as u8; BYTES], addr);
                let (len, _) = C::recv_from(&client, &mut buf);
                assert_eq!(buf[..len], [i as u8; BYTES]);
            }
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    clients.into_iter().for_each(C::join);
    C::join(serve);
    each * CLIENTS
}
