//! Pins: a slot for each thread, one steward for the process.
//!
//! Slots stand on a list that only grows, as long as the most threads that ever pinned at once. A
//! steward that walks it without seeing a new slot is as one that does not see its first session:
//! the slot is pushed before it begins (L1 of `slot`).
//!
//! A forked child has none of the threads whose sessions the list shows, and whoever was at the
//! stewardship is not there to give it back. So it begins anew, with an empty list and a steward
//! of its own; the parent's are left alone, with what was deferred there: it is the parent's.

use super::slot::Slot;
use super::steward::Steward;
use crate::sync::{Acquire, AtomicPtr, Mutex, Relaxed, Release, fence_seq_cst};
use crossbeam_epoch::{Collector, Guard as Cover, LocalHandle};
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::TryLockError;

/// Keeps the current thread pinned: nothing retired from now on is reclaimed until it drops.
#[derive(Debug)]
pub struct Guard {
    slot: &'static Slot,
    /// Neither `Send` nor `Sync`: the slot is this thread's.
    _thread: PhantomData<*mut ()>,
}

/// Pins the current thread: two stores to a line of its own, with the end. Nested pins are no
/// dearer.
#[inline]
pub fn pin() -> Guard {
    let slot = SLOT.with(Cell::get).unwrap_or_else(register);
    slot.enter();
    Guard { slot, _thread: PhantomData }
}

impl Guard {
    /// Another guard of the same session: what this one protects stays until both are gone.
    #[inline]
    pub fn again(&self) -> Self {
        self.slot.enter();
        Self { slot: self.slot, _thread: PhantomData }
    }

    /// Runs `reclaim` once every guard that is alive now is gone.
    ///
    /// # Safety
    ///
    /// 1. What `reclaim` frees can no longer be reached by a guard taken from now on.
    #[expect(clippy::unused_self, reason = "the guard says that the thread is pinned")]
    pub unsafe fn defer_unchecked<F: FnOnce() -> R, R>(&self, reclaim: F) {
        let cover = cover();
        // SAFETY: (1): every session is covered by a guard of this collector (W1 of `steward`).
        unsafe { cover.defer_unchecked(reclaim) };
    }

    /// Retires what the thread has deferred, and helps the epoch on by a step; this pin, and what
    /// it holds up, will be looked at again by the next who does.
    #[expect(clippy::unused_self, reason = "the guard says that the thread is pinned")]
    pub fn flush(&self) {
        turn();
        cover().flush();
    }

    /// As if dropped and taken again; nothing, while the thread has another guard.
    pub fn repin(&mut self) {
        self.slot.renew();
    }
}

impl Drop for Guard {
    #[inline]
    fn drop(&mut self) {
        self.slot.leave();
    }
}

/// Helps the epoch on, as far as the pins that are held let it. Costs a look at every thread that
/// pins, and up to three barriers in each that runs, of some 0.5 us.
pub fn advance() {
    // Deferred work is due after the epoch has moved on twice, for which the steward must follow.
    for _ in 0..3 {
        // A session takes no longer than a get, as a rule: one that was met is soon over.
        for _ in 0..LOOKS {
            if turn() {
                break;
            }
            std::thread::yield_now();
        }
        cover().flush();
    }
}

/// Looks at the sessions that are in the way, before they are left to the next who helps.
const LOOKS: u32 = 16;

/// A slot on the list.
struct Slots {
    slot: Slot,
    next: *mut Slots,
}

static SLOTS: AtomicPtr<Slots> = AtomicPtr::new(ptr::null_mut());
static WORLD: AtomicPtr<World> = AtomicPtr::new(ptr::null_mut());

/// What the process has once, and a forked child anew. Leaked.
struct World {
    collector: Collector,
    stewardship: Mutex<Stewardship>,
    has_barrier: bool,
}

/// The steward with the two participants whose guards it takes in turn.
struct Stewardship {
    steward: Steward<Cover>,
    handles: [LocalHandle; 2],
}

// SAFETY: handles and guards do not depend on the thread that uses them, only on being used by
// one at a time; all clones of a participant are in here, behind one lock.
unsafe impl Send for Stewardship {}

thread_local! {
    static SLOT: Cell<Option<&'static Slot>> = const { Cell::new(None) };
    static AT_END: AtEnd = const { AtEnd };
    /// The thread's participant, and of which world.
    static HANDLE: RefCell<Option<(*const World, LocalHandle)>> = const { RefCell::new(None) };
}

/// Gives the thread's slot back when the thread ends.
struct AtEnd;

impl Drop for AtEnd {
    fn drop(&mut self) {
        if let Some(slot) = SLOT.with(Cell::take) {
            slot.end();
        }
    }
}

fn world() -> &'static World {
    // ORDERING: Acquire, pairs with `create_world`.
    let world = WORLD.load(Acquire);
    // SAFETY: what is published was leaked.
    unsafe { world.as_ref() }.unwrap_or_else(create_world)
}

