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

pub(super) use {ask_system, has_fd};
