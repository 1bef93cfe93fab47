// SPDX-License-Identifier: MPL-2.0
//! The offline transcriber on real speech that is longer than a window.

use whisper_engine::{
    AudioFeed, Device, Engine, Flush, OfflineTranscriber, Samples, TranscribeOptions, Transcriber,
    TranscriptEvent, Word,
};

/// What comes out, for audio that comes in pieces of so many samples, each followed by an update if
/// one is due.
fn listen(samples: &[u8], piece: usize) -> Vec<Word> {
    let engine = Engine::builder().device(Device::Cpu).open("tiny.en");
    let engine = engine.unwrap_or_else(|error| panic!("{error}"));
    let mut feed = AudioFeed::new(engine.model().config.n_mels);
    let run = feed.new_run();
    let mut offline = OfflineTranscriber::new(&engine, TranscribeOptions::default());
    let mut words = Vec::new();
    let mut keep = |events: Vec<TranscriptEvent>| {
        for event in events {
            if let TranscriptEvent::Words(more) = event {
                words.extend(more);
            }
        }
    };
    for piece in samples.chunks(2 * piece) {
        feed.push(Samples::S16Le(piece), &run);
        if run.read(|mel| mel.end()) >= offline.next_frame() {
            keep(offline.step(&run, Flush::Wait).unwrap());
        }
    }
    assert!(feed.finish(&run));
    let end = run.read(|mel| mel.end());
    while offline.next_frame() <= end {
        keep(offline.step(&run, Flush::All).unwrap());
    }
    keep(offline.step(&run, Flush::All).unwrap());
    words
}

#[test]
#[ignore = "needs ../shared"]
fn words_do_not_depend_on_what_is_decoded_together() {
    let samples =
        test_support::read_flac(&test_support::shared("speech/en-long/gwb-columbia.flac"));
    let samples: Vec<u8> = samples[..110 * 16_000]
        .iter()
        .flat_map(|sample| sample.to_le_bytes())
        .collect();
    let together = listen(&samples, samples.len() / 2);
    let one_by_one = listen(&samples, 16_000);
    let text: Vec<&str> = together.iter().map(|word| word.text.as_str()).collect();
    println!("{}", text.join(" "));
    assert!(text.len() > 150);
    assert!(together.is_sorted_by_key(|word| word.start));
    for (one, other) in together.iter().zip(&one_by_one) {
        assert_eq!(
            (&one.text, one.start, one.end),
            (&other.text, other.start, other.end)
        );
    }
    assert_eq!(together.len(), one_by_one.len());
}
