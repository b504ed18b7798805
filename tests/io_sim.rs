//! Claims about the simulated disk: what a crash may and may not do, and each fault.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test stops at a surprise")]

use brindle::testing::{
    Backend, BlockIo, Buffer, Completion, Direction, Fault, FaultOn, FileIndex, IoCounters,
    Members, Missing, Op, Prefer, SimConfig, SimDisk, Transfer, Transfers,
};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::time::Duration;

const SECTOR: usize = 4096;
const A: FileIndex = FileIndex(0);
const B: FileIndex = FileIndex(1);

fn disk() -> SimDisk {
    SimDisk::new(SimConfig { files: 2, file_bytes: 64 << 10, ..SimConfig::default() })
}

fn write(disk: &SimDisk, file: FileIndex, sector: usize, value: u8) {
    disk.write_at(file, (sector * SECTOR) as u64, &[value; SECTOR]).expect("written");
}

/// The values that a sector of 4096 bytes has on disk, in the disk's own sectors of 512.
fn values(disk: &SimDisk, file: FileIndex, sector: usize) -> Vec<u8> {
    let image = disk.image(file);
    let sector = &image[sector * SECTOR..][..SECTOR];
    sector
        .chunks(512)
        .map(|small| {
            assert!(small.iter().all(|byte| *byte == small[0]), "a small sector was torn");
            small[0]
        })
        .collect()
}

/// All values that a sector may have after a crash now.
fn possible(disk: &SimDisk, file: FileIndex, sector: usize) -> BTreeSet<u8> {
    (0..400).flat_map(|seed| values(&disk.crash(seed), file, sector)).collect()
}

fn set(values: &[u8]) -> BTreeSet<u8> {
    values.iter().copied().collect()
}

/// Lends bytes that the test leaves alone until the operation is over.
fn lend(bytes: &mut [u8]) -> Buffer {
    let length = bytes.len();
    let start = NonNull::from(bytes).cast();
    // SAFETY: (1) to (3): the test leaves the bytes alone until the operation is over, except
    // where it means to be caught.
    unsafe { Buffer::new(start, length) }
}

fn completions(io: &mut dyn BlockIo) -> Vec<Completion> {
    let mut done = Vec::new();
    io.complete(false, &mut done).expect("no wait");
    done
}

#[test]
fn synced_data_survives_every_crash() {
    let disk = disk();
    write(&disk, A, 0, 1);
    write(&disk, A, 1, 1);
    disk.sync(A).expect("synced");
    let synced = disk.crash_points();
    write(&disk, A, 1, 2);
    write(&disk, A, 2, 2);
    for point in synced..=disk.crash_points() {
        for seed in 0..64 {
            let crashed = disk.crash_at(point, seed);
            assert_eq!(values(&crashed, A, 0), [1; 8]);
            assert!(values(&crashed, A, 1).iter().all(|value| [1, 2].contains(value)));
            assert!(values(&crashed, A, 2).iter().all(|value| [0, 2].contains(value)));
            assert_eq!(crashed.crash_points(), 0, "a new disk, all durable");
        }
    }
    assert_eq!(values(&disk, A, 1), [2; 8], "this disk goes on");
}

#[test]
fn unsynced_data_survives_in_any_part() {
    let disk = disk();
    write(&disk, A, 0, 1);
    write(&disk, A, 1, 2);
    write(&disk, B, 0, 3);
    let (mut lost, mut whole, mut torn, mut reordered) = (0, 0, 0, 0);
    let mut outcomes = BTreeSet::new();
    for seed in 0..400 {
        let crashed = disk.crash(seed);
        let (first, second) = (values(&crashed, A, 0), values(&crashed, A, 1));
        let third = values(&crashed, B, 0);
        lost += u32::from(first == [0; 8] && second == [0; 8] && third == [0; 8]);
        whole += u32::from(first == [1; 8] && second == [2; 8] && third == [3; 8]);
        torn += u32::from(first.contains(&0) && first.contains(&1));
        reordered += u32::from(first == [0; 8] && second == [2; 8]);
        assert_eq!(crashed.image(A), disk.crash(seed).image(A), "the seed decides");
        outcomes.insert((first, second, third));
    }
    assert!(lost >= 50 && whole >= 50, "{lost} {whole}");
    assert!(torn >= 50 && reordered >= 10, "{torn} {reordered}");
    assert!(outcomes.len() > 100, "{}", outcomes.len());
    // Before the first event, there is nothing to survive.
    assert!((0..64).all(|seed| disk.crash_at(0, seed).image(A).iter().all(|byte| *byte == 0)));
}

