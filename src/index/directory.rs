//! From a hash to its segment: an array by the top bits of `x`, and no more than a hint.
//!
//! A slot of the array may name a segment that was replaced: `Segment::search` then finds the
//! successors. So nobody waits for the array. It is brought up to date by whoever finds nobody
//! else at it; a replaced segment is retired once no slot names it.
//!
//! States of a replaced segment    `replaced -> pending -> installed, retired`
//!
//! Invariants
//! - D1  Every slot names a segment whose range covers the slot's, or one that held it before.
//! - D2  The generation of a slot only grows: the segments that ever held one hash are a chain, and
//!   a slot is moved only forward along it, whatever order segments are installed in.
//! - D3  When P is retired, no guard taken later can reach it. Through a slot: all slots of P's
//!   range hold later generations, by D2 for ever. Through an older segment A on the chain: A is
//!   entered only from a slot that names A or an older one, with a hash of that slot's range; if
//!   the hash is in P's range there is no such slot, and if it is not, the way from A picks
//!   successors by that hash and does not touch P. P's header is read for a hash of P's alone.
//!   So a segment may be retired before its ancestors are.
//! - D4  A segment is announced once, by the thread that published its successors, and so
//!   retired once.
//! - D5  Whatever is announced is installed, unless the installing thread is stopped for ever or
//!   has no memory: the list and the right to install are one word, so that an announcer either
//!   gets the right or adds to a list that is looked at again before the right is given up.
//!   A thread stopped there costs the others longer chains, one hop a split, and no wait.
//!
//! Doubling copies 8 bytes a slot; at 10^9 records that is 8 MiB, in one put.
//!
//! Happens-before edges
//! - E4  slot store (Release) to slot load (Acquire): the segment's contents.
//! - E5  root store (Release) to root load (Acquire): the array.
//! - E6  announcing CAS (`AcqRel`) to `swap` (Acquire), and giving up the right (Release) to the
//!   announcement that takes it (`AcqRel`): the list, and the array as the last one left it.
//!
//! Checked by: `loom-tests/tests/index_growth.rs`, `index_retire.rs`.

use super::entry::X_BITS;
use super::pool::Pool;
use super::segment::{Range, Segment};
use crate::sync::epoch::Guard;
use crate::sync::{AcqRel, Acquire, Arc, AtomicPtr, AtomicU64, Relaxed, Release};
use std::io;
use std::ptr::{self, NonNull};

/// The list of announced segments when it is empty and somebody has the right to install.
const HELD: *mut Segment = ptr::without_provenance_mut(1);

/// See the file header.
#[derive(Debug)]
pub struct Directory {
    root: AtomicPtr<Table>,
    /// Null: nobody installs. Else somebody does, and this is the list of what came since.
    announced: AtomicPtr<Segment>,
    /// What could not be installed for want of memory; the installer's alone.
    stuck: AtomicPtr<Segment>,
    bytes: AtomicU64,
}

/// One array of slots.
#[derive(Debug)]
struct Table {
    /// `2^depth` slots.
    depth: u32,
    slots: Box<[AtomicPtr<Segment>]>,
    /// Stands in for freeing, which loom cannot see.
    #[cfg(any(loom, shuttle))]
    reclaimed: crate::sync::AtomicBool,
}

impl Table {
    fn new(depth: u32, slots: Vec<AtomicPtr<Segment>>) -> Self {
        debug_assert_eq!(slots.len(), 1 << depth, "a slot for each prefix");
        Self {
            depth,
            slots: slots.into_boxed_slice(),
            #[cfg(any(loom, shuttle))]
            reclaimed: crate::sync::AtomicBool::new(false),
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "below 2^depth")]
    fn slot(&self, x: u32) -> &AtomicPtr<Segment> {
        let index = (u64::from(x) >> (X_BITS - self.depth)) as usize;
        // SAFETY: `x` has 32 bits, so this is below `2^depth`, the length.
        unsafe { self.slots.get_unchecked(index) }
    }

    /// Room for `2^depth` slots.
    fn room(depth: u32) -> io::Result<Vec<AtomicPtr<Segment>>> {
        let mut slots = Vec::new();
        slots.try_reserve_exact(1 << depth).map_err(|_| io::ErrorKind::OutOfMemory)?;
        Ok(slots)
    }
}

