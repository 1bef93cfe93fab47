// SPDX-License-Identifier: MPL-2.0
//! Streaming log-mel rows against a golden file and against the definition written out.

use std::f64::consts::TAU;
use std::path::Path;

use ndarray::Array2;
use whisper_frontend::mel::{
    HOP, MelAnalyzer, MelRing, MelRingMemory, N_FFT, SILENCE, WINDOW, WINDOW_FRAMES,
};
use whisper_frontend::pool::Pool;
use whisper_frontend::{MelFrame, Samples};

/// Sizes of the buffers in which every signal is fed.
const FEEDS: [usize; 5] = [1, 7, 160, 441, 48_000];

fn ring(rows: usize, n_mels: usize) -> MelRing {
    MelRing::new(
        Pool::new(1, move || MelRingMemory::new(rows, n_mels)).acquire(),
        n_mels,
    )
}

/// All rows that are in `ring`, `[rows, n_mels]`.
fn rows(ring: &MelRing) -> Array2<f32> {
    let (head, tail) = ring.views(MelFrame::ZERO, MelFrame::MAX);
    ndarray::concatenate![ndarray::Axis(0), head, tail]
}

#[derive(Clone, Copy, Debug)]
enum Format {
    S16,
    F32,
}

/// The signal in `format`, `offset` bytes into its memory.
fn bytes(signal: &[i16], format: Format, offset: usize) -> Vec<u8> {
    let mut bytes = vec![0xAA; offset];
    match format {
        Format::S16 => bytes.extend(signal.iter().flat_map(|s| s.to_le_bytes())),
        Format::F32 => bytes.extend(
            signal
                .iter()
                .flat_map(|&s| (f32::from(s) / 32768.0).to_le_bytes()),
        ),
    }
    bytes
}

/// Feeds a whole run in buffers of `feed` samples and returns its rows.
fn analyse(
    signal: &[i16],
    n_mels: usize,
    format: Format,
    offset: usize,
    feed: usize,
) -> Array2<f32> {
    let bytes = bytes(signal, format, offset);
    let whole = match format {
        Format::S16 => Samples::S16Le(&bytes[offset..]),
        Format::F32 => Samples::F32Le(&bytes[offset..]),
    };
    let mut analyzer = MelAnalyzer::new(n_mels);
    let mut ring = ring(signal.len().div_ceil(HOP), n_mels);
    let mut rest = whole;
    while !rest.is_empty() {
        let (buffer, after) = rest.split_at(feed);
        let (expected, before) = (analyzer.rows_for(buffer.len()), ring.end());
        assert_eq!(analyzer.push(buffer, &mut ring), buffer.len());
        assert_eq!(ring.end() - before, MelFrame::from_usize(expected));
        rest = after;
    }
    assert!(analyzer.finish(&mut ring));
    assert_eq!(ring.end().to_usize(), signal.len().div_ceil(HOP));
    assert_eq!(analyzer.samples_read(), signal.len() as u64);
    rows(&ring)
}

/// Asserts that every buffer size, format and alignment gives these very rows.
fn assert_every_feed_gives(expected: &Array2<f32>, signal: &[i16]) {
    for feed in FEEDS {
        for (format, offset) in [
            (Format::S16, 0),
            (Format::S16, 1),
            (Format::F32, 0),
            (Format::F32, 3),
        ] {
            let rows = analyse(signal, expected.ncols(), format, offset, feed);
            assert_eq!(rows.dim(), expected.dim());
            let same = rows
                .iter()
                .zip(expected)
                .all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{format:?} at byte {offset} in buffers of {feed}");
        }
    }
}

/// Deterministic noise, −1 to 1 (the multiplicative congruential generator of Lehmer, 48271 mod 2³¹
/// − 1).
fn noise() -> impl FnMut() -> f64 {
    let mut state = 1u64;
    move || {
        state = state * 48271 % 0x7FFF_FFFF;
        state as f64 / f64::from(0x4000_0000) - 1.0
    }
}

/// A chirp from 100 to 7000 Hz with some noise.
fn chirp(len: usize) -> Vec<i16> {
    let mut noise = noise();
    (0..len)
        .map(|n| {
            let t = n as f64 / 16_000.0;
            let sweep = 6900.0 / (len as f64 / 16_000.0);
            let tone = (TAU * (100.0 * t + sweep * t * t / 2.0)).sin();
            (32767.0 * (0.7 * tone + 0.02 * noise())) as i16
        })
        .collect()
}

/// A pure tone of full scale: the widest range of powers inside a frame.
fn tone(len: usize) -> Vec<i16> {
    (0..len)
        .map(|n| (32767.0 * (TAU * 1_010.0 * n as f64 / 16_000.0).sin()) as i16)
        .collect()
}

