//! The files of a simulated disk as a running process sees them, and the begin and end of each
//! operation on them.
#![forbid(unsafe_code)]

use super::disk::SimConfig;
use super::fault::{Fault, FaultOn, Plan, Random};
use super::image::Image;
use super::log::{Event, OpNumber, Replay};
use crate::sync::Arc;
use std::io;

/// What an operation is to do.
#[derive(Debug)]
pub(super) enum Task {
    Write {
        offset: usize,
        bytes: Arc<[u8]>,
    },
    Read {
        offset: usize,
        bytes: usize,
    },
    Sync,
    /// Refused at once: not whole sectors, on a disk that takes nothing else.
    Misaligned,
}

/// An operation in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    op: OpNumber,
    file: usize,
    task: Task,
    fault: Option<Fault>,
    /// How often the disk had been released when it began, if it is stalled.
    stalled_at: Option<u64>,
}

/// The disk, behind its lock.
#[derive(Debug)]
pub(super) struct State {
    pub(super) config: SimConfig,
    /// What reads see.
    visible: Vec<Image>,
    /// What was durable before the first event.
    base: Vec<Image>,
    events: Vec<Event>,
    ops: OpNumber,
    in_flight: usize,
    releases: u64,
    pub(super) plan: Plan,
    /// Chooses the order of completions.
    pub(super) order: Option<Random>,
}

impl State {
    pub(super) fn new(images: Vec<Image>, config: SimConfig) -> Self {
        Self {
            config,
            visible: images.clone(),
            base: images,
            events: Vec::new(),
            ops: 0,
            in_flight: 0,
            releases: 0,
            plan: Plan::default(),
            order: config.order_seed.map(Random),
        }
    }

    pub(super) fn begin_write(&mut self, file: usize, offset: u64, bytes: &[u8]) -> InFlight {
        let Some(offset) = self.whole_sectors(offset, bytes.len()) else {
            return self.begin(file, Task::Misaligned, None);
        };
        let range = offset as u64..(offset + bytes.len()) as u64;
        let fault = self.plan.pick_at(FaultOn::Write, file, &range);
        let mut offset = offset;
        let mut stored = bytes;
        match fault {
            Some(Fault::Short(count)) => stored = bytes.get(..count).unwrap_or(bytes),
            Some(Fault::Misdirected(sectors)) => {
                let whole = self.image(file).len().max(1);
                offset = (offset + sectors as usize * self.config.sector_bytes) % whole;
                stored = bytes.get(..whole - offset).unwrap_or(bytes);
            }
            Some(Fault::Errno(_) | Fault::Lost | Fault::Stall) | None => {}
        }
        let bytes: Arc<[u8]> = stored.into();
        let task = Task::Write { offset, bytes: Arc::clone(&bytes) };
        let begun = self.begin(file, task, fault);
        self.events.push(match fault {
            Some(Fault::Lost) => Event::Nothing,
            _ => Event::WriteBegun { op: begun.op, file, offset, bytes },
        });
        begun
    }

    pub(super) fn begin_read(&mut self, file: usize, offset: u64, bytes: usize) -> InFlight {
        let Some(offset) = self.whole_sectors(offset, bytes) else {
            return self.begin(file, Task::Misaligned, None);
        };
        let range = offset as u64..(offset + bytes) as u64;
        let fault = self.plan.pick_at(FaultOn::Read, file, &range);
        self.begin(file, Task::Read { offset, bytes }, fault)
    }

    pub(super) fn begin_sync(&mut self, file: usize) -> InFlight {
        let fault = self.plan.pick(FaultOn::Sync);
        let begun = self.begin(file, Task::Sync, fault);
        self.events.push(Event::SyncBegun { op: begun.op });
        begun
    }

    fn begin(&mut self, file: usize, task: Task, fault: Option<Fault>) -> InFlight {
        assert!(file < self.visible.len(), "file {file} of {}", self.visible.len());
        self.ops += 1;
        self.in_flight += 1;
        let stalled_at = (fault == Some(Fault::Stall)).then_some(self.releases);
        InFlight { op: self.ops, file, task, fault, stalled_at }
    }

