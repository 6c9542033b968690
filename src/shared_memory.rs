//! Numbers in memory that other processes of the same user on the same machine can read, so that bulk data need not cross
//! a socket there.
//!
//! A region is a file that lives in memory (memfd_create(2)) and vanishes with its last holder, however that ends. Another
//! process finds it as an open file of the one that made it. It copies out of it with read(2), which fails where a mapping
//! would fault, so nothing that the other side does can crash a reader.

#![allow(unsafe_code)]

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use memmap2::{MmapMut, MmapOptions};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Offsets of parts are multiples of this many elements, which makes them whole pages everywhere.
const ALIGNMENT: usize = 1 << 14;
const ELEMENT: usize = size_of::<f32>();

/// A file in memory. Its bytes are reached through the [`Values`] it was created with.
#[derive(Debug)]
pub struct Region {
    file: File,
    name: String,
}

/// Numbers in a region, or in memory of this process alone where the system offers no regions. All zero at first.
#[derive(Debug)]
pub struct Values(MmapMut);

/// Where another process finds a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The process that holds it.
    pub pid: u32,
    /// Number of the open file there.
    pub file: u32,
    /// Its name, which no other region on any machine has.
    pub name: String,
}

/// Reads another process's region.
#[derive(Debug)]
pub struct Reader(File);

/// Makes one region out of `parts`, lengths in elements, each but the last a multiple of 16 Ki. Returns `None` beside the
/// numbers where the system has no such files.
pub fn create(parts: &[usize]) -> io::Result<(Option<Region>, Vec<Values>)> {
    let region = Region::create(parts.iter().sum()).ok();
    let mut offset = 0;
    let mut values = Vec::with_capacity(parts.len());
    for &len in parts {
        assert_eq!(offset % ALIGNMENT, 0, "parts begin on pages");
        let map = match &region {
            // SAFETY: parts don't overlap and this process maps nothing else of the file, so its memory is changed only
            // through these values; others read it with system calls. Its size is sealed, so no access faults.
            Some(region) => unsafe {
                MmapOptions::new()
                    .offset((offset * ELEMENT) as u64)
                    .len(len * ELEMENT)
                    .map_mut(&region.file)?
            },
            None => MmapMut::map_anon(len * ELEMENT)?,
        };
        values.push(Values(map));
        offset += len;
    }
    Ok((region, values))
}

impl Region {
    fn create(len: usize) -> io::Result<Region> {
        let random = RandomState::new();
        let name = format!("headstart-{:016x}{:016x}", random.hash_one(0), random.hash_one(1));
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create(name.as_str(), flags)?);
        file.set_len((len * ELEMENT) as u64)?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW))?;
        Ok(Region { file, name })
    }

    /// Where others find it, as long as this value lives.
    pub fn address(&self) -> Address {
        let file = u32::try_from(self.file.as_raw_fd()).expect("open files have numbers from 0");
        Address { pid: std::process::id(), file, name: self.name.clone() }
    }
}

impl Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        bytemuck::cast_slice(&self.0)
    }
}

impl DerefMut for Values {
    fn deref_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

impl Reader {
    /// Opens the region at `address`. Fails when it is on another machine, or belongs to another user or container.
    pub fn open(address: &Address) -> io::Result<Reader> {
        let Address { pid, file, name } = address;
        let link = format!("/proc/{pid}/fd/{file}");
        let expected = format!("/memfd:{name} (deleted)");
        // Numbers of processes and files mean something else on other machines; the name settles it.
        let same =
            |link: &str| Ok::<_, io::Error>(std::fs::read_link(link)?.as_os_str() == expected.as_str());
        let other = || io::Error::new(io::ErrorKind::NotFound, format!("{link} is not {name}"));
        if !same(&link)? {
            return Err(other());
        }
        let file = File::open(&link)?;
        match same(&format!("/proc/self/fd/{}", file.as_raw_fd()))? {
            true => Ok(Reader(file)),
            false => Err(other()),
        }
    }

    /// Copies elements from number `at` on; an error when the region is shorter.
    pub fn read(&self, at: usize, into: &mut [f32]) -> io::Result<()> {
        self.0.read_exact_at(bytemuck::cast_slice_mut(into), (at * ELEMENT) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_writes_the_other_reads() {
        let (region, mut values) = create(&[ALIGNMENT, 5]).expect("memory");
        let region = region.expect("Linux has memfd_create");
        values[0][7] = 1.5;
        values[1][4] = -2.5;
        let reader = Reader::open(&region.address()).expect("this process may read its own");
        let mut read = [0.0; 5];
        reader.read(ALIGNMENT, &mut read).expect("it is there");
        assert_eq!(read, [0.0, 0.0, 0.0, 0.0, -2.5]);
        reader.read(7, &mut read[..1]).expect("it is there");
        assert_eq!(read[0], 1.5);
        assert!(reader.read(ALIGNMENT + 1, &mut read).is_err(), "beyond the end");
    }

    #[test]
    fn another_file_is_not_opened() {
        let (region, _values) = create(&[1]).expect("memory");
        let address = region.as_ref().expect("Linux has memfd_create").address();
        let strange = Address { name: "headstart-0".into(), ..address.clone() };
        assert!(Reader::open(&strange).is_err());
        let plain = File::open("/proc/self/status").expect("Linux");
        let plain = Address { file: plain.as_raw_fd() as u32, ..address };
        assert!(Reader::open(&plain).is_err());
    }
}
