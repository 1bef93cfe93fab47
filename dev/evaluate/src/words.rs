// SPDX-License-Identifier: MPL-2.0
//! Words of two texts beside each other.

/// The words of a text in lower case, letters and digits only; parts of a hyphened word count as
/// words.
pub fn words(text: &str) -> Vec<String> {
    let parts = text.split(|c: char| c.is_whitespace() || "-‐‑–—".contains(c));
    parts.map(plain).filter(|word| !word.is_empty()).collect()
}

/// A word in lower case, letters and digits only.
pub fn plain(word: &str) -> String {
    let letters = word.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

/// Indices of equal words on a path of fewest edits.
pub fn align(said: &[String], came: &[String]) -> Vec<(usize, usize)> {
    let width = came.len() + 1;
    let mut costs = vec![0u32; (said.len() + 1) * width];
    for i in 0..=said.len() {
        for j in 0..=came.len() {
            costs[i * width + j] = match (i, j) {
                (0, _) => j as u32,
                (_, 0) => i as u32,
                _ => {
                    let replaced =
                        costs[(i - 1) * width + j - 1] + u32::from(said[i - 1] != came[j - 1]);
                    replaced
                        .min(costs[(i - 1) * width + j] + 1)
                        .min(costs[i * width + j - 1] + 1)
                }
            };
        }
    }
    let (mut i, mut j) = (said.len(), came.len());
    let mut pairs = Vec::new();
    while i > 0 && j > 0 {
        let cost = costs[i * width + j];
        let differs = said[i - 1] != came[j - 1];
        if cost == costs[(i - 1) * width + j - 1] + u32::from(differs) {
            (i, j) = (i - 1, j - 1);
            if !differs {
                pairs.push((i, j));
            }
        } else if cost == costs[(i - 1) * width + j] + 1 {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    pairs.reverse();
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_letters_and_digits_in_lower_case() {
        let text = "Well—there's  Ill-disposed, \u{201c}No. 7\u{201d} … Él";
        let expected = ["well", "theres", "ill", "disposed", "no", "7", "él"];
        assert_eq!(words(text), expected);
    }

    #[test]
    fn alignment_skips_wrong_missing_and_added_words() {
        let pairs = align(&words("a b c d e f"), &words("x a b c e g"));
        assert_eq!(pairs, [(0, 1), (1, 2), (2, 3), (4, 4)]);
        assert_eq!(align(&[], &words("a")), []);
    }
}
