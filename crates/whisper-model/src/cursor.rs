// SPDX-License-Identifier: MPL-2.0
//! Reads little-endian fields of untrusted files.

use std::io::{Read, Seek, SeekFrom};

use super::error::ParseError;

/// A place in a file. Every read checks the end first, so no announced length makes an allocation
/// larger than the file.
pub(super) struct Cursor<R> {
    file: R,
    at: usize,
    length: usize,
}

impl<R: Read + Seek> Cursor<R> {
    /// At the start of a file.
    pub fn new(mut file: R) -> Result<Self, ParseError> {
        let length = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
        file.rewind().map_err(unreadable)?;
        let length = usize::try_from(length)
            .map_err(|_| ParseError::malformed("the file is larger than all memory"))?;
        Ok(Cursor {
            file,
            at: 0,
            length,
        })
    }

    /// Bytes from the start of the file.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes to the end of the file.
    pub fn left(&self) -> usize {
        self.length - self.at
    }

    /// The next bytes.
    pub fn take(&mut self, count: usize) -> Result<Vec<u8>, ParseError> {
        self.check(count)?;
        let mut taken = vec![0; count];
        self.read(&mut taken)?;
        Ok(taken)
    }

    /// Passes over some bytes.
    pub fn skip(&mut self, count: usize) -> Result<(), ParseError> {
        self.check(count)?;
        self.file.seek_relative(count as i64).map_err(unreadable)?;
        self.at += count;
        Ok(())
    }

    fn check(&self, count: usize) -> Result<(), ParseError> {
        if count <= self.left() {
            return Ok(());
        }
        Err(ParseError::malformed(format!(
            "the file ends early: {count} bytes announced at offset {}, {} left",
            self.at,
            self.left()
        )))
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), ParseError> {
        self.file.read_exact(bytes).map_err(unreadable)?;
        self.at += bytes.len();
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        self.check(N)?;
        let mut array = [0; N];
        self.read(&mut array)?;
        Ok(array)
    }

    pub fn u8(&mut self) -> Result<u8, ParseError> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u16(&mut self) -> Result<u16, ParseError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, ParseError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, ParseError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A `u32` used as a count or dimension; `usize` holds it on every supported machine.
    pub fn count(&mut self) -> Result<usize, ParseError> {
        Ok(self.u32()? as usize)
    }
}

/// The file was there a moment ago.
fn unreadable(error: std::io::Error) -> ParseError {
    ParseError::malformed(format!("it cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_past_the_end_fails_and_moves_nothing() {
        let mut cursor = Cursor::new(std::io::Cursor::new([1, 0, 2, 3])).unwrap();
        assert_eq!(cursor.u16(), Ok(1));
        assert!(cursor.u32().is_err());
        assert!(cursor.take(usize::MAX).is_err());
        assert!(cursor.skip(3).is_err());
        assert_eq!(cursor.position(), 2);
        assert_eq!(cursor.skip(1), Ok(()));
        assert_eq!(cursor.u8(), Ok(3));
        assert_eq!(cursor.left(), 0);
    }
}