#[test]
fn sync_covers_its_file_and_what_was_over_before() {
    let disk = disk();
    write(&disk, A, 0, 1);
    write(&disk, B, 0, 1);
    disk.sync(B).expect("synced");
    assert_eq!(possible(&disk, A, 0), set(&[0, 1]), "not its file");
    assert_eq!(possible(&disk, B, 0), set(&[1]));

    let mut bytes = vec![5; SECTOR];
    let mut io = disk.io(None, Prefer::Ring).io;
    assert_eq!(io.backend(), Backend::Simulated);
    io.submit(0, Op::Write { file: B, offset: 0, from: lend(&mut bytes) }).expect("taken");
    io.submit(1, Op::Sync { file: B }).expect("taken");
    assert_eq!(completions(io.as_mut()).len(), 2);
    assert_eq!(possible(&disk, B, 0), set(&[1, 5]), "in flight when the sync began");
    io.submit(2, Op::Sync { file: B }).expect("taken");
    assert_eq!(possible(&disk, B, 0), set(&[1, 5]), "the sync is in flight");
    assert_eq!(completions(io.as_mut()).len(), 1);
    assert_eq!(possible(&disk, B, 0), set(&[5]));
}

#[test]
fn later_writes_of_a_sector_survive_apart() {
    let disk = disk();
    write(&disk, A, 0, 1);
    write(&disk, A, 0, 2);
    assert_eq!(possible(&disk, A, 0), set(&[0, 1, 2]));
    disk.sync(A).expect("synced");
    assert_eq!(possible(&disk, A, 0), set(&[2]));
}

#[test]
fn refused_write_may_have_landed_but_never_over_durable_data() {
    let disk = disk();
    disk.inject(FaultOn::Write, 0, 1, Fault::Errno(libc::EIO));
    let refused = disk.write_at(A, 0, &[1; SECTOR]).expect_err("planned");
    assert_eq!(refused.raw_os_error(), Some(libc::EIO));
    assert_eq!(values(&disk, A, 0), [0; 8]);
    assert_eq!(possible(&disk, A, 0), set(&[0, 1]));
    disk.sync(A).expect("synced");
    assert_eq!(possible(&disk, A, 0), set(&[0, 1]), "no sync covers a refused write");
    write(&disk, A, 0, 2);
    disk.sync(A).expect("synced");
    assert_eq!(possible(&disk, A, 0), set(&[2]));
}

#[test]
fn failed_sync_gives_up_what_later_syncs_do_not_save() {
    let disk = disk();
    write(&disk, A, 0, 1);
    disk.inject(FaultOn::Sync, 0, 1, Fault::Errno(libc::EIO));
    assert_eq!(disk.sync(A).expect_err("planned").raw_os_error(), Some(libc::EIO));
    disk.sync(A).expect("and yet nothing was saved");
    assert_eq!(values(&disk, A, 0), [1; 8], "reads show good data");
    assert_eq!(possible(&disk, A, 0), set(&[0, 1]));
    write(&disk, A, 0, 1);
    disk.sync(A).expect("synced");
    assert_eq!(possible(&disk, A, 0), set(&[1]), "written again, it is safe");
}

