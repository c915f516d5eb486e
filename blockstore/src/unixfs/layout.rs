//! The balanced layout: leaves from left to right, 1024 to a node, all at one depth.
//!
//! Nodes come out as soon as they are full, so the memory needed is one node per level.

use cid::Cid;

use super::FILE_LINKS;
use super::node::file_data;
use crate::cid::dag_pb_cid;
use crate::dag::pb::{Link, Node};

#[derive(Clone, Debug)]
struct Child {
    cid: Cid,
    /// Bytes of the file below.
    file_bytes: u64,
    /// Bytes of all blocks below.
    cumulative_bytes: u64,
}

/// A node that is ready to be stored.
#[derive(Debug)]
pub(crate) struct Built {
    pub cid: Cid,
    pub bytes: Vec<u8>,
}

/// The root of a finished file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Root {
    pub cid: Cid,
    pub file_bytes: u64,
    pub cumulative_bytes: u64,
}

#[derive(Clone, Default)]
pub(crate) struct Layout {
    levels: Vec<Vec<Child>>,
}

impl Layout {
    /// Adds the next leaf; full nodes are appended to `ready`.
    pub fn leaf(&mut self, cid: Cid, bytes: u64, ready: &mut Vec<Built>) {
        let child = Child { cid, file_bytes: bytes, cumulative_bytes: bytes };
        self.push(0, child, ready);
    }

    /// Closes the right edge. At least one leaf must have been added.
    pub fn finish(mut self, ready: &mut Vec<Built>) -> Root {
        let mut level = 0;
        loop {
            let top = level + 1 == self.levels.len();
            if top && self.levels[level].len() == 1 {
                let root = self.levels[level].pop().expect("one child");
                return Root { cid: root.cid, file_bytes: root.file_bytes, cumulative_bytes: root.cumulative_bytes };
            }
            let children = std::mem::take(&mut self.levels[level]);
            if !children.is_empty() {
                let parent = close(&children, ready);
                self.push(level + 1, parent, ready);
            }
            level += 1;
        }
    }

    /// A level is closed only when one more child arrives, so that a lone full node can still be the root.
    fn push(&mut self, level: usize, child: Child, ready: &mut Vec<Built>) {
        if level == self.levels.len() {
            self.levels.push(Vec::new());
        }
        if self.levels[level].len() == FILE_LINKS {
            let full = std::mem::take(&mut self.levels[level]);
            let parent = close(&full, ready);
            self.push(level + 1, parent, ready);
        }
        self.levels[level].push(child);
    }
}

fn close(children: &[Child], ready: &mut Vec<Built>) -> Child {
    let links =
        children.iter().map(|child| Link { cid: child.cid, name: String::new(), tsize: child.cumulative_bytes });
    let node =
        Node { links: links.collect(), data: file_data(children.iter().map(|child| child.file_bytes).collect()) };
    let bytes = node.encode();
    let below: u64 = children.iter().map(|child| child.cumulative_bytes).sum();
    let parent = Child {
        cid: dag_pb_cid(&bytes),
        file_bytes: children.iter().map(|child| child.file_bytes).sum(),
        cumulative_bytes: below + bytes.len() as u64,
    };
    ready.push(Built { cid: parent.cid, bytes });
    parent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cid::raw_cid;
    use crate::unixfs::UnixFs;

    fn shape(leaves: u64) -> (Vec<Built>, Root) {
        let mut layout = Layout::default();
        let mut ready = Vec::new();
        for _ in 0..leaves {
            layout.leaf(raw_cid(b"x"), 1, &mut ready);
        }
        let root = layout.finish(&mut ready);
        (ready, root)
    }

    fn links_of_root(leaves: u64) -> usize {
        let (ready, root) = shape(leaves);
        let last = ready.last().expect("an interior node");
        assert_eq!((last.cid, root.file_bytes), (root.cid, leaves));
        match UnixFs::decode(&last.bytes) {
            Ok(UnixFs::File(node)) => node.parts.len(),
            other => panic!("not a file: {other:?}"),
        }
    }

    #[test]
    fn one_leaf_is_the_root_itself() {
        let (ready, root) = shape(1);
        assert!(ready.is_empty());
        assert_eq!(root.cid, raw_cid(b"x"));
    }

    #[test]
    fn a_full_node_stays_the_root_and_one_more_leaf_adds_a_level() {
        assert_eq!(links_of_root(2), 2);
        assert_eq!(links_of_root(1024), 1024);
        assert_eq!(links_of_root(1025), 2);
        assert_eq!(links_of_root(1024 * 1024), 1024);
        assert_eq!(links_of_root(1024 * 1024 + 1), 2);
    }
}
