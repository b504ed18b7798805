//! Claims about opening shadows: locks, kinds, space, sizes and what a failure leaves behind.
#![expect(clippy::expect_used, reason = "a test stops at a surprise")]
#![expect(clippy::cast_possible_truncation, reason = "small numbers")]
#![expect(clippy::print_stderr, reason = "what was skipped is said")]

use brindle::testing::{
    Backend, Direction, FileIndex, IoCounters, Members, OpenError, Prefer, ShadowFile, ShadowFiles,
};
use brindle::testing::{Buffer, Transfer, Transfers};
use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::NonNull;

const SECTOR: usize = 4096;
const MIB: u64 = 1 << 20;
/// Tells a child process where to work.
const PLACE: &str = "BRINDLE_TEST_PLACE";

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn create(path: &Path) -> ShadowFile {
    ShadowFile::create(path, MIB, true).expect("created")
}

fn is_locked(path: &Path) -> bool {
    matches!(ShadowFile::open(path, false), Err(OpenError::Locked))
}

fn errno(opened: Result<ShadowFile, OpenError>) -> (&'static str, Option<i32>) {
    match opened {
        Err(OpenError::Io(op, error)) => (op, error.raw_os_error()),
        other => panic!("{other:?}"),
    }
}

/// Runs one ignored test of this binary in a process of its own, under `wrapper`. Returns what it
/// said, and whether it passed.
fn run_alone(wrapper: &[&str], name: &str, place: &Path) -> (bool, String) {
    let program = env::current_exe().expect("a path");
    let mut words = wrapper.iter().map(Into::into).chain([program.into_os_string()]);
    let output = Command::new(words.next().expect("a program"))
        .args(words)
        .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
        .env(PLACE, place)
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), said)
}

fn place() -> PathBuf {
    env::var_os(PLACE).expect("run by another test").into()
}

#[test]
fn created_file_has_its_space_and_opens_again() {
    let directory = directory();
    for direct in [false, true] {
        let path = directory.path().join(format!("shadow-{direct}"));
        let created = ShadowFile::create(&path, 3 * MIB + 100, direct).expect("created");
        assert_eq!(created.bytes().expect("a size"), 3 * MIB + 100);
        assert_eq!(created.path(), path);
        assert!(direct || !created.is_direct());
        assert!(!created.is_device());
        let metadata = fs::metadata(&path).expect("there");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert!(std::os::unix::fs::MetadataExt::blocks(&metadata) * 512 >= 3 * MIB);
        created.write_at(8192, &[5; SECTOR]).expect("written");
        created.sync().expect("synced");
        drop(created);
        let opened = ShadowFile::open(&path, direct).expect("free again");
        let mut sectors = vec![1; 2 * SECTOR];
        assert_eq!(opened.read_at(4096, &mut sectors).expect("read"), 2 * SECTOR);
        assert!(sectors[..SECTOR].iter().all(|byte| *byte == 0));
        assert!(sectors[SECTOR..].iter().all(|byte| *byte == 5));
        opened.allocate(4 * MIB).expect("grown");
        assert_eq!(opened.bytes().expect("a size"), 4 * MIB);
        opened.allocate(MIB).expect("nothing to do");
        assert_eq!(opened.bytes().expect("a size"), 4 * MIB, "never truncated");
    }
}

/// The flags with which this process has `path` open.
fn flags(path: &Path) -> i32 {
    let path = path.canonicalize().expect("there");
    let number = fs::read_dir("/proc/self/fd").expect("proc").find_map(|entry| {
        let entry = entry.ok()?;
        let is_it = fs::read_link(entry.path()).ok()? == path;
        is_it.then(|| entry.file_name())
    });
    let info = Path::new("/proc/self/fdinfo").join(number.expect("open"));
    let info = fs::read_to_string(info).expect("described");
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags");
    i32::from_str_radix(flags.trim(), 8).expect("octal")
}

#[test]
fn descriptors_wait_and_are_closed_on_exec() {
    let directory = directory();
    let path = directory.path().join("shadow");
    drop(create(&path));
    for direct in [false, true] {
        let shadow = ShadowFile::open(&path, direct).expect("opened");
        let flags = flags(&path);
        assert_eq!(flags & libc::O_NONBLOCK, 0);
        assert_eq!(flags & libc::O_CLOEXEC, libc::O_CLOEXEC);
        assert_eq!(flags & libc::O_DIRECT != 0, shadow.is_direct());
    }
}

