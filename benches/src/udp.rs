//! Datagrams as each runtime's users send them: [`Datagrams`] for futures, [`BlockingDatagrams`] for coroutines.

use std::future::Future;
use std::net::SocketAddr;

use gort::Wait as _;

use crate::co::{GortGo, May};
use crate::rt::{Gort, Smol, Tokio};
use crate::{Co, Rt};

/// Where sockets are bound.
const ANY: &str = "127.0.0.1:0";

/// A runtime with UDP sockets.
pub trait Datagrams: Rt {
    /// A bound socket.
    type Udp: Send + Sync + 'static;

    /// Binds to a free port of the loopback interface.
    fn udp() -> impl Future<Output = (Self::Udp, SocketAddr)> + Send;

    /// Sends one datagram.
    fn send_to(udp: &Self::Udp, buf: &[u8], to: SocketAddr) -> impl Future<Output = ()> + Send;

    /// Receives one datagram.
    fn recv_from(
        udp: &Self::Udp,
        buf: &mut [u8],
    ) -> impl Future<Output = (usize, SocketAddr)> + Send;
}

/// A stackful runtime with UDP sockets.
pub trait BlockingDatagrams: Co {
    /// A bound socket.
    type Udp: Send + Sync + 'static;

    /// Binds to a free port of the loopback interface.
    fn udp() -> (Self::Udp, SocketAddr);

    /// Sends one datagram.
    fn send_to(udp: &Self::Udp, buf: &[u8], to: SocketAddr);

    /// Receives one datagram.
    fn recv_from(udp: &Self::Udp, buf: &mut [u8]) -> (usize, SocketAddr);
}

macro_rules! datagrams {
    ($($rt:ty: $udp:ty;)*) => {$(
        impl Datagrams for $rt {
            type Udp = $udp;

            async fn udp() -> (Self::Udp, SocketAddr) {
                let udp = <$udp>::bind(ANY).await.expect("a free port");
                let addr = udp.local_addr().expect("a bound socket");
                (udp, addr)
            }

            async fn send_to(udp: &Self::Udp, buf: &[u8], to: SocketAddr) {
                udp.send_to(buf, to).await.expect("loopback takes it");
            }

            async fn recv_from(udp: &Self::Udp, buf: &mut [u8]) -> (usize, SocketAddr) {
                udp.recv_from(buf).await.expect("loopback gives it")
            }
        }
    )*};
}

datagrams! {
    Gort: gort::net::UdpSocket;
    Tokio: tokio::net::UdpSocket;
    Smol: smol::net::UdpSocket;
}

impl BlockingDatagrams for GortGo {
    type Udp = gort::net::UdpSocket;

    fn udp() -> (Self::Udp, SocketAddr) {
        <Gort as Datagrams>::udp().wait()
    }

    fn send_to(udp: &Self::Udp, buf: &[u8], to: SocketAddr) {
        udp.send_to(buf, to).wait().expect("loopback takes it");
    }

    fn recv_from(udp: &Self::Udp, buf: &mut [u8]) -> (usize, SocketAddr) {
        udp.recv_from(buf).wait().expect("loopback gives it")
    }
}

impl BlockingDatagrams for May {
    type Udp = may::net::UdpSocket;

    fn udp() -> (Self::Udp, SocketAddr) {
        let udp = may::net::UdpSocket::bind(ANY).expect("a free port");
        let addr = udp.local_addr().expect("a bound socket");
        (udp, addr)
    }

    fn send_to(udp: &Self::Udp, buf: &[u8], to: SocketAddr) {
        udp.send_to(buf, to).expect("loopback takes it");
    }

    fn recv_from(udp: &Self::Udp, buf: &mut [u8]) -> (usize, SocketAddr) {
        udp.recv_from(buf).expect("loopback gives it")
    }
}
