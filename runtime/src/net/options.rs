//! What a socket can be asked and told at once.

/// Methods of a socket that wait for nothing and hand on what the system says.
macro_rules! ask_system {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// Those of the system.
        pub fn $name(&self $(, $arg: $type)*) -> std::io::Result<$result> {
            self.source.io().$name($($arg),*)
        }
    )*};
}

/// Waiting without doing anything yet, and doing anything with the descriptor.
macro_rules! readiness {
    () => {
        readiness!(readable: poll_read_ready, writable: poll_write_ready);
    };
    ($readable:ident: $poll_read:ident, $writable:ident: $poll_write:ident) => {
        readiness!($readable, $poll_read, Read, "Waits until there may be something to read");
        readiness!($writable, $poll_write, Write, "Waits until there may be room to write");

        /// Runs `op`, which may do anything with the descriptor, until it does not say `WouldBlock`;
        /// waits for `direction` in between.
        ///
        /// # Errors
        /// Those of `op`, and if this has been closed, its deadline has passed, or its runtime has
        /// ended.
        pub async fn async_io<T>(
            &self,
            direction: gort_netpoll::Direction,
            mut op: impl FnMut() -> std::io::Result<T>,
        ) -> std::io::Result<T> {
            std::future::poll_fn(|cx| self.source.poll_io(direction, cx, |_| op())).await
        }

        /// Runs `op` once (or again after `Interrupted`), and remembers if it says `WouldBlock`, so
        /// that the next wait is for an event to come. Waits for nothing.
        ///
        /// # Errors
        /// Those of `op`, and as for `async_io`.
        pub fn try_io<T>(
            &self,
            direction: gort_netpoll::Direction,
            mut op: impl FnMut() -> std::io::Result<T>,
        ) -> std::io::Result<T> {
            self.source.try_io(direction, |_| op())
        }
    };
    ($name:ident, $poll:ident, $direction:ident, $doc:literal) => {
        #[doc = concat!($doc, ". It is a hint: an attempt may find nothing. Let")]
        /// [`try_io`](Self::try_io) or another `try_*` method follow, which remember that.
        /// Cancel-safe; any number of tasks may wait.
        ///
        /// # Errors
        /// If this has been closed, its deadline has passed, or its runtime has ended.
        pub async fn $name(&self) -> std::io::Result<()> {
            std::future::poll_fn(|cx| self.$poll(cx)).await
        }

        #[doc = concat!("[`", stringify!($name), "`](Self::", stringify!($name), ") for a future")]
        /// of one's own.
        ///
        /// # Errors
        /// As there.
        pub fn $poll(
            &self,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            self.source.poll_seen(gort_netpoll::Direction::$direction, cx).map_ok(drop)
        }
    };
}

/// A method that does something once, without waiting.
macro_rules! attempts {
    ($name:ident: $direction:ident, |$io:pat_param, $buf:ident: $type:ty| $op:expr) => {
        /// Does what can be done at once.
        ///
        /// # Errors
        /// `WouldBlock` if that is nothing, and what the system says.
        pub fn $name(&self, $buf: $type) -> std::io::Result<usize> {
            self.source.try_io(gort_netpoll::Direction::$direction, |$io| $op)
        }
    };
}

/// Deadlines in both directions, and a close for everybody.
macro_rules! deadlines {
    ($close:ident) => {
        /// Sets the time from which on both directions fail with `TimedOut`, also what waits then, as
        /// [`TcpStream::set_deadline`](crate::net::TcpStream::set_deadline) does.
        pub fn set_deadline(&self, deadline: Option<crate::time::Instant>) {
            self.source.set_deadline(deadline);
        }

        deadlines!();

        /// Closes it now, whoever else holds it: what waits and all that comes later fails with
        /// `NotConnected`. See
        /// [`TcpStream::close_now`](crate::net::TcpStream::close_now). Go: `Close`.
        ///
        /// # Errors
        /// As there.
        pub fn $close(&self) -> std::io::Result<()> {
            self.source.close()
        }
    };
    () => {
        /// As [`set_deadline`](Self::set_deadline), for reading or receiving.
        pub fn set_read_deadline(&self, deadline: Option<crate::time::Instant>) {
            self.source.set_read_deadline(deadline);
        }

        /// As [`set_deadline`](Self::set_deadline), for writing or sending.
        pub fn set_write_deadline(&self, deadline: Option<crate::time::Instant>) {
            self.source.set_write_deadline(deadline);
        }

        /// When reading or receiving ends, if that has been set.
        #[must_use]
        pub fn read_deadline(&self) -> Option<crate::time::Instant> {
            self.source.read_deadline()
        }

        /// When writing or sending ends, if that has been set.
        #[must_use]
        pub fn write_deadline(&self) -> Option<crate::time::Instant> {
            self.source.write_deadline()
        }
    };
}

/// The descriptor, for what is not here.
macro_rules! has_fd {
    ($($type:ty),*) => {$(
        #[cfg(unix)]
        impl std::os::fd::AsRawFd for $type {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.source.io().as_raw_fd()
            }
        }

        #[cfg(unix)]
        impl std::os::fd::AsFd for $type {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.source.io().as_fd()
            }
        }
    )*};
}

pub(super) use {ask_system, attempts, deadlines, has_fd, readiness};
