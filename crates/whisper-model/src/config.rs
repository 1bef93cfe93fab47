// SPDX-License-Identifier: MPL-2.0
//! A model's dimensions, and which attention heads follow the audio.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::bounded::BoundedList;
use super::error::ParseError;

/// Dimensions of a Whisper model, named as OpenAI names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Mel bands of the input, 80 or 128.
    pub n_mels: usize,
    /// Encoder positions of a 30 s window (20 ms each), 1500.
    pub audio_ctx: usize,
    /// Encoder width, *d*.
    pub audio_state: usize,
    /// Attention heads of an encoder layer.
    pub audio_heads: usize,
    /// Encoder layers.
    pub audio_layers: usize,
    /// Decoder positions: prompt and tokens of one window, 448.
    pub text_ctx: usize,
    /// Decoder width, equal to `audio_state`.
    pub text_state: usize,
    /// Attention heads of a decoder layer.
    pub text_heads: usize,
    /// Decoder layers.
    pub text_layers: usize,
    /// Rows of the token embedding.
    pub vocab: usize,
    /// (decoder layer, head) pairs whose cross-attention follows the audio; empty when unknown.
    pub alignment_heads: Vec<(usize, usize)>,
}

/// Far above any Whisper model (large: 1280, 32 layers); a header beyond it is damaged or
/// malicious.
const MAX_STATE: usize = 8192;
const MAX_LAYERS: usize = 128;
const MAX_TEXT_CTX: usize = 8192;
pub(super) const MAX_VOCAB: usize = 1 << 17;

impl Config {
    /// Refuses dimensions that no Whisper model has: the other crates rely on them.
    pub(super) fn check(&self) -> Result<(), ParseError> {
        let refuse = |what: String| Err(ParseError::malformed(what));
        if self.n_mels != 80 && self.n_mels != 128 {
            return refuse(format!(
                "{} mel bands, Whisper models have 80 or 128",
                self.n_mels
            ));
        }
        if self.audio_ctx != 1500 {
            return refuse(format!(
                "{} encoder positions, Whisper models have 1500",
                self.audio_ctx
            ));
        }
        if self.audio_state != self.text_state {
            return refuse(format!(
                "encoder width {} but decoder width {}",
                self.audio_state, self.text_state
            ));
        }
        if !(1..=MAX_STATE).contains(&self.audio_state) {
            return refuse(format!("a width of {}", self.audio_state));
        }
        if !(16..=MAX_TEXT_CTX).contains(&self.text_ctx) {
            return refuse(format!("{} decoder positions", self.text_ctx));
        }
        if !(1..=MAX_VOCAB).contains(&self.vocab) {
            return refuse(format!("a vocabulary of {} tokens", self.vocab));
        }
        for (part, heads, layers) in [
            ("encoder", self.audio_heads, self.audio_layers),
            ("decoder", self.text_heads, self.text_layers),
        ] {
            if !(1..=MAX_LAYERS).contains(&layers) {
                return refuse(format!("{layers} {part} layers"));
            }
            if heads == 0 || !self.audio_state.is_multiple_of(heads) {
                return refuse(format!(
                    "{heads} {part} attention heads for a width of {}",
                    self.audio_state
                ));
            }
        }
        match self
            .alignment_heads
            .iter()
            .find(|(layer, head)| *layer >= self.text_layers || *head >= self.text_heads)
        {
            Some((layer, head)) => refuse(format!(
                "alignment head {head} of decoder layer {layer} does not exist"
            )),
            None => Ok(()),
        }
    }

    /// Takes the alignment heads that a file lists, each once, without those that the decoder does
    /// not have: such lists come with models that were cut down or converted. Says what was ignored.
    pub(super) fn take_alignment_heads(&mut self, listed: &ListedHeads) -> Option<String> {
        let exists = |&(layer, head): &(i64, i64)| {
            let layer = usize::try_from(layer).ok()?;
            let head = usize::try_from(head).ok()?;
            (layer < self.text_layers && head < self.text_heads).then_some((layer, head))
        };
        let mut seen = BTreeSet::new();
        let heads = listed.0.iter().filter_map(exists);
        self.alignment_heads = heads.filter(|pair| seen.insert(*pair)).collect();
        let missing: BTreeSet<_> = listed
            .0
            .iter()
            .filter(|pair| exists(pair).is_none())
            .collect();
        let (layer, head) = missing.first()?;
        Some(format!(
            "{} of the alignment heads do not exist (the first is head {head} of decoder layer {layer}) and are \
             ignored: {}",
            missing.len(),
            if self.alignment_heads.is_empty() {
                "word times come from the heads that are usual for the model's size"
            } else {
                "word times come from the others"
            }
        ))
    }

