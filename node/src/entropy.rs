//! The only place that asks the operating system for random bytes.

use rand::TryRng;

/// Fresh random bytes from the operating system.
///
/// # Panics
/// When the operating system has no entropy source, since every key would be worthless.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).expect("the operating system has an entropy source");
    bytes
}

/// A random index below `len`; 0 for an empty range.
#[must_use]
pub fn index(len: usize) -> usize {
    let draw = u64::from_le_bytes(random());
    usize::try_from(draw % (len.max(1) as u64)).unwrap_or(0)
}
