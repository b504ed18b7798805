//! Disks of a test's own: loop devices and small file systems, taken down when they drop.
//!
//! They need root. Where they cannot be had, the makers return why.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// `EXT4_IOC_SHUTDOWN`, `_IOR('X', 125, __u32)`.
const SHUTDOWN: libc::Ioctl = 0x8004_587d;
/// The journal is not flushed: what was not synced is lost.
const SHUTDOWN_NOLOGFLUSH: u32 = 2;

pub fn is_root() -> bool {
    // SAFETY: takes nothing, changes nothing.
    unsafe { libc::geteuid() == 0 }
}

/// Runs a program of the system; what it printed, or why it failed.
pub fn system(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{program} {arguments:?}: {complaint}"))
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A loop device over a file, taken down again when it drops.
#[derive(Debug)]
pub struct Loop(pub PathBuf);

impl Loop {
    pub fn over(file: &Path) -> Result<Self, String> {
        let name = system("losetup", &["--find", "--show", text(file)])?;
        if name.is_empty() { Err("losetup names no device".into()) } else { Ok(Self(name.into())) }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // What cannot be taken down now goes with the machine.
        let _ = system("losetup", &["--detach", text(&self.0)]);
    }
}

/// A mounted file system, taken off when it drops.
#[derive(Debug)]
pub struct Mount(pub PathBuf);

impl Mount {
    /// Mounts `source` at `place`, a directory that is created if need be.
    pub fn new(options: &[&str], source: &str, place: &Path) -> Result<Self, String> {
        if !is_root() {
            return Err("only root can mount".into());
        }
        fs::create_dir_all(place).map_err(|error| error.to_string())?;
        let arguments = [options, &[source, text(place)]].concat();
        system("mount", &arguments)?;
        Ok(Self(place.to_owned()))
    }

    /// A file system in memory of `bytes` bytes.
    pub fn tmpfs(place: &Path, bytes: u64) -> Result<Self, String> {
        Self::new(&["-t", "tmpfs", "-o", &format!("size={bytes}")], "none", place)
    }

    /// The ext4 that `image` holds, by a loop device that goes with the mount.
    pub fn ext4(image: &Path, place: &Path) -> Result<Self, String> {
        Self::new(&["-t", "ext4", "-o", "loop"], text(image), place)
    }

    /// Takes it off. The ring of a process that was killed holds its files a little longer than
    /// the process lives.
    pub fn take_off(self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match system("umount", &[text(&self.0)]) {
                Err(complaint) if complaint.contains("busy") && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(complaint) => return Err(complaint),
                Ok(_) => {
                    let _off = ManuallyDrop::new(self);
                    return Ok(());
                }
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Off at once for everybody, and in truth with the last user of it.
        let _ = system("umount", &["--lazy", text(&self.0)]);
    }
}

/// A file of `bytes` bytes with an empty ext4 in it.
pub fn make_ext4(image: &Path, bytes: u64) -> Result<(), String> {
    let file = File::create(image).map_err(|error| error.to_string())?;
    file.set_len(bytes).map_err(|error| error.to_string())?;
    // All of it is laid out now, not by the kernel later, and nothing is kept for root.
    let options = ["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
    system("mkfs.ext4", &[&options[..], &[text(image)]].concat()).map(|_| ())
}

/// Cuts the power of the file system at `place`: what was not synced is gone, and every call on
/// it fails from now on.
pub fn cut_power(place: &Path) -> io::Result<()> {
    let root = File::open(place)?;
    let mode = SHUTDOWN_NOLOGFLUSH;
    // SAFETY: the call reads four bytes from `mode`, which outlives it.
    let done = unsafe { libc::ioctl(root.as_raw_fd(), SHUTDOWN, &raw const mode) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Bytes that can still be had at `place`.
pub fn free_bytes(place: &Path) -> u64 {
    let name = CString::new(place.as_os_str().as_bytes()).expect("a plain path");
    // SAFETY: all zero is a value of this plain structure.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `name` is a C string and `found` writable, both through the call.
    let done = unsafe { libc::statvfs(name.as_ptr(), &raw mut found) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
    found.f_bavail * found.f_frsize
}

/// Takes all space at `place` but about `left` bytes, with a file of that name.
pub fn fill(place: &Path, name: &str, left: u64) {
    let file = File::create(place.join(name)).expect("a file");
    let bytes = settled_free_bytes(place, &file).saturating_sub(left);
    // The filling needs some blocks for itself.
    let taken = (0..64).any(|step| {
        let bytes = bytes.saturating_sub(step << 13).max(1);
        let bytes = libc::off_t::try_from(bytes).expect("a small disk");
        // SAFETY: takes numbers; the file is open.
        unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes) == 0 }
    });
    assert!(taken, "{}", io::Error::last_os_error());
    file.sync_all().expect("a small disk");
}

/// Gives back the space of the file `name`.
pub fn empty(place: &Path, name: &str) {
    fs::remove_file(place.join(name)).expect("the filling");
    sync(&File::open(place).expect("a directory"));
}

/// Free bytes, once they have not changed for a while. A removed file takes its space until the
/// last who has it open is gone, which for a closed ring is some moments later.
fn settled_free_bytes(place: &Path, file: &File) -> u64 {
    let (mut free, mut looks) = (0, 0);
    while looks < 10 {
        sync(file);
        let now = free_bytes(place);
        looks = if now == free { looks + 1 } else { 0 };
        free = now;
        thread::sleep(Duration::from_millis(20));
    }
    free
}

/// What was freed is free once the file system's journal says so.
fn sync(file: &File) {
    // SAFETY: takes a number; the file is open.
    let synced = unsafe { libc::syncfs(file.as_raw_fd()) };
    assert_eq!(synced, 0, "{}", io::Error::last_os_error());
}

/// Whether an ext4 can be made, mounted and cut off below `place`; if not, why.
pub fn probe_ext4(place: &Path) -> Result<(), String> {
    if !is_root() {
        return Err("only root can mount".into());
    }
    let image = place.join("image");
    make_ext4(&image, 8 << 20)?;
    let disk = place.join("disk");
    let mount = Mount::ext4(&image, &disk)?;
    cut_power(&disk).map_err(|error| error.to_string())?;
    mount.take_off()
}