    /// Fills in the alignment heads that OpenAI published for models of these dimensions, unless
    /// they are known. large-v1 and large-v2 cannot be told apart by dimensions and stay without.
    pub(super) fn assume_alignment_heads(&mut self, multilingual: bool) {
        if !self.alignment_heads.is_empty() {
            return;
        }
        let known = PUBLISHED_HEADS.iter().find(|heads| {
            (heads.state, heads.layers, heads.multilingual, heads.n_mels)
                == (self.text_state, self.text_layers, multilingual, self.n_mels)
        });
        self.alignment_heads = known.map_or_else(Vec::new, |heads| heads.pairs.to_vec());
    }
}

struct PublishedHeads {
    state: usize,
    /// Decoder layers.
    layers: usize,
    multilingual: bool,
    n_mels: usize,
    pairs: &'static [(usize, usize)],
}

const fn published(
    state: usize,
    layers: usize,
    multilingual: bool,
    n_mels: usize,
    pairs: &'static [(usize, usize)],
) -> PublishedHeads {
    PublishedHeads {
        state,
        layers,
        multilingual,
        n_mels,
        pairs,
    }
}

/// The masks published with openai/whisper, as (layer, head) pairs in whisper.cpp's listing:
/// tiny.en, tiny, base.en, base, small.en, small, medium.en, medium, large-v3, large-v3-turbo.
#[rustfmt::skip]
const PUBLISHED_HEADS: [PublishedHeads; 10] = [
    published(384, 4, false, 80, &[(1, 0), (2, 0), (2, 5), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4)]),
    published(384, 4, true, 80, &[(2, 2), (3, 0), (3, 2), (3, 3), (3, 4), (3, 5)]),
    published(512, 6, false, 80, &[(3, 3), (4, 7), (5, 1), (5, 5), (5, 7)]),
    published(512, 6, true, 80, &[(3, 1), (4, 2), (4, 3), (4, 7), (5, 1), (5, 2), (5, 4), (5, 6)]),
    published(768, 12, false, 80, &[
        (6, 6), (7, 0), (7, 3), (7, 8), (8, 2), (8, 5), (8, 7), (9, 0), (9, 4), (9, 8), (9, 10), (10, 0), (10, 1),
        (10, 2), (10, 3), (10, 6), (10, 11), (11, 2), (11, 4),
    ]),
    published(768, 12, true, 80, &[
        (5, 3), (5, 9), (8, 0), (8, 4), (8, 7), (8, 8), (9, 0), (9, 7), (9, 9), (10, 5),
    ]),
    published(1024, 24, false, 80, &[
        (11, 4), (14, 1), (14, 12), (14, 14), (15, 4), (16, 0), (16, 4), (16, 9), (17, 12), (17, 14), (18, 7),
        (18, 10), (18, 15), (20, 0), (20, 3), (20, 9), (20, 14), (21, 12),
    ]),
    published(1024, 24, true, 80, &[(13, 15), (15, 4), (15, 15), (16, 1), (20, 0), (23, 4)]),
    published(1280, 32, true, 128, &[
        (7, 0), (10, 17), (12, 18), (13, 12), (16, 1), (17, 14), (19, 11), (21, 4), (24, 1), (25, 6),
    ]),
    published(1280, 4, true, 128, &[(2, 4), (2, 11), (3, 3), (3, 6), (3, 11), (3, 14)]),
];

/// The fields that are read from `config.json` of a Hugging Face directory.
#[derive(Deserialize)]
pub(super) struct HuggingFaceConfig {
    num_mel_bins: usize,
    max_source_positions: usize,
    max_target_positions: usize,
    d_model: usize,
    encoder_attention_heads: usize,
    encoder_layers: usize,
    decoder_attention_heads: usize,
    decoder_layers: usize,
    vocab_size: usize,
}

impl From<HuggingFaceConfig> for Config {
    fn from(from: HuggingFaceConfig) -> Self {
        Config {
            n_mels: from.num_mel_bins,
            audio_ctx: from.max_source_positions,
            audio_state: from.d_model,
            audio_heads: from.encoder_attention_heads,
            audio_layers: from.encoder_layers,
            text_ctx: from.max_target_positions,
            text_state: from.d_model,
            text_heads: from.decoder_attention_heads,
            text_layers: from.decoder_layers,
            vocab: from.vocab_size,
            alignment_heads: Vec::new(),
        }
    }
}