/// Raw log10 mel rows by their definition, all in f64: reflection, periodic Hann window, plain DFT,
/// dense triangles.
fn defined_rows(signal: &[i16], n_mels: usize) -> Array2<f64> {
    let sample = |n: usize| signal.get(n).map_or(0.0, |&s| f64::from(s) / 32768.0);
    let mel = |hz: f64| match hz {
        hz if hz < 1000.0 => hz * 3.0 / 200.0,
        hz => 15.0 + (hz / 1000.0).ln() / (6.4f64.ln() / 27.0),
    };
    let hz = |mel: f64| match mel {
        mel if mel < 15.0 => mel * 200.0 / 3.0,
        mel => 1000.0 * ((mel - 15.0) * (6.4f64.ln() / 27.0)).exp(),
    };
    let edge = |i: usize| hz(mel(8000.0) * i as f64 / (n_mels + 1) as f64);
    let mut rows = Array2::zeros((signal.len().div_ceil(HOP), n_mels));
    for (frame, mut row) in rows.rows_mut().into_iter().enumerate() {
        let windowed: Vec<f64> = (0..N_FFT)
            .map(|k| {
                sample((frame * HOP + k).abs_diff(N_FFT / 2))
                    * (0.5 - 0.5 * (TAU * k as f64 / N_FFT as f64).cos())
            })
            .collect();
        let power: Vec<f64> = (0..=N_FFT / 2)
            .map(|bin| {
                let turn = |k: usize| TAU * ((bin * k) % N_FFT) as f64 / N_FFT as f64;
                let re: f64 = windowed
                    .iter()
                    .enumerate()
                    .map(|(k, x)| x * turn(k).cos())
                    .sum();
                let im: f64 = windowed
                    .iter()
                    .enumerate()
                    .map(|(k, x)| x * turn(k).sin())
                    .sum();
                re * re + im * im
            })
            .collect();
        for (band, value) in row.iter_mut().enumerate() {
            let [low, centre, high] = [edge(band), edge(band + 1), edge(band + 2)];
            let weighted = power.iter().enumerate().map(|(bin, power)| {
                let hz = 40.0 * bin as f64;
                let triangle = ((hz - low) / (centre - low)).min((high - hz) / (high - centre));
                power * triangle.max(0.0) * 2.0 / (high - low)
            });
            *value = weighted.sum::<f64>().max(1e-10).log10();
        }
    }
    rows
}

#[test]
fn rows_agree_with_the_definition_however_fed() {
    for (signal, n_mels) in [(chirp(12_345), 80), (chirp(12_345), 128), (tone(8_000), 80)] {
        let rows = analyse(&signal, n_mels, Format::S16, 0, signal.len());
        let defined = defined_rows(&signal, n_mels);
        assert_eq!(rows.dim(), defined.dim());
        let loudest = defined.iter().copied().fold(SILENCE.into(), f64::max);
        let errors = rows.iter().zip(&defined).map(|(&row, &defined)| {
            let normalised = |x: f64| (x.max(loudest - 8.0) + 4.0) / 4.0;
            (normalised(row.into()) - normalised(defined)).abs()
        });
        let worst = errors.fold(0.0, f64::max);
        println!("{n_mels} bands: max abs error {worst:.1e}");
        assert!(worst <= 1e-4, "{n_mels} bands: {worst}");
        assert_every_feed_gives(&rows, &signal);
    }
}

#[test]
fn runs_of_any_length_have_a_row_per_begun_hop() {
    for len in [
        0, 1, 39, 40, 41, 159, 160, 161, 199, 200, 201, 320, 359, 360, 361, 4801,
    ] {
        let signal = chirp(len);
        let rows = analyse(&signal, 80, Format::S16, 1, 50);
        let defined = defined_rows(&signal, 80);
        assert_eq!(rows.dim(), defined.dim(), "{len} samples");
        for (row, defined) in rows.iter().zip(&defined) {
            assert!(
                (f64::from(*row) - defined).abs() < 1e-2,
                "{len} samples: {row} {defined}"
            );
        }
    }
}

#[test]
fn a_full_ring_stops_the_analysis_and_loses_nothing() {
    let signal = chirp(7_777);
    let bytes = bytes(&signal, Format::F32, 1);
    let expected = analyse(&signal, 80, Format::F32, 1, signal.len());
    let (mut analyzer, mut ring) = (MelAnalyzer::new(80), ring(3, 80));
    let mut seen = Vec::new();
    let take = |ring: &mut MelRing, seen: &mut Vec<f32>| {
        let two = MelFrame::new(2);
        let (head, tail) = ring.views(ring.start(), two);
        seen.extend(head.iter().chain(&tail));
        ring.release(ring.start() + two);
    };
    let mut rest = Samples::F32Le(&bytes[1..]);
    while !rest.is_empty() {
        rest = rest.split_at(analyzer.push(rest, &mut ring)).1;
        assert!(rest.is_empty() || ring.free_rows() == 0);
        take(&mut ring, &mut seen);
    }
    while !analyzer.finish(&mut ring) {
        take(&mut ring, &mut seen);
    }
    while ring.start() < ring.end() {
        take(&mut ring, &mut seen);
    }
    assert_eq!(
        Array2::from_shape_vec(expected.dim(), seen).unwrap(),
        expected
    );
    assert_eq!(analyzer.samples_read(), signal.len() as u64);
    assert!(analyzer.finish(&mut ring), "finishing twice adds nothing");
    assert_eq!(ring.end().to_usize(), expected.nrows());
}

