//! Tests that a machine cannot run are written down, so that nobody mistakes a skip for a pass.

use std::io::Write;

/// Says loudly that `test` did not run, and tells `tests/verify.sh` (through the file `ARTDAG_SKIPS`), which
/// lists it and, with `VERIFY_REQUIRE=all`, fails.
pub fn skip(test: &str, reason: &str) {
    let line = format!("{test}: {reason}\n");
    // Not captured by the test runner, unlike the macros.
    let _ = write!(std::io::stderr(), "SKIPPED {line}");
    if let Some(path) = std::env::var_os("ARTDAG_SKIPS") {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .expect("ARTDAG_SKIPS names a file that can be appended to");
        file.write_all(line.as_bytes()).expect("a line can be appended");
    }
}

/// Whether namespaces and mounts of our own can be made here; if not, `test` is skipped.
pub fn needs_root(test: &str) -> bool {
    let allowed =
        rustix::process::geteuid().is_root() && crate::process::succeeds("unshare", &["--mount", "--net", "true"]);
    if !allowed {
        skip(test, "needs root to make namespaces");
    }
    allowed
}

/// Whether `tool` can be run; if not, `test` is skipped.
pub fn needs_tool(test: &str, tool: &str, version_flag: &str) -> bool {
    let there = crate::process::succeeds(tool, &[version_flag]);
    if !there {
        skip(test, &format!("needs `{tool}`, see tests/tools.sh"));
    }
    there
}
