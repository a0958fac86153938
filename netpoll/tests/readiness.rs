//! Sockets: who is ready, who waits, who is woken, and what ends it.

mod util;

use std::{
    io::{self, ErrorKind, Read, Write},
    panic,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use gort_netpoll::{
    Blocker, Desc,
    Direction::{self, Read as In, Write as Out},
    Netpoll, Readiness,
};
use mio::net::{TcpStream, UdpSocket};
use util::{Task, connection, poll, poll_until};

fn error_of(polled: Poll<io::Result<Readiness>>) -> ErrorKind {
    match polled {
        Poll::Ready(Err(error)) => error.kind(),
        other => panic!("not an error: {other:?}"),
    }
}

/// Reads until the kernel has no more, as a socket type would.
fn drain(desc: &Desc, socket: &mut TcpStream) -> usize {
    let mut total = 0;
    loop {
        let seen = desc.ready(In).expect("ready to read");
        match socket.read(&mut [0; 1000]) {
            Ok(0) => return total,
            Ok(n) => total += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                desc.clear(In, seen);
                return total;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_reader_waits_for_data() {
    let netpoll = Netpoll::new().unwrap();
    let (_listener, mut near, mut far) = connection();
    let desc = netpoll.register(&mut near).unwrap();
    let task = Task::new();

    assert!(task.poll(&desc, In).is_pending());
    poll(&netpoll);
    assert_eq!(task.wakes(), 0, "the first event says writable, not readable");

    far.write_all(b"hello").unwrap();
    poll_until(&netpoll, || task.wakes() == 1);
    assert!(task.poll(&desc, In).is_ready());
    assert_eq!(drain(&desc, &mut near), 5);

    assert!(task.poll(&desc, In).is_pending(), "cleared");
    far.write_all(b"again").unwrap();
    poll_until(&netpoll, || task.wakes() == 2);
    assert_eq!(drain(&desc, &mut near), 5);
    netpoll.deregister(&mut near, &desc).unwrap();
}

#[test]
fn data_from_before_the_registration_is_reported() {
    let netpoll = Netpoll::new().unwrap();
    let (_listener, mut near, mut far) = connection();
    far.write_all(b"early").unwrap();
    let desc = netpoll.register(&mut near).unwrap();
    poll_until(&netpoll, || desc.ready(In).is_some());
    assert_eq!(drain(&desc, &mut near), 5);
}

#[test]
fn a_new_socket_is_writable_at_once_and_again_when_there_is_room() {
    let netpoll = Netpoll::new().unwrap();
    let (_listener, mut near, mut far) = connection();
    let near_desc = netpoll.register(&mut near).unwrap();
    let far_desc = netpoll.register(&mut far).unwrap();
    let task = Task::new();

    poll(&netpoll);
    let mut written = 0;
    while let Some(seen) = near_desc.ready(Out) {
        match near.write(&[7; 65536]) {
            Ok(n) => written += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => near_desc.clear(Out, seen),
            Err(error) => panic!("{error}"),
        }
        if near_desc.ready(Out).is_none() && written > 0 {
            // Events that came while writing may still be on their way.
            poll(&netpoll);
        }
    }
    assert!(task.poll(&near_desc, Out).is_pending());

    let mut read = 0;
    poll_until(&netpoll, || {
        if far_desc.ready(In).is_some() {
            read += drain(&far_desc, &mut far);
        }
        task.wakes() == 1
    });
    assert!(task.poll(&near_desc, Out).is_ready());
    assert!(read <= written);
}

#[test]
fn an_event_after_the_look_survives_the_clear() {
    let netpoll = Netpoll::new().unwrap();
    let (_listener, mut near, mut far) = connection();
    let desc = netpoll.register(&mut near).unwrap();
    far.write_all(b"1").unwrap();
    poll_until(&netpoll, || desc.ready(In).is_some());
    let old = desc.ready(In).unwrap();

    far.write_all(b"2").unwrap();
    poll_until(&netpoll, || desc.ready(In) != Some(old));
    desc.clear(In, old);
    assert!(desc.ready(In).is_some());
}

#[test]
fn all_who_wait_in_one_direction_are_woken() {
    let netpoll = Netpoll::new().unwrap();
    let (_listener, mut near, mut far) = connection();
    let desc = netpoll.register(&mut near).unwrap();
    poll(&netpoll);
    let tasks: Vec<_> = (0..5).map(|_| Task::new()).collect();
    for task in tasks.iter().chain(&tasks) {
        assert!(task.poll(&desc, In).is_pending());
    }
    far.write_all(b"!").unwrap();
    poll_until(&netpoll, || desc.ready(In).is_some());
    for task in &tasks {
        assert_eq!(task.wakes(), 1);
    }
}

#[test]
fn connecting() {
    let netpoll = Netpoll::new().unwrap();
    let (listener, ..) = connection();
    let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let desc = netpoll.register_connecting(&mut socket).unwrap();
    let task = Task::new();
    assert!(task.poll(&desc, Out).is_pending(), "not before its event");
    poll_until(&netpoll, || task.wakes() == 1);
    assert!(socket.take_error().unwrap().is_none());
    socket.peer_addr().unwrap();
}

#[test]
fn connecting_to_nobody() {
    let address = {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap()
    };
    let netpoll = Netpoll::new().unwrap();
    let Ok(mut socket) = TcpStream::connect(address) else {
        return;
    };
    let desc = netpoll.register_connecting(&mut socket).unwrap();
    poll_until(&netpoll, || desc.ready(Out).is_some());
    assert_eq!(socket.take_error().unwrap().unwrap().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_half_closed_stream_is_readable_for_good_and_writable_as_before() {
    let netpoll = Netpoll::new().unwrap();
    let (_listener, mut near, mut far) = connection();
    let desc = netpoll.register(&mut near).unwrap();
    far.write_all(b"bye").unwrap();
    far.shutdown(std::net::Shutdown::Write).unwrap();
    poll_until(&netpoll, || desc.ready(In).is_some_and(|seen| seen.is_closed()));

    desc.clear(In, desc.ready(In).unwrap());
    assert!(desc.ready(In).unwrap().is_closed());
    assert_eq!(drain(&desc, &mut near), 3);
    let out = desc.ready(Out).unwrap();
    assert!(!out.is_closed());
    desc.clear(Out, out);
    assert!(desc.ready(Out).is_none());
}

#[test]
fn a_reset_ends_both_directions() {
    let netpoll = Netpoll::new().unwrap();
    let (_listener, mut near, far) = connection();
    let desc = netpoll.register(&mut near).unwrap();
    let task = Task::new();
    assert!(task.poll(&desc, In).is_pending());
    // Closed with data unread: the kernel sends a reset.
    near.write_all(b"unread").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20)); // until it has arrived; else a FIN
    drop(far);
    poll_until(&netpoll, || task.wakes() > 0);
    for direction in [In, Out] {
        poll_until(&netpoll, || desc.ready(direction).is_some_and(|seen| seen.is_closed()));
    }
}

#[test]
fn an_error_on_a_datagram_socket_does_not_last() {
    let netpoll = Netpoll::new().unwrap();
    let gone = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let mut socket = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.connect(address).unwrap();
    let desc = netpoll.register(&mut socket).unwrap();
    socket.send(b"anybody?").unwrap();
    poll_until(&netpoll, || desc.ready(In).is_some());

    assert!(!desc.ready(In).unwrap().is_closed());
    assert_eq!(socket.recv(&mut [0; 10]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    while let Some(seen) = desc.ready(In) {
        assert_eq!(socket.recv(&mut [0; 10]).unwrap_err().kind(), ErrorKind::WouldBlock);
        desc.clear(In, seen);
    }
    assert!(desc.ready(Out).is_some_and(|seen| !seen.is_closed()));
}

#[test]
fn deregistering_wakes_those_who_wait() {
    let netpoll = Netpoll::new().unwrap();
    let (_listener, mut near, _far) = connection();
    assert!(!netpoll.waiters());
    let desc = netpoll.register(&mut near).unwrap();
    assert!(netpoll.waiters());
    let (reader, writer) = (Task::new(), Task::new());
    poll(&netpoll);
    desc.clear(Out, desc.ready(Out).unwrap());
    assert!(reader.poll(&desc, In).is_pending());
    assert!(writer.poll(&desc, Out).is_pending());

    netpoll.deregister(&mut near, &desc.clone()).unwrap();
    assert!(!netpoll.waiters());
    assert_eq!((reader.wakes(), writer.wakes()), (1, 1));
    assert_eq!(error_of(reader.poll(&desc, In)), ErrorKind::NotConnected);
    assert!(desc.ready(In).is_none());
    let twice = netpoll.deregister(&mut near, &desc).unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::NotConnected);
}

/// The kernel goes on reporting the first socket while the second one owns its slot.
#[test]
fn a_stale_event_does_not_reach_the_next_owner() {
    let netpoll = Netpoll::new().unwrap();
    let (_l1, mut first, mut first_far) = connection();
    let (mut stranger, mut second, _second_far) = connection();
    let old = netpoll.register(&mut first).unwrap();
    // The wrong source: the slot's life ends, the kernel's registration does not.
    netpoll.deregister(&mut stranger, &old).unwrap_err();
    let new = netpoll.register(&mut second).unwrap();
    let index = |desc: &Desc| format!("{desc:?}").split_once("generation").unwrap().0.to_owned();
    assert_eq!(index(&old), index(&new), "the slot is used again");

    let task = Task::new();
    assert!(task.poll(&new, In).is_pending());
    first_far.write_all(b"for the first").unwrap();
    let mut blocker = netpoll.blocker().unwrap();
    blocker.prepare(None);
    while blocker.block(&mut Waker::wake).unwrap() > 0 {}
    drop(blocker);
    poll(&netpoll);
    assert_eq!(task.wakes(), 0);
    assert!(new.ready(In).is_none());
    assert_eq!(error_of(task.poll(&old, In)), ErrorKind::NotConnected);
}

#[test]
fn a_desc_of_another_poller_is_refused() {
    let (one, other) = (Netpoll::new().unwrap(), Netpoll::new().unwrap());
    let (_listener, mut near, _far) = connection();
    let desc = one.register(&mut near).unwrap();
    let error = other.deregister(&mut near, &desc).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(one.waiters());
    one.deregister(&mut near, &desc).unwrap();
}

#[test]
fn a_failed_registration_leaves_nothing() {
    let netpoll = Netpoll::new().unwrap();
    let (_listener, mut near, _far) = connection();
    let desc = netpoll.register(&mut near).unwrap();
    netpoll.register(&mut near).unwrap_err();
    netpoll.deregister(&mut near, &desc).unwrap();
    assert!(!netpoll.waiters());
}

#[test]
fn closing_ends_all_waiting() {
    let netpoll = Netpoll::new().unwrap();
    let (mut listener, mut near, _far) = connection();
    let desc = netpoll.register(&mut near).unwrap();
    let task = Task::new();
    assert!(task.poll(&desc, In).is_pending());

    netpoll.close();
    netpoll.close();
    assert_eq!(task.wakes(), 1);
    let error = error_of(task.poll(&desc, In));
    assert_eq!(error, ErrorKind::Other);
    assert_eq!(error_of(task.poll(&desc, Out)), ErrorKind::Other, "though it was writable");
    assert!(netpoll.register(&mut listener).unwrap_err().to_string().contains("shut down"));
    poll(&netpoll);
    netpoll.deregister(&mut near, &desc).unwrap();
    assert!(!netpoll.waiters());
}

#[test]
fn dropping_the_poller_ends_all_waiting() {
    let netpoll = Netpoll::new().unwrap();
    let (_listener, mut near, _far) = connection();
    let desc = netpoll.register(&mut near).unwrap();
    let task = Task::new();
    assert!(task.poll(&desc, In).is_pending());
    drop(netpoll);
    assert_eq!(task.wakes(), 1);
    assert_eq!(error_of(task.poll(&desc, In)), ErrorKind::Other);
}

#[test]
fn a_waker_that_panics_stops_nobody_elses_wake() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("a waker that panics");
        }
    }

    let netpoll = Netpoll::new().unwrap();
    let (_listener, mut near, _far) = connection();
    let desc = netpoll.register(&mut near).unwrap();
    let bomb = Waker::from(Arc::new(Bomb));
    assert!(desc.poll_ready(In, &mut Context::from_waker(&bomb)).is_pending());
    let task = Task::new();
    assert!(task.poll(&desc, In).is_pending());
    netpoll.deregister(&mut near, &desc).unwrap();
    assert_eq!(task.wakes(), 1);
}

#[test]
fn a_callback_that_panics_leaves_the_poller_usable() {
    let netpoll = Netpoll::new().unwrap();
    let (_listener, mut near, mut far) = connection();
    let desc = netpoll.register(&mut near).unwrap();
    poll(&netpoll);
    let task = Task::new();
    assert!(task.poll(&desc, In).is_pending());
    far.write_all(b"!").unwrap();
    let caught = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        poll_until(&netpoll, || {
            netpoll.try_poll(&mut |_| panic!("a callback that panics")).is_none()
        });
    }));
    assert!(caught.is_err());
    assert!(task.poll(&desc, In).is_ready());
    poll(&netpoll);
}

