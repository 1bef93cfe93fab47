// SPDX-License-Identifier: MPL-2.0
//! Silero's network on speech and on what is none.

use std::path::PathBuf;
use std::sync::Arc;

use whisper_frontend::mel::{MelAnalyzer, MelRing, MelRingMemory};
use whisper_frontend::pool::Pool;
use whisper_frontend::vad::{SileroError, SileroWeights};
use whisper_frontend::{MelFrame, Samples, VoiceDetector};
use whisper_model::Model;

fn installed() -> PathBuf {
    let directory = Model::find("silero-vad").expect("scripts/fetch-model silero-vad");
    directory.join("model.safetensors")
}

/// The probability of each row.
fn voice(detector: &mut VoiceDetector, samples: &[i16]) -> Vec<f32> {
    let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
    let memory = Pool::new(1, || MelRingMemory::new(6_000, 80)).acquire();
    let (mut ring, mut analyzer) = (MelRing::new(memory, 80), MelAnalyzer::new(80));
    detector.reset();
    analyzer.push(Samples::S16Le(&bytes), &mut ring);
    detector.push(Samples::S16Le(&bytes), &mut ring);
    analyzer.finish(&mut ring);
    detector.finish(&mut ring);
    let rows = MelFrame::ZERO.until(ring.end());
    rows.map(|row| ring.voice(row)).collect()
}

#[test]
#[ignore = "needs silero-vad and ../shared"]
fn silero_tells_speech_from_silence_and_a_tone() {
    let weights = SileroWeights::open(&installed()).expect("Silero's weights");
    let mut detector = VoiceDetector::silero(Arc::new(weights));
    let clip = test_support::shared("speech/en-speech/jfk-inaugural.flac");
    let speech = test_support::flac(&clip).expect("a clip");
    let tone: Vec<i16> = (0..64_000)
        .map(|n| ((f64::from(n) * 0.17).sin() * 8_000.0) as i16)
        .collect();

    let spoken = voice(&mut detector, &speech[..speech.len().min(160_000)]);
    let sure = spoken.iter().filter(|voice| **voice > 0.5).count();
    assert!(sure * 2 > spoken.len(), "{sure} of {}", spoken.len());
    for other in [vec![0; 64_000], tone] {
        let voice = voice(&mut detector, &other);
        assert!(voice.iter().all(|voice| *voice < 0.3), "{voice:?}");
    }
}

#[test]
#[ignore = "needs silero-vad"]
fn silero_weights_of_another_shape_are_refused() {
    let bytes = std::fs::read(installed()).expect("a file");
    let name = b"\"conv1.bias\"";
    let place = bytes.windows(name.len()).position(|window| window == name);
    let mut renamed = bytes.clone();
    renamed[place.expect("a bias") + 1] = b'x';
    let refused = SileroWeights::from_bytes(&renamed);
    assert!(matches!(refused, Err(SileroError::Container(_))));
    assert!(SileroWeights::from_bytes(&bytes[..1_000]).is_err());
    assert!(SileroWeights::from_bytes(&bytes).is_ok());
}

#[test]
fn silero_weights_that_are_absent_are_named() {
    let absent = SileroWeights::open("/no/such/weights".as_ref());
    let message = absent.err().expect("an error").to_string();
    assert!(message.contains("/no/such/weights"), "{message}");
}