#[test]
fn lying_sync_and_lost_write_say_nothing() {
    let disk = disk();
    write(&disk, A, 0, 1);
    disk.inject(FaultOn::Sync, 0, 1, Fault::Lost);
    disk.sync(A).expect("a lie");
    assert_eq!(possible(&disk, A, 0), set(&[0, 1]));
    disk.sync(A).expect("synced");
    assert_eq!(possible(&disk, A, 0), set(&[1]));

    disk.inject(FaultOn::Write, 1, 1, Fault::Lost);
    write(&disk, A, 1, 2);
    write(&disk, A, 2, 2);
    disk.sync(A).expect("synced");
    assert_eq!(values(&disk, A, 1), [2; 8]);
    assert_eq!(values(&disk, A, 2), [0; 8], "acknowledged, stored nowhere");
    assert_eq!(possible(&disk, A, 2), set(&[0]));
}

#[test]
fn misdirected_write_lands_elsewhere() {
    let disk = disk();
    disk.inject(FaultOn::Write, 0, 2, Fault::Misdirected(16));
    write(&disk, A, 1, 3);
    write(&disk, A, 15, 4);
    disk.sync(A).expect("synced");
    let crashed = disk.crash(0);
    assert_eq!(values(&crashed, A, 1), [4; 8], "around the end");
    assert_eq!(values(&crashed, A, 3), [3; 8]);
    assert_eq!(values(&crashed, A, 15), [0; 8]);
}

#[test]
fn short_counts_are_resumed_or_give_up() {
    let disk = disk();
    let mut io = disk.io(None, Prefer::Ring).io;
    let counters = IoCounters::default();
    let transfers = Transfers::new(8 * SECTOR, 2);
    let mut bytes = vec![7; 8 * SECTOR];
    for (short, writes) in [(1_000, 3), (4_097, 3), (20_480, 1)] {
        disk.inject(FaultOn::Write, 0, writes, Fault::Short(short));
        let buffer = lend(&mut bytes);
        let job = Transfer { direction: Direction::Write, file: A, offset: 0, buffer };
        let written = transfers.run(io.as_mut(), &mut std::iter::once(job), &counters);
        if short < SECTOR {
            let error = written.expect_err("no progress, twice");
            assert_eq!(error.source.kind(), std::io::ErrorKind::WriteZero);
            assert_eq!(error.offset, short as u64);
            disk.clear_faults();
        } else {
            assert!(written.expect("resumed").is_empty());
            assert_eq!(disk.image(A)[..8 * SECTOR], bytes);
        }
    }
    assert!(counters.counts().short_writes >= 4);
    disk.inject(FaultOn::Read, 0, 1, Fault::Short(5_000));
    let mut read = vec![0; 2 * SECTOR];
    let job = Transfer { direction: Direction::Read, file: A, offset: 0, buffer: lend(&mut read) };
    let missing = transfers.run(io.as_mut(), &mut std::iter::once(job), &counters);
    assert!(missing.expect("resumed").is_empty());
    assert!(read.iter().all(|byte| *byte == 7));
    disk.inject(FaultOn::Write, 0, 1, Fault::Short(100));
    disk.write_at(B, 0, &[9; SECTOR]).expect("its own writes are resumed too");
    assert_eq!(values(&disk, B, 0), [9; 8]);
}

#[test]
fn one_count_without_progress_is_forgiven() {
    let disk = disk();
    let mut bytes = vec![7; SECTOR];
    disk.inject(FaultOn::Write, 0, 1, Fault::Short(0));
    disk.inject(FaultOn::Read, 0, 1, Fault::Short(0));
    let mut io = disk.io(None, Prefer::Ring).io;
    for direction in [Direction::Write, Direction::Read] {
        let job = Transfer { direction, file: A, offset: 0, buffer: lend(&mut bytes) };
        let missing = Transfers::new(SECTOR, 1)
            .run(io.as_mut(), &mut std::iter::once(job), &IoCounters::default())
            .expect("the next one moves it all");
        assert!(missing.is_empty());
    }
    assert_eq!(values(&disk, A, 0), [7; 8]);
}

