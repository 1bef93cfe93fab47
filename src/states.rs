// SPDX-License-Identifier: MPL-2.0
//! Changes of state: open the model, start the worker, stop both streaming threads.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use gst::subclass::prelude::*;

use crate::element::lock;
use crate::imp::WhisperNpu;
use crate::input::Input;
use crate::recogniser::Recogniser;
use crate::session::Session;
use crate::worker::Worker;
use whisper_engine::TranscribeOptions;

impl WhisperNpu {
    /// NULL to READY: finds and opens the model, which takes milliseconds. Its weights are loaded
    /// later.
    pub(super) fn open(&self) -> Result<(), gst::StateChangeError> {
        let settings = lock(&self.settings).clone();
        let current = lock(&self.recogniser).clone();
        match Recogniser::open(&settings, current) {
            Ok(recogniser) => {
                if let Some(warning) = recogniser.model_warning() {
                    gst::element_imp_warning!(self, gst::StreamError::Format, ("{warning}"));
                }
                if let Some(warning) = recogniser.threads_warning(&settings) {
                    gst::element_imp_warning!(self, gst::LibraryError::Settings, ("{warning}"));
                }
                if let Err(problem) = recogniser.load_voice(&settings) {
                    gst::element_imp_warning!(self, problem.code(), ("{problem}"));
                }
                if let Err(problem) = recogniser.check_prompt(&settings) {
                    gst::element_imp_warning!(self, gst::LibraryError::Settings, ("{problem}"));
                }
                *lock(&self.recogniser) = Some(recogniser);
                Ok(())
            }
            Err(message) => {
                self.post_error_message(message);
                Err(gst::StateChangeError)
            }
        }
    }

    /// READY to PAUSED: starts the worker, which loads the engine if it is not loaded yet. Until now
    /// the model, the device and the threads could be changed.
    pub(super) fn start(&self) -> Result<(), gst::StateChangeError> {
        let settings = lock(&self.settings).clone();
        let opened = lock(&self.recogniser).clone();
        if !opened.is_some_and(|opened| opened.is_for(&settings)) {
            // They were changed in READY.
            self.open()?;
        }
        let recogniser = lock(&self.recogniser)
            .clone()
            .ok_or(gst::StateChangeError)?;
        let session = Arc::new(Session::new(settings.mode));
        *lock(&self.input) = Some(Input::new(session.clone(), recogniser.feed(&settings)));
        *lock(&self.session) = Some(session.clone());
        self.request_changed.store(false, Ordering::Relaxed);
        Worker::spawn(&self.obj(), session, recogniser, settings).map_err(|error| {
            gst::element_imp_error!(
                self,
                gst::ResourceError::Failed,
                ("Cannot start a thread: {error}")
            );
            gst::StateChangeError
        })
    }

    /// PAUSED to READY, before the pads are deactivated: wakes all threads, and lets them return.
    pub(super) fn close_session(&self) {
        if let Some(session) = self.session() {
            session.close(gst::FlowError::Flushing);
        }
    }

    /// PAUSED to READY, after the pads were deactivated. The session stays for its `stats`.
    pub(super) fn stop(&self) {
        self.close_session();
        *lock(&self.input) = None;
    }

    pub(super) fn session(&self) -> Option<Arc<Session>> {
        lock(&self.session).clone()
    }

    /// Runs `work` on the audio path, if there is one. It may wait, so it is for buffers and
    /// serialized events only.
    pub(super) fn with_input<R>(&self, work: impl FnOnce(&mut Input) -> R) -> Option<R> {
        lock(&self.input).as_mut().map(work)
    }

    /// Language, task and prompt for the next run.
    pub(super) fn request(&self) -> TranscribeOptions {
        let recogniser = lock(&self.recogniser).clone();
        let settings = lock(&self.settings).clone();
        recogniser
            .map(|recogniser| recogniser.request(&settings))
            .unwrap_or_default()
    }
}