#[test]
fn only_whole_sectors_are_read_and_written() {
    let directory = directory();
    let shadow = create(&directory.path().join("shadow"));
    let mut some = [0; SECTOR];
    for (offset, bytes) in [(1, SECTOR), (512, SECTOR), (0, 100), (4096, 4095)] {
        let read = shadow.read_at(offset, &mut some[..bytes]).expect_err("not whole");
        let written = shadow.write_at(offset, &some[..bytes]).expect_err("not whole");
        assert_eq!(read.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(written.kind(), io::ErrorKind::InvalidInput);
    }
}

#[test]
fn large_and_ragged_reads_come_whole() {
    let directory = directory();
    let path = directory.path().join("shadow");
    let bytes: Vec<u8> = (0..3_500_000_u32).map(|at| (at % 251) as u8).collect();
    fs::write(&path, &bytes).expect("written");
    for direct in [false, true] {
        let shadow = ShadowFile::open(&path, direct).expect("opened");
        let mut read = vec![0; 1024 * SECTOR];
        assert_eq!(shadow.read_at(0, &mut read).expect("read"), bytes.len());
        assert_eq!(read[..bytes.len()], bytes);
        assert!(read[bytes.len()..].iter().all(|byte| *byte == 0));
        assert_eq!(shadow.read_at(8 << 20, &mut read).expect("past the end"), 0);
        shadow.write_at(4096, &bytes[..700 * SECTOR]).expect("written");
        assert_eq!(fs::read(&path).expect("read")[4096..][..700 * SECTOR], bytes[..700 * SECTOR]);
        shadow.write_at(0, &bytes[..800 * SECTOR]).expect("restored");
    }
}

#[test]
fn second_open_is_refused_by_any_name() {
    let directory = directory();
    let path = directory.path().join("shadow");
    let hard = directory.path().join("hard");
    let soft = directory.path().join("soft");
    let dotted = directory.path().join(".").join("shadow");
    let shadow = create(&path);
    fs::hard_link(&path, &hard).expect("linked");
    symlink(&path, &soft).expect("linked");
    for name in [&path, &hard, &soft, &dotted] {
        assert!(is_locked(name), "{name:?}");
        assert!(is_locked(name), "a refusal must not free it: {name:?}");
        assert_eq!(errno(ShadowFile::create(name, MIB, true)), ("create", Some(libc::EEXIST)));
    }
    let files = ShadowFiles::new(vec![shadow]);
    let copy = files.clone();
    drop(files);
    assert!(is_locked(&path));
    drop(copy);
    for name in [&path, &hard, &soft, &dotted] {
        drop(ShadowFile::open(name, true).expect("free again"));
    }
}

#[test]
fn other_processes_are_refused_until_the_owner_is_gone() {
    let directory = directory();
    let path = directory.path().join("shadow");
    let shadow = create(&path);
    let (passed, said) = run_alone(&[], "alone_finds_it_locked", &path);
    assert!(passed, "{said}");
    drop(shadow);
    let (passed, _) = run_alone(&[], "alone_finds_it_locked", &path);
    assert!(!passed, "a lock without an owner");
    // The lock dies with its process, however that ends.
    let (passed, said) = run_alone(&[], "alone_dies_with_the_lock", &path);
    assert!(!passed && said.contains("holding it"), "{said}");
    drop(ShadowFile::open(&path, true).expect("free again"));
}

#[test]
#[ignore = "run by other_processes_are_refused_until_the_owner_is_gone"]
fn alone_finds_it_locked() {
    assert!(is_locked(&place()));
}

#[test]
#[ignore = "run by other_processes_are_refused_until_the_owner_is_gone"]
fn alone_dies_with_the_lock() {
    let _shadow = ShadowFile::open(&place(), true).expect("opened");
    eprintln!("holding it");
    std::process::abort();
}

#[test]
fn child_of_fork_leaves_the_lock_alone() {
    let directory = directory();
    let path = directory.path().join("shadow");
    let (passed, said) = run_alone(&[], "alone_forks", &path);
    assert!(passed, "{said}");
}

#[test]
#[ignore = "run by child_of_fork_leaves_the_lock_alone"]
fn alone_forks() {
    let path = place();
    let shadow = create(&path);
    // SAFETY: the child calls nothing but the drop under test and `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(shadow);
        // SAFETY: ends the child, and runs nothing.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: `child` is ours, and `status` is writable.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0));
    let (passed, said) = run_alone(&[], "alone_finds_it_locked", &path);
    assert!(passed, "the child unlocked its parent's shadow: {said}");
}

#[test]
fn lock_is_free_though_a_child_of_fork_lives() {
    let directory = directory();
    let (passed, said) = run_alone(&[], "alone_outlived", &directory.path().join("shadow"));
    assert!(passed, "{said}");
}

#[test]
#[ignore = "run by lock_is_free_though_a_child_of_fork_lives"]
fn alone_outlived() {
    let path = place();
    let shadow = create(&path);
    // SAFETY: the child calls nothing but `pause` and is killed.
    let child = unsafe { libc::fork() };
    if child == 0 {
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    }
    drop(shadow);
    let opened = ShadowFile::open(&path, true);
    // SAFETY: `child` is ours and not yet waited for.
    unsafe { libc::kill(child, libc::SIGKILL) };
    // SAFETY: as above; a null status is allowed.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    opened.expect("free, with the child's copy of the descriptor still open");
}

fn make_fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().expect("started");
    assert!(made.success());
}

