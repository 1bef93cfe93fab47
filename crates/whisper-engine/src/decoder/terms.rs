// SPDX-License-Identifier: MPL-2.0
//! Names and words to expect: a bias towards their tokens, found in a trie (contextual biasing by
//! shallow fusion: Zhao et al., "Shallow-Fusion End-to-End Contextual Biasing", Interspeech 2019;
//! sherpa-onnx calls it hotwords).
//!
//! The first token of a term gets a small bonus, since many other words begin with it; each further
//! one a large bonus, since what comes before it speaks for the term.

use std::collections::HashMap;

use whisper_model::Tokenizer;

/// What is added to the logit of a term's first token, and of each further one.
const FIRST: f32 = 1.5;
const FURTHER: f32 = 5.0;
/// No term has more tokens: what is longer is cut.
const MAX_TOKENS: usize = 24;
/// No more terms count.
const MAX_TERMS: usize = 4096;

/// Terms by their tokens.
#[derive(Clone, Debug)]
pub struct TermTrie {
    /// The root is the first.
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// The nodes after each token.
    children: HashMap<u32, usize>,
    /// Whether a term ends here: nothing speaks for a longer one.
    is_end: bool,
}

impl TermTrie {
    /// Of terms as they are to be written.
    pub fn new(terms: &[String], tokenizer: &Tokenizer) -> Self {
        let mut trie = Self {
            nodes: vec![Node::default()],
        };
        for term in terms.iter().take(MAX_TERMS) {
            let term = term.trim();
            if !term.is_empty() {
                trie.add(&tokenizer.encode(&format!(" {term}")));
            }
        }
        trie
    }

    fn add(&mut self, tokens: &[u32]) {
        let mut node = 0;
        for token in tokens.iter().take(MAX_TOKENS) {
            let next = self.nodes.len();
            node = *self.nodes[node].children.entry(*token).or_insert(next);
            if node == next {
                self.nodes.push(Node::default());
            }
        }
        self.nodes[node].is_end = true;
    }

    /// Raises the logits of tokens that go on with a term that `text` ends in, or begin one.
    pub fn apply(&self, text: &[u32], logits: &mut [f32]) {
        let root = self.nodes[0].children.keys();
        let mut bonus: HashMap<u32, f32> = root.map(|token| (*token, FIRST)).collect();
        for start in text.len().saturating_sub(MAX_TOKENS)..text.len() {
            let node = text[start..].iter().try_fold(0, |node, token| {
                let children = &self.nodes.get(node)?.children;
                children.get(token).copied()
            });
            let node = node.map(|node| &self.nodes[node]);
            let open = node.filter(|node| !node.is_end).into_iter();
            for token in open.flat_map(|node| node.children.keys()) {
                bonus.insert(*token, FURTHER);
            }
        }
        for (token, bonus) in bonus {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bonus;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_support::small_tokenizer;

    #[test]
    fn terms_raise_the_tokens_that_go_on_with_them() {
        let tokenizer = small_tokenizer();
        let terms = ["hello world".to_owned(), " ".to_owned()];
        let trie = TermTrie::new(&terms, &tokenizer);
        let tokens = tokenizer.encode(" hello world");
        assert!(tokens.len() >= 2);
        let bonus = |text: &[u32], token: u32| {
            let mut logits = vec![0.0; 60_000];
            trie.apply(text, &mut logits);
            logits[token as usize]
        };
        assert_eq!(bonus(&[], tokens[0]), FIRST);
        assert_eq!(bonus(&[], tokens[1]), 0.0);
        let other = tokenizer.encode(" and");
        assert_eq!(
            bonus(&[&other[..], &tokens[..1]].concat(), tokens[1]),
            FURTHER
        );
        assert_eq!(bonus(&tokens, tokens[0]), FIRST, "once more");
    }

    #[test]
    fn terms_that_do_not_end_cost_no_memory() {
        let terms = ["word ".repeat(10_000)];
        let trie = TermTrie::new(&terms, &small_tokenizer());
        assert!(trie.nodes.len() <= MAX_TOKENS + 1);
    }
}
