// SPDX-License-Identifier: MPL-2.0
//! Breaks of one cue into lines.

use super::{BreakPath, Placed, TOP_HEAVY, UNBALANCED};
use crate::width::{HalfLetters, LETTER};

/// The cheapest breaks of some words into lines.
pub struct LineBreaks {
    /// What they cost together; infinite if the words do not fit.
    pub cost: f32,
    /// Index of the first word of each line but the top one.
    pub begins: Vec<usize>,
}

/// Breaks `words` into `count` lines of at most `limit`.
pub fn cheapest(words: &[Placed], count: usize, limit: HalfLetters) -> LineBreaks {
    if count == 1 {
        return LineBreaks {
            cost: 0.0,
            begins: Vec::new(),
        };
    }
    let end = words.len();
    let cue = CueLines {
        words,
        limit,
        mean: (words[end - 1].to - words[0].from) as f32 / count as f32,
    };
    // rows[n][place]: the words before `place` in n lines.
    let mut rows = vec![vec![None; end + 1]; count + 1];
    rows[0][0] = Some(BreakPath { cost: 0.0, from: 0 });
    for line in 1..=count {
        let is_bottom = line == count;
        let first_place = if is_bottom { end } else { line };
        for place in first_place..=end {
            rows[line][place] = cue.path_to(place, &rows[line - 1], is_bottom);
        }
    }
    let mut begins = Vec::new();
    let mut place = end;
    for row in rows[1..].iter().rev() {
        place = row[place].map_or(0, |path| path.from);
        begins.push(place);
    }
    // The top line begins with the first word.
    begins.pop();
    begins.reverse();
    LineBreaks {
        cost: rows[count][end].map_or(f32::INFINITY, |path| path.cost),
        begins,
    }
}

struct CueLines<'a> {
    words: &'a [Placed],
    limit: HalfLetters,
    /// Width of a line if all were alike.
    mean: f32,
}

impl CueLines<'_> {
    /// The cheapest path to the end of a line before `place`. `above[n]` is the path to a line that
    /// begins with word `n`.
    fn path_to(
        &self,
        place: usize,
        above: &[Option<BreakPath>],
        is_bottom: bool,
    ) -> Option<BreakPath> {
        let mut best: Option<BreakPath> = None;
        for from in (0..place).rev() {
            let width = self.words[place - 1].to - self.words[from].from;
            if width > self.limit {
                break;
            }
            let Some(path) = above[from] else {
                continue;
            };
            let off = width as f32 - self.mean;
            let mut cost = path.cost + UNBALANCED * off.abs() / LETTER as f32;
            if !is_bottom {
                cost += self.words.get(place).map_or(0.0, |next| next.break_cost);
                cost += if off > 0.0 { TOP_HEAVY } else { 0.0 };
            }
            if best.is_none_or(|best| cost < best.cost) {
                best = Some(BreakPath { cost, from });
            }
        }
        best
    }
}
