// SPDX-License-Identifier: MPL-2.0
//! From a prompt to a hypothesis, token by token (openai/whisper `decoding.py`, `GreedyDecoder`).

use std::ops::Range;
use std::slice::from_ref;

use rayon::prelude::*;

use super::logits::{argmax, log_sum_exp, probability};
use super::text_decoder::SequenceTokens;
use super::{DecodeSession, Decoder, DecoderError, EncodedWindow, MAX_SEQUENCES, TokenSuppressor};
use whisper_frontend::EncoderFrame;

/// A decoded window and how sure the model was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hypothesis {
    /// Text and timestamp tokens, without the prompt and the end of text.
    pub tokens: Vec<u32>,
    /// The probability of each token among those that the suppressor allowed.
    pub probabilities: Vec<f32>,
    /// Mean log-probability over the tokens and the end of text.
    pub avg_logprob: f32,
    /// The probability of no speech, read at the start of transcript.
    pub no_speech: f32,
    /// The temperature at which it was decoded.
    pub temperature: f32,
    /// The token limit ended it rather than the end of text.
    pub truncated: bool,
}

/// One attempt at a window.
pub struct DecodeRequest<'a> {
    /// What was said.
    pub window: &'a EncodedWindow,
    /// Everything that is fed before the first sampled token; holds the start of transcript.
    pub prompt: &'a [u32],
    /// Which tokens may come next.
    pub suppressor: &'a TokenSuppressor,
    /// 0 takes the likeliest token; above, tokens are drawn.
    pub temperature: f32,
    /// The hypothesis is cut off here.
    pub max_tokens: usize,
    /// Seeds the draw, so that a run can be repeated.
    pub seed: u64,
}

impl Decoder {
    /// Decodes windows side by side, at most [`MAX_SEQUENCES`] at a time. Each has the text that it
    /// would have alone.
    ///
    /// # Errors
    /// A prompt that is empty or does not fit the decoder's context, or a window of another
    /// decoder.
    pub fn decode(&self, requests: &[DecodeRequest]) -> Result<Vec<Hypothesis>, DecoderError> {
        let mut hypotheses = Vec::new();
        for requests in requests.chunks(MAX_SEQUENCES) {
            hypotheses.extend(self.decode_together(requests)?);
        }
        Ok(hypotheses)
    }

    fn decode_together(&self, requests: &[DecodeRequest]) -> Result<Vec<Hypothesis>, DecoderError> {
        let eot = self.tokenizer().special().eot;
        let mut session = DecodeSession::new(requests.len());
        let mut logits = Vec::new();
        let mut sequences: Vec<Sequence> = requests.iter().map(Sequence::new).collect();
        for (index, sequence) in sequences.iter_mut().enumerate() {
            self.begin(index, sequence, &mut session, &mut logits)?;
        }
        loop {
            let growing = sequences.iter().enumerate();
            let steps = growing.filter_map(|(index, sequence)| sequence.step(index));
            let steps: Vec<SequenceTokens> = steps.collect();
            if steps.is_empty() {
                break;
            }
            self.network.step(&steps, &mut session)?;
            self.network
                .project(&mut session, 0..steps.len(), &mut logits)?;
            let growing = sequences.iter_mut().filter(|sequence| !sequence.has_ended);
            let growing: Vec<&mut Sequence> = growing.collect();
            let rows = logits.par_chunks_exact_mut(self.vocab());
            let advances = growing.into_par_iter().zip(rows);
            advances.for_each(|(sequence, logits)| sequence.advance(logits, eot));
        }
        Ok(sequences.into_iter().map(Sequence::finish).collect())
    }

    /// Feeds the prompt of a sequence, and takes its first token.
    fn begin(
        &self,
        index: usize,
        sequence: &mut Sequence,
        session: &mut DecodeSession,
        logits: &mut Vec<f32>,
    ) -> Result<(), DecoderError> {
        let special = self.tokenizer().special();
        let DecodeRequest { window, prompt, .. } = *sequence.request;
        if prompt.is_empty() {
            return Err(DecoderError::ShortPrompt {
                prompt: 0,
                committed: 0,
            });
        }
        let tokens = SequenceTokens {
            sequence: index,
            tokens: prompt,
            window,
            frames: None,
        };
        self.network.forward(tokens, session, None)?;
        let start = prompt.iter().rposition(|&token| token == special.sot);
        let start = start.unwrap_or(0);
        self.network.project(session, start..prompt.len(), logits)?;
        sequence.hypothesis.no_speech = probability(&logits[..self.vocab()], special.no_speech);
        let last = logits.len() - self.vocab();
        sequence.advance(&mut logits[last..], special.eot);
        Ok(())
    }

