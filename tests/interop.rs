//! Other IPFS peers: Kubo reads from us and we from Kubo, over each transport, and both name things alike.

mod with_kubo {
    use std::path::{Path, PathBuf};

    use artdag_tests::cluster::{Cluster, Isolation};
    use artdag_tests::kubo::{self, Kubo, Transport};
    use artdag_tests::skip::skip;

    const LISTEN: [(Transport, &str); 2] =
        [(Transport::Tcp, "/ip4/127.0.0.1/tcp/0"), (Transport::Quic, "/ip4/127.0.0.1/udp/0/quic-v1")];

    /// One byte, one more than a leaf, many leaves, and a folder.
    const FILES: [(&str, usize); 3] = [("one-byte", 1), ("leaf-and-one", (1 << 20) + 1), ("many-leaves", 20 << 20)];

    fn program(test: &str) -> Option<PathBuf> {
        let program = kubo::program();
        if program.is_none() {
            skip(test, "needs Kubo, see tests/tools.sh");
        }
        program
    }

    /// Bytes that do not repeat, other ones for each seed.
    fn noise(length: usize, seed: u64) -> Vec<u8> {
        use rand::{RngExt, SeedableRng};
        let mut bytes = vec![0; length];
        rand::rngs::StdRng::seed_from_u64(seed).fill(&mut bytes[..]);
        bytes
    }

    /// The three files and a folder with two more, all below `folder`; every path that is added by itself.
    fn make_content(folder: &Path, seed: u64) -> Vec<PathBuf> {
        std::fs::create_dir_all(folder.join("album/inner")).expect("made");
        let mut paths = Vec::new();
        for (number, (name, size)) in FILES.into_iter().enumerate() {
            let path = folder.join(name);
            std::fs::write(&path, noise(size, seed + number as u64)).expect("written");
            paths.push(path);
        }
        std::fs::write(folder.join("album/cover"), noise(300_000, seed + 10)).expect("written");
        std::fs::write(folder.join("album/inner/track"), noise(2_500_000, seed + 11)).expect("written");
        paths.push(folder.join("album"));
        paths
    }

    #[track_caller]
    fn same(left: &Path, right: &Path) {
        if left.is_dir() {
            let mut count = 0;
            for entry in std::fs::read_dir(left).expect("a folder").flatten() {
                same(&entry.path(), &right.join(entry.file_name()));
                count += 1;
            }
            assert_eq!(std::fs::read_dir(right).expect("a folder too").count(), count, "{}", right.display());
            return;
        }
        let (a, b) = (std::fs::read(left).expect("there"), std::fs::read(right).expect("there"));
        assert!(a == b, "{} and {} differ", left.display(), right.display());
    }

    /// A lone node that speaks one transport, and a daemon connected to it over that.
    fn pair(program: &Path, transport: Transport) -> (Cluster, Kubo) {
        let listen = LISTEN.into_iter().find(|(kind, _)| *kind == transport).expect("both are listed").1;
        let mut cluster = Cluster::empty(Isolation::None);
        cluster.grow(|options| options.listen = vec![listen.to_string()]);
        let kubo = Kubo::start(program, transport);
        kubo.connect(&cluster.nodes[0].address(transport.mark()));
        (cluster, kubo)
    }

    fn from_kubo(transport: Transport, seed: u64, program: &Path) {
        let (cluster, kubo) = pair(program, transport);
        let node = &cluster.nodes[0];
        for path in make_content(&cluster.file("theirs"), seed) {
            let cid = kubo.add(&path);
            let copy = cluster.file("copy").with_extension(path.file_name().expect("named"));
            node.get(&cid, &copy).ok();
            same(&path, &copy);
            assert_eq!(node.add(&path), cid, "we name {} as Kubo does", path.display());
        }
    }

    fn to_kubo(transport: Transport, seed: u64, program: &Path) {
        let (cluster, kubo) = pair(program, transport);
        let node = &cluster.nodes[0];
        for path in make_content(&cluster.file("ours"), seed) {
            let cid = node.add(&path);
            node.artdag(&["public", "add", &cid]).ok();
            let copy = cluster.file("copy").with_extension(path.file_name().expect("named"));
            let to = copy.to_str().expect("test paths are text");
            kubo.ipfs(&["get", "--timeout", "60s", "--output", to, &cid]).ok();
            same(&path, &copy);
        }
    }

    #[test]
    fn files_and_folders_from_kubo_over_tcp() {
        let Some(program) = program("files_and_folders_from_kubo_over_tcp") else { return };
        from_kubo(Transport::Tcp, 100, &program);
    }

    #[test]
    fn files_and_folders_from_kubo_over_quic() {
        let Some(program) = program("files_and_folders_from_kubo_over_quic") else { return };
        from_kubo(Transport::Quic, 200, &program);
    }

    #[test]
    fn files_and_folders_to_kubo_over_tcp() {
        let Some(program) = program("files_and_folders_to_kubo_over_tcp") else { return };
        to_kubo(Transport::Tcp, 300, &program);
    }

    #[test]
    fn files_and_folders_to_kubo_over_quic() {
        let Some(program) = program("files_and_folders_to_kubo_over_quic") else { return };
        to_kubo(Transport::Quic, 400, &program);
    }

    /// What was not made public does not exist for a stranger, until it is, and after it no longer is.
    #[test]
    fn kubo_reads_only_what_is_public() {
        let Some(program) = program("kubo_reads_only_what_is_public") else { return };
        let (cluster, kubo) = pair(&program, Transport::Tcp);
        let node = &cluster.nodes[0];
        let file = cluster.file("secret");
        std::fs::write(&file, noise(1_500_000, 500)).expect("written");
        let cid = node.add(&file);
        let asked = kubo.ipfs(&["block", "stat", "--timeout", "2s", &cid]);
        assert!(!asked.status.success(), "a private block was served: {}", asked.text());
        node.artdag(&["public", "add", &cid]).ok();
        // A new daemon: the first one may remember that we have nothing.
        let other = Kubo::start(&program, Transport::Tcp);
        other.connect(&node.address("/tcp/"));
        let read = other.ipfs(&["cat", "--timeout", "60s", &cid]).ok();
        assert!(read.stdout == noise(1_500_000, 500));
    }
}
