//! Overflow: what happens when a stack grows into its guard.
//!
//! The guard faults, the kernel delivers SIGSEGV (SIGBUS on some systems) on the thread's alternate
//! signal stack, as there is no room left on the one that overflowed. The handler asks two things:
//! does the faulting address lie in a guard, and does the stack pointer lie in the same slot? If so
//! this is an overflow: it prints what the describer registered with [`install`] knows about the
//! owner of the slot, and ends the process with code 2. There is no way back from here; the frames
//! above are cut off in the middle of whatever they were doing.
//!
//! Everything else, such as a null pointer or the overflow of a thread's own stack, belongs to the
//! handler that was there before, std's as a rule, and goes there. If there was none, the default
//! action is restored and the instruction retried, which kills the process with the right signal.
//!
//! In here nothing locks, allocates, reads a thread-local or formats with `std::fmt`: the thread
//! may have been interrupted inside malloc. The lookups read atomics only, and text goes through a
//! [`FaultWriter`].

use std::ffi::c_void;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::arena::slot_of;
use super::{Slot, sys};

/// Prints who owns the slot that overflowed. Runs in the signal handler: see this file's head for
/// what it may do. The slot's owner was running on it, so what it keeps at the top can be read.
pub(crate) type Describe = fn(&mut FaultWriter, Slot);

const EXIT_CODE: i32 = 2;
const SIGNALS: [i32; 2] = [libc::SIGSEGV, libc::SIGBUS];

static DESCRIBE: OnceLock<Describe> = OnceLock::new();
static AFTERMATH: OnceLock<fn()> = OnceLock::new();
/// The handlers that were there before, in the order of `SIGNALS`.
static PREVIOUS: [OnceLock<libc::sigaction>; SIGNALS.len()] =
    [const { OnceLock::new() }; SIGNALS.len()];

/// Installs the handler for the process. Later calls do nothing; the first describer stays.
///
/// # Errors
/// What sigaction(2) says.
pub(crate) fn install(describe: Describe) -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *installed {
        return Ok(());
    }
    DESCRIBE.get_or_init(|| describe);
    for (signal, previous) in SIGNALS.into_iter().zip(&PREVIOUS) {
        // Known before it is needed: our handler may run as soon as it is installed.
        let current = exchange_action(signal, None)?;
        previous.get_or_init(|| current);
        exchange_action(signal, Some(&our_action()))?;
    }
    *installed = true;
    Ok(())
}

/// Has `f` called after the message, in the signal handler. The first one counts.
pub(crate) fn set_aftermath(f: fn()) {
    AFTERMATH.get_or_init(|| f);
}

fn our_action() -> libc::sigaction {
    // SAFETY: sigaction is a plain struct, and all zeroes is a value of it: an empty mask, no flags.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void) = on_fault;
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    action
}

/// Sets the action of `signal`, if one is given, and returns the one before.
fn exchange_action(signal: i32, new: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    let new = new.map_or(ptr::null(), ptr::from_ref);
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: `new` is null or valid, and if ours, its handler is async-signal-safe.
    match unsafe { libc::sigaction(signal, new, old.as_mut_ptr()) } {
        // SAFETY: filled in by the call.
        0 => Ok(unsafe { old.assume_init() }),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo for the signals we are installed for.
    let addr = unsafe { (*info).si_addr() }.addr();
    // SAFETY: with SA_SIGINFO the third argument is the interrupted thread's ucontext.
    let stack_pointer = unsafe { stack_pointer(context.cast()) };
    match overflowed(addr, stack_pointer) {
        Some(slot) => die(slot),
        // SAFETY: these are the arguments we were called with.
        None => unsafe { chain(signal, info, context) },
    }
}

/// The slot whose stack has just run into its guard, if that is what happened. The stack pointer
/// tells it from a stray pointer into somebody else's guard.
fn overflowed(addr: usize, stack_pointer: Option<usize>) -> Option<Slot> {
    let slot = slot_of(addr)?;
    let in_guard = addr < slot.limit().addr();
    let running = stack_pointer.is_none_or(|sp| slot_of(sp) == Some(slot));
    (in_guard && running).then_some(slot)
}

/// The interrupted stack pointer, where we know how to find it.
///
/// # Safety
/// `context` is what the kernel passed to the handler.
unsafe fn stack_pointer(context: *const libc::ucontext_t) -> Option<usize> {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    // SAFETY: valid by contract.
    let sp = Some(unsafe { (*context).uc_mcontext.gregs[libc::REG_RSP as usize] } as usize);
    #[cfg(all(target_os = "linux", target_arch = "aarch64"))]
    // SAFETY: valid by contract.
    let sp = Some(unsafe { (*context).uc_mcontext.sp } as usize);
    #[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let (sp, _) = (None, context);
    sp
}

fn die(slot: Slot) -> ! {
    static DYING: AtomicBool = AtomicBool::new(false);
    // AcqRel is not needed: nothing is published, one thread wins. The others wait for the end,
    // so that two messages do not mix.
    if DYING.swap(true, Ordering::Relaxed) {
        loop {
            // SAFETY: no preconditions.
            unsafe { libc::pause() };
        }
    }
    let mut writer = FaultWriter::new();
    match DESCRIBE.get() {
        Some(describe) => describe(&mut writer, slot),
        None => drop(writer.text("fatal error: stack overflow\n")),
    }
    writer.flush();
    if let Some(aftermath) = AFTERMATH.get() {
        aftermath();
    }
    // SAFETY: ends the process at once; no destructor or exit handler may run on a cut-off stack.
    unsafe { libc::_exit(EXIT_CODE) }
}

/// Hands the signal to the handler that was there before us.
///
/// # Safety
/// The arguments are those of the signal being handled.
unsafe fn chain(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    let place = SIGNALS.iter().position(|&known| known == signal);
    let Some(previous) = place.and_then(|place| PREVIOUS[place].get()) else {
        return;
    };
    match previous.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // On return the instruction faults again and meets the default action.
            let _ = exchange_action(signal, Some(previous));
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: registered with SA_SIGINFO, so of this type.
            let handler = unsafe {
                std::mem::transmute::<usize, extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void)>(
                    handler,
                )
            };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: registered without SA_SIGINFO, so of this type.
            let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(i32)>(handler) };
            handler(signal);
        }
    }
}