#[test]
fn what_is_no_file_is_refused_by_kind_and_never_waited_for() {
    let directory = directory();
    let fifo = directory.path().join("fifo");
    let fifo_link = directory.path().join("link");
    let socket = directory.path().join("socket");
    make_fifo(&fifo);
    symlink(&fifo, &fifo_link).expect("linked");
    let _listener = UnixListener::bind(&socket).expect("bound");
    for (path, kind) in [
        (directory.path(), "a directory"),
        (&fifo, "a FIFO"),
        (&fifo_link, "a FIFO"),
        (&socket, "a socket"),
        (Path::new("/dev/null"), "a character device"),
    ] {
        let error = ShadowFile::open(path, true).expect_err("no file");
        assert!(matches!(error, OpenError::NotAFile(found) if found == kind), "{error:?}");
        assert_eq!(error.to_string(), format!("{kind}, not a file or block device"));
        assert_eq!(errno(ShadowFile::create(path, MIB, true)), ("create", Some(libc::EEXIST)));
    }
    let nowhere = directory.path().join("nowhere").join("shadow");
    assert_eq!(errno(ShadowFile::open(&nowhere, true)), ("find", Some(libc::ENOENT)));
    assert_eq!(errno(ShadowFile::create(&nowhere, MIB, true)), ("create", Some(libc::ENOENT)));
}

#[test]
fn file_that_cannot_be_is_not_left_behind() {
    let directory = directory();
    let path = directory.path().join("shadow");
    for bytes in [1 << 62, u64::MAX] {
        assert_eq!(errno(ShadowFile::create(&path, bytes, true)), ("allocate", Some(libc::EFBIG)));
        assert!(!path.exists());
    }
    drop(create(&path));
}

#[test]
fn size_limit_is_an_error_and_no_signal() {
    let directory = directory();
    let path = directory.path().join("shadow");
    let wrapper = ["sh", "-c", "ulimit -f 512 && exec \"$@\"", "sh"];
    let (passed, said) = run_alone(&wrapper, "alone_under_a_size_limit", &path);
    assert!(passed, "{said}");
}

#[test]
#[ignore = "run by size_limit_is_an_error_and_no_signal"]
fn alone_under_a_size_limit() {
    let path = place();
    assert_eq!(errno(ShadowFile::create(&path, MIB, true)), ("allocate", Some(libc::EFBIG)));
    assert!(!path.exists());
    drop(ShadowFile::create(&path, 1 << 17, true).expect("within the limit"));
}

/// Runs a test in a mount namespace of its own, with an empty file system of `kind` at its place.
fn run_mounted(kind: &str, options: &str, name: &str) {
    let directory = directory();
    let place = directory.path().to_str().expect("text");
    let script = format!("mount -t {kind} -o {options} none {place} && exec \"$@\"");
    let wrapper = ["unshare", "-rm", "sh", "-c", &script, "sh"];
    let probe = format!("mount -t {kind} -o {options} none {place}");
    let can = Command::new("unshare").args(["-rm", "sh", "-c", &probe]).output();
    if !can.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no private mount of {kind}: {can:?}");
        return;
    }
    let (passed, said) = run_alone(&wrapper, name, directory.path());
    assert!(passed, "{said}");
}

#[test]
fn full_file_system_is_an_error_and_nothing_is_left_behind() {
    run_mounted("tmpfs", "size=2m", "alone_without_space");
}

#[test]
#[ignore = "run by full_file_system_is_an_error_and_nothing_is_left_behind"]
fn alone_without_space() {
    let path = place().join("shadow");
    let refused = errno(ShadowFile::create(&path, 8 * MIB, true));
    assert_eq!(refused, ("allocate", Some(libc::ENOSPC)));
    assert!(!path.exists());
    let small = ShadowFile::create(&path, MIB, true).expect("there is space again");
    assert_eq!(small.allocate(8 * MIB).expect_err("full").raw_os_error(), Some(libc::ENOSPC));
}

#[test]
fn without_fallocate_zeros_are_written() {
    run_mounted("ramfs", "mode=700", "alone_without_fallocate");
}

