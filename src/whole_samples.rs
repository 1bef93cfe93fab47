// SPDX-License-Identifier: MPL-2.0
//! Buffers of whole samples out of buffers that are cut anywhere.

/// Carries the bytes of a cut sample to the next buffer.
#[derive(Debug, Default)]
pub struct WholeSamples {
    carried: Vec<u8>,
}

impl WholeSamples {
    /// The buffer with whole samples: with the carried bytes in front, and without those of a sample
    /// that is cut at the end. It stays as it is, not copied, if that changes nothing. The second
    /// value is how many bytes were copied.
    pub fn of(&mut self, buffer: gst::Buffer, sample_size: usize) -> (gst::Buffer, usize) {
        if buffer.flags().contains(gst::BufferFlags::DISCONT) {
            self.carried.clear();
        }
        if self.carried.is_empty() && buffer.size().is_multiple_of(sample_size) {
            return (buffer, 0);
        }
        let Ok(map) = buffer.map_readable() else {
            return (buffer, 0);
        };
        let mut bytes = std::mem::take(&mut self.carried);
        bytes.extend_from_slice(&map);
        drop(map);
        self.carried = bytes.split_off(bytes.len() - bytes.len() % sample_size);
        let copied = bytes.len();
        let mut whole = gst::Buffer::from_mut_slice(bytes);
        if let Some(whole) = whole.get_mut() {
            use gst::BufferCopyFlags as Copy;
            let all = Copy::FLAGS | Copy::TIMESTAMPS | Copy::META;
            if buffer.copy_into(whole, all, ..).is_err() {
                whole.set_pts(buffer.pts());
            }
        }
        (whole, copied)
    }

    /// Forgets the bytes of a cut sample: what follows does not continue it.
    pub fn forget(&mut self) {
        self.carried.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gst::ClockTime;

    fn bytes(buffer: &gst::Buffer) -> Vec<u8> {
        buffer.map_readable().unwrap().to_vec()
    }

    fn buffer(bytes: &[u8], second: u64) -> gst::Buffer {
        let mut buffer = gst::Buffer::from_mut_slice(bytes.to_vec());
        buffer
            .get_mut()
            .unwrap()
            .set_pts(ClockTime::from_seconds(second));
        buffer
    }

    #[test]
    fn samples_that_are_cut_are_put_together() {
        gst::init().unwrap();
        let mut samples = WholeSamples::default();
        let all: Vec<u8> = (0..21).collect();
        let mut read = Vec::new();
        for (second, part) in [&all[..3], &all[3..3], &all[3..8], &all[8..9], &all[9..]]
            .iter()
            .enumerate()
        {
            let (whole, copied) = samples.of(buffer(part, second as u64), 4);
            assert_eq!(whole.pts(), Some(ClockTime::from_seconds(second as u64)));
            assert_eq!(whole.size(), copied);
            read.extend(bytes(&whole));
        }
        assert_eq!(read, all[..20]);
    }

    #[test]
    fn samples_after_a_hole_begin_with_its_first_byte() {
        gst::init().unwrap();
        let mut samples = WholeSamples::default();
        samples.of(buffer(&[1, 2, 3], 0), 2);
        let mut after = buffer(&[4, 5], 9);
        after
            .get_mut()
            .unwrap()
            .set_flags(gst::BufferFlags::DISCONT);
        let (after, copied) = samples.of(after, 2);
        assert_eq!((bytes(&after), copied), (vec![4, 5], 0));
    }
}