#[cold]
fn create_world() -> &'static World {
    let collector = Collector::new();
    let handles = [collector.register(), collector.register()];
    let steward = Steward::new(handles[0].pin());
    let stewardship = Stewardship { steward, handles };
    let has_barrier = barrier::register();
    let world = World { collector, stewardship: Mutex::new(stewardship), has_barrier };
    let world: &'static World = Box::leak(Box::new(world));
    let pointer = ptr::from_ref(world).cast_mut();
    // ORDERING: Release, pairs with `world`: what it holds. Acquire on failure: the other's.
    match WORLD.compare_exchange(ptr::null_mut(), pointer, Release, Acquire) {
        Ok(_) => world,
        // SAFETY: as in `world`. Ours stays, which happens once at most for each thread.
        Err(first) => unsafe { first.as_ref() }.unwrap_or(world),
    }
}

/// In a forked child, before anything else: see the file header. Takes no lock and no memory.
pub fn begin_anew() {
    // ORDERING: Relaxed, both. The child has one thread.
    SLOTS.store(ptr::null_mut(), Relaxed);
    // ORDERING: as above.
    WORLD.store(ptr::null_mut(), Relaxed);
    let _ = SLOT.try_with(|own| own.set(None));
}

/// A guard of the collector's, for who defers. In a thread-local destructor, after the thread's
/// handle is gone, one of its own.
fn cover() -> Cover {
    let world = world();
    let own = HANDLE.try_with(|own| {
        let is_of_world = |(of, _): &(*const World, LocalHandle)| ptr::eq(*of, world);
        if !own.borrow().as_ref().is_some_and(is_of_world) {
            // What the parent's participant would run when it goes is the parent's.
            let _left = ManuallyDrop::new(own.replace(Some((world, world.collector.register()))));
        }
        // Not borrowed for writing: this may run what was deferred, which may come here again.
        own.borrow().as_ref().map(|(_, handle)| handle.pin())
    });
    own.ok().flatten().unwrap_or_else(|| world.collector.register().pin())
}

/// One turn of the steward, unless another thread is at it. False: sessions are in its way.
fn turn() -> bool {
    let world = world();
    let mut stewardship = match world.stewardship.try_lock() {
        Ok(stewardship) => stewardship,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return true,
    };
    let Stewardship { steward, handles: [one, other] } = &mut *stewardship;
    let pin = || if one.is_pinned() { other.pin() } else { one.pin() };
    let barrier = || {
        fence_seq_cst(); // edge L1 of `slot`
        !world.has_barrier || barrier::all_threads()
    };
    steward.turn(pin, barrier, each_slot)
}

fn each_slot(look: &mut dyn FnMut(&'static Slot)) {
    // ORDERING: Acquire, pairs with `register`.
    let mut next = SLOTS.load(Acquire);
    // SAFETY: what is listed was leaked, and its link does not change any more.
    while let Some(listed) = unsafe { next.as_ref() } {
        look(&listed.slot);
        next = listed.next;
    }
}

/// Slots on the list.
#[cfg(test)]
pub(super) fn slots() -> usize {
    let mut count = 0;
    each_slot(&mut |_slot| count += 1);
    count
}

/// A slot for the current thread: one that an ended thread has left, or a new one.
#[cold]
fn register() -> &'static Slot {
    let mut free = None;
    let needs_fence = !world().has_barrier;
    each_slot(&mut |slot| {
        if free.is_none() && slot.take() {
            free = Some(slot);
        }
    });
    let slot = free.unwrap_or_else(|| push(Slot::new(needs_fence)));
    if AT_END.try_with(|_at_end| ()).is_ok() {
        SLOT.with(|own| own.set(Some(slot)));
    } else {
        // The thread is ending: it keeps the slot for this one session.
        slot.end_with_session();
    }
    slot
}

fn push(slot: Slot) -> &'static Slot {
    let listed = Box::leak(Box::new(Slots { slot, next: ptr::null_mut() }));
    // ORDERING: Relaxed. A hint for the CAS.
    let mut head = SLOTS.load(Relaxed);
    loop {
        listed.next = head;
        // ORDERING: Release, pairs with `each_slot`: the slot and its link. Later pushes are RMWs
        // and extend the sequence. Relaxed on failure: only a pointer to try.
        match SLOTS.compare_exchange_weak(head, listed, Release, Relaxed) {
            Ok(_) => return &listed.slot,
            Err(now) => head = now,
        }
    }
}

/// `membarrier`: a full barrier in every running thread of the process. Those that do not run had
/// one when they stopped.
///
/// Source: `membarrier(2)`, "private expedited"; M. Desnoyers et al., "User-level implementations
/// of read-copy update", 2012.
#[cfg(all(target_os = "linux", not(miri)))]
mod barrier {
    /// Makes the call available. False: this system refuses it.
    pub fn register() -> bool {
        call(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) && all_threads()
    }

    /// See the module.
    pub fn all_threads() -> bool {
        call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
    }

    fn call(command: libc::c_int) -> bool {
        // SAFETY: takes three integers and touches no memory of ours.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
mod barrier {
    pub fn register() -> bool {
        false
    }

    pub fn all_threads() -> bool {
        false
    }
}