/// The one field that is read from `config.json` of a CTranslate2 directory and from
/// `generation_config.json`.
#[derive(Deserialize)]
pub(super) struct GenerationConfig {
    #[serde(default)]
    pub alignment_heads: Option<ListedHeads>,
}

/// (layer, head) pairs as a file lists them.
pub(super) type ListedHeads = BoundedList<(i64, i64), MAX_LISTED_HEADS>;

/// More than any model has (large: 32 layers of 20).
const MAX_LISTED_HEADS: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny_en() -> Config {
        Config {
            n_mels: 80,
            audio_ctx: 1500,
            audio_state: 384,
            audio_heads: 6,
            audio_layers: 4,
            text_ctx: 448,
            text_state: 384,
            text_heads: 6,
            text_layers: 4,
            vocab: 51864,
            alignment_heads: Vec::new(),
        }
    }

    #[test]
    fn dimensions_that_no_whisper_model_has_are_refused() {
        assert_eq!(tiny_en().check(), Ok(()));
        let spoilers: [fn(&mut Config); 9] = [
            |c| c.n_mels = 81,
            |c| c.audio_ctx = 3000,
            |c| c.text_state = 512,
            |c| (c.audio_state, c.text_state) = (0, 0),
            |c| c.audio_layers = usize::MAX,
            |c| c.text_layers = 0,
            |c| c.audio_heads = 0,
            |c| c.text_heads = 5,
            |c| c.vocab = usize::MAX,
        ];
        for spoil in spoilers {
            let mut config = tiny_en();
            spoil(&mut config);
            assert!(config.check().is_err(), "{config:?}");
        }
    }

    #[test]
    fn an_alignment_head_outside_the_decoder_is_refused() {
        for pair in [(4, 0), (0, 6)] {
            let config = Config {
                alignment_heads: vec![pair],
                ..tiny_en()
            };
            assert!(config.check().is_err());
        }
    }

    fn listed(json: &str) -> Result<ListedHeads, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn alignment_heads_that_do_not_exist_are_ignored() {
        for (json, expected, ignored) in [
            ("[[3, 1], [0, 5]]", &[(3, 1), (0, 5)][..], None),
            ("[]", &[], None),
            ("[[25, 0]]", &[], Some("1 of the")),
            (
                "[[4, 0], [0, 6], [-1, 2], [2, 2]]",
                &[(2, 2)],
                Some("3 of the"),
            ),
            ("[[2, 2], [2, 2], [1, 1], [2, 2]]", &[(2, 2), (1, 1)], None),
            ("[[9223372036854775807, 0]]", &[], Some("1 of the")),
        ] {
            let mut config = tiny_en();
            let warning = config.take_alignment_heads(&listed(json).unwrap());
            assert_eq!(config.alignment_heads, expected, "{json}");
            assert_eq!(config.check(), Ok(()));
            match ignored {
                Some(ignored) => assert!(warning.unwrap().starts_with(ignored), "{json}"),
                None => assert_eq!(warning, None, "{json}"),
            }
        }
    }

    #[test]
    fn list_of_alignment_heads_is_bounded() {
        let many = |count| format!("[{}[0,0]]", "[0,0],".repeat(count - 1));
        let mut config = tiny_en();
        config.take_alignment_heads(&listed(&many(MAX_LISTED_HEADS)).unwrap());
        assert_eq!(config.alignment_heads, [(0, 0)]);
        assert!(listed(&many(MAX_LISTED_HEADS + 1)).is_err());
        assert!(listed("[[0]]").is_err() && listed("[[0, 0.5]]").is_err());
    }

    #[test]
    fn published_heads_are_assumed_by_size_and_language() {
        let mut english = tiny_en();
        english.assume_alignment_heads(false);
        assert_eq!(english.alignment_heads[2], (2, 5));
        assert_eq!(english.check(), Ok(()));
        let mut multilingual = tiny_en();
        multilingual.assume_alignment_heads(true);
        assert_eq!(multilingual.alignment_heads.len(), 6);
        let mut unknown = Config {
            text_layers: 2,
            ..tiny_en()
        };
        unknown.assume_alignment_heads(false);
        assert!(unknown.alignment_heads.is_empty());
        let mut told = Config {
            alignment_heads: vec![(0, 0)],
            ..tiny_en()
        };
        told.assume_alignment_heads(false);
        assert_eq!(told.alignment_heads, [(0, 0)]);
        for known in &PUBLISHED_HEADS {
            let heads = known.state / 64;
            assert!(
                known
                    .pairs
                    .iter()
                    .all(|(layer, head)| *layer < known.layers && *head < heads)
            );
        }
    }
}
