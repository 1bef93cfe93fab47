// SPDX-License-Identifier: MPL-2.0
//! Clips through the live schedule as if computing took no time, however long it does: what the policy alone costs. The
//! same clip always gives the same words at the same times. What the element does around the schedule is left out.

use std::time::{Duration, Instant};

use anyhow::Result;
use whisper_engine::{
    AudioFeed, AudioRun, Engine, Flush, LiveOptions, LiveTranscriber, Policy, Samples,
    StreamCounters, TranscribeOptions, Transcriber, TranscriptEvent, VoiceModel, Word,
};

use crate::live::{BUFFER, Heard, Listened, RATE};
use crate::manifest::Clip;
use crate::options::Options;

/// Plays a clip; the first one loads the model.
pub fn listen(clip: &Clip, options: &Options) -> Result<Listened> {
    let request = TranscribeOptions {
        language: (clip.language != "-").then(|| clip.language.clone()),
        ..TranscribeOptions::default()
    };
    listen_for(clip, request, options)
}

/// Plays a clip to a listener that is asked for this.
pub fn listen_for(clip: &Clip, request: TranscribeOptions, options: &Options) -> Result<Listened> {
    let engine = Engine::builder()
        .threads(options.threads as usize)
        .open(&options.model)?;
    let interval = options.interval.map(|ms| Duration::from_millis(ms.into()));
    let default = LiveOptions::default();
    let live = LiveOptions {
        interval: interval.unwrap_or(default.interval),
        real_time: false,
        policy: options.agreement.then_some(Policy::Agreement),
    };
    let feed = AudioFeed::new(engine.model().config.n_mels);
    let mut player = Player {
        live: LiveTranscriber::new(&engine, request, live),
        run: feed.new_run(),
        now: Duration::ZERO,
        computed: Duration::ZERO,
        words: Vec::new(),
        preview: Preview::default(),
        counters: StreamCounters::default(),
    };
    player.play(feed, &clip.bytes()?)?;
    let counters = player
        .counters
        .iter()
        .chain([("preview-erased", player.preview.erased)]);
    Ok(Listened {
        cpu_share: player.computed.as_secs_f64() / clip.seconds,
        counters: counters
            .map(|(name, count)| (name.to_owned(), count))
            .collect(),
        words: player.words,
        device: engine.active_device(),
    })
}

struct Player {
    live: LiveTranscriber,
    run: AudioRun,
    /// Audio so far.
    now: Duration,
    /// Time that updates took.
    computed: Duration,
    words: Vec<Heard>,
    preview: Preview,
    counters: StreamCounters,
}

/// What an application shows that shows what may come next, and how steady that is: words that were there once and had to be
/// taken back (normalised erasure: Arivazhagan, Cherry, Te, Macherey, Baljekar, Foster 2020, arXiv 1912.03393).
#[derive(Default)]
struct Preview {
    /// After the final words.
    tail: Vec<String>,
    erased: u64,
}

impl Preview {
    /// `tail` takes the place of what was there, `said` of it having become final.
    fn replace(&mut self, said: &[String], tail: &str) {
        let now: Vec<String> = tail.split_whitespace().map(str::to_owned).collect();
        let kept = self.tail.iter().zip(said.iter().chain(&now));
        let kept = kept.take_while(|(before, now)| before == now).count();
        self.erased += (self.tail.len() - kept) as u64;
        self.tail = now;
    }
}

impl Player {
    fn play(&mut self, feed: AudioFeed, samples: &[u8]) -> Result<()> {
        let mut feed = feed.with_voice(VoiceModel::installed()?.detector());
        for (index, chunk) in samples.chunks(2 * BUFFER).enumerate() {
            feed.push(Samples::S16Le(chunk), &self.run);
            self.now = duration(index * BUFFER + chunk.len() / 2);
            if self.run.read(|mel| mel.voice_end()) >= self.live.next_frame() {
                self.step(Flush::Wait)?;
            }
        }
        feed.finish(&self.run);
        self.step(Flush::All)
    }

    /// Lets the transcriber do what is due.
    fn step(&mut self, flush: Flush) -> Result<()> {
        let began = Instant::now();
        let outputs = self.live.step(&self.run, flush)?;
        self.computed += began.elapsed();
        self.counters += self.live.take_counters();
        let mut said = Vec::new();
        for output in outputs {
            match output {
                TranscriptEvent::Words(words) => {
                    said.extend(words.iter().map(|word| word.text.clone()));
                    self.keep(words);
                }
                TranscriptEvent::Partial { text, .. } => {
                    self.preview.replace(&said, &text);
                    said.clear();
                }
                TranscriptEvent::Language(_)
                | TranscriptEvent::OtherLanguage(_)
                | TranscriptEvent::EndOfUtterance
                | TranscriptEvent::Watermark(_) => {}
            }
        }
        Ok(())
    }

    fn keep(&mut self, words: Vec<Word>) {
        self.words.extend(words.into_iter().map(|word| Heard {
            text: word.text,
            start: word.start.as_secs_f64(),
            end: word.end.as_secs_f64(),
            at: self.now.as_secs_f64(),
        }));
    }
}

fn duration(samples: usize) -> Duration {
    Duration::from_secs_f64(samples as f64 / RATE as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preview_that_comes_true_erases_nothing() {
        let mut preview = Preview::default();
        preview.replace(&[], "ask not");
        preview.replace(&["ask".into()], "not what");
        assert_eq!(preview.erased, 0);
        preview.replace(&["not".into()], "that your");
        assert_eq!(preview.erased, 1);
        preview.replace(&[], "");
        assert_eq!(preview.erased, 3);
    }
}
