//! Frames: an unsigned varint length, then that many bytes. Bitswap and the member stream use them.
//!
//! A length over the bound is refused before a byte of the body is read, and memory grows only with
//! bytes that really arrived. Neither function is safe to drop and resume: the stream is then lost.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("frame of {0} bytes is over the bound of {1}")]
    TooLong(u64, usize),
    #[error("frame length is not a canonical varint")]
    BadLength,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads one frame; `None` when the stream ended between frames.
pub async fn read(stream: &mut (impl AsyncRead + Unpin), bound: usize) -> Result<Option<Vec<u8>>, FrameError> {
    match read_length(stream, bound).await? {
        Some(length) => Ok(Some(read_body(stream, length).await?)),
        None => Ok(None),
    }
}

/// Reads the length of the next frame, so that memory can be found before the body is read.
pub async fn read_length(stream: &mut (impl AsyncRead + Unpin), bound: usize) -> Result<Option<usize>, FrameError> {
    let mut bytes = unsigned_varint::encode::u64_buffer();
    for at in 0..bytes.len() {
        let read = stream.read(&mut bytes[at..=at]).await?;
        if read == 0 && at == 0 {
            return Ok(None);
        }
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if unsigned_varint::decode::is_last(bytes[at]) {
            let (length, _) = unsigned_varint::decode::u64(&bytes[..=at]).map_err(|_| FrameError::BadLength)?;
            return match usize::try_from(length) {
                Ok(length) if length <= bound => Ok(Some(length)),
                _ => Err(FrameError::TooLong(length, bound)),
            };
        }
    }
    Err(FrameError::BadLength)
}

/// Reads the body that `read_length` announced.
pub async fn read_body(stream: &mut (impl AsyncRead + Unpin), length: usize) -> Result<Vec<u8>, FrameError> {
    /// What is reserved before bytes arrive: most frames fit, a lying length costs little.
    const FIRST_RESERVE: usize = 64 << 10;
    let mut body = Vec::with_capacity(length.min(FIRST_RESERVE));
    stream.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(body)
}

/// Writes one frame and flushes it.
pub async fn write(stream: &mut (impl AsyncWrite + Unpin), body: &[u8]) -> io::Result<()> {
    let mut buffer = unsigned_varint::encode::u64_buffer();
    let length = unsigned_varint::encode::u64(body.len() as u64, &mut buffer);
    stream.write_all(length).await?;
    stream.write_all(body).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::Cursor;
    use proptest::prelude::*;

    fn read_all(bytes: &[u8], bound: usize) -> Result<Option<Vec<u8>>, FrameError> {
        futures::executor::block_on(read(&mut Cursor::new(bytes), bound))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(body in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let mut bytes = Vec::new();
            futures::executor::block_on(write(&mut bytes, &body)).expect("framed");
            prop_assert_eq!(read_all(&bytes, 5000).expect("framed"), Some(body));
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Some(body)) = read_all(&bytes, 32) {
                prop_assert!(body.len() <= 32);
            }
        }
    }

    #[test]
    fn hostile_frames_are_refused() {
        assert!(read_all(&[], 10).expect("framed").is_none());
        assert!(matches!(read_all(&[11], 10), Err(FrameError::TooLong(11, 10))));
        assert!(matches!(read_all(&[3, 1, 2], 10), Err(FrameError::Io(_))), "truncated body");
        assert!(matches!(read_all(&[0x80], 10), Err(FrameError::Io(_))), "truncated length");
        assert!(matches!(read_all(&[0x80; 12], 10), Err(FrameError::BadLength)), "endless");
        assert!(matches!(read_all(&[0x81, 0x00], 10), Err(FrameError::BadLength)), "not minimal");
        let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert!(matches!(read_all(&huge, 10), Err(FrameError::TooLong(..))));
    }
}
