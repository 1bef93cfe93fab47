// SPDX-License-Identifier: MPL-2.0
//! Encoders that copy their input to their output, or do it wrong, or fail.

use std::collections::VecDeque;
use std::sync::Mutex;

use ndarray::Array2;

use crate::encoder::CrossKv;

use super::*;

/// What the device does with a window.
#[derive(Clone, Copy)]
enum Behaviour {
    /// What it should.
    Right,
    /// The opposite.
    Wrong,
    Nan,
    /// Either of these in the values of cross-attention alone.
    WrongCross,
    NanCross,
    Fails,
}

type Behaviours = Arc<Mutex<VecDeque<Behaviour>>>;

/// Copies its input to its output.
struct Copier {
    input: Array2<f32>,
    /// Done in turn, `Right` after the last.
    behaviours: Behaviours,
    name: &'static str,
}

impl Copier {
    fn boxed(name: &'static str, behaviours: &Behaviours) -> Box<dyn Encoder> {
        Box::new(Self {
            input: Array2::zeros((8, 2)),
            behaviours: behaviours.clone(),
            name,
        })
    }
}

impl Encoder for Copier {
    fn input(&mut self) -> ArrayViewMut2<'_, f32> {
        self.input.view_mut()
    }

    fn encode(&mut self, context: usize, out: &mut AudioFeatures) -> Result<(), EncoderError> {
        let behaviour = self.behaviours.lock().unwrap().pop_front();
        let (sign, cross_sign) = match behaviour.unwrap_or(Behaviour::Right) {
            Behaviour::Right => (1.0, 1.0),
            Behaviour::Wrong => (-1.0, 1.0),
            Behaviour::Nan => (f32::NAN, 1.0),
            Behaviour::WrongCross => (1.0, -1.0),
            Behaviour::NanCross => (1.0, f32::NAN),
            Behaviour::Fails => return Err(EncoderError::Other("it hangs".into())),
        };
        out.context = context;
        out.hidden.assign(&(sign * &self.input));
        out.cross[0].k.assign(&self.input);
        out.cross[0].v.assign(&(cross_sign * &self.input));
        Ok(())
    }

    fn description(&self) -> String {
        self.name.into()
    }
}

fn fallback(behaviours: &Behaviours) -> FallbackEncoder {
    fallback_to(behaviours, &Behaviours::default())
}

/// A device and a CPU with these behaviours.
fn fallback_to(device: &Behaviours, cpu: &Behaviours) -> FallbackEncoder {
    let device = device.clone();
    let open: OpenEncoder = Arc::new(move || Ok(Copier::boxed("npu", &device)));
    let opened = open().expect("it opens");
    FallbackEncoder::new(opened, Copier::boxed("cpu", cpu), open)
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
fn failed_window_is_encoded_on_the_cpu() {
    for behaviour in [
        Behaviour::Fails,
        Behaviour::Nan,
        Behaviour::Wrong,
        Behaviour::NanCross,
        Behaviour::WrongCross,
    ] {
        let behaviours: Behaviours = Arc::new(Mutex::new([behaviour].into()));
        let mut fallback = fallback(&behaviours);
        encode(&mut fallback, 1.0);
        encode(&mut fallback, 2.0);
        let health = fallback.monitor().health();
        assert_eq!((health.encoded, health.failures), (0, 1));
        assert_eq!(health.active, "cpu");
        let change = health.last_change.expect("a change");
        assert!(
            change.failure && change.text.contains("CPU goes on"),
            "{change:?}"
        );
    }
}

#[test]
fn device_comes_back_and_is_compared_again() {
    let behaviours: Behaviours = Arc::new(Mutex::new(
        [Behaviour::Right, Behaviour::Right, Behaviour::Fails].into(),
    ));
    let mut fallback = fallback(&behaviours);
    for window in 1..4 {
        encode(&mut fallback, window as f32);
    }
    assert_eq!(fallback.monitor().health().active, "cpu");
    let deadline = Instant::now() + Duration::from_secs(10);
    while fallback.monitor().health().recoveries == 0 {
        assert!(Instant::now() < deadline, "it never comes back");
        encode(&mut fallback, 4.0);
        std::thread::sleep(Duration::from_millis(1));
    }
    encode(&mut fallback, 5.0);
    let health = fallback.monitor().health();
    assert_eq!(health.active, "npu");
    assert_eq!((health.checks, health.failures), (2, 1));
    assert_eq!(health.min_cosine_similarity, Some(1.0));
    assert!(!health.last_change.expect("a change").failure);
}

#[test]
fn wrong_results_are_found_by_comparison() {
    let right = vec![Behaviour::Right; CHECK_INTERVAL as usize + 1];
    let behaviours: Behaviours = Arc::new(Mutex::new(
        right.into_iter().chain([Behaviour::Wrong]).collect(),
    ));
    let mut fallback = fallback(&behaviours);
    for window in 1..=CHECK_INTERVAL + 2 {
        encode(&mut fallback, window as f32);
    }
    let health = fallback.monitor().health();
    assert_eq!((health.encoded, health.failures), (CHECK_INTERVAL + 1, 1));
}

#[test]
fn comparison_is_put_off_if_the_cpu_fails() {
    let cpu: Behaviours = Arc::new(Mutex::new([Behaviour::Fails, Behaviour::Fails].into()));
    let mut fallback = fallback_to(&Behaviours::default(), &cpu);
    for (window, checks) in [(1, 0), (2, 0), (3, 1), (4, 1)] {
        encode(&mut fallback, window as f32);
        let health = fallback.monitor().health();
        assert_eq!((health.encoded, health.failures), (window, 0));
        assert_eq!(health.checks, checks, "window {window}");
        assert_eq!((health.active.as_str(), health.last_change), ("npu", None));
    }
}