    /// `offset`, if it and `bytes` are whole sectors or need not be.
    fn whole_sectors(&self, offset: u64, bytes: usize) -> Option<usize> {
        let offset = usize::try_from(offset).ok()?;
        let sector = self.config.sector_bytes;
        let is_whole = offset.is_multiple_of(sector) && bytes.is_multiple_of(sector);
        (is_whole || !self.config.is_direct).then_some(offset)
    }

    /// Whether `end` may be called; until then the operation is stalled.
    pub(super) fn can_end(&self, begun: &InFlight) -> bool {
        begun.stalled_at.is_none_or(|releases| releases < self.releases)
    }

    /// Ends an operation; `into` is what a read fills.
    pub(super) fn end(&mut self, begun: &InFlight, into: &mut [u8]) -> io::Result<usize> {
        self.in_flight -= 1;
        let errno = match begun.fault {
            Some(Fault::Errno(errno)) => Some(errno),
            _ => None,
        };
        match &begun.task {
            Task::Misaligned => Err(io::Error::from_raw_os_error(libc::EINVAL)),
            Task::Write { offset, bytes } => self.end_write(begun, *offset, bytes, errno),
            Task::Sync => self.end_sync(begun, errno),
            Task::Read { offset, bytes } => {
                errno.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))?;
                let image = self.image(begun.file);
                let short = match begun.fault {
                    Some(Fault::Short(count)) => count,
                    _ => usize::MAX,
                };
                let count = (*bytes).min(short).min(into.len());
                Ok(image.read(*offset, into.get_mut(..count).unwrap_or_default()))
            }
        }
    }

    fn end_write(
        &mut self,
        begun: &InFlight,
        offset: usize,
        bytes: &Arc<[u8]>,
        errno: Option<i32>,
    ) -> io::Result<usize> {
        if let Some(errno) = errno {
            self.events.push(Event::WriteFailed { op: begun.op });
            return Err(io::Error::from_raw_os_error(errno));
        }
        if begun.fault != Some(Fault::Lost) {
            if let Some(image) = self.visible.get_mut(begun.file) {
                image.store(offset, bytes);
            }
            self.events.push(Event::WriteDone { op: begun.op });
        }
        Ok(bytes.len())
    }

    fn end_sync(&mut self, begun: &InFlight, errno: Option<i32>) -> io::Result<usize> {
        let file = begun.file;
        if let Some(errno) = errno {
            self.events.push(Event::SyncFailed { file });
            return Err(io::Error::from_raw_os_error(errno));
        }
        self.events.push(match begun.fault {
            Some(Fault::Lost) => Event::Nothing,
            _ => Event::SyncDone { op: begun.op, file },
        });
        Ok(0)
    }

    /// Lets stalled operations end.
    pub(super) fn release(&mut self) {
        self.releases += 1;
    }

    pub(super) fn rot(&mut self, file: usize, offset: usize, mask: u8) {
        if let Some(image) = self.visible.get_mut(file) {
            image.invert(offset, mask);
        }
        self.events.push(Event::Rotted { file, offset, mask });
    }

    pub(super) fn resize(&mut self, file: usize, bytes: usize) {
        if let Some(image) = self.visible.get_mut(file) {
            image.resize(bytes);
        }
        self.events.push(Event::Resized { file, bytes });
    }

    /// What reads see of `file`, which is a member.
    pub(super) fn image(&self, file: usize) -> &Image {
        let Some(image) = self.visible.get(file) else {
            panic!("file {file} of {}", self.visible.len());
        };
        image
    }

    pub(super) fn count(&self) -> usize {
        self.visible.len()
    }

    pub(super) fn events(&self) -> usize {
        self.events.len()
    }

    /// The files after a power cut when the first `events` events had happened.
    pub(super) fn crash(&self, events: usize, seed: u64) -> Vec<Image> {
        let happened = self.events.get(..events).unwrap_or(&self.events);
        Replay::new(&self.base, happened).crash(seed, self.config.sector_bytes).0
    }

    /// What was durable before the first event, and what has happened since.
    pub(super) fn past(&self) -> (&[Image], &[Event]) {
        (&self.base, &self.events)
    }

    /// Makes the log as short as it can be.
    pub(super) fn condense(&mut self) {
        assert_eq!(self.in_flight, 0, "operations are in flight");
        (self.base, self.events) = Replay::new(&self.base, &self.events).condense();
    }
}
