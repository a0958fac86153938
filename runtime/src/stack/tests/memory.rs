//! Pools, mappings, budgets, limits and resident memory.

use std::collections::HashSet;
use std::io;
use std::thread;

use super::super::pool::{LocalPool, scavenge, stats};
use super::super::{SizeClass, guard, pool, sys};
use super::*;

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

fn touch(slot: &StackSlot, depth: usize) {
    for offset in (1..=depth).step_by(4096) {
        // SAFETY: between limit and top of a slot that the test owns.
        unsafe { slot.top().sub(offset).write_volatile(1) };
    }
}

#[test]
fn classes_and_sizes_agree() {
    for class in SizeClass::ALL {
        assert_eq!(SizeClass::fit(class.bytes()), Some(class));
        assert_eq!(SizeClass::ALL[class as usize], class);
    }
    assert_eq!(SizeClass::fit(0), Some(SizeClass::K16));
    assert_eq!(SizeClass::fit((64 << 10) + 1), Some(SizeClass::K256));
    assert_eq!(SizeClass::fit(1 << 20), Some(SizeClass::M1));
    assert_eq!(SizeClass::fit((1 << 20) + 1), None);
}

#[test]
fn tops_are_coloured_and_inside_the_slot() {
    for class in SizeClass::ALL {
        let slots: Vec<_> = (0..16).map(|_| pool::get(class).unwrap()).collect();
        let mut colours = HashSet::new();
        for slot in &slots {
            let end = slot.limit().addr() - 4096 + class.bytes();
            let colour = end - slot.top().addr();
            assert!(colour < 1024 && colour % 128 == 0);
            colours.insert(colour);
            assert_eq!(slot.size(), class.bytes());
        }
        assert!(colours.len() > 1);
        slots.into_iter().for_each(pool::put);
    }
}

#[test]
fn a_slot_is_handed_out_once() {
    let mut local = LocalPool::default();
    let slots: Vec<_> = (0..1000).map(|_| local.get(SizeClass::K16).unwrap()).collect();
    let distinct: HashSet<_> = slots.iter().map(|slot| slot.index()).collect();
    assert_eq!(distinct.len(), slots.len());
    slots.into_iter().for_each(|slot| local.put(slot));
    let again: HashSet<_> = (0..1000).map(|_| local.get(SizeClass::K16).unwrap().index()).collect();
    assert_eq!(again.len(), 1000);
}

