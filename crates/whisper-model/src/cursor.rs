// SPDX-License-Identifier: MPL-2.0
//! Reads little-endian fields of untrusted bytes.

use super::error::ParseError;

/// A place in a file's bytes. Every read checks the end first; nothing is copied.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    /// Bytes from the start of the file.
    pub fn position(&self) -> usize {
        self.at
    }

    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8], ParseError> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..count).ok_or_else(|| {
            ParseError::malformed(format!(
                "the file ends early: {count} bytes announced at offset {}, {} left",
                self.at,
                rest.len()
            ))
        })?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
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

    /// A `u32` used as a count or dimension; `usize` holds it on every supported machine.
    pub fn count(&mut self) -> Result<usize, ParseError> {
        Ok(self.u32()? as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_past_the_end_fails_and_moves_nothing() {
        let mut cursor = Cursor::new(&[1, 0, 2]);
        assert_eq!(cursor.u16(), Ok(1));
        assert!(cursor.u32().is_err());
        assert!(cursor.take(usize::MAX).is_err());
        assert_eq!(cursor.position(), 2);
        assert_eq!(cursor.u8(), Ok(2));
        assert!(cursor.is_at_end());
    }
}