impl Directory {
    /// Of `segments`, which are initialised and cover all `x` in order.
    ///
    /// # Errors
    ///
    /// No memory.
    pub fn new(segments: &[NonNull<Segment>], guard: &Guard) -> io::Result<Self> {
        // SAFETY: (1) initialised, (2) just made.
        let segment = |at: &NonNull<Segment>| unsafe { Segment::at(*at, guard) };
        let depth = segments.iter().map(|at| segment(at).range().depth).max().unwrap_or(0);
        let mut slots = Table::room(depth)?;
        for at in segments {
            let copies = 1_usize << (depth - segment(at).range().depth);
            slots.extend((0..copies).map(|_| AtomicPtr::new(at.as_ptr())));
        }
        Ok(Self {
            root: AtomicPtr::new(Box::into_raw(Box::new(Table::new(depth, slots)))),
            announced: AtomicPtr::new(ptr::null_mut()),
            stuck: AtomicPtr::new(ptr::null_mut()),
            bytes: AtomicU64::new(8 << depth),
        })
    }

    /// The segment that holds `x`, or one that did.
    #[inline]
    pub fn locate<'g>(&self, x: u32, guard: &'g Guard) -> &'g Segment {
        // ORDERING: Acquire, edge E4, pairs with `install` and `double`.
        let segment = self.table(guard).slot(x).load(Acquire);
        // SAFETY: slots are never null.
        let segment = unsafe { NonNull::new_unchecked(segment) };
        // SAFETY: (1) E4. (2) Retired only after no slot named it (D3), and `guard` is older.
        unsafe { Segment::at(segment, guard) }
    }

    /// Bytes of the array.
    pub fn bytes(&self) -> u64 {
        // ORDERING: Relaxed. A statistic.
        self.bytes.load(Relaxed)
    }

    /// Takes over `segment`, whose successors the caller has published. Once (D4).
    pub fn announce(&self, segment: &Segment, pool: &Arc<Pool>, guard: &Guard) {
        // ORDERING: Relaxed. A hint for the CAS.
        let mut head = self.announced.load(Relaxed);
        loop {
            // ORDERING: Relaxed. Published by the CAS; nobody else uses the link now.
            segment.next.store(head, Relaxed);
            let new = ptr::from_ref(segment).cast_mut();
            // ORDERING: AcqRel, edge E6: gives the link, and perhaps takes the right to install.
            match self.announced.compare_exchange_weak(head, new, AcqRel, Relaxed) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        if head.is_null() {
            self.install_announced(pool, guard);
        }
    }

    /// Installs until nothing is announced. Only with the right to.
    fn install_announced(&self, pool: &Arc<Pool>, guard: &Guard) {
        // ORDERING: Relaxed. Only the installer uses it; E6 passes it on.
        self.install_list(self.stuck.swap(ptr::null_mut(), Relaxed), pool, guard);
        loop {
            // ORDERING: Acquire, edge E6, pairs with `announce`.
            let list = self.announced.swap(HELD, Acquire);
            self.install_list(list, pool, guard);
            // ORDERING: Release, edge E6: gives up the right. Relaxed on failure: `swap` follows.
            let done = self.announced.compare_exchange(HELD, ptr::null_mut(), Release, Relaxed);
            if done.is_ok() {
                break;
            }
        }
        guard.flush(); // 16 KiB a piece should not wait for 64 of them
    }

    fn install_list(&self, mut list: *mut Segment, pool: &Arc<Pool>, guard: &Guard) {
        while let Some(at) = NonNull::new(list)
            && list != HELD
        {
            // SAFETY: (1) it was in use. (2) Announced and not yet retired (D4).
            let segment = unsafe { Segment::at(at, guard) };
            // ORDERING: Relaxed. E6 covers it.
            list = segment.next.load(Relaxed);
            if self.install(segment, guard).is_ok() {
                // SAFETY: (1) D3, (2) D4.
                unsafe { Pool::retire(pool, guard, at) };
            } else {
                // ORDERING: Relaxed, both. The installer's alone.
                segment.next.store(self.stuck.load(Relaxed), Relaxed);
                // ORDERING: as above.
                self.stuck.store(at.as_ptr(), Relaxed);
            }
        }
    }

    /// Moves the slots of `segment` to its successors.
    ///
    /// Looks at no successor: one may have been replaced, installed and retired before this.
    fn install(&self, segment: &Segment, guard: &Guard) -> io::Result<()> {
        let Some(successors) = segment.successors() else { return Ok(()) };
        if successors.split == 0 {
            self.point_to(successors.low, segment.range().successor(None), guard);
            return Ok(());
        }
        let (low, high) = segment.range().halves();
        while self.table(guard).depth < low.depth {
            self.double(guard)?;
        }
        self.point_to(successors.low, low, guard);
        self.point_to(successors.high, high, guard);
        Ok(())
    }

    /// Lets the slots of `range` name `child`, unless they name a later one already (D2), as they
    /// do if `child` was retired.
    fn point_to(&self, child: NonNull<Segment>, range: Range, guard: &Guard) {
        let table = self.table(guard);
        let width = X_BITS - table.depth;
        let places = (range.start() >> width)..(range.end() >> width);
        for slot in places.filter_map(|at| table.slots.get(usize::try_from(at).ok()?)) {
            // ORDERING: Relaxed. Only the installer stores, E6.
            let Some(old) = NonNull::new(slot.load(Relaxed)) else { continue };
            // SAFETY: (1), (2): a slot names it now, so it is not retired (D3).
            if unsafe { Segment::at(old, guard) }.range().generation < range.generation {
                // ORDERING: Release, edge E4.
                slot.store(child.as_ptr(), Release);
            }
        }
    }

    /// Installs an array of twice the size. Only with the right to.
    fn double(&self, guard: &Guard) -> io::Result<()> {
        let old = self.table(guard);
        let mut slots = Table::room(old.depth + 1)?;
        for slot in &old.slots {
            // ORDERING: Relaxed. Only the installer stores, E6.
            let segment = slot.load(Relaxed);
            slots.extend([AtomicPtr::new(segment), AtomicPtr::new(segment)]);
        }
        let new = Box::new(Table::new(old.depth + 1, slots));
        // ORDERING: Relaxed. A statistic.
        self.bytes.store(8 << new.depth, Relaxed);
        // The box's own pointer comes back: one made from `old`, which is shared, may not free it.
        // ORDERING: Release, edge E5; what the slots name, E4, came to this thread by E6.
        let old = TablePointer(self.root.swap(Box::into_raw(new), Release));
        // SAFETY: (1) The root names another by now, and nothing else names an array.
        unsafe { guard.defer_unchecked(move || old.free()) };
        Ok(())
    }

    #[inline]
    fn table<'g>(&self, _guard: &'g Guard) -> &'g Table {
        // ORDERING: Acquire, edge E5, pairs with `double`.
        let table = self.root.load(Acquire);
        // SAFETY: never null, and retired through the epoch after the root named another.
        let table = unsafe { &*table };
        #[cfg(any(loom, shuttle))]
        // ORDERING: Acquire: any later access would be to freed memory.
        assert!(!table.reclaimed.load(Acquire), "used after its reclamation");
        table
    }

    /// Clears all segments and frees the array, at the end of the index.
    ///
    /// # Safety
    ///
    /// 1. Nobody else can reach the directory, nor ever will; the calls before this one have
    ///    returned.
    pub unsafe fn clear(&mut self) {
        // ORDERING: Relaxed, here and below. Nobody else is here (1).
        let mut stuck = NonNull::new(self.stuck.load(Relaxed));
        while let Some(at) = stuck {
            // SAFETY: (1) of `link`: it was in use.
            stuck = NonNull::new(unsafe { Segment::link(at) }.load(Relaxed));
            // SAFETY: (1).
            unsafe { Segment::clear(at) };
        }
        // ORDERING: as above.
        let table = TablePointer(self.root.load(Relaxed));
        // SAFETY: never null; freed below.
        let slots = &unsafe { &*table.0 }.slots;
        let mut before = ptr::null_mut();
        for slot in slots {
            // ORDERING: as above.
            let segment = slot.load(Relaxed);
            if let Some(at) = NonNull::new(segment).filter(|_| segment != before) {
                #[cfg(any(loom, shuttle))]
                // SAFETY: (1).
                assert!(unsafe { at.as_ref() }.successors().is_none(), "D5: all is installed");
                // SAFETY: (1); slots that name one segment are neighbours.
                unsafe { Segment::clear(at) };
            }
            before = segment;
        }
        table.free();
    }
}

/// An array on its way out.
struct TablePointer(*mut Table);

impl TablePointer {
    fn free(self) {
        // SAFETY: from `Box::into_raw`, and no longer reachable: both callers say why.
        let table = unsafe { Box::from_raw(self.0) };
        #[cfg(any(loom, shuttle))]
        {
            // ORDERING: Release, so that the model sees the end as early as it may be.
            table.reclaimed.store(true, Release);
            // Not freed: a late reader should find the flag. The model is short.
            Box::leak(table);
        }
        #[cfg(not(any(loom, shuttle)))]
        drop(table);
    }
}
