//! A reclaimer that panics is seen: `health` tells, and so does the put that finds no space for it.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use brindle::testing::{Clock, Harness, ManualClock};
use brindle::{Config, Error, Health, Store};
use common::{WBLOCK_BYTES, config};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Panics in the reclaimers' threads, once it is told to.
#[derive(Debug)]
struct Trap {
    clock: ManualClock,
    is_set: AtomicBool,
}

impl Trap {
    fn check(&self) {
        let is_reclaimer =
            thread::current().name().is_some_and(|name| name.starts_with("brindle-reclaim"));
        // ORDERING: Relaxed. Nothing hangs on when it is seen.
        assert!(!is_reclaimer || !self.is_set.load(Ordering::Relaxed), "the trap has sprung");
    }
}

impl Clock for Trap {
    fn coarse_us(&self) -> u64 {
        self.check();
        self.clock.coarse_us()
    }

    fn precise_us(&self) -> u64 {
        self.check();
        self.clock.precise_us()
    }

    fn refresh(&self) {}

    fn not_below(&self, floor_us: u64) {
        self.clock.not_below(floor_us);
    }
}

fn open(config: Config) -> (Store, Arc<Trap>) {
    let clock = ManualClock::new(1_700_000_000_000_000);
    let trap = Arc::new(Trap { clock, is_set: AtomicBool::new(false) });
    let told: Arc<dyn Clock> = Arc::clone(&trap) as _;
    let harness = Harness { clock: Some(told), ..Harness::default() };
    let config = config.sweep_interval(Duration::from_millis(1)).stop_writes_used_pct(0);
    (harness.open(config.overload_wait(Duration::from_secs(600))).unwrap(), trap)
}

#[test]
fn the_health_and_the_put_that_has_no_room_tell_of_a_reclaimer_that_has_panicked() {
    let dir = tempfile::tempdir().unwrap();
    for config in [config(2, 16), config(9, 4), config(2, 16).shadow_dir(dir.path())] {
        let (store, trap) = open(config);
        let value = vec![1; WBLOCK_BYTES as usize - 1024];
        store.put("stays", "there").unwrap();
        assert_eq!(store.health(), Health::Ok);
        // ORDERING: Relaxed, as above.
        trap.is_set.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + Duration::from_secs(60);
        while store.health() == Health::Ok {
            assert!(Instant::now() < deadline, "nobody has noticed");
            thread::sleep(Duration::from_millis(1));
        }
        let is_so = |reason: &str| {
            reason.starts_with("brindle-reclaim") && reason.contains("the trap has sprung")
        };
        let health = store.health();
        let is_told = matches!(&health, Health::ReclaimFailed { reason } if is_so(reason));
        assert!(is_told, "{health:?}");
        // Puts go on as long as there is room, and then do not wait for what will not come.
        let refused = (0..1_000).find_map(|_| store.put("over and over", &value).err());
        let is_clear = matches!(&refused, Some(Error::ReclaimFailed { reason }) if is_so(reason));
        assert!(is_clear, "{refused:?}");
        assert_eq!(*store.get("stays").unwrap(), *b"there");
        store.close().unwrap();
    }
}
