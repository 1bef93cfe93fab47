// SPDX-License-Identifier: MPL-2.0
//! What a transcriber did, counted.

use std::ops::AddAssign;

/// Lists each counter once: its field, and the name under which users see it.
macro_rules! counters {
    ($(#[doc = $about:literal] $field:ident => $name:literal,)*) => {
        /// What a transcriber did, and what it kept from being printed.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct StreamCounters {
            $(#[doc = $about] pub $field: u64,)*
        }

        impl StreamCounters {
            /// Each counter under the name that users see.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($name, self.$field)),*].into_iter()
            }
        }

        impl AddAssign for StreamCounters {
            fn add_assign(&mut self, other: Self) {
                $(self.$field += other.$field;)*
            }
        }
    };
}

counters! {
    /// Times that the utterance was encoded and decoded.
    updates => "updates",
    /// Updates that were due while another took too long, and were made as one.
    coalesced => "updates-coalesced",
    /// Utterances with text.
    utterances => "utterances",
    /// Windows that were restarted because the model took their text for complete.
    restarts => "restarts",
    /// Sounds with too little voice for an utterance.
    ignored_noises => "noises-ignored",
    /// Updates rejected because the model guessed over silence.
    rejected_silence => "refused-silence",
    /// Updates rejected because they said more than can be said in the time.
    rejected_too_much => "refused-too-much",
    /// Updates rejected because they repeated themselves.
    rejected_loops => "refused-loops",
    /// Updates rejected because attention jumped back or stood still.
    rejected_unsteady => "refused-unsteady",
    /// Utterances rejected that were nothing but a known hallucination.
    rejected_boilerplate => "refused-boilerplate",
    /// Tokens rejected because no audio was left that they could stand for.
    rejected_tokens => "refused-tokens",
    /// Words rejected because there was no voice where they were.
    rejected_words => "refused-words",
    /// Passages recognised again by themselves: their text could not be trusted, or was missing.
    passages_again => "passages-again",
    /// Passages with voice that became no words.
    passages_lost => "passages-lost",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_under_their_own_names() {
        let mut sum = StreamCounters {
            updates: 1,
            ..StreamCounters::default()
        };
        sum += StreamCounters {
            updates: 2,
            rejected_words: 5,
            ..StreamCounters::default()
        };
        let counted: Vec<_> = sum.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("updates", 3), ("refused-words", 5)]);
    }
}
