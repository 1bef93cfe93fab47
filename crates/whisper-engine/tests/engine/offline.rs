// SPDX-License-Identifier: MPL-2.0
//! The offline schedule on real speech that is longer than a window.

use whisper_engine::engine::{Device, Engine};
use whisper_engine::stream::{Offline, TranscribeOptions, Transcriber, TranscriptEvent, Word};
use whisper_frontend::AudioRun;
use whisper_frontend::Samples;
use whisper_frontend::mel::MelAnalyzer;
use whisper_model::Model;

/// What comes out, for audio that comes in pieces of so many samples, each followed by an update if one is due.
fn listen(samples: &[u8], piece: usize) -> Vec<Word> {
    let path = Model::find("tiny.en").unwrap_or_else(|error| panic!("{error}"));
    let engine = Engine::shared(&path, Device::Cpu, 0).unwrap_or_else(|error| panic!("{error}"));
    let n_mels = engine.model().config.n_mels;
    let (run, mut analyzer) = (AudioRun::new(n_mels), MelAnalyzer::new(n_mels));
    let mut offline = Offline::new(TranscribeOptions::default(), engine.model());
    let mut words = Vec::new();
    let mut keep = |outputs: Vec<TranscriptEvent>| {
        for output in outputs {
            if let TranscriptEvent::Words(more) = output {
                words.extend(more);
            }
        }
    };
    for piece in samples.chunks(2 * piece) {
        run.write(|track| analyzer.push(Samples::S16Le(piece), track));
        if run.read(|track| track.end().get()) >= offline.next_frame() {
            keep(offline.update(&run, &engine, false).unwrap());
        }
    }
    run.write(|track| analyzer.finish(track));
    run.finish();
    let end = run.read(|track| track.end().get());
    while offline.next_frame() <= end {
        keep(offline.update(&run, &engine, true).unwrap());
    }
    keep(offline.update(&run, &engine, true).unwrap());
    words
}

#[test]
fn words_do_not_depend_on_how_many_windows_are_there_to_be_decoded_together() {
    let Some(samples) =
        test_support::flac(&test_support::shared("speech/en-long/gwb-columbia.flac"))
    else {
        return println!("skipped: no long speech");
    };
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