#[test]
fn nothing_is_resumed_after_a_failure() {
    let disk = disk();
    let mut bytes = vec![7; 2 * SECTOR];
    disk.inject(FaultOn::Write, 0, 1, Fault::Errno(libc::EIO));
    disk.inject(FaultOn::Write, 0, u64::MAX, Fault::Short(512));
    let mut io = disk.io(None, Prefer::Ring).io;
    let buffer = lend(&mut bytes);
    let job = Transfer { direction: Direction::Write, file: A, offset: 0, buffer };
    let error = Transfers::new(SECTOR, 2)
        .run(io.as_mut(), &mut std::iter::once(job), &IoCounters::default())
        .expect_err("planned");
    assert_eq!(error.source.raw_os_error(), Some(libc::EIO));
    assert_eq!(disk.crash_points(), 4, "two writes, begun and ended, and no third");
}

#[test]
fn torn_short_write_is_a_prefix() {
    let disk = disk();
    disk.inject(FaultOn::Write, 0, 1, Fault::Short(1_000));
    let mut bytes = vec![7; SECTOR];
    let mut io = disk.io(None, Prefer::Ring).io;
    io.submit(0, Op::Write { file: A, offset: 0, from: lend(&mut bytes) }).expect("taken");
    assert_eq!(*completions(io.as_mut())[0].result.as_ref().expect("short"), 1_000);
    disk.sync(A).expect("synced");
    let image = disk.crash(0).image(A);
    assert!(image[..1_000].iter().all(|byte| *byte == 7));
    assert!(image[1_000..].iter().all(|byte| *byte == 0));
}

#[test]
fn shortened_file_reads_as_missing() {
    let disk = disk();
    write(&disk, A, 0, 1);
    write(&disk, A, 2, 1);
    disk.resize(A, 6_000);
    assert_eq!(disk.bytes(A).expect("a size"), 6_000);
    assert!((0..64).all(|seed| disk.crash(seed).image(A).len() == 6_000));
    let mut io = disk.io(None, Prefer::Ring).io;
    let mut read = vec![9; 4 * SECTOR];
    let job = Transfer { direction: Direction::Read, file: A, offset: 0, buffer: lend(&mut read) };
    let missing = Transfers::new(4 * SECTOR, 2)
        .run(io.as_mut(), &mut std::iter::once(job), &IoCounters::default())
        .expect("a short file is no error");
    assert_eq!(missing, [Missing { file: A, offset: 6_000, bytes: 4 * SECTOR - 6_000 }]);
    assert_eq!((read[0], read[5_999], read[6_000]), (1, 0, 9));
    let mut all = vec![0; 4 * SECTOR];
    assert_eq!(disk.read_at(A, 0, &mut all).expect("read"), 6_000);
}

#[test]
fn read_fails_as_planned() {
    let disk = disk();
    disk.inject(FaultOn::Read, 1, u64::MAX, Fault::Errno(libc::EIO));
    let mut read = vec![0; SECTOR];
    disk.read_at(A, 0, &mut read).expect("the first is let through");
    for _ in 0..3 {
        let error = disk.read_at(A, 0, &mut read).expect_err("planned");
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
    }
    disk.clear_faults();
    disk.read_at(A, 0, &mut read).expect("healed");
}

#[test]
fn rot_is_in_every_copy() {
    let disk = disk();
    write(&disk, A, 0, 1);
    disk.sync(A).expect("synced");
    write(&disk, A, 0, 2);
    disk.flip(A, 700, 7);
    assert_eq!(disk.image(A)[700], 2 | 0x80);
    let seen: BTreeSet<u8> = (0..100).map(|seed| disk.crash(seed).image(A)[700]).collect();
    assert_eq!(seen, set(&[1 | 0x80, 2 | 0x80]));
    let before = disk.crash_at(disk.crash_points() - 1, 1);
    assert_eq!(before.image(A)[700], 2, "not yet");
}