/// Text to stderr without a lock or an allocation.
pub(crate) struct FaultWriter {
    len: usize,
    buffer: [u8; 512],
}

impl FaultWriter {
    /// An empty one. Whoever makes it calls [`flush`](Self::flush) at the end.
    pub(crate) fn new() -> Self {
        Self { len: 0, buffer: [0; 512] }
    }

    /// Appends text.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        for &byte in text.as_bytes() {
            if self.len == self.buffer.len() {
                self.flush();
            }
            self.buffer[self.len] = byte;
            self.len += 1;
        }
        self
    }

    /// Appends a number, in decimal.
    pub(crate) fn number(&mut self, mut number: u64) -> &mut Self {
        /// Digits of `u64::MAX`.
        const DIGITS: usize = 20;
        let mut digits = [b'0'; DIGITS];
        let mut start = DIGITS - 1;
        loop {
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
            start -= 1;
        }
        self.text(std::str::from_utf8(&digits[start..]).unwrap_or("?"))
    }

    /// Writes out what was appended. If stderr takes nothing, it is lost.
    pub(crate) fn flush(&mut self) {
        let mut rest = &self.buffer[..self.len];
        while !rest.is_empty() {
            // SAFETY: the buffer is valid for its length.
            let written =
                unsafe { libc::write(libc::STDERR_FILENO, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(written) {
                Ok(count) if count > 0 => rest = &rest[count..],
                _ => break,
            }
        }
        self.len = 0;
    }
}

/// An alternate signal stack for the calling thread, large enough for our handler. Every thread that
/// runs goroutines holds one while it does; the thread's previous one is back after the drop.
/// Bound to the thread it was made on, so `!Send`.
#[must_use = "the signal stack is gone when this is dropped"]
pub(crate) struct AltStack {
    /// `None` if the thread had one that is large enough.
    own: Option<OwnAltStack>,
    _of_this_thread: PhantomData<*const ()>,
}

struct OwnAltStack {
    mapping: std::ops::Range<usize>,
    previous: libc::stack_t,
}

impl AltStack {
    /// Makes sure that the calling thread has one.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub(crate) fn new() -> io::Result<Self> {
        let previous = exchange_stack(None)?;
        let disabled = previous.ss_flags & libc::SS_DISABLE != 0;
        let own = if disabled || previous.ss_size < wanted_bytes() {
            Some(OwnAltStack::new(previous)?)
        } else {
            None
        };
        Ok(Self { own, _of_this_thread: PhantomData })
    }
}

impl OwnAltStack {
    fn new(previous: libc::stack_t) -> io::Result<Self> {
        let guard = sys::page_size();
        let mapping = sys::reserve(guard + wanted_bytes())?;
        let usable = mapping.start + guard..mapping.end;
        let stack = libc::stack_t {
            ss_sp: ptr::with_exposed_provenance_mut(usable.start),
            ss_flags: 0,
            ss_size: usable.len(),
        };
        // SAFETY: a fresh mapping, ours alone.
        let set =
            unsafe { sys::protect(&usable, true) }.and_then(|()| exchange_stack(Some(&stack)));
        let own = Self { mapping, previous };
        set.map(|_| ()).inspect_err(|_| own.unmap())?;
        Ok(own)
    }

    fn unmap(&self) {
        let start = ptr::with_exposed_provenance_mut(self.mapping.start);
        // SAFETY: made by `new`, and not the thread's signal stack (any more).
        unsafe { libc::munmap(start, self.mapping.len()) };
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        if let Some(own) = &self.own
            && exchange_stack(Some(&own.previous)).is_ok()
        {
            own.unmap();
        }
    }
}

/// 16 KiB for us and for the handlers we chain to, above what the kernel stores (several KiB with
/// AVX-512 or AMX); at least 32 KiB, which is what Go gives its own.
fn wanted_bytes() -> usize {
    #[cfg(target_os = "linux")]
    // SAFETY: no preconditions; 0 if the kernel does not say.
    let frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    #[cfg(not(target_os = "linux"))]
    let frame = 0_usize;
    (frame + (16 << 10)).max(32 << 10).next_multiple_of(sys::page_size())
}

/// Sets the calling thread's signal stack, if one is given, and returns the one before.
fn exchange_stack(new: Option<&libc::stack_t>) -> io::Result<libc::stack_t> {
    let new = new.map_or(ptr::null(), ptr::from_ref);
    let mut old = MaybeUninit::<libc::stack_t>::zeroed();
    // SAFETY: `new` is null, or names memory that stays until another one is set.
    match unsafe { libc::sigaltstack(new, old.as_mut_ptr()) } {
        // SAFETY: filled in by the call.
        0 => Ok(unsafe { old.assume_init() }),
        _ => Err(io::Error::last_os_error()),
    }
}
