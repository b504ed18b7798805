//! The header at the start of each wblock: written when it is opened, and when it is struck out.

use super::stripe::Stripes;
use crate::format::{WblockHeader, WblockHome};
use crate::unit::{Sequence, WblockId};

impl Stripes {
    fn home(&self, wblock: WblockId) -> WblockHome {
        let geometry = self.geometry();
        WblockHome {
            store_id: self.identity().store_id,
            stripe: geometry.home_stripe(wblock),
            wblock,
            wblock_bytes: geometry.wblock_bytes,
        }
    }

    /// Begins a life of `wblock` on its first bytes. Only who opens it calls this.
    pub(super) fn write_header(&self, wblock: WblockId, sequence: Sequence) {
        let home = self.home(wblock);
        let bytes = WblockHeader { home, sequence, opened_at: self.now_us() }.encode();
        // SAFETY: (1) nobody but the caller knows of the wblock's new life yet; (2) `bytes` is a
        // local.
        unsafe { self.region().write(self.geometry().location(wblock, 0), 0, &bytes) };
    }

    /// Writes the struck-out header over that of `wblock`, which is quarantined: its first sector
    /// is then ready for the shadow. Only the flusher calls this.
    pub fn write_struck_header(&self, wblock: WblockId) {
        let header = WblockHeader {
            home: self.home(wblock),
            sequence: self.wblock(wblock).sequence(),
            opened_at: self.now_us(),
        };
        // SAFETY: (1) nobody reads or writes a header of the region but who opens the wblock, which
        // is quarantined; (2) the bytes are a local.
        unsafe {
            self.region().write(self.geometry().location(wblock, 0), 0, &header.encode_struck());
        }
    }
}
