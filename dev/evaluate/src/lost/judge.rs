// SPDX-License-Identifier: MPL-2.0
//! Which utterances of a recording its transcript holds.

use std::fmt::{self, Display, Formatter};
use std::ops::AddAssign;

use crate::words::{align, words};

/// Words of the transcript that are shown on either side of a lost utterance.
const CONTEXT: usize = 4;

/// What came of an utterance.
#[derive(Debug, PartialEq)]
pub struct Heard {
    /// Words of its reference.
    pub words: usize,
    /// Those that the transcript has.
    pub matched: usize,
    /// The transcript from some words before to some words after.
    pub around: String,
}

impl Heard {
    /// Whether fewer than a quarter of its words came. Of one to four words that is: none.
    pub fn is_lost(&self) -> bool {
        4 * self.matched < self.words
    }
}

/// What came of each utterance in the transcript of all: the words of the references, one after
/// the other, are aligned with the transcript's by the fewest edits.
pub fn judge(utterances: &[&str], transcript: &str) -> Vec<Heard> {
    let said: Vec<Vec<String>> = utterances.iter().map(|text| words(text)).collect();
    let came = words(transcript);
    let pairs = align(&said.concat(), &came);
    let mut begin = 0;
    let mut heard = |said: &Vec<String>| {
        let end = begin + said.len();
        let before = pairs.iter().rfind(|(i, _)| *i < begin);
        let after = pairs.iter().find(|(i, _)| *i >= end);
        let from = before.map_or(0, |(_, j)| (j + 1).saturating_sub(CONTEXT));
        let until = after.map_or(came.len(), |(_, j)| (j + CONTEXT).min(came.len()));
        let matched = pairs.iter().filter(|(i, _)| (begin..end).contains(i));
        let heard = Heard {
            words: said.len(),
            matched: matched.count(),
            around: came[from..until].join(" "),
        };
        begin = end;
        heard
    };
    said.iter().map(&mut heard).collect()
}

/// Utterances and those that were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    utterances: usize,
    lost: usize,
}

impl Tally {
    /// Counts an utterance.
    pub fn add(&mut self, heard: &Heard) {
        self.utterances += 1;
        self.lost += usize::from(heard.is_lost());
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.utterances += other.utterances;
        self.lost += other.lost;
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { utterances, lost } = self;
        let percent = 100.0 * *lost as f64 / (*utterances).max(1) as f64;
        write!(f, "{utterances} utterances, {lost} lost, {percent:.2} %")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(utterances: &[&str], transcript: &str) -> Vec<bool> {
        let heard = judge(utterances, transcript);
        heard.iter().map(Heard::is_lost).collect()
    }

    #[test]
    fn utterance_is_lost_below_a_quarter_of_its_words() {
        let utterances = ["one two three four five six seven eight", "nine ten"];
        assert_eq!(lost(&utterances, "One, two; nine ten."), [false, false]);
        assert_eq!(lost(&utterances, "One nine ten."), [true, false]);
        assert_eq!(lost(&utterances, ""), [true, true]);
    }

    #[test]
    fn short_utterance_is_lost_if_none_of_its_words_came() {
        assert_eq!(
            lost(&["hold on", "yes", "four five"], "on five"),
            [false, true, false]
        );
        assert_eq!(lost(&["yes"], "Yes!"), [false]);
        assert_eq!(lost(&[""], "Yes!"), [false]);
    }

    #[test]
    fn neighbours_do_not_match_a_lost_utterance() {
        let utterances = ["put this in a double boiler", "it is cold", "put it away"];
        let heard = judge(&utterances, "It is cold. Put it away.");
        let matched: Vec<usize> = heard.iter().map(|heard| heard.matched).collect();
        assert_eq!(matched, [0, 3, 3]);
        assert_eq!(heard[0].around, "it is cold put");
    }

    #[test]
    fn transcript_around_lies_between_the_neighbours() {
        let heard = judge(
            &["a b c d e", "x y z", "f g h i j"],
            "a b c d e um f g h i j",
        );
        assert_eq!(heard[1].around, "b c d e um f g h i");
    }

    #[test]
    fn tally_counts_and_adds() {
        let mut tally = Tally::default();
        assert_eq!(tally.to_string(), "0 utterances, 0 lost, 0.00 %");
        for heard in judge(&["a", "b", "c"], "a b") {
            tally.add(&heard);
        }
        tally += tally;
        assert_eq!(tally.to_string(), "6 utterances, 2 lost, 33.33 %");
    }
}
