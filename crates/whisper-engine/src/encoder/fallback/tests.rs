// SPDX-License-Identifier: MPL-2.0
//! Encoders that add what they are told to add to their input, or fail.

use std::collections::VecDeque;

use ndarray::Array2;

use crate::encoder::CrossKv;

use super::*;

/// What the device does with a window.
#[derive(Clone, Copy)]
enum Deed {
    /// What it should.
    Right,
    /// The opposite.
    Wrong,
    Nan,
    /// Either of these in the values of cross-attention alone.
    WrongAcross,
    NanAcross,
    Fails,
}

type Deeds = Arc<Mutex<VecDeque<Deed>>>;

/// Copies its input to its output.
struct Copier {
    input: Array2<f32>,
    /// Done in turn, `Right` after the last.
    deeds: Deeds,
    name: &'static str,
}

impl Copier {
    fn boxed(name: &'static str, deeds: &Deeds) -> Box<dyn Encoder> {
        Box::new(Self {
            input: Array2::zeros((8, 2)),
            deeds: deeds.clone(),
            name,
        })
    }
}

impl Encoder for Copier {
    fn input(&mut self) -> ArrayViewMut2<'_, f32> {
        self.input.view_mut()
    }

    fn encode(&mut self, context: usize, out: &mut AudioFeatures) -> Result<(), EncoderError> {
        let deed = self.deeds.lock().unwrap().pop_front();
        let (sign, across) = match deed.unwrap_or(Deed::Right) {
            Deed::Right => (1.0, 1.0),
            Deed::Wrong => (-1.0, 1.0),
            Deed::Nan => (f32::NAN, 1.0),
            Deed::WrongAcross => (1.0, -1.0),
            Deed::NanAcross => (1.0, f32::NAN),
            Deed::Fails => return Err(EncoderError::Other("it hangs".into())),
        };
        out.context = context;
        out.hidden.assign(&(sign * &self.input));
        out.cross[0].k.assign(&self.input);
        out.cross[0].v.assign(&(across * &self.input));
        Ok(())
    }

    fn description(&self) -> String {
        self.name.into()
    }
}

fn fallback(deeds: &Deeds) -> FallbackEncoder {
    beside(deeds, &Deeds::default())
}

/// With a CPU that has deeds of its own.
fn beside(deeds: &Deeds, cpu: &Deeds) -> FallbackEncoder {
    let device = deeds.clone();
    let open: Open = Arc::new(move || Ok(Copier::boxed("npu", &device)));
    FallbackEncoder::new(open, || Ok(Copier::boxed("cpu", cpu)))
        .expect("it opens")
        .retrying_after(Duration::from_millis(20))
}

/// Encodes a window that differs from all others, and sees whether it comes out right.
fn encode(fallback: &mut FallbackEncoder, window: f32) {
    fallback.input().fill(window);
    let zeros = Array2::zeros((8, 2));
    let pair = CrossKv {
        k: zeros.clone(),
        v: zeros.clone(),
    };
    let mut out = AudioFeatures {
        context: 0,
        hidden: zeros,
        cross: vec![pair],
    };
    fallback.encode(8, &mut out).expect("some encoder works");
    assert!(outputs(&out).flatten().all(|value| *value == window));
}

#[test]
fn a_window_that_the_device_fails_on_is_not_lost() {
    for deed in [
        Deed::Fails,
        Deed::Nan,
        Deed::Wrong,
        Deed::NanAcross,
        Deed::WrongAcross,
    ] {
        let deeds: Deeds = Arc::new(Mutex::new([deed].into()));
        let mut fallback = fallback(&deeds);
        encode(&mut fallback, 1.0);
        encode(&mut fallback, 2.0);
        let health = fallback.watch().health();
        assert_eq!((health.encoded, health.failures), (0, 1));
        assert_eq!(health.active, "cpu");
        let news = health.news.expect("news");
        assert!(
            news.failure && news.text.contains("CPU goes on"),
            "{news:?}"
        );
    }
}

#[test]
fn a_device_that_fails_later_comes_back_and_is_compared_again() {
    let deeds: Deeds = Arc::new(Mutex::new([Deed::Right, Deed::Right, Deed::Fails].into()));
    let mut fallback = fallback(&deeds);
    for window in 1..4 {
        encode(&mut fallback, window as f32);
    }
    assert_eq!(fallback.watch().health().active, "cpu");
    let deadline = Instant::now() + Duration::from_secs(10);
    while fallback.watch().health().recoveries == 0 {
        assert!(Instant::now() < deadline, "it never comes back");
        encode(&mut fallback, 4.0);
        std::thread::sleep(Duration::from_millis(1));
    }
    encode(&mut fallback, 5.0);
    let health = fallback.watch().health();
    assert_eq!(health.active, "npu");
    assert_eq!((health.checks, health.failures), (2, 1));
    assert_eq!(health.least_cosine_similarity, Some(1.0));
    assert!(!health.news.expect("news").failure);
}

#[test]
fn a_device_that_goes_wrong_without_a_word_is_found_out() {
    let right = vec![Deed::Right; CHECKED as usize + 1];
    let deeds: Deeds = Arc::new(Mutex::new(right.into_iter().chain([Deed::Wrong]).collect()));
    let mut fallback = fallback(&deeds);
    for window in 1..=CHECKED + 2 {
        encode(&mut fallback, window as f32);
    }
    let health = fallback.watch().health();
    assert_eq!((health.encoded, health.failures), (CHECKED + 1, 1));
}

#[test]
fn a_comparison_that_the_cpu_fails_is_put_off_and_no_failure_of_the_device() {
    let cpu: Deeds = Arc::new(Mutex::new([Deed::Fails, Deed::Fails].into()));
    let mut fallback = beside(&Deeds::default(), &cpu);
    for (window, checks) in [(1, 0), (2, 0), (3, 1), (4, 1)] {
        encode(&mut fallback, window as f32);
        let health = fallback.watch().health();
        assert_eq!((health.encoded, health.failures), (window, 0));
        assert_eq!(health.checks, checks, "window {window}");
        assert_eq!((health.active.as_str(), health.news), ("npu", None));
    }
}

#[test]
fn a_device_that_cannot_be_opened_says_why() {
    let open: Open = Arc::new(|| Err("no NPU".into()));
    let refused = FallbackEncoder::new(open, || Ok(Copier::boxed("cpu", &Deeds::default())));
    assert_eq!(refused.err().as_deref(), Some("no NPU"));
}
