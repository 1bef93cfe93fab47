// SPDX-License-Identifier: MPL-2.0
//! The fuzzer's bytes as edits of a sound file, so that it need not first discover the format.

/// Applies (place, value) pairs of three bytes and one byte; a last odd place truncates the file there.
pub fn apply(sound: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    for edit in edits.chunks(4) {
        let place = edit
            .iter()
            .take(3)
            .fold(0, |place, byte| place << 8 | usize::from(*byte))
            % bytes.len().max(1);
        match edit.get(3) {
            Some(value) => bytes[place] = *value,
            None => bytes.truncate(place.max(1)),
        }
    }
    bytes
}
