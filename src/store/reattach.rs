//! Moving the store to another shadow while it is open.
#![forbid(unsafe_code)]

use super::{Inner, Store};
use crate::config::Shadow;
use crate::error::{Error, Result};
use crate::shadow::io::{Members, Prefer, ShadowFiles};
use crate::shadow::{self, Answer, Created, Request, Service};
use crate::sync::{Arc, lock};
use crate::trace::{event, failed};
use std::path::{Path, PathBuf};

impl Store {
    /// Moves the shadow to the directory `dir`, which is made if it is not there: writes the whole
    /// live store to it, and goes on with it when all of that is durable. For a store whose shadow
    /// has failed for good ([`Health::ShadowFailed`](crate::Health::ShadowFailed)), and for one
    /// that is to move to another disk, without a restart.
    ///
    /// Reads go on throughout, and where the old shadow is well, so do writes and `flush`. A store
    /// whose shadow had failed takes writes again when it returns, and `health` says so. From then
    /// on the store is `dir`'s: open it from there next time. What was left behind is unlocked, and
    /// stays as it was at that moment: an old copy, which nothing keeps from being opened.
    /// What a cold start could not read ([`Health::DataLoss`](crate::Health::DataLoss)) does not
    /// come along.
    ///
    /// One move at a time. After a crash in the middle the store is where it was; what was begun in
    /// `dir` is refused by `open`, and may be moved to again. After a crash just before this
    /// returns it may have moved already: then both places open, and the one of which
    /// `brindle info` tells the later `attached at` is the store's. So look at `dir` first.
    ///
    /// Cost: all wblocks in use are written once, some of them twice; one wblock of memory, and
    /// 8 bytes for each.
    ///
    /// ```
    /// # use brindle::{Config, Health, Store};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let config = Config::new().data_size(64 << 20).shadow_dir(dir.path().join("old"));
    /// let store = Store::open(config)?;
    /// store.put("greeting", "hello")?;
    /// store.reattach_shadow(dir.path().join("new"))?;
    /// assert_eq!(store.health(), Health::Ok);
    /// let config = store.config(); // It names the new directory.
    /// store.close()?;
    ///
    /// let store = Store::open(config)?;
    /// assert_eq!(&*store.get("greeting").expect("it moved"), b"hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The store is where it was, and what was created is gone. [`Error::Config`] with key
    /// `shadow_dir`: a store in memory only keeps no checksums, and cannot get a shadow.
    /// [`Error::NotAShadow`]: something else is there. [`Error::Locked`]: it is in use, by this
    /// very store perhaps. [`Error::Io`]. [`Error::DeadlinePassed`]: one of the devices hangs, so
    /// that the move did not begin, or not get on by a wblock, within `flush_deadline`; it is given
    /// up. [`Error::Closed`], [`Error::Forked`].
    pub fn reattach_shadow(&self, dir: impl AsRef<Path>) -> Result<()> {
        self.inner.reattach(Shadow::Dir(dir.as_ref().to_owned()))
    }

    /// Moves the shadow to block devices (or files, empty or of the right size), one for each
    /// stripe, in this order: as [`reattach_shadow`](Self::reattach_shadow) in all else.
    ///
    /// # Errors
    ///
    /// Those of [`reattach_shadow`](Self::reattach_shadow); with the key `shadow_devices` where
    /// their number is not that of the stripes.
    pub fn reattach_shadow_devices(
        &self,
        paths: impl IntoIterator<Item = impl Into<PathBuf>>,
    ) -> Result<()> {
        let paths: Vec<PathBuf> = paths.into_iter().map(Into::into).collect();
        let stripes = self.inner.keyspace.stripes().geometry().stripes;
        if paths.len() != stripes as usize {
            let reason =
                format!("names {} devices: name {stripes}, one for each stripe", paths.len());
            return Err(Error::config("shadow_devices", reason));
        }
        self.inner.reattach(Shadow::Devices(paths))
    }
}

impl Inner {
    fn reattach(&self, target: Shadow) -> Result<()> {
        self.check_open()?;
        let service = self.moving_service()?;
        let _one_at_a_time = lock(&self.moves);
        let (members, created) = self.open_target(&target)?;
        let moved = self.move_to(service, members);
        let moved = moved
            .inspect(|()| event!(INFO, shadow = ?target, "the store has moved to another shadow"))
            .inspect_err(|error| failed("the store could not be moved", error));
        moved.map(|()| {
            created.keep();
            let mut config = lock(&self.config);
            (config.shadow_dir, config.shadow_devices) = match target {
                Shadow::Dir(dir) => (Some(dir), None),
                Shadow::Devices(paths) => (None, Some(paths)),
                Shadow::None => (None, None),
            };
        })
    }

    /// The shadow side, of a store that has one.
    pub(super) fn moving_service(&self) -> Result<&Service> {
        self.shadow.as_ref().ok_or_else(|| {
            let reason = "the store is in memory only, and its records have no checksums: open \
                          another with a shadow, and put them there";
            Error::config("shadow_dir", reason)
        })
    }

    /// Opens, or creates, what the store is to move to, and looks whether it may.
    fn open_target(&self, target: &Shadow) -> Result<(Arc<dyn Members>, Created)> {
        let geometry = self.keyspace.stripes().geometry();
        let direct = lock(&self.config).direct_files;
        let existing = shadow::open_target(target, self.store_id(), geometry, direct)?;
        let (files, created) = shadow::complete(target, existing, geometry, direct)?;
        Ok((Arc::new(ShadowFiles::new(files)), created))
    }

    pub(super) fn move_to(&self, service: &Service, members: Arc<dyn Members>) -> Result<()> {
        let request = self.request(members)?;
        let patience = self.settings.flush_deadline();
        let attached = service.attach(request, patience);
        let attached = attached.map_err(|unmet| self.unmet(unmet, ("flush_deadline", patience)))?;
        if let Some(io) = &self.io {
            *lock(&io.ring_refused) = attached.ring_refused.map(|error| error.to_string());
        }
        Ok(())
    }

    /// What the pump is asked for a move to `members`.
    pub(super) fn request(&self, members: Arc<dyn Members>) -> Result<(Request, Answer)> {
        let geometry = self.keyspace.stripes().geometry();
        let targets = shadow::survey_targets(&*members, self.store_id(), geometry)?;
        Ok(Request::new(members, targets, Prefer::Ring))
    }

    fn store_id(&self) -> crate::format::StoreId {
        self.keyspace.stripes().identity().store_id
    }
}
