//! Where a node runs: which files and which network it sees.
//!
//! With a mount namespace of its own a node sees an empty folder where another node's data lies, so that a test
//! that passes proves that no file path crossed between them. With a network namespace two nodes have a wire
//! between them, which mDNS needs: it skips loopback.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Covers the folders given before `--` with empty, tiny file systems, then becomes the command after it.
const MASK: &str = r#"
while [ "$1" != -- ]; do
  mount -t tmpfs -o size=4k,mode=700 none "$1" || exit 125
  shift
done
shift
exec "$@"
"#;

/// Puts a small file system of the given size on a folder, then becomes the command.
const SMALL_DISK: &str = r#"
mount -t tmpfs -o "size=$1,mode=700" none "$2" || exit 125
shift 2
exec "$@"
"#;

/// What a node sees of the machine.
#[derive(Clone, Debug, Default)]
pub enum Place {
    /// All that the test sees.
    #[default]
    Shared,
    /// A mount namespace in which these folders are empty.
    Masked(Vec<PathBuf>),
    /// A mount namespace in which the node's folder is a file system of this many bytes.
    SmallDisk { folder: PathBuf, size_bytes: u64 },
    /// A network namespace with this name.
    Network(String),
}

impl Place {
    /// A command that becomes `program` in this place, under the same process id.
    pub fn command(&self, program: &Path) -> Command {
        let unshare = |script: &str| {
            let mut command = Command::new("unshare");
            command.args(["--mount", "--propagation", "private", "sh", "-c", script, "place"]);
            command
        };
        match self {
            Place::Shared => Command::new(program),
            Place::Masked(folders) => {
                let mut command = unshare(MASK);
                command.args(folders).arg("--").arg(program);
                command
            }
            Place::SmallDisk { folder, size_bytes } => {
                let mut command = unshare(SMALL_DISK);
                command.arg(size_bytes.to_string()).arg(folder).arg(program);
                command
            }
            Place::Network(name) => {
                let mut command = Command::new("ip");
                command.args([OsStr::new("netns"), OsStr::new("exec"), OsStr::new(name), program.as_os_str()]);
                command
            }
        }
    }
}

/// Two network namespaces with a wire between them; gone when dropped.
pub struct Wire {
    names: [String; 2],
}

impl Wire {
    /// Needs root. The names carry the process id, so that two runs do not meet.
    pub fn lay() -> Wire {
        let name = |end: &str| format!("artdag{}{end}", std::process::id());
        let wire = Wire { names: [name("a"), name("b")] };
        let [a, b] = &wire.names;
        let ip = |arguments: &[&str]| {
            crate::command::run("ip", arguments).ok();
        };
        ip(&["netns", "add", a]);
        ip(&["netns", "add", b]);
        ip(&["link", "add", "wire0", "netns", a, "type", "veth", "peer", "name", "wire0", "netns", b]);
        for (name, address) in [(a, "10.77.0.1/24"), (b, "10.77.0.2/24")] {
            ip(&["-n", name, "address", "add", address, "dev", "wire0"]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
            ip(&["-n", name, "link", "set", "wire0", "up"]);
            // Multicast goes out only where a route says so.
            ip(&["-n", name, "route", "add", "224.0.0.0/4", "dev", "wire0"]);
        }
        wire
    }

    pub fn ends(&self) -> [Place; 2] {
        self.names.clone().map(Place::Network)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::finish;
    use crate::skip::needs_root;

    #[test]
    fn a_masked_folder_looks_empty_and_is_not() {
        if !needs_root("a_masked_folder_looks_empty_and_is_not") {
            return;
        }
        let folder = tempfile::tempdir().expect("a scratch folder");
        std::fs::write(folder.path().join("secret"), "x").expect("written");
        let ls = |place: Place| finish(place.command(Path::new("ls")).arg(folder.path())).ok().text();
        assert_eq!(ls(Place::Masked(vec![folder.path().to_path_buf()])), "");
        let small = Place::SmallDisk { folder: folder.path().to_path_buf(), size_bytes: 1 << 20 };
        assert_eq!(ls(small), "");
        assert_eq!(ls(Place::Shared), "secret\n");
    }

    #[test]
    fn the_ends_of_a_wire_reach_each_other() {
        if !needs_root("the_ends_of_a_wire_reach_each_other") {
            return;
        }
        let wire = Wire::lay();
        let [near, far] = wire.ends();
        // The kernel finds the other end by ARP, which needs no program on that side.
        let routes = finish(near.command(Path::new("ip")).args(["route", "get", "10.77.0.2"])).ok().text();
        assert!(routes.contains("dev wire0"), "{routes}");
        let links = finish(far.command(Path::new("ip")).args(["-brief", "link", "show", "wire0"])).ok().text();
        assert!(links.contains("UP"), "{links}");
    }
}
