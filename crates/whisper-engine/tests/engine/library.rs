// SPDX-License-Identifier: MPL-2.0
//! The library as a stranger uses it: a piece of speech, a live stream, a change of mind.

use std::sync::Arc;

use test_support::synthetic::{Stored, write_hugging_face};
use whisper_engine::captions::Format;
use whisper_engine::model::Model;
use whisper_engine::{
    CancelToken, Device, Engine, EngineError, LiveOptions, LiveStream, OptionsError, StreamOptions,
    Task, TranscribeOptions, TranscriptEvent, Transcription, VoiceModel, Word,
};

fn tiny() -> Engine {
    let path = test_support::model("tiny.en");
    let builder = Engine::builder().device(Device::Cpu);
    builder.open(path.to_str().unwrap()).unwrap()
}

/// The clip so many times, each followed by silence up to 30 seconds.
fn spaced_out(times: usize) -> Vec<i16> {
    let mut samples = test_support::clip().samples.clone();
    samples.resize(30 * 16_000, 0);
    samples.repeat(times)
}

fn plain(text: &str) -> String {
    text.to_lowercase().replace([',', '.', ':', ';'], "")
}

fn text_of(words: &[Word]) -> String {
    let words: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    plain(&words.join(" "))
}

#[test]
#[ignore = "needs the model tiny.en"]
fn speech_becomes_words_and_subtitles() {
    let (engine, clip) = (tiny(), test_support::clip());
    let floats: Vec<f32> = clip
        .samples
        .iter()
        .map(|&s| f32::from(s) / 32768.0)
        .collect();
    let transcript = engine.transcribe(&floats).unwrap();
    assert!(
        plain(&transcript.text()).contains(clip.word),
        "{transcript:?}"
    );
    assert_eq!(transcript.language.as_deref(), Some("en"));
    assert!(transcript.words.is_sorted_by_key(|word| word.start));
    assert!(transcript.words.last().unwrap().end <= transcript.duration);
    let subrip = transcript.subtitles(Format::SubRip);
    assert!(
        subrip.contains("-->") && subrip.contains(clip.word),
        "{subrip}"
    );

    let mut progress = Vec::new();
    let again = engine
        .transcription(TranscribeOptions::default())
        .on_progress(|now| progress.push(now))
        .run(&clip.samples)
        .unwrap();
    assert_eq!(again, transcript, "the same samples as numbers of 16 bits");
    let last = progress.last().unwrap();
    assert_eq!((last.done, last.fraction()), (transcript.duration, 1.0));
}

#[test]
#[ignore = "needs the model tiny.en"]
fn a_transcription_longer_than_its_memory_is_complete() {
    let (engine, clip) = (tiny(), test_support::clip());
    // Three minutes: more than the two and a half that a run holds.
    let samples = spaced_out(6);
    let mut done = Vec::new();
    let transcription = engine.transcription(TranscribeOptions::default());
    let transcript = transcription
        .on_progress(|now| done.push(now.done))
        .run(&samples)
        .unwrap();
    let said = plain(&transcript.text()).matches(clip.word).count();
    let once = clip.text.matches(clip.word).count();
    assert_eq!(said, 6 * once, "{}", transcript.text());
    assert!(done.len() > 1 && done.is_sorted());
}

#[test]
#[ignore = "needs the model tiny.en"]
fn silence_and_no_samples_are_no_words() {
    let engine = tiny();
    assert_eq!(engine.transcribe(&[]).unwrap().text(), "");
    assert_eq!(engine.transcribe(&[0.0; 100]).unwrap().cues(), []);
}

#[test]
#[ignore = "needs the model tiny.en"]
fn a_transcription_can_be_cancelled() {
    let engine = tiny();
    let token = CancelToken::new();
    let samples = spaced_out(6);
    let transcription = engine.transcription(TranscribeOptions::default());
    let cancelled = transcription
        .cancel_token(&token)
        .on_progress(|_| token.cancel())
        .run(&samples);
    assert!(matches!(cancelled, Err(EngineError::Cancelled)));
    let transcription = engine.transcription(TranscribeOptions::default());
    let cancelled = transcription.cancel_token(&token).run(&samples);
    assert!(matches!(cancelled, Err(EngineError::Cancelled)));
}

