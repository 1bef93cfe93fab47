// SPDX-License-Identifier: MPL-2.0
//! Decoding that stops where the audio does: AlignAtt (Papi, Turchi, Negri 2023, arXiv 2305.11408),
//! with Whisper's alignment heads (Simul-Whisper, arXiv 2406.10052).
//!
//! The row of cross-attention from which a token was predicted says which audio the token stands
//! for. A token that attends to the last moments of the audio may change when more audio arrives:
//! it and all tokens after it are left for a later update.

mod checks;
mod tracker;

use std::ops::Range;

use super::alignment::{Attention, token_frames};
use super::logits::{argmax, log_sum_exp, probability};
use super::{DecodeSession, Decoder, DecoderError, EncodedWindow, TokenSuppressor};
use checks::{first_crowded, has_rewound, is_loop, is_stuck};
use tracker::AttentionTracker;
use whisper_frontend::EncoderFrame;

/// Tokens that attend to the end of the audio and are decoded nevertheless: the others are compared
/// with them, and a preview may show them.
const TAIL: usize = 5;

/// One update over a window whose beginning may have been decoded before.
pub struct AlignAttRequest<'a> {
    /// All tokens that come before new ones: earlier text, start of transcript, no-timestamps
    /// token, committed text.
    pub prompt: &'a [u32],
    /// How many tokens at the end of `prompt` are text of this window.
    pub committed: usize,
    /// What the update before expects next: fed with the prompt, and kept as far as the model would
    /// have written it anyway.
    pub draft: &'a [u32],
    /// Which tokens may come next.
    pub suppressor: &'a TokenSuppressor,
    /// The part of the window that holds audio.
    pub content: EncoderFrame,
    /// Tokens that attend to the last `margin` frames are left for later. `None` where attention
    /// does not tell.
    pub margin: Option<EncoderFrame>,
    /// The frame that the last token of the update before attended to. `None` allows attention to
    /// go back.
    pub attended: Option<EncoderFrame>,
    /// More tokens than this are more than can be said.
    pub max_tokens: usize,
}

/// Why an update ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The model says that there is no more text.
    EndOfText,
    /// The next token attends to the end of the audio.
    EndOfAudio,
    /// Attention jumped back.
    Rewound,
    /// Many tokens attended to one frame.
    Stuck,
    /// The text repeats itself.
    Loop,
    /// More tokens than [`AlignAttRequest::max_tokens`].
    TooMany,
}

/// Text that an update adds to a window.
#[derive(Clone, Debug, PartialEq)]
pub struct AlignAttResult {
    /// Text tokens that follow the committed ones.
    pub tokens: Vec<u32>,
    /// The probability of each token among those that the suppressor allowed.
    pub probabilities: Vec<f32>,
    /// Where each token begins, from the window's start; and one more, where the last one ends.
    pub begins: Vec<EncoderFrame>,
    /// The frame that the last token attended to.
    pub attended: Option<EncoderFrame>,
    /// Tokens that were discarded with all that came after them, because no audio is left that they
    /// could stand for.
    pub unheard: usize,
    /// What the model would go on with at the end of the audio: a few tokens at most, all of them
    /// unsure.
    pub tail: Vec<u32>,
    /// Mean log-probability over the tokens and what ended them.
    pub avg_logprob: f32,
    /// The probability of no speech, read at the start of transcript.
    pub no_speech: f32,
    /// Why there are no more tokens.
    pub stop: Stop,
}

impl Decoder {
    /// Continues the text of a window as far as its audio carries it: greedy, without timestamps.
    ///
    /// One batched pass over the prompt and the draft, then one pass a token from where the draft
    /// is wrong.
    ///
    /// # Errors
    /// A prompt and draft that do not fit the decoder's context, or a window of another decoder.
    pub fn align_att(
        &self,
        request: &AlignAttRequest,
        window: &EncodedWindow,
    ) -> Result<AlignAttResult, DecoderError> {
        let mut update = Update::begin(self, request, window)?;
        let ended = update.extend()?;
        Ok(update.finish(ended))
    }
}

