//! A folder that looks like the parts of /dev and /sys where a program finds its GPUs.
//!
//! Paths that begin like these parts lead into the folder instead. There is one folder a process, made when the first such
//! path is asked for and removed when the process ends; one that was left behind by a process that was killed is removed
//! by the next process that makes its own.
//!
//! A node in it is an empty file, a placeholder: who opens it gets a device, who looks at it sees one.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use vpanthor::Identity;

/// Tells a file from others: device and inode.
pub type FileId = (u64, u64);

/// DRM's major number.
pub const MAJOR: u32 = 226;

/// What the tree has to know of a node.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub minor: u32,
    pub gpu: Identity,
}

impl Entry {
    fn name(&self) -> String {
        format!("renderD{}", self.minor)
    }

    /// Its name on the platform bus. The GPUs of several nodes lie one after another.
    fn device(&self, index: usize) -> String {
        let address = self.gpu.address() + ((index as u64) << 24);
        format!("{address:x}.gpu")
    }
}

/// The folder.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    /// Paths that lead into the folder, with all that is below them.
    below: Vec<PathBuf>,
    /// Folders whose list of entries is the folder's, while the entries of the machine stay where they are.
    lists: Vec<PathBuf>,
    /// The placeholders, in the order of the nodes.
    placeholders: Vec<FileId>,
    dri: FileId,
}

const PREFIX: &str = "vpanthor-";