#[test]
fn a_new_run_knows_nothing_of_the_one_before() {
    let signal = chirp(1_000);
    let bytes = bytes(&signal, Format::S16, 0);
    let expected = analyse(&signal, 80, Format::S16, 0, 100);
    let mut analyzer = MelAnalyzer::new(80);
    for interrupted_after in [0, 1, 100, 250, 500, 999] {
        let loud: Vec<u8> = [0, 0x80].repeat(interrupted_after);
        analyzer.push(Samples::S16Le(&loud), &mut ring(100, 80));
        analyzer.reset();
        let mut ring = ring(100, 80);
        analyzer.push(Samples::S16Le(&bytes), &mut ring);
        analyzer.finish(&mut ring);
        assert_eq!(rows(&ring), expected, "after {interrupted_after} samples");
        analyzer.reset();
    }
}

#[test]
fn samples_that_are_no_audio_are_counted_as_zeros() {
    let mut signal = vec![0.25f32; 1_000];
    for (place, bad) in [
        (0, f32::NAN),
        (39, f32::INFINITY),
        (40, f32::NEG_INFINITY),
        (500, 1e38),
        (999, -f32::NAN),
    ] {
        signal[place] = bad;
    }
    let cleaned = signal.iter().map(|s| if s.abs() < 1.0 { *s } else { 0.0 });
    let analyse = |samples: Vec<f32>| {
        let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
        let (mut analyzer, mut ring) = (MelAnalyzer::new(80), ring(100, 80));
        analyzer.push(Samples::F32Le(&bytes), &mut ring);
        analyzer.finish(&mut ring);
        (rows(&ring), analyzer.non_finite())
    };
    let (expected, none) = analyse(cleaned.collect());
    let (rows, counted) = analyse(signal);
    assert_eq!((none, counted), (0, 5));
    assert_eq!(rows, expected);
    let (rows, _) = analyse(vec![1e9; 2_000]);
    assert!(
        rows.iter().all(|x| x.is_finite()),
        "the loudest plausible audio does not overflow"
    );
}

#[test]
fn filled_in_silence_is_the_same_as_zero_samples() {
    let zeros = vec![0u8; 2 * 3_000];
    let tone = bytes(&chirp(1_000), Format::S16, 0);
    let mut seen = Vec::new();
    for silence in [Samples::Silence(3_000), Samples::S16Le(&zeros)] {
        let (mut analyzer, mut ring) = (MelAnalyzer::new(80), ring(100, 80));
        for piece in [Samples::S16Le(&tone), silence, Samples::S16Le(&tone)] {
            analyzer.push(piece, &mut ring);
        }
        analyzer.finish(&mut ring);
        seen.push(rows(&ring));
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].row(15).iter().all(|&x| x == SILENCE));
}

/// The samples of a 16 kHz mono 16-bit FLAC file.
fn read_flac(path: &Path) -> Vec<i16> {
    let mut reader = claxon::FlacReader::open(path).expect("a FLAC file");
    let info = reader.streaminfo();
    assert_eq!(
        (info.sample_rate, info.channels, info.bits_per_sample),
        (16_000, 1, 16)
    );
    reader
        .samples()
        .map(|sample| sample.expect("a sample") as i16)
        .collect()
}

#[test]
#[ignore = "needs ../shared"]
fn real_speech_agrees_with_the_golden_spectrogram() {
    let speech = test_support::shared("speech/en-speech/jfk-inaugural.flac");
    let golden = test_support::shared("golden/jfk.mel.npy");
    let golden: Array2<f32> = ndarray_npy::read_npy(golden).expect("a matrix");
    let mut signal = read_flac(&speech);
    signal.resize(WINDOW_FRAMES * HOP, 0);

    let raw = analyse(&signal, 80, Format::S16, 0, signal.len());
    let mut ring = ring(WINDOW_FRAMES, 80);
    for row in raw.rows() {
        let place = ring.next_row().expect("room");
        place.copy_from_slice(row.as_slice().expect("contiguous"));
        ring.commit_row();
    }
    let mut packed = Array2::from_elem((WINDOW_FRAMES, 80), f32::NAN);
    ring.pack_window(&[MelFrame::ZERO..WINDOW], packed.view_mut());

    let pairs = || {
        packed
            .iter()
            .zip(&golden)
            .map(|(&a, &b)| (f64::from(a), f64::from(b)))
    };
    let worst = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let dot = |f: fn((f64, f64)) -> f64| pairs().map(f).sum::<f64>();
    let cosine = dot(|(a, b)| a * b) / (dot(|(a, _)| a * a) * dot(|(_, b)| b * b)).sqrt();
    println!("max abs error {worst:.2e}, 1 - cosine {:.1e}", 1.0 - cosine);
    assert_eq!(golden.dim(), packed.dim());
    assert!(worst <= 1e-4, "max abs error {worst}");
    assert!(cosine >= 0.999_999_5, "cosine {cosine}");
    assert_every_feed_gives(&raw, &signal);
}