#[test]
fn stalled_operation_waits_for_its_release() {
    let disk = disk();
    disk.inject(FaultOn::Write, 0, 1, Fault::Stall);
    let mut bytes = vec![3; 2 * SECTOR];
    let (first, second) = bytes.split_at_mut(SECTOR);
    let mut io = disk.io(None, Prefer::Ring).io;
    io.submit(0, Op::Write { file: A, offset: 0, from: lend(first) }).expect("taken");
    io.submit(1, Op::Write { file: A, offset: 4096, from: lend(second) }).expect("taken");
    let mut done = Vec::new();
    io.complete(true, &mut done).expect("waited");
    assert_eq!(done.iter().map(|over| over.token).collect::<Vec<_>>(), [1]);
    assert!(completions(io.as_mut()).is_empty());
    assert_eq!(io.outstanding(), 1);
    disk.sync(A).expect("synced");
    assert_eq!(possible(&disk, A, 0), set(&[0, 3]), "may have landed, is not durable");
    let releaser = disk.clone();
    let worker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        releaser.release();
    });
    io.complete(true, &mut done).expect("waited");
    worker.join().expect("released");
    assert_eq!(done[1].token, 0);

    disk.inject(FaultOn::Sync, 0, 1, Fault::Stall);
    let stalled = disk.clone();
    let worker = std::thread::spawn(move || stalled.sync(B));
    while !worker.is_finished() {
        disk.release();
    }
    worker.join().expect("no panic").expect("synced at last");
    // Nobody waits for a stalled operation that was dropped.
    disk.inject(FaultOn::Write, 0, 1, Fault::Stall);
    io.submit(0, Op::Write { file: B, offset: 0, from: lend(&mut bytes) }).expect("taken");
    drop(io);
}

#[test]
fn memory_that_changes_in_flight_is_caught() {
    let disk = disk();
    let mut bytes = vec![3; SECTOR];
    let mut io = disk.io(None, Prefer::Ring).io;
    io.submit(0, Op::Write { file: A, offset: 0, from: lend(&mut bytes) }).expect("taken");
    bytes[17] = 4;
    assert!(catch_unwind(AssertUnwindSafe(|| completions(io.as_mut()))).is_err());
}

#[test]
fn direct_disk_refuses_parts_of_sectors() {
    let config = SimConfig { is_direct: false, ..SimConfig::default() };
    for (disk, is_taken) in [(disk(), false), (SimDisk::new(config), true)] {
        let mut bytes = vec![3; SECTOR];
        let mut io = disk.io(None, Prefer::Ring).io;
        assert_eq!(disk.is_direct(A), !is_taken);
        let ops = [
            Op::Write { file: A, offset: 0, from: lend(&mut bytes[..100]) },
            Op::Write { file: A, offset: 5, from: lend(&mut bytes) },
            Op::Read { file: A, offset: 5, into: lend(&mut bytes) },
        ];
        for op in ops {
            io.submit(0, op).expect("taken");
            let done = completions(io.as_mut());
            assert_eq!(done[0].result.is_ok(), is_taken, "{done:?}");
        }
        assert!(disk.write_at(A, 5, &[0]).is_err(), "whole sectors on any disk");
    }
}

#[test]
fn order_seed_mixes_completions_and_repeats_itself() {
    let tokens = |order_seed| {
        let disk = SimDisk::new(SimConfig { order_seed, ..SimConfig::default() });
        let mut io = disk.io(None, Prefer::Ring).io;
        let mut bytes = vec![3; SECTOR];
        let mut tokens = Vec::new();
        for round in 0..20 {
            for at in 0..4 {
                let (offset, from) = (at * 4096, lend(&mut bytes));
                io.submit(round * 4 + at, Op::Write { file: A, offset, from }).expect("taken");
            }
            let mut done = Vec::new();
            while io.outstanding() > 0 {
                done.extend(completions(io.as_mut()));
                io.complete(true, &mut done).expect("waited");
            }
            assert_eq!(done.len(), 4);
            tokens.extend(done.into_iter().map(|over| over.token));
        }
        tokens
    };
    assert!(tokens(None).is_sorted());
    assert!(!tokens(Some(1)).is_sorted());
    assert_eq!(tokens(Some(1)), tokens(Some(1)));
    assert_ne!(tokens(Some(1)), tokens(Some(2)));
}

