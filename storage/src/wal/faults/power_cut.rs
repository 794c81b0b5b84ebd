//! A disk in memory that keeps through a power cut only what was synced.
//!
//! Folders and files are numbered nodes. Each has what a program sees now and what would be found after a power cut: a file its
//! bytes at the last `sync_data`, a folder its entries at the last `sync_dir`. Only new folders in the root are found without one.

use std::collections::BTreeMap;
use std::io::{self, Cursor, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::wal::disk::{Disk, DiskFile};

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct PowerCutDisk(Arc<Mutex<Nodes>>);

#[derive(Debug, Clone)]
struct Nodes(Vec<Node>);

#[derive(Debug, Clone)]
enum Node {
    File { now: Vec<u8>, synced: Vec<u8> },
    Folder { now: BTreeMap<String, usize>, synced: BTreeMap<String, usize> },
}

#[derive(Debug)]
struct MemoryFile {
    disk: PowerCutDisk,
    node: usize,
}

impl Default for Nodes {
    fn default() -> Self {
        Self(vec![Node::Folder { now: BTreeMap::new(), synced: BTreeMap::new() }])
    }
}

impl PowerCutDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The disk as it is found after the power came back; this one goes on as if nothing had happened.
    #[must_use]
    pub fn after_power_cut(&self) -> Self {
        self.after(|_, synced| synced.to_vec())
    }

    /// As [`after_power_cut`](Self::after_power_cut), but of bytes that were not synced each file has kept the first `bytes`.
    #[must_use]
    pub fn after_power_cut_keeping(&self, bytes: usize) -> Self {
        self.after(|now, synced| match now.get(..synced.len()) == Some(synced) {
            true => now[..now.len().min(synced.len() + bytes)].to_vec(),
            false => synced.to_vec(),
        })
    }

    fn after(&self, kept: impl Fn(&[u8], &[u8]) -> Vec<u8>) -> Self {
        let mut nodes = self.0.lock().clone();
        for node in &mut nodes.0 {
            match node {
                Node::File { now, synced } => {
                    *now = kept(now, synced);
                    synced.clone_from(now);
                }
                Node::Folder { now, synced } => now.clone_from(synced),
            }
        }
        Self(Arc::new(Mutex::new(nodes)))
    }

    /// Puts a file there, synced with the folders that it is in; for tests that damage one.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        for folder in path.ancestors().skip(1) {
            let _ = self.sync_dir(folder);
        }
        let mut nodes = self.0.lock();
        let node = nodes.0.len();
        nodes.0.push(Node::File { now: bytes.clone(), synced: bytes });
        if let Ok((now, synced, name)) = nodes.entry(path) {
            now.insert(name.clone(), node);
            synced.insert(name, node);
        }
    }

    /// What a file holds, or nothing where there is none.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_read(path).ok()?.read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }
}

type Entries = BTreeMap<String, usize>;

fn parts(path: &Path) -> impl Iterator<Item = String> {
    let plain = path.components().filter(|part| matches!(part, std::path::Component::Normal(_)));
    plain.map(|part| part.as_os_str().to_string_lossy().into_owned())
}

fn not_found() -> io::Error {
    ErrorKind::NotFound.into()
}

impl Nodes {
    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut at = 0;
        for part in parts(path) {
            let Node::Folder { now, .. } = &self.0[at] else {
                return Err(not_found());
            };
            at = *now.get(&part).ok_or_else(not_found)?;
        }
        Ok(at)
    }

    fn folder(&mut self, path: &Path) -> io::Result<(&mut Entries, &mut Entries)> {
        let at = self.find(path)?;
        match &mut self.0[at] {
            Node::Folder { now, synced } => Ok((now, synced)),
            Node::File { .. } => Err(not_found()),
        }
    }

    /// The folder that `path` is in, and its name there.
    fn entry(&mut self, path: &Path) -> io::Result<(&mut Entries, &mut Entries, String)> {
        let name = parts(path).last().ok_or_else(not_found)?;
        let (now, synced) = self.folder(path.parent().ok_or_else(not_found)?)?;
        Ok((now, synced, name))
    }
}

impl Disk for PowerCutDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut nodes = self.0.lock();
        let mut at = 0;
        for part in parts(dir) {
            let new = nodes.0.len();
            let Node::Folder { now, synced } = &mut nodes.0[at] else {
                return Err(ErrorKind::NotADirectory.into());
            };
            let next = *now.entry(part.clone()).or_insert(new);
            if next == new {
                if at == 0 {
                    synced.insert(part, new);
                }
                nodes.0.push(Node::Folder { now: BTreeMap::new(), synced: BTreeMap::new() });
            }
            at = next;
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut nodes = self.0.lock();
        let node = nodes.0.len();
        let (now, _, name) = nodes.entry(path)?;
        if now.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        now.insert(name, node);
        nodes.0.push(Node::File { now: Vec::new(), synced: Vec::new() });
        Ok(Box::new(MemoryFile { disk: self.clone(), node }))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let node = self.0.lock().find(path)?;
        Ok(Box::new(MemoryFile { disk: self.clone(), node }))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let nodes = self.0.lock();
        match &nodes.0[nodes.find(path)?] {
            Node::File { now, .. } => Ok(Box::new(Cursor::new(now.clone()))),
            Node::Folder { .. } => Err(ErrorKind::IsADirectory.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut nodes = self.0.lock();
        let (now, _, name) = nodes.entry(from)?;
        let node = now.remove(&name).ok_or_else(not_found)?;
        let (now, _, name) = nodes.entry(to)?;
        now.insert(name, node);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut nodes = self.0.lock();
        let (now, _, name) = nodes.entry(path)?;
        now.remove(&name).map(|_| ()).ok_or_else(not_found)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        if !self.list(dir)?.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        self.remove(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut nodes = self.0.lock();
        Ok(nodes.folder(dir)?.0.keys().cloned().collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut nodes = self.0.lock();
        let (now, synced) = nodes.folder(dir)?;
        synced.clone_from(now);
        Ok(())
    }
}

impl MemoryFile {
    fn change(&self, change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>)) {
        if let Node::File { now, synced } = &mut self.disk.0.lock().0[self.node] {
            change(now, synced);
        }
    }
}

impl DiskFile for MemoryFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.change(|now, _| now.extend_from_slice(bytes));
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.change(|now, synced| synced.clone_from(now));
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.change(|now, _| now.truncate(usize::try_from(len).unwrap_or(usize::MAX)));
        Ok(())
    }
}
