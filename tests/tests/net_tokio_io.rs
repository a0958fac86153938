//! tokio's traits on gort's streams, without a tokio runtime.

mod net_modes;

use std::io::IoSlice;

use futures::future::join;
use gort::net::unix::pipe::pipe;
use gort::net::{TcpListener, TcpStream, UnixStream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use net_modes::everywhere;

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (client, server) = join(TcpStream::connect(addr), listener.accept()).await;
    (client.unwrap(), server.unwrap().0)
}

/// Writes to one and reads from the other, to the end.
async fn transfer(mut from: impl AsyncWrite + Unpin, mut to: impl AsyncRead + Unpin) {
    assert!(from.is_write_vectored());
    let text: Vec<u8> = (0..200_000).map(|i| (i % 251) as u8).collect();
    let send = async {
        from.write_all(&text[..100_000]).await.unwrap();
        let (mut a, b) = text[100_000..].split_at(50_000);
        let n = from.write_vectored(&[IoSlice::new(a), IoSlice::new(b)]).await.unwrap();
        from.flush().await.unwrap();
        a = &text[100_000 + n..];
        from.write_all(a).await.unwrap();
        from.shutdown().await.unwrap();
    };
    let receive = async {
        let mut all = Vec::with_capacity(10);
        to.read_to_end(&mut all).await.unwrap(); // into memory not written before
        all
    };
    let ((), all) = join(send, receive).await;
    assert!(all == text);
}

#[test]
fn all_streams() {
    everywhere(|| async {
        let (a, b) = tcp_pair().await;
        transfer(a, b).await;
        let (a, b) = tcp_pair().await;
        transfer(&a, &b).await;
        transfer(&b, &a).await; // a half-close leaves the other half
        let (a, b) = UnixStream::pair().unwrap();
        transfer(a, b).await;
        let (a, b) = UnixStream::pair().unwrap();
        transfer(&a, &b).await;
        transfer(&b, &a).await;
        let (a, b) = pipe().unwrap();
        transfer(a, b).await;
        let (a, b) = pipe().unwrap();
        transfer(&a, &b).await;
    });
}

#[test]
fn halves() {
    everywhere(|| async {
        let (a, b) = tcp_pair().await;
        let ((a_read, a_write), (b_read, b_write)) = (a.into_split(), b.into_split());
        transfer(a_write, b_read).await;
        transfer(b_write, a_read).await;
        let (a, b) = UnixStream::pair().unwrap();
        let ((a_read, a_write), (b_read, b_write)) = (a.into_split(), b.into_split());
        transfer(a_write, b_read).await;
        transfer(b_write, a_read).await;
    });
}

#[test]
fn tokios_own_tools() {
    everywhere(|| async {
        let (mut a, mut b) = tcp_pair().await;
        let (mut c, mut d) = UnixStream::pair().unwrap();
        let proxy =
            gort::spawn(
                async move { tokio::io::copy_bidirectional(&mut b, &mut c).await.unwrap() },
            );
        a.write_all(b"there").await.unwrap();
        d.read_exact(&mut [0; 5]).await.unwrap();
        d.write_all(b"and back").await.unwrap();
        a.read_exact(&mut [0; 8]).await.unwrap();
        drop((a, d));
        assert_eq!(proxy.await.unwrap(), (5, 8));
    });
}
