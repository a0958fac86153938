//! What the compiler has written down about the functions of this process (`.eh_frame`), looked up
//! by address. The unwinder reads the same tables, but only for stacks that it can walk.

#![cfg(all(feature = "backtrace", target_os = "linux", target_arch = "x86_64"))]

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{ptr, slice};

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, EndianSlice, NativeEndian, ParsedEhFrameHdr,
    Pointer, RegisterRule, UnwindContext, UnwindSection, X86_64,
};

type Slice = EndianSlice<'static, NativeEndian>;

/// The programs and libraries that are loaded.
pub(super) struct Tables {
    modules: Vec<Module>,
    ctx: UnwindContext<usize>,
}

struct Module {
    /// Where its code lies, and all that can be read.
    text: Vec<Range<usize>>,
    loaded: Vec<Range<usize>>,
    index: ParsedEhFrameHdr<Slice>,
    frames: EhFrame<Slice>,
    bases: BaseAddresses,
}

/// A place in the code.
pub(super) struct Place {
    /// Where its function begins.
    pub(super) function: usize,
    pub(super) frame: Frame,
    /// So many bytes from there down are registers that it has saved, and the return address.
    pub(super) saved: usize,
}

/// Where the frame of a function begins, in one of its places: its canonical address, the stack
/// pointer before the call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// So many bytes above the stack pointer.
    AboveSp(usize),
    /// 16 bytes above what the frame pointer holds.
    AboveFp,
    Other,
}

/// A call instruction.
pub(super) struct Call {
    /// What it calls, if that is written there.
    pub(super) target: Option<usize>,
}

impl Tables {
    /// Calls `f`, which must not panic, with all that is loaded; nothing is unloaded meanwhile.
    pub(super) fn with<R>(f: impl FnOnce(&mut Tables) -> R) -> Option<R> {
        // The loader's lock is held around a callback, and may be taken again inside. (musl does
        // not hold it; and never unloads anything.)
        let mut f = Some(f);
        let mut result = None;
        each_module(&mut |_| {
            if let Some(f) = f.take() {
                let mut modules = Vec::new();
                each_module(&mut |info| modules.extend(Module::of(info)));
                result = Some(f(&mut Tables { modules, ctx: UnwindContext::new() }));
            }
        });
        result
    }

    /// Whether `address` lies in the code of anybody.
    pub(super) fn is_code(&self, address: usize) -> bool {
        self.module(address).is_some()
    }

    fn module(&self, address: usize) -> Option<&Module> {
        self.modules.iter().find(|module| module.holds(address))
    }

    /// What is known of the instruction at `pc`.
    pub(super) fn place(&mut self, pc: usize) -> Option<Place> {
        let module = self.modules.iter().find(|module| module.holds(pc))?;
        let (frames, bases, pc) = (&module.frames, &module.bases, pc as u64);
        let fde = module.index.table()?;
        let fde = fde.fde_for_address(frames, bases, pc, EhFrame::cie_from_offset).ok()?;
        let row = fde.unwind_info_for_address(frames, bases, &mut self.ctx, pc).ok()?;
        let frame = match *row.cfa() {
            CfaRule::RegisterAndOffset { register: X86_64::RSP, offset } => {
                Frame::AboveSp(offset.try_into().ok()?)
            }
            CfaRule::RegisterAndOffset { register: X86_64::RBP, offset: 16 } => Frame::AboveFp,
            _ => Frame::Other,
        };
        let saved = |rule: &RegisterRule<usize>| match *rule {
            RegisterRule::Offset(n) => usize::try_from(-n).unwrap_or(0),
            _ => 0,
        };
        let saved = row.registers().map(|(_, rule)| saved(rule)).max().unwrap_or(0);
        Some(Place { function: fde.initial_address() as usize, frame, saved })
    }

