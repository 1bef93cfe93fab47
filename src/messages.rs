// SPDX-License-Identifier: MPL-2.0
//! Messages on the bus about the device, delays and downstream.

use std::sync::atomic::Ordering;

use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::element::lock;
use crate::imp::WhisperNpu;
use crate::timeline::Irregularities;
use whisper_engine::Engine;
use whisper_engine::engine::StatusChange;

impl WhisperNpu {
    /// A property was changed that is read on the way to PAUSED.
    pub(super) fn warn_of_late_change(&self, property: &str) {
        if self.obj().current_state() >= gst::State::Paused {
            gst::element_imp_warning!(
                self,
                gst::LibraryError::Settings,
                ("The change of {property} takes effect the next time that the element goes from \
                     READY to PAUSED")
            );
        }
    }

    /// Audio was refused for its caps. GStreamer's own error says no more than "not-negotiated".
    pub(super) fn announce_refused(&self, caps: &gst::CapsRef) {
        let is_audio = caps.iter().any(|format| format.name() == "audio/x-raw");
        if is_audio && self.session().is_some() {
            gst::element_imp_warning!(
                self,
                gst::StreamError::WrongType,
                ("The audio is not 16 kHz mono (S16LE or F32LE): put audioconvert ! audioresample \
                  in front of this element"),
                ["refused: {caps}"]
            );
        }
    }

    /// The engine was loaded.
    pub(super) fn announce_device(&self, engine: &Engine) {
        self.obj().notify("active-device");
        if let Some(reason) = engine.without_npu()
            && !self.device_announced.swap(true, Ordering::Relaxed)
        {
            gst::element_imp_info!(
                self,
                gst::ResourceError::NotFound,
                ("Recognising on {}: {reason}", engine.active_device()),
                // gst-launch-1.0 prints only this part of an info message.
                ["{reason}"]
            );
        }
    }

    /// The NPU has failed, or is back.
    pub(super) fn announce_npu(&self, change: &StatusChange) {
        self.obj().notify("active-device");
        if change.failure {
            gst::element_imp_warning!(self, gst::ResourceError::Failed, ("{}", change.text));
        } else {
            gst::element_imp_info!(self, gst::ResourceError::Failed, ("{}", change.text));
        }
    }

    /// A word went out later than any before: a warning if it came too late for the pipeline.
    pub(super) fn announce_delay(&self, milliseconds: u32) {
        self.obj().notify("max-observed-delay");
        // The pipeline waits for the latency of upstream as well.
        let upstream = self
            .upstream_latency()
            .map_or(gst::ClockTime::ZERO, |(_, min, _)| min);
        let latency = upstream.saturating_add(lock(&self.settings).latency());
        if u64::from(milliseconds) > latency.mseconds() {
            let details = gst::Structure::builder("whispernpu/excessive-delay")
                .field("new-observed-max-delay", milliseconds)
                .build();
            gst::element_imp_warning!(
                self,
                gst::CoreError::Clock,
                ("Text comes {milliseconds} ms after it was said, later than the latency allows for, {latency}"),
                details: details
            );
        }
    }

    /// Time stamps of the audio are irregular.
    pub(super) fn announce_irregularities(&self, found: &Irregularities) {
        let details = gst::Structure::builder("whispernpu/irregular-timestamps")
            .field("timestamps-off", found.off)
            .field("repeated-buffers", found.repeated)
            .field("holes", found.holes)
            .build();
        let what = if found.repeated > 0 {
            "buffers come twice, and are dropped once".to_owned()
        } else if found.holes > 0 {
            "buffers are missing".to_owned()
        } else {
            format!("they are off by up to {} ms", found.largest.mseconds())
        };
        gst::element_imp_warning!(
            self,
            gst::CoreError::Clock,
            ("The time stamps of the audio are irregular: {what}. Words are timed by counting samples"),
            ["Stamp buffers by the samples before them, not by when they arrive \
              (with appsrc: do-timestamp=false), and look for what drops or doubles them upstream"],
            details: details
        );
    }

    /// Downstream refused the text: an error, unless the stream was flushed or downstream has
    /// enough.
    pub(super) fn report(&self, error: gst::FlowError) {
        if !matches!(error, gst::FlowError::Flushing | gst::FlowError::Eos) {
            gst::element_imp_error!(
                self,
                gst::StreamError::Failed,
                ("Downstream refused the text: {error:?}")
            );
        }
    }
}
