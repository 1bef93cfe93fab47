// SPDX-License-Identifier: MPL-2.0
//! The live schedule on real speech, fed as it would come in.

use std::time::Duration;

use whisper_engine::engine::{Device, Engine};
use whisper_engine::stream::{
    Live, LiveCounters, LiveOptions, Policy, TranscribeOptions, Transcriber, TranscriptEvent, Word,
};
use whisper_frontend::AudioRun;
use whisper_frontend::Samples;
use whisper_frontend::mel::MelAnalyzer;
use whisper_model::Model;

/// Samples that come at once: 100 ms.
const CHUNK: usize = 1600;

/// What came out, with the audio time at which it did.
struct Heard {
    words: Vec<(Duration, Word)>,
    pauses: Vec<Duration>,
    settled: Duration,
    tally: LiveCounters,
}

impl Heard {
    fn text(&self) -> String {
        let words: Vec<&str> = self
            .words
            .iter()
            .map(|(_, word)| word.text.as_str())
            .collect();
        words.join(" ")
    }
}

fn clip(name: &str) -> Option<Vec<u8>> {
    let path = test_support::shared("speech").join(name);
    let Ok(mut clip) = claxon::FlacReader::open(path) else {
        println!("skipped: no {name}");
        return None;
    };
    Some(
        clip.samples()
            .flat_map(|sample| (sample.unwrap_or(0) as i16).to_le_bytes())
            .collect(),
    )
}

/// Feeds a clip and updates after each piece, as if computing took no time.
fn listen(samples: &[u8], model: &str, options: LiveOptions) -> Heard {
    listen_with(samples, samples, model, options)
}

/// The same, where the detector of voice hears something else.
fn listen_with(samples: &[u8], detected: &[u8], model: &str, options: LiveOptions) -> Heard {
    let path = Model::find(model).unwrap_or_else(|error| panic!("{error}"));
    let engine = Engine::shared(&path, Device::Cpu, 0).unwrap_or_else(|error| panic!("{error}"));
    let run = AudioRun::new(engine.model().config.n_mels);
    let (mut analyzer, mut voice) = (
        MelAnalyzer::new(engine.model().config.n_mels),
        whisper_engine::voice::detector().unwrap(),
    );
    let request = TranscribeOptions {
        language: Some("en".into()),
        ..TranscribeOptions::default()
    };
    let mut live = Live::new(request, engine.model(), options);
    let mut heard = Heard {
        words: vec![],
        pauses: vec![],
        settled: Duration::ZERO,
        tally: LiveCounters::default(),
    };
    let mut now = Duration::ZERO;
    let mut keep = |outputs: Vec<TranscriptEvent>, now| {
        for output in outputs {
            match output {
                TranscriptEvent::Words(words) => heard
                    .words
                    .extend(words.into_iter().map(|word| (now, word))),
                TranscriptEvent::EndOfUtterance => heard.pauses.push(now),
                TranscriptEvent::Watermark(until) => {
                    assert!(until >= heard.settled, "settled time goes back");
                    heard.settled = until;
                }
                TranscriptEvent::Language(_) | TranscriptEvent::Partial { .. } => {}
            }
        }
    };
    let chunks = samples.chunks(2 * CHUNK);
    for (chunk, detected) in chunks.zip(detected.chunks(2 * CHUNK)) {
        run.write(|track| {
            assert_eq!(analyzer.push(Samples::S16Le(chunk), track), chunk.len() / 2);
            voice.push(Samples::S16Le(detected), track);
        });
        now += Duration::from_millis(chunk.len() as u64 / 32);
        keep(live.update(&run, &engine, false).unwrap(), now);
    }
    run.write(|track| {
        assert!(analyzer.finish(track));
        voice.finish(track);
    });
    run.finish();
    keep(live.update(&run, &engine, true).unwrap(), now);
    heard.tally = live.take_counters();
    println!("{:?}\n{}", heard.tally, heard.text());
    heard
}

#[test]
fn words_that_two_updates_agree_on_are_final_where_attention_does_not_tell() {
    let Some(samples) = clip("en-speech/jfk-inaugural.flac") else {
        return;
    };
    let options = LiveOptions {
        policy: Some(Policy::Agreement),
        ..steady()
    };
    let heard = listen(&samples, "tiny.en", options);
    let text = heard.text().to_lowercase().replace([',', '.'], "");
    assert!(text.contains("what you can do for your country"), "{text}");
    assert!(heard.words.is_sorted_by_key(|(_, word)| word.start));
    // They come while they are said, not at the end.
    let end = Duration::from_millis(samples.len() as u64 / 32);
    let early = heard
        .words
        .iter()
        .filter(|(now, _)| *now + Duration::from_secs(2) < end);
    assert!(early.count() > heard.words.len() / 2);
}