#[test]
#[ignore = "run by without_fallocate_zeros_are_written"]
fn alone_without_fallocate() {
    let path = place().join("shadow");
    let shadow = ShadowFile::create(&path, 3 * MIB + 100, true).expect("created");
    eprintln!("direct on this file system: {}", shadow.is_direct());
    assert_eq!(shadow.bytes().expect("a size"), 3 * MIB + 100);
    shadow.write_at(0, &[7; SECTOR]).expect("written");
    shadow.allocate(5 * MIB).expect("grown");
    shadow.allocate(MIB).expect("nothing to do");
    drop(shadow);
    let bytes = fs::read(&path).expect("read");
    assert_eq!(bytes.len() as u64, 5 * MIB);
    assert!(bytes[..SECTOR].iter().all(|byte| *byte == 7));
    assert!(bytes[SECTOR..].iter().all(|byte| *byte == 0));
}

#[derive(Clone)]
#[repr(align(4096))]
struct Sector([u8; SECTOR]);

/// A block device on a file, undone on drop.
struct Loop(String);

impl Loop {
    fn new(file: &Path) -> Option<Self> {
        let output = Command::new("losetup").args(["-f", "--show"]).arg(file).output().ok()?;
        let path = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !path.is_empty()).then(|| Self(path))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let undone = Command::new("losetup").args(["-d", &self.0]).status();
        assert!(undone.is_ok_and(|status| status.success()), "{} is left", self.0);
    }
}

#[test]
fn device_is_direct_sized_and_locked_by_number() {
    let directory = directory();
    let file = directory.path().join("disk");
    fs::write(&file, vec![0; 4 * MIB as usize]).expect("written");
    let Some(device) = Loop::new(&file) else {
        eprintln!("skipped: no loop device may be set up here");
        return;
    };
    let path = Path::new(&device.0);
    let link = directory.path().join("link");
    symlink(path, &link).expect("linked");
    let shadow = ShadowFile::open(path, false).expect("opened");
    assert!(shadow.is_device() && shadow.is_direct());
    assert_eq!(shadow.bytes().expect("a size"), 4 * MIB);
    assert!(is_locked(&link) && is_locked(path));
    assert_eq!(errno(ShadowFile::create(path, MIB, true)), ("create", Some(libc::EEXIST)));
    shadow.allocate(4 * MIB).expect("as large as that");
    let error = shadow.allocate(4 * MIB + 1).expect_err("larger");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    let members = ShadowFiles::new(vec![shadow]);
    for prefer in [Prefer::Ring, Prefer::Blocking] {
        let mut io = members.io(None, prefer).io;
        let mut memory = vec![Sector([if io.backend() == Backend::Ring { 1 } else { 2 }; SECTOR])];
        let start = NonNull::from(memory.as_mut_slice()).cast();
        // SAFETY: (1), (2): the vector is not touched until the run has returned.
        let buffer = unsafe { Buffer::new(start, SECTOR) };
        let (file, offset) = (FileIndex(0), 4 * MIB - SECTOR as u64);
        let mut jobs =
            std::iter::once(Transfer { direction: Direction::Write, file, offset, buffer });
        let (transfers, counters) = (Transfers::new(SECTOR, 2), IoCounters::default());
        transfers.run(io.as_mut(), &mut jobs, &counters).expect("written");
        transfers.sync(io.as_mut(), &mut [file].into_iter(), &counters).expect("synced");
        let mut read = [0; SECTOR];
        assert_eq!(members.read_at(file, offset, &mut read).expect("read"), SECTOR);
        assert_eq!(read, memory[0].0);
    }
    drop(members);
    // A child that another test is just starting holds a copy of the lock until it has begun.
    let is_free = || ShadowFile::open(&link, false).is_ok();
    let free = (0..200).any(|_| {
        is_free() || {
            std::thread::sleep(std::time::Duration::from_millis(10));
            false
        }
    });
    assert!(free, "still locked");
}

#[test]
fn members_are_told_apart() {
    let directory = directory();
    let paths = [directory.path().join("a"), directory.path().join("b")];
    let members = ShadowFiles::new(paths.iter().map(|path| create(path)).collect());
    assert_eq!(members.count(), 2);
    for (file, path) in paths.iter().enumerate() {
        let file = FileIndex(file as u32);
        assert_eq!(members.path(file), path);
        members.write_at(file, 0, &[file.0 as u8 + 1; SECTOR]).expect("written");
        members.sync(file).expect("synced");
        assert_eq!(members.bytes(file).expect("a size"), MIB);
        let mut first = [0];
        fs::File::open(path).and_then(|raw| raw.read_exact_at(&mut first, 0)).expect("read");
        assert_eq!(first[0], file.0 as u8 + 1);
    }
}
