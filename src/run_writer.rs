// SPDX-License-Identifier: MPL-2.0
//! Samples into runs: each run is queued for the worker as it begins, and written to as samples come.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use gst::FlowError;

use crate::element::CAT;
use crate::input_queue::{Item, QueuedRun, Refused};
use crate::session::Session;
use crate::timeline::{RunTimes, Timeline};
use whisper_engine::{AudioFeed, AudioRun, Samples, TranscribeOptions};

/// What is asked of the recogniser, should a run begin.
pub type Request<'a> = &'a dyn Fn() -> TranscribeOptions;

/// Whether samples were thrown away for the first time since all was well.
pub type Overloaded = bool;

pub struct RunWriter {
    session: Arc<Session>,
    audio: AudioFeed,
    /// The run that samples go into; it begins with the first of them.
    run: Option<Arc<AudioRun>>,
    /// What was asked for in the last run.
    request: TranscribeOptions,
    /// Times of the next run.
    times: RunTimes,
    /// Whether there is a hole, or nothing, before the next run.
    discont: bool,
    /// Whether samples are thrown away until the worker has nothing left to do.
    overloaded: bool,
}

impl RunWriter {
    pub fn new(session: Arc<Session>, audio: AudioFeed) -> Self {
        Self {
            session,
            audio,
            run: None,
            request: TranscribeOptions::default(),
            times: RunTimes::counted_from(gst::ClockTime::ZERO),
            discont: true,
            overloaded: false,
        }
    }

    /// Whether a run goes on.
    pub fn is_open(&self) -> bool {
        self.run.is_some()
    }

    /// What was asked for in the last run.
    pub fn request(&self) -> &TranscribeOptions {
        &self.request
    }

    /// Upstream says that there is voice.
    pub fn hint_voice(&mut self, is_voice: bool) {
        self.audio.hint_voice(is_voice);
    }

    /// Says that there is a hole before what comes next.
    pub fn mark_hole(&mut self) {
        self.discont = true;
    }

    /// Ends the run: what comes next begins another, at the end of the timeline.
    pub fn end(&mut self, timeline: &Timeline) {
        self.close();
        if let Some(times) = timeline.times_before_end(0) {
            self.times = times;
        }
    }

    /// Ends the run. Another one begins where the timeline has begun it.
    pub fn change(&mut self, timeline: &Timeline) {
        // A run that ended here on purpose goes on without a hole.
        self.discont |= self.run.is_some();
        self.close();
        if let Some(times) = timeline.times() {
            gst::debug!(
                CAT,
                "another run, from {}",
                times.pts(std::time::Duration::ZERO)
            );
            self.times = times;
        }
    }

    /// Forgets the run, which was cancelled.
    pub fn forget(&mut self) {
        self.run = None;
        self.audio.reset();
        self.overloaded = false;
    }

    /// Adds samples to the run, waiting for room if upstream may be slowed down.
    pub fn append(
        &mut self,
        samples: Samples<'_>,
        timeline: &Timeline,
        request: Request<'_>,
    ) -> Result<Overloaded, FlowError> {
        if self.run.is_none() && !self.open(request)? {
            return Ok(self.give_up(samples.len(), timeline));
        }
        let mut rest = samples;
        while let Some(run) = &self.run {
            let taken = self.audio.push(rest, run);
            rest = rest.split_at(taken).1;
            if rest.is_empty() {
                break;
            }
            if self.session.is_live() {
                // The worker is minutes late: what comes waits in a run of its own.
                self.close();
                if let Some(times) = timeline.times_before_end(rest.len()) {
                    self.times = times;
                }
                if !self.open(request)? {
                    return Ok(self.give_up(rest.len(), timeline));
                }
            } else if !run.wait_for_space(1) {
                let flow = self.session.input_queue.flow();
                return Err(flow.err().unwrap_or(FlowError::Flushing));
            }
        }
        self.count();
        Ok(false)
    }

    /// Begins the next run; false if the worker has too much to do.
    fn open(&mut self, request: Request<'_>) -> Result<bool, FlowError> {
        let queue = &self.session.input_queue;
        if self.overloaded && !queue.is_idle() {
            return Ok(false);
        }
        let run = Arc::new(self.audio.new_run());
        self.request = request();
        let queued = QueuedRun {
            run: run.clone(),
            times: self.times.clone(),
            discont: self.discont,
            request: self.request.clone(),
        };
        match queue.push(Item::Run(queued), !self.session.is_live()) {
            Ok(()) => {
                self.run = Some(run);
                self.discont = false;
                self.overloaded = false;
                Ok(true)
            }
            Err(Refused::Full) => Ok(false),
            Err(Refused::Flow(error)) => Err(error),
        }
    }

    fn close(&mut self) {
        let Some(run) = self.run.take() else { return };
        // Without room for its last rows: a live upstream cannot wait for it.
        while !self.audio.finish(&run) {
            if self.session.is_live() || !run.wait_for_space(2) {
                return self.audio.cut(&run);
            }
        }
    }

    fn give_up(&mut self, samples: usize, timeline: &Timeline) -> Overloaded {
        let counters = &self.session.counters;
        counters.dropped.fetch_add(samples as u64, Relaxed);
        self.end(timeline);
        self.discont = true;
        !std::mem::replace(&mut self.overloaded, true)
    }

    fn count(&self) {
        let counters = &self.session.counters;
        counters.read.store(self.audio.samples_read(), Relaxed);
        counters.non_finite.store(self.audio.non_finite(), Relaxed);
    }
}