    /// The call that returns to `pc`, if there is one.
    pub(super) fn call_before(&self, pc: usize) -> Option<Call> {
        const LONGEST: usize = 7;
        let before = self.module(pc)?.bytes(pc.checked_sub(LONGEST)?..pc)?;
        if let [_, _, 0xe8, a, b, c, d] = *before {
            let distance = i32::from_le_bytes([a, b, c, d]);
            let target = pc.wrapping_add_signed(distance as isize);
            if self.is_code(target) {
                return Some(Call { target: Some(target) });
            }
        }
        if let [_, 0xff, 0x15, a, b, c, d] = *before {
            let distance = i32::from_le_bytes([a, b, c, d]);
            let entry = pc.wrapping_add_signed(distance as isize);
            return Some(Call { target: self.module(pc)?.word(entry) });
        }
        // FF /2: through a register or through other memory, in two to seven bytes.
        let indirect = before.windows(2).any(|it| it[0] == 0xff && it[1] >> 3 & 7 == 2);
        indirect.then_some(Call { target: None })
    }
}

impl Module {
    /// None: it has no tables, or none that can be searched.
    fn of(info: &libc::dl_phdr_info) -> Option<Module> {
        // SAFETY: the loader's list, as it stands in memory.
        let headers =
            unsafe { slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        let range = |header: &libc::Elf64_Phdr| {
            let start = (info.dlpi_addr + header.p_vaddr) as usize;
            start..start + header.p_memsz as usize
        };
        let loaded = || headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
        let readable = |header: &&libc::Elf64_Phdr| header.p_flags & libc::PF_R != 0;
        let code = |header: &&libc::Elf64_Phdr| header.p_flags & libc::PF_X != 0;
        let index = range(headers.iter().find(|it| it.p_type == libc::PT_GNU_EH_FRAME)?);
        let bases = BaseAddresses::default().set_eh_frame_hdr(index.start as u64);
        let start = index.start;
        // SAFETY: a segment of a module that stays loaded, by the caller of `with`'s lock.
        let index = EhFrameHdr::from(unsafe { bytes(index) }).parse(&bases, 8).ok()?;
        let Pointer::Direct(frames) = index.eh_frame_ptr() else { return None };
        let around = |at: usize| loaded().filter(readable).map(range).find(|it| it.contains(&at));
        let end = around(frames as usize).or_else(|| around(start))?.end;
        Some(Module {
            loaded: loaded().filter(readable).map(range).collect(),
            text: loaded().filter(readable).filter(code).map(range).collect(),
            index,
            // SAFETY: as above, to the end of the segment; the search goes by the index.
            frames: EhFrame::from(unsafe { bytes(frames as usize..end) }),
            bases: bases.set_eh_frame(frames),
        })
    }

    fn holds(&self, address: usize) -> bool {
        self.text.iter().any(|text| text.contains(&address))
    }

    /// A word of its own, as of its table of what it calls.
    fn word(&self, at: usize) -> Option<usize> {
        let end = at.checked_add(size_of::<usize>())?;
        self.loaded.iter().find(|part| part.start <= at && end <= part.end)?;
        let word = ptr::with_exposed_provenance::<AtomicUsize>(at);
        // SAFETY: it can be read, and is looked at as what the loader writes.
        word.is_aligned().then(|| unsafe { &*word }.load(Ordering::Relaxed)) // Relaxed: any will do
    }

    fn bytes(&self, at: Range<usize>) -> Option<&[u8]> {
        self.text.iter().find(|text| text.start <= at.start && at.end <= text.end)?;
        // SAFETY: code that is loaded and readable, and does not change.
        Some(unsafe { bytes(at) }.slice())
    }
}

/// # Safety
/// The memory is readable and stays as it is for as long as the result is used.
unsafe fn bytes(at: Range<usize>) -> Slice {
    let start = ptr::with_exposed_provenance(at.start);
    // SAFETY: the contract above.
    Slice::new(unsafe { slice::from_raw_parts(start, at.len()) }, NativeEndian)
}

/// Calls `f` with each module that is loaded, under the loader's lock.
fn each_module(f: &mut dyn FnMut(&libc::dl_phdr_info)) {
    type Visit<'a> = &'a mut dyn FnMut(&libc::dl_phdr_info);
    unsafe extern "C" fn visit(
        info: *mut libc::dl_phdr_info,
        _: libc::size_t,
        f: *mut c_void,
    ) -> c_int {
        // SAFETY: what `each_module` has passed, and what the loader passes.
        unsafe { (*f.cast::<Visit<'_>>())(&*info) };
        0
    }
    let mut f: Visit<'_> = f;
    // SAFETY: the callback is called before this returns, and with `f`.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut f).cast()) };
}