    /// How likely the speech in some frames of a window is each language, in the order of
    /// [`SpecialTokens::languages`](whisper_model::SpecialTokens), by one pass over the start of
    /// transcript (openai/whisper `decoding.py`, `detect_language`). Other frames are not looked at:
    /// without the silence behind the audio, where attention rests, the answer is less sure.
    ///
    /// # Errors
    /// A window of another decoder, or frames that it does not have.
    pub fn languages(
        &self,
        window: &EncodedWindow,
        frames: Range<EncoderFrame>,
    ) -> Result<Vec<f32>, DecoderError> {
        let special = self.tokenizer().special();
        let mut session = DecodeSession::default();
        let tokens = SequenceTokens {
            sequence: 0,
            tokens: &[special.sot],
            window,
            frames: Some((frames.start.to_usize(), frames.end.to_usize())),
        };
        self.network.forward(tokens, &mut session, None)?;
        let mut logits = Vec::new();
        self.network.project(&mut session, 0..1, &mut logits)?;
        let own = special.languages.start as usize..special.languages.end as usize;
        let logits = logits.get(own).unwrap_or_default();
        let total = log_sum_exp(logits, 1.0);
        Ok(logits.iter().map(|logit| (logit - total).exp()).collect())
    }
}

/// A hypothesis that grows.
struct Sequence<'a> {
    request: &'a DecodeRequest<'a>,
    draw: Draw,
    hypothesis: Hypothesis,
    /// Sum of the log-probabilities so far.
    logprob: f32,
    has_ended: bool,
}

impl<'a> Sequence<'a> {
    fn new(request: &'a DecodeRequest<'a>) -> Self {
        Self {
            request,
            draw: Draw::new(request.seed),
            hypothesis: Hypothesis {
                temperature: request.temperature,
                ..Hypothesis::default()
            },
            logprob: 0.0,
            has_ended: false,
        }
    }

    /// The token to feed as sequence number `index`, unless this one has ended.
    fn step(&self, index: usize) -> Option<SequenceTokens<'_>> {
        let token = self.hypothesis.tokens.last()?;
        (!self.has_ended).then_some(SequenceTokens {
            sequence: index,
            tokens: from_ref(token),
            window: self.request.window,
            frames: None,
        })
    }

    /// Takes the next token, or ends with `eot`.
    fn advance(&mut self, logits: &mut [f32], eot: u32) {
        let hypothesis = &mut self.hypothesis;
        let DecodeRequest {
            suppressor,
            temperature,
            max_tokens,
            ..
        } = *self.request;
        suppressor.apply(&hypothesis.tokens, logits);
        let (token, logprob) = self.draw.next(logits, temperature);
        self.logprob += logprob;
        if token == eot {
            self.has_ended = true;
            return;
        }
        hypothesis.tokens.push(token);
        hypothesis.probabilities.push(logprob.exp());
        hypothesis.truncated = hypothesis.tokens.len() >= max_tokens;
        self.has_ended = hypothesis.truncated;
    }

    fn finish(self) -> Hypothesis {
        Hypothesis {
            avg_logprob: self.logprob / (self.hypothesis.tokens.len() + 1) as f32,
            ..self.hypothesis
        }
    }
}

/// Draws tokens with SplitMix64 (Steele, Lea, Flood 2014), so that a run can be repeated on any
/// machine.
struct Draw {
    state: u64,
}

impl Draw {
    fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn uniform(&mut self) -> f32 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }

    /// A token and its log-probability at temperature 1.
    fn next(&mut self, logits: &[f32], temperature: f32) -> (u32, f32) {
        let total = log_sum_exp(logits, 1.0);
        let token = if temperature == 0.0 {
            argmax(logits)
        } else {
            self.sample(logits, 1.0 / temperature)
        };
        (token as u32, logits[token] - total)
    }

    fn sample(&mut self, logits: &[f32], scale: f32) -> usize {
        let total = log_sum_exp(logits, scale);
        let mut rest = self.uniform();
        for (token, logit) in logits.iter().enumerate() {
            rest -= (logit * scale - total).exp();
            if rest < 0.0 {
                return token;
            }
        }
        argmax(logits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperature_zero_takes_the_likeliest_token() {
        let (token, logprob) = Draw::new(1).next(&[0.0, 3.0, 1.0], 0.0);
        assert_eq!(token, 1);
        assert!((logprob.exp() - 0.8438).abs() < 1e-3);
    }

    #[test]
    fn drawn_tokens_follow_the_distribution() {
        let logits = [0.0, 2f32.ln(), f32::NEG_INFINITY];
        let mut draw = Draw::new(7);
        let mut counts = [0; 3];
        for _ in 0..3000 {
            counts[draw.next(&logits, 1.0).0 as usize] += 1;
        }
        assert_eq!(counts[2], 0);
        assert!((900..1100).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn the_same_seed_draws_the_same_tokens() {
        let logits: Vec<f32> = (0..50).map(|i| (i as f32).sin()).collect();
        let run = |seed| {
            let mut draw = Draw::new(seed);
            (0..20)
                .map(|_| draw.next(&logits, 0.8).0)
                .collect::<Vec<_>>()
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }
}
