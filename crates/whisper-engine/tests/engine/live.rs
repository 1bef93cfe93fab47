// SPDX-License-Identifier: MPL-2.0
//! The live transcriber on real speech, fed as it would come in.

use std::time::Duration;

use whisper_engine::{
    AudioRun, Device, Engine, Flush, LiveOptions, LiveTranscriber, Policy, Samples, StreamCounters,
    TranscribeOptions, Transcriber, TranscriptEvent, VoiceModel, Word,
};
use whisper_frontend::mel::MelAnalyzer;

/// Samples that come at once: 100 ms.
const CHUNK: usize = 1600;

/// What came out, with the audio time at which it did.
struct Recorded {
    words: Vec<(Duration, Word)>,
    pauses: Vec<Duration>,
    watermark: Duration,
    counters: StreamCounters,
}

impl Recorded {
    fn text(&self) -> String {
        let words: Vec<&str> = self
            .words
            .iter()
            .map(|(_, word)| word.text.as_str())
            .collect();
        words.join(" ")
    }
}

/// A clip of the project's collection of speech, as bytes.
fn clip(name: &str) -> Vec<u8> {
    bytes(&test_support::read_flac(
        &test_support::shared("speech").join(name),
    ))
}

/// The clip in the tree.
fn speech() -> Vec<u8> {
    bytes(&test_support::clip().samples)
}

fn bytes(samples: &[i16]) -> Vec<u8> {
    let bytes = samples.iter().flat_map(|sample| sample.to_le_bytes());
    bytes.collect()
}

/// Feeds a clip and updates after each piece, as if computing took no time.
fn listen(samples: &[u8], model: &str, options: LiveOptions) -> Recorded {
    listen_with(samples, samples, model, options)
}

/// The same, where the detector of voice hears something else.
fn listen_with(samples: &[u8], detected: &[u8], model: &str, options: LiveOptions) -> Recorded {
    let request = TranscribeOptions {
        language: Some("en".into()),
        ..TranscribeOptions::default()
    };
    listen_for(samples, detected, (model, request), options)
}

