// SPDX-License-Identifier: MPL-2.0
//! The text that was committed within the window of audio that is encoded.

use whisper_frontend::MelFrame;

/// A window that is longer than this is cut at its beginning.
const MAX_LENGTH: MelFrame = MelFrame::new(2000);
/// What is left of a window that was cut.
const KEPT: MelFrame = MelFrame::new(1000);
/// Audio before a word that is kept with it: attention may place it late.
const LEAD: MelFrame = MelFrame::new(5);

/// A committed word in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedWord {
    /// Frame at which it starts.
    pub start: MelFrame,
    /// Its tokens end before this index in the window's text.
    pub tokens_end: usize,
}

/// What is being said, from the frame at which the window starts.
#[derive(Debug, Default)]
pub struct Utterance {
    /// First frame of the window.
    pub start: MelFrame,
    /// Committed text in the window, as the model wrote it.
    pub tokens: Vec<u32>,
    words: Vec<CommittedWord>,
    /// What the last update would have gone on with: it was not sure yet.
    pub draft: Vec<u32>,
    /// Frame that the last committed token looked at.
    pub attended: Option<MelFrame>,
    /// First frame of what is being said now; before it there may be what was said before a pause.
    pub begin: MelFrame,
    /// Frame up to which speech was listened to for its language.
    pub language_to: MelFrame,
    /// Whether the language is told.
    pub has_language: bool,
    /// Frame up to which audio was decoded.
    pub decoded_to: MelFrame,
    /// Frame up to which all words were committed, because the speaker paused there.
    pub flushed_to: MelFrame,
    /// Whether anything of the utterance was committed, in the window or before.
    pub has_text: bool,
    /// Updates in a row that were rejected.
    pub rejected: u32,
}

impl Utterance {
    pub fn new(start: MelFrame) -> Self {
        Self {
            start,
            begin: start,
            language_to: start,
            decoded_to: start,
            flushed_to: start,
            ..Self::default()
        }
    }

    /// Appends committed words, given by where each starts and where its tokens end within
    /// `tokens`.
    pub fn commit(&mut self, tokens: &[u32], words: impl IntoIterator<Item = CommittedWord>) {
        let before = self.tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.words
            .extend(words.into_iter().map(|word| CommittedWord {
                tokens_end: before + word.tokens_end,
                ..word
            }));
        self.has_text |= !self.words.is_empty();
    }

    /// Cuts a window that would be too long at `end`, where a committed word starts.
    pub fn scroll(&mut self, end: MelFrame) {
        if end.saturating_sub(self.start) <= MAX_LENGTH {
            return;
        }
        let kept = end - KEPT;
        let first = self.words.partition_point(|word| word.start < kept);
        let Some(word) = self.words.get(first) else {
            // Nothing was understood for a long time, or the last word is long ago.
            return self.restart(kept);
        };
        self.start = word.start.saturating_sub(LEAD).max(self.start);
        let cut = first
            .checked_sub(1)
            .map_or(0, |before| self.words[before].tokens_end);
        self.words.drain(..first);
        for word in &mut self.words {
            word.tokens_end -= cut;
        }
        self.tokens.drain(..cut);
    }

    /// What is said from `start` on, in the same window: nothing of it was decoded.
    pub fn resume(self, start: MelFrame) -> Self {
        Self {
            draft: Vec::new(),
            attended: None,
            begin: start,
            language_to: start,
            has_language: false,
            decoded_to: start,
            flushed_to: start,
            has_text: false,
            rejected: 0,
            ..self
        }
    }

    /// Begins an empty window at a frame.
    pub fn restart(&mut self, start: MelFrame) {
        self.start = start.max(self.start);
        self.words.clear();
        self.draft.clear();
        self.attended = None;
        self.rejected = 0;
        self.tokens.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(start: u64, tokens_end: usize) -> CommittedWord {
        CommittedWord {
            start: MelFrame::new(start),
            tokens_end,
        }
    }

    #[test]
    fn a_long_window_is_cut_where_a_committed_word_starts() {
        let mut utterance = Utterance::new(MelFrame::new(100));
        utterance.commit(&[1, 2, 3], [word(120, 2), word(900, 3)]);
        utterance.commit(&[4, 5, 6], [word(1300, 1), word(1500, 3)]);
        utterance.scroll(MelFrame::new(2100));
        assert_eq!((utterance.start.get(), utterance.tokens.len()), (100, 6));
        utterance.scroll(MelFrame::new(2101));
        assert_eq!(
            (utterance.start.get(), &utterance.tokens[..]),
            (1295, &[4, 5, 6][..])
        );
        utterance.commit(&[7], [word(3000, 1)]);
        utterance.scroll(MelFrame::new(3900));
        assert_eq!(
            (utterance.start.get(), &utterance.tokens[..]),
            (2995, &[7][..])
        );
    }

    #[test]
    fn a_long_window_without_recent_words_is_restarted() {
        let mut utterance = Utterance::new(MelFrame::new(0));
        utterance.commit(&[1], [word(10, 1)]);
        utterance.scroll(MelFrame::new(2500));
        assert_eq!((utterance.start.get(), utterance.tokens.len()), (1500, 0));
        assert!(utterance.has_text);
        utterance.scroll(MelFrame::new(3500));
        assert_eq!(utterance.start.get(), 1500);
    }
}