fn options() -> StreamOptions {
    StreamOptions {
        live: LiveOptions {
            real_time: false,
            ..LiveOptions::default()
        },
        voice: Some(VoiceModel::earshot()),
        ..StreamOptions::default()
    }
}

#[test]
#[ignore = "needs the model tiny.en"]
fn a_live_stream_gives_final_words_while_they_are_said() {
    let (engine, clip) = (tiny(), test_support::clip());
    let mut live = engine.stream(options()).unwrap();
    let (mut early, mut partials) = (Vec::new(), 0);
    for samples in clip.samples.chunks(1600) {
        live.push(samples).unwrap();
        while let Some(event) = live.poll().unwrap() {
            match event {
                TranscriptEvent::Words(words) => early.extend(words),
                TranscriptEvent::Partial { .. } => partials += 1,
                _ => {}
            }
        }
    }
    assert!(live.take_counters().updates > 0 && partials > 0);
    let mut words = early.clone();
    for event in live.finish().unwrap() {
        if let TranscriptEvent::Words(last) = event {
            words.extend(last);
        }
    }
    assert!(text_of(&words).contains(clip.word), "{words:?}");
    assert!(early.len() > words.len() / 2, "{early:?} of {words:?}");
    assert!(words.is_sorted_by_key(|word| word.start));
}

#[test]
#[ignore = "needs the model tiny.en"]
fn a_live_stream_that_is_not_polled_is_full_once() {
    let engine = tiny();
    let mut live = engine.stream(options()).unwrap();
    let full = live.push(&vec![0_i16; 200 * 16_000]).unwrap_err();
    assert!(full.taken > 100 * 16_000 && full.taken < 200 * 16_000);
    while live.poll().unwrap().is_some() {}
    live.push(&[0_i16; 16_000]).unwrap();
    let token = live.cancel_token();
    token.cancel();
    assert!(matches!(live.poll(), Err(EngineError::Cancelled)));
    assert!(matches!(live.finish(), Err(EngineError::Cancelled)));
}

#[test]
fn streams_and_transcriptions_may_change_threads() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<Engine>();
    sync::<Engine>();
    send::<LiveStream>();
    send::<Transcription>();
    send::<CancelToken>();
}

#[test]
fn an_engine_is_shared_and_takes_a_model_that_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = write_hugging_face(directory.path(), Stored::F32);
    let model = Arc::new(Model::open(&path).unwrap());
    let builder = || Engine::builder().device(Device::Cpu).threads(1);
    let engine = builder().build(model.clone()).unwrap();
    assert!(Arc::ptr_eq(engine.model(), &model), "opened again");
    let again = builder().open(path.to_str().unwrap()).unwrap();
    assert!(again.ptr_eq(&engine), "loaded again");
    let other = builder().threads(2).open(path.to_str().unwrap()).unwrap();
    assert!(!other.ptr_eq(&engine));
}

#[test]
#[ignore = "needs the model tiny.en"]
fn what_a_model_cannot_do_is_a_typed_error() {
    let engine = tiny();
    let ask = |language: Option<&str>, task| {
        let options = TranscribeOptions {
            language: language.map(str::to_owned),
            task,
            ..TranscribeOptions::default()
        };
        match engine.transcription(options).run(&[0_i16; 16]) {
            Err(EngineError::Options(error)) => Some(error),
            other => other.map(|_| None).unwrap(),
        }
    };
    let german = OptionsError::EnglishOnly("de".into());
    assert_eq!(ask(Some("de"), Task::Transcribe), Some(german));
    assert_eq!(
        ask(None, Task::Translate),
        Some(OptionsError::CannotTranslate)
    );
    assert_eq!(ask(Some("en-US"), Task::Transcribe), None);
    let missing = Engine::open("no-such-model");
    assert!(matches!(missing, Err(EngineError::Model(_))));
}
