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

fn silero() -> VoiceDetector {
    let weights = SileroWeights::open(&installed()).expect("Silero's weights");
    VoiceDetector::silero(Arc::new(weights))
}

/// Samples as a recording at lower volume has them.
fn scaled(samples: &[i16], scale: f32) -> Vec<i16> {
    let scaled = samples.iter().map(|s| (f32::from(*s) * scale).round());
    scaled.map(|s| s as i16).collect()
}

/// Which rows hold a voice.
fn voiced(detector: &mut VoiceDetector, samples: &[i16]) -> Vec<bool> {
    let voice = voice(detector, samples);
    voice.iter().map(|voice| *voice > 0.5).collect()
}

/// Share of the rows about which the detector changes its mind when `samples` are scaled.
fn changes(detector: &mut VoiceDetector, samples: &[i16], scale: f32) -> f64 {
    let whole = voiced(detector, samples);
    let quiet = voiced(detector, &scaled(samples, scale));
    let differ = whole.iter().zip(&quiet).filter(|(a, b)| a != b).count();
    differ as f64 / whole.len() as f64
}

/// Down to a peak of 70 in 16 bits.
const QUIET: [f32; 4] = [0.1, 0.03, 0.01, 0.003];

#[test]
#[ignore = "needs silero-vad"]
fn silero_hears_quiet_speech_as_loud_speech() {
    for clip in [test_support::clip(), test_support::german_clip()] {
        for scale in QUIET {
            let changes = changes(&mut silero(), &clip.samples, scale);
            assert!(changes < 0.06, "{scale}: {changes} of {}", clip.text);
        }
    }
}

#[test]
fn earshot_hears_quiet_speech_as_loud_speech() {
    for clip in [test_support::clip(), test_support::german_clip()] {
        for scale in QUIET {
            let mut detector = VoiceDetector::earshot();
            let changes = changes(&mut detector, &clip.samples, scale);
            assert!(changes < 0.15, "{scale}: {changes} of {}", clip.text);
        }
    }
}

#[test]
#[ignore = "needs silero-vad"]
fn silero_hears_quiet_speech_after_click_or_silence() {
    let clip = test_support::clip();
    let quiet = scaled(&clip.samples, 0.003);
    let expected = voiced(&mut silero(), &quiet);
    let click: Vec<i16> = (0..320)
        .map(|n| if n & 8 == 0 { 16_000 } else { -16_000 })
        .collect();
    let silence = vec![0; 32_000];
    for before in [click, silence] {
        let samples = [&before[..], &quiet].concat();
        let heard = voiced(&mut silero(), &samples);
        let heard = &heard[before.len() / 160..];
        let missed = expected.iter().zip(heard).filter(|(a, b)| **a && !**b);
        let missed = missed.count();
        assert!(
            missed * 16 < expected.len(),
            "{missed} of {}",
            expected.len()
        );
    }
}

/// Rows of `seconds` of noise, a hum, dither and a tone, as quiet as rooms and converters are.
fn steady(seconds: usize) -> Vec<(&'static str, Vec<i16>)> {
    let mut random = 1_u32;
    let mut noise = move || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) as f64 / (1 << 23) as f64 - 1.0
    };
    let mut of = |signal: &mut dyn FnMut(f64, f64) -> f64| {
        let samples = (0..seconds * 16_000).map(|n| signal(n as f64 / 16_000.0, noise()));
        samples.map(|s| s.round() as i16).collect::<Vec<i16>>()
    };
    let wave = |t: f64, hertz: f64| (t * hertz * std::f64::consts::TAU).sin();
    vec![
        ("silence", of(&mut |_, _| 0.0)),
        ("dither", of(&mut |_, noise| 1.4 * noise)),
        ("noise", of(&mut |_, noise| 30.0 * noise)),
        ("more noise", of(&mut |_, noise| 300.0 * noise)),
        (
            "hum",
            of(&mut |t, noise| 20.0 * wave(t, 50.0) + 6.0 * wave(t, 150.0) + noise),
        ),
        (
            "beep",
            of(&mut |t, noise| 20.0 * wave(t, 1000.0) * (t % 2.0).floor() + noise),
        ),
    ]
}

#[test]
#[ignore = "needs silero-vad"]
fn silero_hears_no_voice_in_what_is_raised_but_steady() {
    for (name, samples) in steady(20) {
        let voiced = voiced(&mut silero(), &samples);
        let heard = voiced.iter().filter(|voice| **voice).count();
        assert!(heard <= 10, "{name}: {heard} of {}", voiced.len());
    }
}

#[test]
#[ignore = "needs silero-vad and ../shared"]
fn silero_hears_no_more_voice_in_quiet_nonspeech() {
    // The most that it heard before quiet audio was raised, at any of these volumes.
    let known = [
        ("ambience-a", 0.0),
        ("music-sugar-plum", 0.01),
        ("music-vibe-ace", 0.11),
        ("pink-30db", 0.0),
        ("room-tone", 0.02),
        ("silence", 0.0),
        ("whale", 0.01),
    ];
    for (name, most) in known {
        let path = format!("speech/nonspeech/{name}.flac");
        let clip = test_support::flac(&test_support::shared(&path)).expect("a clip");
        for scale in [1.0, 0.1, 0.03, 0.01, 0.003] {
            let voiced = voiced(&mut silero(), &scaled(&clip, scale));
            let share = voiced.iter().filter(|voice| **voice).count() as f64 / voiced.len() as f64;
            assert!(share <= most, "{name} at {scale}: {share}");
        }
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