#[test]
fn threads_that_grow_at_once_share_nothing() {
    let get_many = || {
        let mut local = LocalPool::default();
        let slots = (0..500).map(|_| local.get(SizeClass::K64).unwrap());
        slots.collect::<Vec<_>>()
    };
    let slots: Vec<_> = thread::scope(|scope| {
        let threads = [0; 4].map(|_| scope.spawn(get_many));
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let distinct: HashSet<_> = slots.iter().map(|slot| slot.index()).collect();
    assert_eq!(distinct.len(), 2000);
    slots.into_iter().for_each(pool::put);
}

#[test]
fn the_last_one_back_is_the_first_one_out() {
    let mut local = LocalPool::default();
    let slot = local.get(SizeClass::K64).unwrap();
    let index = slot.index();
    local.put(slot);
    let slot = local.get(SizeClass::K64).unwrap();
    assert_eq!(slot.index(), index);
    local.put(slot);
}

/// Stacks in use or in a `LocalPool`.
fn out(class: SizeClass) -> usize {
    let numbers = stats()[class as usize];
    numbers.committed - numbers.free
}

#[test]
fn a_million_in_sequence_leave_memory_flat() {
    passes_isolated(test_path!(a_million_in_sequence_leave_memory_flat), || {
        let mut local = LocalPool::default();
        let mut churn = |rounds: usize| {
            for _ in 0..rounds {
                let slot = local.get(SizeClass::K256).unwrap();
                touch(&slot, 1);
                local.put(slot);
            }
        };
        churn(100);
        let (resident, mapped) = (resident_bytes(), mappings());
        churn(1_000_000);
        assert!(resident_bytes() < resident + (1 << 20));
        assert!(mappings() <= mapped + 1);
    });
}

#[test]
fn a_hundred_thousand_at_once_need_few_mappings() {
    passes_isolated(test_path!(a_hundred_thousand_at_once_need_few_mappings), || {
        if !guard::uses_markers() {
            return;
        }
        let before = mappings();
        let mut local = LocalPool::default();
        let slots: Vec<_> = (0..100_000).map(|_| local.get(SizeClass::K256).unwrap()).collect();
        assert!(mappings() < before + 20, "{} mappings", mappings());
        assert!(slots.iter().step_by(999).all(is_guarded));
        assert!(out(SizeClass::K256) >= 100_000);
    });
}

/// Whether the kernel can reach the byte above the guard, and not the one below.
fn is_guarded(slot: &StackSlot) -> bool {
    let [reader, writer] = pipe();
    let put = |addr: *mut u8| {
        // SAFETY: the kernel checks the address itself.
        unsafe { libc::write(writer, addr.cast(), 1) }
    };
    let limit = slot.limit();
    let guarded = put(limit) == 1
        && put(limit.wrapping_sub(1)) == -1
        && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT);
    for end in [reader, writer] {
        // SAFETY: opened above, and not used again.
        unsafe { libc::close(end) };
    }
    guarded
}

fn pipe() -> [i32; 2] {
    let mut ends = [0; 2];
    // SAFETY: fills in the array.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    ends
}

#[test]
fn every_class_is_guarded() {
    for class in SizeClass::ALL {
        let slot = pool::get(class).unwrap();
        assert!(is_guarded(&slot));
        pool::put(slot);
    }
}

#[test]
fn mapped_guards_stop_at_their_budget() {
    passes_isolated(test_path!(mapped_guards_stop_at_their_budget), || {
        guard::force_mappings(150);
        let mut local = LocalPool::default();
        let mut slots = Vec::new();
        let error = loop {
            match local.get(SizeClass::K256) {
                Ok(slot) => slots.push(slot),
                Err(error) => break error,
            }
        };
        assert_eq!(slots.len(), 128, "two slabs of 64");
        assert!(slots.iter().all(is_guarded));
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        assert!(error.to_string().contains("vm.max_map_count"), "{error}");

        slots.into_iter().for_each(|slot| local.put(slot));
        assert!(local.get(SizeClass::K256).is_ok(), "goes on with what it has");
    });
}

#[test]
fn a_failed_commit_is_an_error_and_tried_again() {
    passes_isolated(test_path!(a_failed_commit_is_an_error_and_tried_again), || {
        const MOST: usize = 100_000;
        let max = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
        if max.trim().parse().is_ok_and(|max: usize| max > MOST) {
            return;
        }
        let space = sys::reserve(2 * MOST * 4096).unwrap();
        let mut pages = space.clone().step_by(2 * 4096).map(|page| page..page + 4096);
        // SAFETY: our own mapping, which nobody uses.
        while unsafe { sys::protect(&pages.next().unwrap(), true) }.is_ok() {}
        let error = pool::get(SizeClass::K64).unwrap_err();
        let start = std::ptr::with_exposed_provenance_mut(space.start);
        // SAFETY: as above.
        unsafe { libc::munmap(start, space.len()) };

        assert!(error.to_string().contains("vm.max_map_count"), "{error}");
        assert!(is_guarded(&pool::get(SizeClass::K64).unwrap()));
    });
}

#[test]
fn locked_memory_gets_mapped_guards() {
    passes_isolated(test_path!(locked_memory_gets_mapped_guards), || {
        // SAFETY: no preconditions.
        if unsafe { libc::mlockall(libc::MCL_FUTURE) } != 0 {
            return;
        }
        // A whole arena of locked memory is more than most may lock, which is an error as good.
        match pool::get(SizeClass::K16) {
            Ok(slot) => assert!(is_guarded(&slot)),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}

#[test]
fn rationed_address_space_is_an_error_and_no_more() {
    passes_isolated(test_path!(rationed_address_space_is_an_error_and_no_more), || {
        let limit = libc::rlimit { rlim_cur: 1 << 30, rlim_max: 1 << 30 };
        // SAFETY: reads the struct.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
        let mut slots = Vec::new();
        let error = loop {
            match pool::get(SizeClass::K256) {
                Ok(slot) => slots.push(slot),
                Err(error) => break error,
            }
        };
        assert!(slots.len() > 1000, "several arenas: {}", slots.len());
        assert!(slots.iter().all(|slot| {
            touch(slot, 1);
            super::super::arena::slot_of(slot.limit().addr()) == Some(**slot)
        }));
        assert!(error.to_string().contains("RLIMIT_AS"), "{error}");
        slots.into_iter().for_each(pool::put);
        assert!(pool::get(SizeClass::K256).is_ok());
    });
}

#[test]
fn scavenging_takes_only_what_lay_idle_for_a_period() {
    passes_isolated(test_path!(scavenging_takes_only_what_lay_idle_for_a_period), || {
        const COUNT: usize = 2000;
        const DEPTH: usize = 32 << 10;
        let class = SizeClass::K256;
        let trimmed = || stats()[class as usize].trimmed;
        let slots: Vec<_> = (0..COUNT).map(|_| pool::get(class).unwrap()).collect();
        slots.iter().for_each(|slot| touch(slot, DEPTH));
        let full = resident_bytes();
        slots.into_iter().for_each(pool::put);

        assert_eq!(scavenge(COUNT), 0);
        assert_eq!(trimmed(), 0, "the first call only begins a period");
        let busy: Vec<_> = (0..500).map(|_| pool::get(class).unwrap()).collect();
        busy.into_iter().for_each(pool::put);
        let mut calls = 1;
        while scavenge(400) > 0 {
            calls += 1;
        }
        let free = stats()[class as usize].free;
        assert_eq!(trimmed(), free - 500, "those taken meanwhile stay");
        assert_eq!(calls, (free - 500).div_ceil(400));
        let freed = full - resident_bytes();
        let expected = (COUNT - 500) * (DEPTH - 4096);
        assert!(freed > expected, "{freed} of {expected} bytes");

        let again: Vec<_> = (0..COUNT).map(|_| pool::get(class).unwrap()).collect();
        again.iter().for_each(|slot| touch(slot, DEPTH));
        assert!(again.iter().step_by(99).all(is_guarded), "guards outlive a trim");
    });
}

#[test]
fn a_flushed_pool_is_on_the_global_list() {
    passes_isolated(test_path!(a_flushed_pool_is_on_the_global_list), || {
        let class = SizeClass::K64;
        let mut local = LocalPool::default();
        let slot = local.get(class).unwrap();
        let numbers = stats()[class as usize];
        assert_eq!((numbers.committed, numbers.free), (64, 32));
        assert_eq!(numbers.committed_bytes(), 4 << 20);
        local.put(slot);
        local.flush();
        assert_eq!(out(class), 0);
    });
}
