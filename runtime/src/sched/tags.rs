//! What few Gs have, and is kept beside their cells: a name, and labels.
//!
//! A G's `is_tagged` says that there is something in the table of its scheduler, by its id. Labels
//! are inherited by what a G spawns; until somebody sets the first one that is a look at a word that
//! nobody writes.
//!
//! What runs outside of any G, on a plain thread or as the root of a `block_on`, has the labels of
//! its thread.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;

use super::Sched;
use super::g::GRef;
use super::m;
use super::trace;
use crate::util::{opaque, soon};

/// Somebody has set a label.
static LABELLED: CachePadded<AtomicBool> = CachePadded::new(AtomicBool::new(false));

thread_local! {
    static MINE: RefCell<Labels> = const { RefCell::new(Labels(None)) };
}

/// See [`gort::labels`](crate::labels). Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Labels(Option<Arc<BTreeMap<String, String>>>);

/// What is known of a G beside its cell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tags {
    pub(crate) name: Option<String>,
    pub(crate) labels: Labels,
}

/// See the module.
#[derive(Default)]
pub(super) struct Table(Mutex<HashMap<u64, Tags>>);

impl Labels {
    /// These and `more`, which win.
    pub(crate) fn and(&self, more: impl IntoIterator<Item = (String, String)>) -> Labels {
        let mut more = more.into_iter().peekable();
        if more.peek().is_none() {
            return self.clone();
        }
        let mut all = self.0.as_deref().cloned().unwrap_or_default();
        all.extend(more);
        Labels(Some(Arc::new(all)))
    }

    /// The keys and values, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|all| all.iter()).map(|(key, value)| (&**key, &**value))
    }

    /// The value of `key`, if it is there.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.as_ref()?.get(key).map(String::as_str)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// As dumps show them: `{request: 17, user: "a b"}`. What is not of letters, digits and `-_./:@+` is
/// quoted.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (key, value)) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{}: {}", Plain(key), Plain(value))?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// A text without quotes, where it needs none.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |c: char| c.is_alphanumeric() || "-_./@+".contains(c);
        if !self.0.is_empty() && self.0.chars().all(is_plain) {
            f.write_str(self.0)
        } else {
            write!(f, "{:?}", self.0)
        }
    }
}

/// Whether what is spawned may have to inherit something.
#[inline(always)]
fn are_used() -> bool {
    LABELLED.load(Ordering::Relaxed) // Relaxed: whoever has set one sees it
}

/// Whose labels are meant.
enum Caller {
    G(GRef),
    /// A plain thread, also in a `block_on`.
    Thread,
    /// A worker between two Gs, or in a call of C. It has none, for it serves everybody.
    Worker,
}

impl Caller {
    fn new() -> Caller {
        match m::current() {
            None => Caller::Thread,
            Some(m) => match m.curg() {
                Some(g) => Caller::G(g),
                None if m.is_outside() => Caller::Thread,
                None => Caller::Worker,
            },
        }
    }
}

/// The labels of the caller.
pub(crate) fn current() -> Labels {
    if !are_used() {
        return Labels::default();
    }
    match Caller::new() {
        Caller::G(g) => g.sched().labels_of(g),
        Caller::Thread => on_thread(|mine| mine.clone()),
        Caller::Worker => Labels::default(),
    }
}

/// Gives the caller other labels, and returns those that it had.
pub(crate) fn replace(labels: Labels) -> Labels {
    LABELLED.store(true, Ordering::Relaxed); // Relaxed: as in `are_used`
    match Caller::new() {
        Caller::G(g) => g.sched().set_labels(g, labels),
        Caller::Thread => on_thread(|mine| std::mem::replace(mine, labels)),
        Caller::Worker => Labels::default(),
    }
}

/// Those of a thread that is being torn down are gone.
#[inline(never)]
fn on_thread(f: impl FnOnce(&mut Labels) -> Labels) -> Labels {
    opaque();
    MINE.try_with(|mine| f(&mut mine.borrow_mut())).unwrap_or_default()
}

impl Sched {
    /// A G has just been made here, by the caller.
    #[inline]
    pub(super) fn tag(&self, g: GRef, name: Option<&str>) {
        if name.is_some() || are_used() {
            self.tag_slow(g, name);
        }
    }

    #[cold]
    fn tag_slow(&self, g: GRef, name: Option<&str>) {
        let tags = Tags { name: name.map(str::to_owned), labels: current() };
        if tags.name.is_some() || !tags.labels.is_empty() {
            g.set_tagged();
            self.lock_tags().insert(g.id(), tags);
        }
    }

    fn set_labels(&self, g: GRef, labels: Labels) -> Labels {
        if !g.is_tagged() && labels.is_empty() {
            return labels;
        }
        g.set_tagged();
        std::mem::replace(&mut self.lock_tags().entry(g.id()).or_default().labels, labels)
    }

    fn labels_of(&self, g: GRef) -> Labels {
        if !g.is_tagged() {
            return Labels::default();
        }
        self.lock_tags().get(&g.id()).map_or(Labels::default(), |tags| tags.labels.clone())
    }

    fn lock_tags(&self) -> MutexGuard<'_, HashMap<u64, Tags>> {
        self.tags.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of a G, if it has one.
    pub(crate) fn name_of(&self, g: GRef) -> Option<String> {
        if g.is_tagged() { self.name_by_id(g.id()) } else { None }
    }

    /// The same, of a G that may be gone.
    pub(super) fn name_by_id(&self, id: u64) -> Option<String> {
        self.lock_tags().get(&id)?.name.clone()
    }

    /// Name and labels of a G, for dumps, which must not hang.
    pub(super) fn tags_soon(&self, g: GRef) -> Tags {
        let tags = || soon::lock(&self.tags.0)?.get(&g.id()).cloned();
        g.is_tagged().then(tags).flatten().unwrap_or_default()
    }

    /// Calls `f` with the name of a G, if it has one and nobody is in the table. For signal
    /// handlers: takes no lock that it would have to wait for.
    pub(crate) fn try_name_of(&self, g: GRef, f: impl FnOnce(&str)) {
        if g.is_tagged()
            && let Ok(tags) = self.tags.0.try_lock()
            && let Some(name) = tags.get(&g.id()).and_then(|tags| tags.name.as_deref())
        {
            f(name);
        }
    }

    /// A G has ended.
    #[inline]
    pub(super) fn untag(&self, g: GRef) {
        if g.is_tagged() {
            self.untag_slow(g);
        }
    }

    #[cold]
    fn untag_slow(&self, g: GRef) {
        let tags = self.lock_tags().remove(&g.id());
        let name = tags.and_then(|tags| tags.name);
        name.into_iter().for_each(|name| trace::keep_name(self, g.id(), name));
    }
}