#[test]
fn dice_strike_as_often_as_asked_and_repeat_themselves() {
    let run = |seed| {
        let disk = disk();
        let faults = [(FaultOn::Write, Fault::Errno(libc::EIO)), (FaultOn::Sync, Fault::Lost)];
        disk.inject_by_seed(seed, 250, &faults);
        (0..400).map(|_| disk.write_at(A, 0, &[1; SECTOR]).is_err()).collect::<Vec<_>>()
    };
    let failed = run(3).into_iter().filter(|failed| *failed).count();
    assert!((60..140).contains(&failed), "{failed}");
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn forgotten_past_leaves_the_same_crashes() {
    let disk = disk();
    write(&disk, A, 0, 1);
    write(&disk, A, 3, 1);
    disk.sync(A).expect("synced");
    write(&disk, A, 0, 2);
    disk.inject(FaultOn::Write, 0, 1, Fault::Errno(libc::EIO));
    disk.write_at(A, 1, &[0; 1]).expect_err("not whole");
    disk.write_at(A, SECTOR as u64, &[3; SECTOR]).expect_err("planned");
    let before: Vec<_> = (0..64).map(|seed| disk.crash(seed).image(A)).collect();
    let points = disk.crash_points();
    disk.forget_past();
    assert!(disk.crash_points() < points);
    let after: Vec<_> = (0..64).map(|seed| disk.crash(seed).image(A)).collect();
    assert_eq!(before, after);
    disk.sync(A).expect("synced");
    assert_eq!(possible(&disk, A, 0), set(&[2]));
    assert_eq!(possible(&disk, A, 1), set(&[0, 3]));
}

#[test]
fn disk_of_given_contents_is_durable() {
    let disk = SimDisk::from_images(vec![vec![1; 8192], vec![2; 4096]], SimConfig::default());
    assert_eq!((disk.count(), disk.bytes(A).ok(), disk.bytes(B).ok()), (2, Some(8192), Some(4096)));
    assert_eq!(disk.crash(2).image(B), vec![2; 4096]);
    assert_eq!(disk.path(B).to_str(), Some("sim/1"));
    assert!(catch_unwind(AssertUnwindSafe(|| disk.bytes(FileIndex(2)))).is_err());
}

/// The whole cycle: a writer that puts generation `g` in one of two places in turn, and promises
/// what it synced; cut at each event, and in the middle of a nested crash again.
#[test]
fn two_copies_written_in_turn_never_go_back() {
    let disk = disk();
    let mut promised = vec![(0, 0)];
    for generation in 1..=6_u8 {
        write(&disk, A, usize::from(generation % 2), generation);
        disk.sync(A).expect("synced");
        promised.push((disk.crash_points(), generation));
    }
    let recovered = |disk: &SimDisk| {
        let whole = |place| {
            let values = values(disk, A, place);
            values.iter().all(|value| *value == values[0]).then_some(values[0])
        };
        [whole(0), whole(1)].into_iter().flatten().max().expect("one copy is always whole")
    };
    for point in 0..=disk.crash_points() {
        let least = promised.iter().rev().find(|(at, _)| *at <= point).expect("0 is there").1;
        for seed in 0..32 {
            let crashed = disk.crash_at(point, seed);
            let found = recovered(&crashed);
            assert!(found == least || found == least + 1, "point {point} seed {seed}: {found}");
            write(&crashed, A, usize::from((found + 1) % 2), found + 1);
            for nested in 0..=crashed.crash_points() {
                let again = recovered(&crashed.crash_at(nested, seed + 1));
                assert!(again >= found, "point {point} seed {seed} nested {nested}: {again}");
            }
        }
    }
}
