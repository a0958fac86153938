//! Spawn sites that surprise: their Gs have held a P for 10 ms without a word.
//!
//! A started goroutine keeps its thread, so one that blocks it delays the
//! others that live there, and handing its P over does not help them. What
//! helps is to start the next one from that site where nobody lives: on a
//! thread of its own, beside the Ps, until it waits for the first time.
//!
//! The sites are few and the table is small. A surprise gives its site credit
//! for some such starts; one that then keeps its thread for a slice gives as
//! much again, and each second halves it. So a site that surprises each time
//! never runs out, and one that did so once, because the machine was busy with
//! something else, costs some thread switches. While the table is empty it costs
//! nothing (a bit in the counts word); else a look at each start.

use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Sched;
use super::g::Runnable;
use super::idle::SITES;
use super::m::M;
use super::sysmon::SLICE;
use crate::util::clock;

/// Sites that are remembered; the one with the least credit gives way.
const SITES_MAX: usize = 16;
/// Starts that a surprise pays for (a guess: 16 thread switches are 0.2 ms, the surprise was 10).
const CREDIT: u32 = 16;
const CREDIT_MAX: u32 = 64;

type Site = &'static Location<'static>;

/// See the module.
#[derive(Default)]
pub(super) struct Sites(Mutex<Vec<(Site, u32)>>);

impl Sites {
    fn lock(&self) -> MutexGuard<'_, Vec<(Site, u32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sched {
    /// A G of this site has held a P for a whole slice. By sysmon.
    pub(super) fn note_surprise(&self, site: Site) {
        let mut sites = self.sites.lock();
        match sites.iter_mut().find(|(known, _)| *known == site) {
            Some((_, credit)) => *credit = (*credit + CREDIT).min(CREDIT_MAX),
            None => {
                if sites.len() == SITES_MAX {
                    let least = (0..SITES_MAX).min_by_key(|&i| sites[i].1);
                    sites.swap_remove(least.expect("the table is full"));
                }
                sites.push((site, CREDIT));
            }
        }
        self.idle.set_bit(SITES, true);
    }

    /// A second has passed. By sysmon.
    pub(super) fn forgive_sites(&self) {
        let mut sites = self.sites.lock();
        sites.iter_mut().for_each(|(_, credit)| *credit /= 2);
        sites.retain(|(_, credit)| *credit > 0);
        self.idle.set_bit(SITES, !sites.is_empty());
    }

    /// Whether a G of this site should start elsewhere, which uses up some of its credit.
    fn use_credit(&self, site: Site) -> bool {
        let mut sites = self.sites.lock();
        let Some(i) = sites.iter().position(|(known, _)| *known == site) else { return false };
        sites[i].1 -= 1;
        if sites[i].1 == 0 {
            sites.swap_remove(i);
            self.idle.set_bit(SITES, !sites.is_empty());
        }
        true
    }
}

impl M {
    /// Whether `g`, which is about to start here, should start where nobody lives.
    #[cold]
    pub(super) fn avoids(&self, g: &Runnable) -> bool {
        let g = g.g();
        g.vtable().is_goroutine
            && g.home().is_none()
            && self.residents() > 0
            && !self.sched().config.migrate
            && self.sched().may_start_beside()
            && self.sched().use_credit(g.spawned_at())
    }

    /// Starts `g` on a thread of its own. It counts as detached until it stops, and the thread as
    /// private until nobody lives there any more.
    pub(super) fn start_elsewhere(&self, g: Runnable) {
        let sched = self.sched();
        sched.count_private();
        sched.start_beside(sched.idle.lock(), g, false);
    }

    /// A goroutine starts here because its site has surprised.
    pub(super) fn begin_private(&self, g: &Runnable) {
        self.detach(); // it has not asked for this
        self.set_private();
        self.private_since.set(Some((g.g().spawned_at(), clock::now())));
    }

    /// It has stopped for the first time.
    pub(super) fn end_private(&self) {
        if let Some((site, since)) = self.private_since.take()
            && clock::now() - since >= SLICE
        {
            self.sched().note_surprise(site);
        }
    }
}
