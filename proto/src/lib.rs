//! The wire contract of artdag: one `.proto` file per service, the code made from them and the
//! committed descriptor. No logic lives here.
//!
//! CIDs are canonical strings, hashes are 32 bytes, times are unix milliseconds, sizes are bytes.

/// Package `artdag.v1`.
#[allow(clippy::all, clippy::unwrap_used, missing_docs)]
pub mod v1 {
    tonic::include_proto!("artdag.v1");
}

/// The compiled `FileDescriptorSet`, for reflection. A test holds it equal to the sources.
pub const DESCRIPTOR: &[u8] = include_bytes!("../descriptor.bin");

#[cfg(test)]
mod tests {
    /// The committed descriptor is what other languages build from, so it may not lag.
    #[test]
    fn the_committed_descriptor_is_current() {
        let built = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
        assert!(
            built.as_slice() == super::DESCRIPTOR,
            "copy the new descriptor from {} over proto/descriptor.bin",
            concat!(env!("OUT_DIR"), "/descriptor.bin")
        );
    }
}