/// Without a detector of voice, all that keeps a model from writing into music and noise is the other guards.
#[test]
fn guards_refuse_most_of_what_a_model_writes_where_nobody_speaks() {
    let options = LiveOptions {
        vad_threshold: 0.0,
        ..steady()
    };
    let mut tally = LiveCounters::default();
    let (mut words, mut clips) = (0, 0);
    for name in [
        "music-vibe-ace",
        "music-sugar-plum",
        "whale",
        "ambience-a",
        "room-tone",
        "silence",
        "pink-30db",
    ] {
        let Some(samples) = clip(&format!("nonspeech/{name}.flac")) else {
            return;
        };
        let heard = listen(&samples, "tiny.en", options);
        words += heard.words.len();
        tally += heard.tally;
        clips += 1;
    }
    println!("{words} words in {clips} clips: {tally:?}");
    for (guard, refused) in [
        ("silence", tally.refused_silence),
        (
            "tokens without audio",
            tally.refused_unsteady + tally.refused_tokens,
        ),
        ("loops of text", tally.refused_loops + tally.restarts),
        ("phrases that models invent", tally.refused_boilerplate),
    ] {
        assert!(refused > 0, "{guard}: {tally:?}");
    }
    // 159 seconds, in which anybody would say 400 words.
    assert!(words <= 40, "{words} words");
}

#[test]
fn more_text_than_can_be_said_in_the_time_is_refused() {
    let Some(samples) = clip("en-long/gwb-columbia.flac") else {
        return;
    };
    // Every third sample: speech that nobody could speak.
    let samples: Vec<u8> = samples
        .chunks_exact(2)
        .step_by(3)
        .flatten()
        .copied()
        .collect();
    let heard = listen(&samples[..20 * 32_000], "tiny.en", steady());
    assert!(heard.tally.refused_too_much > 0, "{:?}", heard.tally);
}

#[test]
fn words_where_the_detector_hears_no_voice_are_refused() {
    let Some(samples) = clip("en-long/gwb-columbia.flac") else {
        return;
    };
    // It hears 1.2 s of silence in every 4 s.
    let samples = &samples[..40 * 32_000];
    let mut detected = samples.to_vec();
    let pieces = detected.chunks_exact_mut(4 * 32_000);
    pieces.for_each(|piece| piece[2 * 32_000..][..38_400].fill(0));
    let heard = listen_with(samples, &detected, "tiny.en", steady());
    assert!(heard.tally.refused_words > 0, "{:?}", heard.tally);
    assert!(heard.words.len() > 20, "{}", heard.text());
}

fn steady() -> LiveOptions {
    LiveOptions {
        real_time: false,
        ..LiveOptions::default()
    }
}

#[test]
fn words_come_while_they_are_said_in_order_and_never_change() {
    let Some(samples) = clip("en-speech/jfk-inaugural.flac") else {
        return;
    };
    let heard = listen(&samples, "tiny.en", steady());
    let text = heard.text().to_lowercase();
    for words in [
        "fellow americans",
        "country can do for you",
        "what you can do for your country",
    ] {
        assert!(text.replace([',', '.'], "").contains(words), "{text}");
    }
    assert!(heard.words.is_sorted_by_key(|(_, word)| word.start));
    for (now, word) in &heard.words {
        assert!(
            word.end >= word.start && word.end <= *now,
            "{word:?} at {now:?}"
        );
    }
    let mut delays: Vec<_> = heard
        .words
        .iter()
        .map(|(now, word)| *now - word.end)
        .collect();
    delays.sort();
    println!("delays {delays:?}");
    assert!(delays[delays.len() / 2] <= Duration::from_millis(1500));
}

#[test]
fn nothing_is_printed_when_nobody_speaks() {
    if whisper_engine::voice::detector().unwrap().description() != "silero" {
        return println!(
            "skipped: needs Silero's weights, get them with: scripts/fetch-model silero-vad"
        );
    }
    for name in [
        "music-vibe-ace",
        "music-sugar-plum",
        "whale",
        "ambience-a",
        "room-tone",
        "silence",
        "pink-30db",
    ] {
        let Some(samples) = clip(&format!("nonspeech/{name}.flac")) else {
            return;
        };
        let heard = listen(&samples, "tiny.en", steady());
        assert_eq!(heard.text(), "", "{name}");
        let end = Duration::from_millis(samples.len() as u64 / 32);
        assert!(
            heard.settled + Duration::from_millis(20) >= end,
            "{name}: {:?}",
            heard.settled
        );
    }
}

#[test]
fn silence_is_never_encoded() {
    let heard = listen(&vec![0; 32_000 * 10], "tiny.en", steady());
    assert_eq!(heard.tally, LiveCounters::default());
    assert!(heard.settled >= Duration::from_millis(9990));
}