/// More sockets than one page of slots and one batch of events.
#[cfg(unix)]
#[test]
fn many_sockets() {
    use mio::net::UnixStream;

    const PAIRS: usize = 300;
    let netpoll = Netpoll::new().unwrap();
    let mut pairs: Vec<_> = (0..PAIRS)
        .map(|_| {
            let (mut near, far) = UnixStream::pair().unwrap();
            let desc = netpoll.register(&mut near).unwrap();
            (near, far, desc, Task::new())
        })
        .collect();
    for (near, far, desc, task) in &mut pairs {
        assert!(task.poll(desc, In).is_pending());
        far.write_all(b"!").unwrap();
        let _ = near;
    }
    poll_until(&netpoll, || pairs.iter().all(|(_, _, _, task)| task.wakes() == 1));
    for (near, _, desc, task) in &mut pairs {
        assert!(task.poll(desc, In).is_ready());
        netpoll.deregister(near, desc).unwrap();
    }
    assert!(!netpoll.waiters());
}

#[test]
fn auto_traits() {
    fn shared<T: Send + Sync>() {}
    shared::<Netpoll>();
    shared::<Desc>();
    shared::<Readiness>();
    shared::<Direction>();
    fn debug<T: std::fmt::Debug>() {}
    debug::<Netpoll>();
    debug::<Blocker<'_>>();
}