fn id(path: &Path) -> io::Result<FileId> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Removes folders whose process is no more: killed, or replaced by another program.
fn remove_leftovers(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    // SAFETY: no preconditions.
    let user = unsafe { libc::geteuid() };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok());
        let Some(pid): Option<u32> = pid else {
            continue;
        };
        let gone = pid == std::process::id() || !Path::new(&format!("/proc/{pid}")).exists();
        let ours = fs::symlink_metadata(entry.path()).is_ok_and(|m| m.is_dir() && m.uid() == user);
        if gone && ours {
            // Somebody else may be removing it too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Tree {
    /// Makes the folder.
    ///
    /// # Errors
    /// Those of writing files to the folder for temporary files.
    pub fn make(nodes: &[Entry]) -> io::Result<Self> {
        let folder = std::env::temp_dir();
        remove_leftovers(&folder);
        let (pid, mut attempt) = (std::process::id(), 0);
        let root = loop {
            let path = folder.join(format!("{PREFIX}{pid}-{attempt}"));
            match fs::create_dir(&path) {
                Ok(()) => break path,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 100 => {
                    attempt += 1
                }
                Err(error) => return Err(error),
            }
        };
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700))?;
        let root = fs::canonicalize(root)?;
        let filled = Self::fill(&root, nodes);
        if filled.is_err() {
            let _ = fs::remove_dir_all(&root);
        }
        filled
    }

    fn fill(root: &Path, nodes: &[Entry]) -> io::Result<Self> {
        let at = |path: &str| root.join(path);
        for path in [
            "dev/dri",
            "sys/dev/char",
            "sys/class/drm",
            "sys/devices/platform",
            "sys/bus/platform/devices",
            "sys/bus/platform/drivers/panthor",
        ] {
            fs::create_dir_all(at(path))?;
        }
        let mut tree = Self {
            root: root.to_path_buf(),
            below: vec!["/sys/bus/platform/drivers/panthor".into()],
            lists: vec!["/dev/dri".into(), "/sys/class/drm".into()],
            placeholders: Vec::new(),
            dri: id(&at("dev/dri"))?,
        };
        for (index, node) in nodes.iter().enumerate() {
            tree.add(index, node)?;
        }
        for list in ["dev/dri", "sys/class/drm"] {
            let machine = Path::new("/").join(list);
            for entry in fs::read_dir(&machine).into_iter().flatten().flatten() {
                let name = entry.file_name();
                // An entry that is there already is one of ours.
                let _ = symlink(machine.join(&name), root.join(list).join(&name));
            }
        }
        Ok(tree)
    }

    fn add(&mut self, index: usize, node: &Entry) -> io::Result<()> {
        let (name, device) = (node.name(), node.device(index));
        let at = |path: String| self.root.join(path);

        let placeholder = at(format!("dev/dri/{name}"));
        fs::write(&placeholder, "")?;
        self.placeholders.push(id(&placeholder)?);

        let of_node = at(format!("sys/devices/platform/{device}/of_node"));
        fs::create_dir_all(&of_node)?;
        let compatible = node.gpu.compatible();
        let list: String = compatible.iter().map(|name| format!("{name}\0")).collect();
        fs::write(of_node.join("compatible"), list)?;
        fs::write(of_node.join("name"), "gpu\0")?;

        let modalias = format!("of:NgpuT(null)C{}", compatible.join("C"));
        let full_name = device.replace(".gpu", "");
        let mut uevent = format!("DRIVER=panthor\nOF_NAME=gpu\nOF_FULLNAME=/gpu@{full_name}\n");
        for (i, name) in compatible.iter().enumerate() {
            uevent += &format!("OF_COMPATIBLE_{i}={name}\n");
        }
        uevent += &format!(
            "OF_COMPATIBLE_N={}\nMODALIAS={modalias}\n",
            compatible.len()
        );
        let folder = at(format!("sys/devices/platform/{device}"));
        fs::write(folder.join("uevent"), uevent)?;
        fs::write(folder.join("modalias"), modalias + "\n")?;
        symlink("../../../bus/platform", folder.join("subsystem"))?;
        symlink(
            "../../../bus/platform/drivers/panthor",
            folder.join("driver"),
        )?;

        let minor = folder.join("drm").join(&name);
        fs::create_dir_all(&minor)?;
        fs::write(minor.join("dev"), format!("{MAJOR}:{}\n", node.minor))?;
        fs::write(
            minor.join("uevent"),
            format!(
                "MAJOR={MAJOR}\nMINOR={}\nDEVNAME=dri/{name}\nDEVTYPE=drm_minor\n",
                node.minor
            ),
        )?;
        symlink("../../../../../class/drm", minor.join("subsystem"))?;
        symlink(format!("../../../{device}"), minor.join("device"))?;

        let link = |from: &str, name: &str| {
            let up = "../".repeat(from.split('/').count() - 2);
            symlink(
                format!("{up}devices/platform/{device}{name}"),
                self.root.join(from),
            )
        };
        let drm = format!("/drm/{name}");
        link(&format!("sys/dev/char/{MAJOR}:{}", node.minor), &drm)?;
        link(&format!("sys/class/drm/{name}"), &drm)?;
        link(&format!("sys/bus/platform/devices/{device}"), "")?;
        symlink(
            format!("../../../../devices/platform/{device}"),
            self.root
                .join(format!("sys/bus/platform/drivers/panthor/{device}")),
        )?;

        self.below.extend([
            format!("/dev/dri/{name}").into(),
            format!("/sys/dev/char/{MAJOR}:{}", node.minor).into(),
            format!("/sys/class/drm/{name}").into(),
            format!("/sys/devices/platform/{device}").into(),
            format!("/sys/bus/platform/devices/{device}").into(),
        ]);
        Ok(())
    }

    /// Where a path leads instead; `None`: where it always led.
    pub fn redirect(&self, path: &[u8]) -> Option<PathBuf> {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        // Comparing by components takes care of doubled slashes and single dots.
        if path.file_name().is_none() {
            // Up again from a folder that the machine may not have.
            let folder = path
                .parent()
                .filter(|parent| self.lists.iter().any(|list| *parent == list))?;
            return folder.parent().map(Path::to_path_buf);
        }
        let inside = self.lists.iter().any(|list| path == list)
            || self.below.iter().any(|below| path.starts_with(below));
        if !inside {
            return None;
        }
        Some(self.root.join(path.strip_prefix("/").ok()?))
    }

    /// The path that a program should see in place of one in the folder: what follows the folder's own.
    pub fn outside<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        let rest = path.strip_prefix(self.root.as_os_str().as_bytes())?;
        rest.starts_with(b"/").then_some(rest)
    }

    /// The node whose placeholder this is.
    pub fn node(&self, file: FileId) -> Option<usize> {
        self.placeholders.iter().position(|id| *id == file)
    }

    /// Whether this is the folder of the nodes.
    pub fn is_dri(&self, file: FileId) -> bool {
        self.dri == file
    }

    /// Removes the folder.
    pub fn remove(&self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// A process has one tree: making another takes what is left of its process for a leftover.
    static ONE: Mutex<()> = Mutex::new(());

    fn alone() -> MutexGuard<'static, ()> {
        ONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn only_what_belongs_to_a_node_leads_into_the_folder() {
        let _alone = alone();
        let tree = Tree::make(&[Entry {
            minor: 140,
            gpu: Identity::G610,
        }])
        .unwrap();
        for inside in [
            "/dev/dri",
            "/dev/dri/",
            "//dev/./dri/renderD140",
            "/sys/dev/char/226:140/device/subsystem",
            "/sys/class/drm",
        ] {
            let to = tree.redirect(inside.as_bytes()).unwrap();
            assert!(fs::symlink_metadata(&to).is_ok(), "{inside} -> {to:?}");
            let back = tree.outside(to.as_os_str().as_bytes()).unwrap();
            let back = Path::new(std::ffi::OsStr::from_bytes(back));
            assert_eq!(back, Path::new(inside));
        }
        assert_eq!(tree.redirect(b"/dev/dri/.."), Some("/dev".into()));
        for outside in [
            "/dev/dri/renderD14",
            "/dev/dri/renderD1400",
            "/dev/dri/card0",
            "/dev/null",
            "/sys/dev/char/226:14",
            "/sys/class/drm/card0",
            "dev/dri",
            "/sys",
        ] {
            assert_eq!(tree.redirect(outside.as_bytes()), None, "{outside}");
        }
        tree.remove();
        assert!(!tree.root.exists());
    }

    #[test]
    fn links_lead_where_they_do_in_sysfs() {
        let _alone = alone();
        let tree = Tree::make(&[Entry {
            minor: 141,
            gpu: Identity::G610,
        }])
        .unwrap();
        let real = |path: &str| {
            let path = fs::canonicalize(tree.redirect(path.as_bytes()).unwrap()).unwrap();
            String::from_utf8(tree.outside(path.as_os_str().as_bytes()).unwrap().to_vec()).unwrap()
        };
        let device = "/sys/devices/platform/fb000000.gpu";
        for path in [
            "/sys/dev/char/226:141/device",
            "/sys/class/drm/renderD141/device",
            "/sys/bus/platform/devices/fb000000.gpu",
            "/sys/bus/platform/drivers/panthor/fb000000.gpu",
        ] {
            assert_eq!(real(path), device);
        }
        assert_eq!(
            real("/sys/dev/char/226:141"),
            format!("{device}/drm/renderD141")
        );
        assert_eq!(real("/sys/dev/char/226:141/subsystem"), "/sys/class/drm");
        assert_eq!(real(&format!("{device}/subsystem")), "/sys/bus/platform");
        tree.remove();
    }
}
