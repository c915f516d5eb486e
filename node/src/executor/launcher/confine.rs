//! The launcher's own process: gives up everything the tool does not need, then becomes it.
//!
//! What always holds: nothing is executed unless the limits and the seccomp filter stand.
//! Deliberately single-threaded and short: landlock and seccomp bind the calling thread, and
//! exec carries that thread on.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
    path_beneath_rules,
};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::{EXIT_NOT_CONFINED, EXIT_NOT_EXECUTED, Enforced, Enforcement, Limits, MAX_SPEC_BYTES, REPORT_MARK, Spec};

/// Newest landlock rights asked for; an older kernel enforces what it knows of them.
const LANDLOCK_ABI: ABI = ABI::V6;

/// Where programs, libraries and what they read at start live. Named one by one: the rest of
/// `/etc`, `/proc` and `/dev` is nothing to a tool.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/localtime",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/sys/devices/system",
];

/// Devices that hold nothing.
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"];

/// Becomes the tool of the spec on standard input. Returns only if it cannot.
pub fn launch_main() -> ExitCode {
    let (spec, enforced) = match prepare() {
        Ok(prepared) => prepared,
        Err(message) => {
            eprintln!("artdag-launch: {message}");
            return ExitCode::from(EXIT_NOT_CONFINED);
        }
    };
    if let Err(message) = report(&enforced) {
        eprintln!("artdag-launch: {message}");
        return ExitCode::from(EXIT_NOT_CONFINED);
    }
    let error = become_tool(&spec);
    eprintln!("artdag-launch: {error}");
    ExitCode::from(EXIT_NOT_EXECUTED)
}

fn prepare() -> Result<(Spec, Enforced), String> {
    let spec = read_spec()?;
    die_with_parent(spec.parent)?;
    std::env::set_current_dir(PathBuf::from(&spec.workspace))
        .map_err(|error| format!("the workspace cannot be entered: {error}"))?;
    set_limits(&spec.limits).map_err(|error| format!("limits cannot be set: {error}"))?;
    let enforced = Enforced {
        limits: Enforcement::Full,
        network_namespace: leave_network(),
        landlock: restrict_files(&spec),
        seccomp: refuse_calls().map_err(|error| format!("no seccomp filter: {error}"))?,
    };
    Ok((spec, enforced))
}

fn read_spec() -> Result<Spec, String> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(MAX_SPEC_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("the spec cannot be read: {error}"))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| format!("no spec on standard input ({error}): this command is for the node itself"))
}

fn die_with_parent(parent: i32) -> Result<(), String> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("cannot ask to end with the node: {error}"))?;
    // It may have died before we asked.
    let now = rustix::process::getppid().map_or(0, Pid::as_raw_pid);
    if now == parent { Ok(()) } else { Err("the node that asked is gone".to_owned()) }
}

fn set_limits(limits: &Limits) -> std::io::Result<()> {
    let pairs = [
        (Resource::Cpu, limits.cpu_seconds),
        (Resource::As, limits.address_space_bytes),
        (Resource::Fsize, limits.disk_bytes),
        (Resource::Nofile, limits.open_files),
        (Resource::Core, 0),
    ];
    for (resource, wanted) in pairs {
        let hard = rustix::process::getrlimit(resource).maximum;
        let bound = hard.map_or(wanted, |hard| hard.min(wanted));
        // At the soft limit of processor time comes a signal that can be told apart; at the hard
        // one the same that ends a process short of memory.
        let above = if resource == Resource::Cpu { 5 } else { 0 };
        let limit =
            Rlimit { current: Some(bound), maximum: Some(hard.map_or(bound + above, |hard| hard.min(bound + above))) };
        rustix::process::setrlimit(resource, limit)?;
    }
    Ok(())
}

/// An own network namespace has not even a loopback. Without privilege it takes a user namespace
/// too, which many systems refuse; the seccomp filter holds either way.
// The deprecated form is the safe one; its danger is unshared descriptor tables, which we do not ask for.
#[allow(deprecated)]
fn leave_network() -> Enforcement {
    use rustix::thread::{UnshareFlags, unshare};
    let alone = unshare(UnshareFlags::NEWNET);
    let left = alone.or_else(|_| unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET));
    match left {
        Ok(()) => Enforcement::Full,
        Err(_) => Enforcement::None,
    }
}

fn restrict_files(spec: &Spec) -> Enforcement {
    match landlock(spec) {
        Ok(RulesetStatus::FullyEnforced) => Enforcement::Full,
        Ok(RulesetStatus::PartiallyEnforced) => Enforcement::Partial,
        Ok(RulesetStatus::NotEnforced) | Err(_) => Enforcement::None,
    }
}

fn landlock(spec: &Spec) -> Result<RulesetStatus, landlock::RulesetError> {
    let read = AccessFs::from_read(LANDLOCK_ABI);
    let program = Path::new(&spec.program).parent().map(Path::to_path_buf);
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK_ABI))?
        .handle_access(AccessNet::from_all(LANDLOCK_ABI))?
        .scope(Scope::from_all(LANDLOCK_ABI))?
        .create()?
        .add_rules(path_beneath_rules(SYSTEM, read))?
        .add_rules(path_beneath_rules(program, read))?
        .add_rules(path_beneath_rules(&spec.readable, AccessFs::ReadFile))?
        .add_rules(path_beneath_rules(DEVICES, AccessFs::ReadFile | AccessFs::WriteFile))?
        .add_rules(path_beneath_rules([&spec.workspace], AccessFs::from_all(LANDLOCK_ABI) & !AccessFs::Execute))?
        .restrict_self()?;
    Ok(status.ruleset)
}

/// Calls that a renderer has no use for: ways out of the process group or the namespace, ways
/// into other processes or the kernel, and io_uring, which opens sockets behind the filter's back.
const REFUSED_CALLS: &[i64] = &[
    libc::SYS_setsid,
    libc::SYS_setpgid,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_io_uring_setup,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_open_by_handle_at,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
];

/// x86-64 kernels may answer the same calls under a second number.
const X32_BIT: i64 = 0x4000_0000;

fn refuse_calls() -> Result<Enforcement, String> {
    let program = filter().map_err(|error| error.to_string())?;
    seccompiler::apply_filter(&program).map_err(|error| error.to_string())?;
    Ok(Enforcement::Full)
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in REFUSED_CALLS {
        rules.insert(*call, Vec::new());
        rules.insert(*call | X32_BIT, Vec::new());
    }
    for call in [libc::SYS_socket, libc::SYS_socket | X32_BIT] {
        rules.insert(call, vec![not_unix()?]);
    }
    SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EACCES.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()
}

/// A socket of any family but Unix.
fn not_unix() -> Result<SeccompRule, seccompiler::BackendError> {
    let family = u64::from(libc::AF_UNIX.unsigned_abs());
    SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family)?])
}

/// On a line of its own, because something may stand on the current one already.
fn report(enforced: &Enforced) -> Result<(), String> {
    let json = serde_json::to_string(enforced).map_err(|error| error.to_string())?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{REPORT_MARK}{json}")
        .and_then(|()| out.flush())
        .map_err(|error| format!("nobody listens: {error}"))
}

/// Returns why the tool could not be executed.
fn become_tool(spec: &Spec) -> std::io::Error {
    std::process::Command::new(&spec.program)
        .args(&spec.arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .env("HOME", &spec.workspace)
        .env("TMPDIR", &spec.workspace)
        .stdin(Stdio::null())
        .exec()
}