/// An update at work.
struct Update<'a> {
    decoder: &'a Decoder,
    request: &'a AlignAttRequest<'a>,
    window: &'a EncodedWindow,
    session: DecodeSession,
    attention: Attention,
    tracker: AttentionTracker,
    /// Prompt and draft.
    given: Vec<u32>,
    /// Positions of the tokens that were fed last: the logits after each of them can be asked for.
    fed: Range<usize>,
    /// Position of the token that the next one follows.
    position: usize,
    /// Committed tokens and new ones.
    text: Vec<u32>,
    /// One for each new token, and for what ended them.
    logprobs: Vec<f32>,
    no_speech: f32,
}

/// New tokens, before it is decided which of them stay.
struct Candidates {
    tokens: Vec<u32>,
    /// What each token attended to.
    frames: Vec<EncoderFrame>,
    /// Where each token begins, and where the last one ends.
    begins: Vec<EncoderFrame>,
    /// One for each token, and for what ended them.
    logprobs: Vec<f32>,
    no_speech: f32,
    ended: Stop,
}

impl<'a> Update<'a> {
    /// Feeds the prompt and the draft.
    fn begin(
        decoder: &'a Decoder,
        request: &'a AlignAttRequest<'a>,
        window: &'a EncodedWindow,
    ) -> Result<Self, DecoderError> {
        let (prompt, committed) = (request.prompt.len(), request.committed);
        if prompt <= committed {
            return Err(DecoderError::ShortPrompt { prompt, committed });
        }
        let special = decoder.tokenizer().special();
        let mut attention = Attention::new(window.frames());
        let mut session = DecodeSession::default();
        let given = [request.prompt, request.draft].concat();
        decoder.forward(&given, &mut session, window, Some(&mut attention))?;
        let sot = request
            .prompt
            .iter()
            .rposition(|&token| token == special.sot);
        let sot = sot.unwrap_or(0);
        let mut logits = Vec::new();
        decoder.logits_after(&mut session, sot, &mut logits)?;

        let mut tracker = AttentionTracker::new(request.content, window.frames());
        let position = prompt - 1;
        (sot..position).for_each(|row| tracker.add(&attention, row));
        Ok(Self {
            decoder,
            request,
            window,
            session,
            attention,
            tracker,
            fed: 0..given.len(),
            given,
            position,
            text: request.prompt[prompt - committed..].to_vec(),
            logprobs: Vec::new(),
            no_speech: probability(&logits, special.no_speech),
        })
    }

    /// Takes tokens until something ends them.
    fn extend(&mut self) -> Result<Stop, DecoderError> {
        let eot = self.decoder.tokenizer().special().eot;
        let (mut logits, mut beyond) = (Vec::new(), 0);
        loop {
            self.tracker.add(&self.attention, self.position);
            let frame = self.tracker.frame(&self.attention, self.position);
            beyond = if self.request.is_at_end(frame) {
                beyond + 1
            } else {
                0
            };
            let token = self.next_token(&mut logits)?;
            if token == eot {
                return Ok(Stop::EndOfText);
            }
            self.text.push(token);
            if beyond >= TAIL {
                return Ok(Stop::EndOfAudio);
            }
            if self.logprobs.len() >= self.request.max_tokens + TAIL {
                return Ok(Stop::TooMany);
            }
            if is_loop(&self.text) {
                return Ok(Stop::Loop);
            }
            self.advance(token)?;
        }
    }

    /// The likeliest token that may follow.
    fn next_token(&mut self, logits: &mut Vec<f32>) -> Result<u32, DecoderError> {
        let row = self.position - self.fed.start;
        self.decoder.logits_after(&mut self.session, row, logits)?;
        self.request.suppressor.apply(&self.text, logits);
        let token = argmax(logits);
        self.logprobs.push(logits[token] - log_sum_exp(logits, 1.0));
        Ok(token as u32)
    }

    /// Goes on to `token`, which is fed unless the draft has it there.
    fn advance(&mut self, token: u32) -> Result<(), DecoderError> {
        self.position += 1;
        let position = self.position;
        if self.fed.contains(&position) && self.given[position] == token {
            return Ok(());
        }
        self.session.truncate(0, position);
        self.attention.truncate(position);
        let attention = Some(&mut self.attention);
        self.decoder
            .forward(&[token], &mut self.session, self.window, attention)?;
        self.fed = position..position + 1;
        Ok(())
    }

