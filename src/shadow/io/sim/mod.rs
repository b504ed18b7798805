//! The simulated disk: a store's shadow in memory that does what disks do at their worst.
//!
//! | module  | what                                                                           |
//! |---------|--------------------------------------------------------------------------------|
//! | `disk`  | [`SimDisk`]: the handle that tests turn, and [`Members`](super::Members) on it |
//! | `pump`  | its back end: submit and complete                                              |
//! | `state` | its files as a running process sees them, and each operation's begin and end   |
//! | `log`   | what happened, and what a power cut at any point of it leaves behind           |
//! | `image` | the contents of a file, which its copies share                                 |
//! | `fault` | which operation goes wrong, and how                                            |

mod disk;
mod fault;
mod image;
mod log;
mod pump;
mod state;

pub use disk::{Crashes, SimConfig, SimDisk};
pub use fault::{Fault, FaultOn};