/// The same, for a text that is asked for.
fn listen_for(
    samples: &[u8],
    detected: &[u8],
    (model, request): (&str, TranscribeOptions),
    options: LiveOptions,
) -> Recorded {
    let engine = Engine::builder().device(Device::Cpu).open(model);
    let engine = engine.unwrap_or_else(|error| panic!("{error}"));
    let run = AudioRun::new(engine.model().config.n_mels);
    let (mut analyzer, mut voice) = (
        MelAnalyzer::new(engine.model().config.n_mels),
        VoiceModel::installed().unwrap().detector(),
    );
    let mut live = LiveTranscriber::new(&engine, request, options);
    let mut recorded = Recorded {
        words: vec![],
        pauses: vec![],
        watermark: Duration::ZERO,
        counters: StreamCounters::default(),
    };
    let mut now = Duration::ZERO;
    let mut keep = |outputs: Vec<TranscriptEvent>, now| {
        for output in outputs {
            match output {
                TranscriptEvent::Words(words) => recorded
                    .words
                    .extend(words.into_iter().map(|word| (now, word))),
                TranscriptEvent::EndOfUtterance => recorded.pauses.push(now),
                TranscriptEvent::Watermark(until) => {
                    assert!(until >= recorded.watermark, "the watermark goes back");
                    recorded.watermark = until;
                }
                TranscriptEvent::Language(_)
                | TranscriptEvent::OtherLanguage(_)
                | TranscriptEvent::Partial { .. } => {}
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
        keep(live.step(&run, Flush::Wait).unwrap(), now);
    }
    run.write(|track| {
        assert!(analyzer.finish(track));
        voice.finish(track);
    });
    run.finish();
    keep(live.step(&run, Flush::All).unwrap(), now);
    recorded.counters = live.take_counters();
    println!("{:?}\n{}", recorded.counters, recorded.text());
    recorded
}

#[test]
#[ignore = "needs the model tiny.en"]
fn agreement_makes_words_final_while_they_are_said() {
    let samples = speech();
    let options = LiveOptions {
        policy: Some(Policy::Agreement),
        ..steady()
    };
    let recorded = listen(&samples, "tiny.en", options);
    let text = recorded.text().to_lowercase().replace([',', '.'], "");
    assert!(text.contains("what you can do for your country"), "{text}");
    assert!(recorded.words.is_sorted_by_key(|(_, word)| word.start));
    // They come while they are said, not at the end.
    let end = Duration::from_millis(samples.len() as u64 / 32);
    let early = recorded
        .words
        .iter()
        .filter(|(now, _)| *now + Duration::from_secs(2) < end);
    assert!(early.count() > recorded.words.len() / 2);
}

/// Without a detector of voice, all that keeps a model from writing into music and noise is the
/// other guards.
#[test]
#[ignore = "needs ../shared"]
fn guards_reject_most_hallucinations() {
    let request = TranscribeOptions {
        language: Some("en".into()),
        vad_threshold: 0.0,
        ..TranscribeOptions::default()
    };
    let mut counters = StreamCounters::default();
    let (mut words, mut clips) = (0, 0);
    for name in crate::NONSPEECH {
        let samples = clip(&format!("nonspeech/{name}.flac"));
        let request = ("tiny.en", request.clone());
        let recorded = listen_for(&samples, &samples, request, steady());
        words += recorded.words.len();
        counters += recorded.counters;
        clips += 1;
    }
    println!("{words} words in {clips} clips: {counters:?}");
    for (guard, refused) in [
        ("silence", counters.rejected_silence),
        (
            "tokens without audio",
            counters.rejected_unsteady + counters.rejected_tokens,
        ),
        ("loops of text", counters.rejected_loops + counters.restarts),
        ("phrases that models invent", counters.rejected_boilerplate),
    ] {
        assert!(refused > 0, "{guard}: {counters:?}");
    }
    // 159 seconds, in which a speaker would say 400 words.
    assert!(words <= 40, "{words} words");
}

#[test]
#[ignore = "needs ../shared"]
fn more_text_than_can_be_said_is_rejected() {
    let samples = clip("en-long/gwb-columbia.flac");
    // Every third sample: speech that no speaker could speak.
    let samples: Vec<u8> = samples
        .chunks_exact(2)
        .step_by(3)
        .flatten()
        .copied()
        .collect();
    let recorded = listen(&samples[..20 * 32_000], "tiny.en", steady());
    assert!(
        recorded.counters.rejected_too_much > 0,
        "{:?}",
        recorded.counters
    );
}

#[test]
#[ignore = "needs ../shared"]
fn words_without_voice_are_rejected() {
    let samples = clip("en-long/gwb-columbia.flac");
    // It hears 1.2 s of silence in every 4 s.
    let samples = &samples[..40 * 32_000];
    let mut detected = samples.to_vec();
    let pieces = detected.chunks_exact_mut(4 * 32_000);
    pieces.for_each(|piece| piece[2 * 32_000..][..38_400].fill(0));
    let recorded = listen_with(samples, &detected, "tiny.en", steady());
    assert!(
        recorded.counters.rejected_words > 0,
        "{:?}",
        recorded.counters
    );
    assert!(recorded.words.len() > 20, "{}", recorded.text());
}

fn steady() -> LiveOptions {
    LiveOptions {
        real_time: false,
        ..LiveOptions::default()
    }
}

#[test]
#[ignore = "needs the model tiny.en"]
fn words_come_in_order_while_they_are_said() {
    let samples = speech();
    let recorded = listen(&samples, "tiny.en", steady());
    let text = recorded.text().to_lowercase();
    for words in [
        "fellow americans",
        "country can do for you",
        "what you can do for your country",
    ] {
        assert!(text.replace([',', '.'], "").contains(words), "{text}");
    }
    assert!(recorded.words.is_sorted_by_key(|(_, word)| word.start));
    for (now, word) in &recorded.words {
        assert!(
            word.end >= word.start && word.end <= *now,
            "{word:?} at {now:?}"
        );
    }
    let mut delays: Vec<_> = recorded
        .words
        .iter()
        .map(|(now, word)| *now - word.end)
        .collect();
    delays.sort();
    println!("delays {delays:?}");
    assert!(delays[delays.len() / 2] <= Duration::from_millis(1500));
}

#[test]
#[ignore = "needs ../shared and silero-vad"]
fn nothing_is_printed_without_speech() {
    let installed = VoiceModel::installed().unwrap();
    assert_eq!(
        installed.description(),
        "silero",
        "scripts/fetch-model silero-vad"
    );
    for name in crate::NONSPEECH {
        let samples = clip(&format!("nonspeech/{name}.flac"));
        let recorded = listen(&samples, "tiny.en", steady());
        assert_eq!(recorded.text(), "", "{name}");
        let end = Duration::from_millis(samples.len() as u64 / 32);
        assert!(
            recorded.watermark + Duration::from_millis(20) >= end,
            "{name}: {:?}",
            recorded.watermark
        );
    }
}

#[test]
#[ignore = "needs the model tiny.en"]
fn silence_is_never_encoded() {
    let recorded = listen(&vec![0; 32_000 * 10], "tiny.en", steady());
    assert_eq!(recorded.counters, StreamCounters::default());
    assert!(recorded.watermark >= Duration::from_millis(9990));
}