    fn finish(mut self, ended: Stop) -> AlignAttResult {
        let tokens = self.text.split_off(self.request.committed);
        // Against all rows: the first tokens of a window had little to be compared with.
        let first = self.request.prompt.len() - 1;
        let rows = first..first + tokens.len();
        let frames = rows.map(|row| self.tracker.frame(&self.attention, row));
        let until = self.position + 1;
        let begins = self.request.begins(&self.attention, until, tokens.len());
        let candidates = Candidates {
            frames: frames.collect(),
            begins,
            tokens,
            logprobs: self.logprobs,
            no_speech: self.no_speech,
            ended,
        };
        self.request.select(candidates)
    }
}

impl AlignAttRequest<'_> {
    fn is_at_end(&self, frame: EncoderFrame) -> bool {
        self.margin
            .is_some_and(|margin| self.content.saturating_sub(frame) <= margin)
    }

    /// Where each of `count` new tokens begins, and where the last one ends, by all rows before
    /// `until`.
    fn begins(&self, attention: &Attention, until: usize, count: usize) -> Vec<EncoderFrame> {
        let first_text = self.prompt.len() - self.committed - 1;
        let mut begins = token_frames(attention, first_text..until, self.content).first;
        begins.drain(..self.committed.min(begins.len()));
        begins.resize(count + 1, self.content);
        begins
    }

    /// Keeps what stands for audio before the margin.
    fn select(&self, candidates: Candidates) -> AlignAttResult {
        let Candidates {
            mut tokens,
            frames,
            mut begins,
            logprobs,
            no_speech,
            ended,
        } = candidates;
        let cut = frames.iter().position(|frame| self.is_at_end(*frame));
        let crowded = first_crowded(&begins[..=cut.unwrap_or(tokens.len())]);
        let unheard = crowded.map_or(0, |from| tokens.split_off(from).len());
        let kept = cut.unwrap_or(tokens.len()).min(tokens.len());
        let tail = tokens.split_off(kept);
        begins.truncate(kept + 1);
        let used = &logprobs[..(kept + 1).min(logprobs.len())];
        AlignAttResult {
            avg_logprob: used.iter().sum::<f32>() / used.len().max(1) as f32,
            probabilities: used[..kept].iter().map(|p| p.exp()).collect(),
            attended: kept.checked_sub(1).map(|last| frames[last]),
            stop: self.stop(&frames[..kept], cut, ended),
            tokens,
            begins,
            tail,
            no_speech,
            unheard,
        }
    }

    /// Why the tokens that attended to `frames` are the last ones, when one after them attended to
    /// the end of the audio (`cut`), or decoding `ended` first.
    fn stop(&self, frames: &[EncoderFrame], cut: Option<usize>, ended: Stop) -> Stop {
        if has_rewound(self.attended, frames) {
            return Stop::Rewound;
        }
        match cut {
            _ if self.margin.is_some() && is_stuck(frames) => Stop::Stuck,
            _ if frames.len() > self.max_tokens => Stop::TooMany,
            Some(_) => Stop::EndOfAudio,
            None => ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_end_at_the_margin_or_where_attention_jumps() {
        let suppressor = TokenSuppressor::none();
        let request = |attended: Option<u64>| AlignAttRequest {
            prompt: &[],
            committed: 0,
            suppressor: &suppressor,
            content: EncoderFrame::new(500),
            draft: &[],
            margin: Some(EncoderFrame::new(25)),
            attended: attended.map(EncoderFrame::new),
            max_tokens: 4,
        };
        let is_at_end = |frame| request(None).is_at_end(EncoderFrame::new(frame));
        assert!(is_at_end(475) && !is_at_end(474));
        let stop = |attended, frames: &[u64], cut| {
            let frames: Vec<_> = frames.iter().copied().map(EncoderFrame::new).collect();
            request(attended).stop(&frames, cut, Stop::EndOfText)
        };
        assert_eq!(stop(None, &[1, 2, 3], Some(3)), Stop::EndOfAudio);
        assert_eq!(stop(None, &[1, 2, 3], None), Stop::EndOfText);
        assert_eq!(stop(Some(300), &[99], None), Stop::Rewound);
        assert_eq!(stop(Some(300), &[310, 100], None), Stop::Rewound);
        assert_eq!(stop(None, &[310, 100], None), Stop::EndOfText);
        assert_eq!(stop(None, &[1, 2, 3, 4, 5], Some(5)), Stop::TooMany);
        assert_eq!(stop(None, &[8; 6], None), Stop::Stuck);
    }
}
