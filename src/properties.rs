// SPDX-License-Identifier: MPL-2.0
//! Getters and setters of the properties that do more than store a value.

use std::sync::atomic::Ordering;

use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::element::{Task, lock};
use crate::imp::WhisperNpu;
use crate::settings::Settings;
use crate::stats;
use whisper_engine::Engine;

/// Mel bands of most models, for `stats` before a model is open.
const USUAL_MELS: usize = 80;

impl WhisperNpu {
    pub(super) fn model(&self) -> Option<String> {
        Some(lock(&self.settings).model.clone())
    }

    pub(super) fn set_model(&self, model: Option<String>) {
        lock(&self.settings).model = model.unwrap_or_default();
    }

    pub(super) fn set_language_code(&self, code: Option<String>) {
        self.change_request(|settings| settings.language_code = not_blank(code));
    }

    pub(super) fn set_task(&self, task: Task) {
        self.change_request(|settings| settings.task = task);
    }

    pub(super) fn set_initial_prompt(&self, prompt: Option<String>) {
        self.change_request(|settings| settings.initial_prompt = not_blank(prompt));
    }

    pub(super) fn set_languages(&self, languages: Option<String>) {
        self.change_request(|settings| settings.languages = not_blank(languages));
    }

    pub(super) fn set_terms(&self, terms: Option<String>) {
        self.change_request(|settings| settings.terms = not_blank(terms));
    }

    pub(super) fn set_latency(&self, milliseconds: u32) {
        let before = std::mem::replace(&mut lock(&self.settings).latency, milliseconds);
        if before != milliseconds {
            let element = self.obj();
            let message = gst::message::Latency::builder().src(&*element).build();
            let _ = element.post_message(message);
        }
    }

    pub(super) fn active_device(&self) -> Option<String> {
        self.engine().map(|engine| engine.active_device())
    }

    pub(super) fn max_observed_delay(&self) -> u32 {
        self.session()
            .map_or(0, |session| session.counters.max_delay_ms())
    }

    pub(super) fn stats(&self) -> gst::Structure {
        let recogniser = lock(&self.recogniser).clone();
        let n_mels = recogniser.map_or(USUAL_MELS, |recogniser| recogniser.n_mels());
        let session = self.session();
        let none = stats::Counters::default();
        let counters = session.as_ref().map_or(&none, |session| &session.counters);
        stats::structure(counters, n_mels, self.engine().as_ref())
    }

    fn engine(&self) -> Option<Engine> {
        let recogniser = lock(&self.recogniser).clone();
        recogniser.and_then(|recogniser| recogniser.engine().cloned())
    }

    /// Changes what is asked of the recogniser, from the next buffer on.
    fn change_request(&self, change: impl FnOnce(&mut Settings)) {
        let (before, after) = {
            let mut settings = lock(&self.settings);
            let before = settings.clone();
            change(&mut settings);
            (before, settings.clone())
        };
        if after == before {
            return;
        }
        self.request_changed.store(true, Ordering::Relaxed);
        let recogniser = lock(&self.recogniser).clone();
        let playing = self.obj().current_state() >= gst::State::Paused;
        if let Some(recogniser) = recogniser.filter(|_| playing)
            && let Err(problem) = recogniser
                .check_language(&after)
                .and_then(|()| recogniser.check_prompt(&after))
        {
            gst::element_imp_warning!(self, gst::LibraryError::Settings, ("{problem}"));
        }
    }
}

fn not_blank(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gst::glib;

    fn element() -> crate::element::WhisperNpu {
        gst::init().expect("GStreamer");
        glib::Object::new()
    }

    fn value(element: &crate::element::WhisperNpu, name: &str) -> String {
        format!("{:?}", element.property_value(name))
    }

    #[test]
    fn properties_begin_with_their_defaults() {
        let element = element();
        for property in element.list_properties() {
            if property.owner_type() == element.type_() && property.name() != "stats" {
                let default = format!("{:?}", property.default_value());
                assert_eq!(
                    value(&element, property.name()),
                    default,
                    "{}",
                    property.name()
                );
            }
        }
    }

    #[test]
    fn properties_take_any_value_in_their_range() {
        let element = element();
        element.set_property("model", "base");
        element.set_property_from_str("device", "cpu");
        element.set_property("threads", 1024u32);
        element.set_property("language-code", "de");
        element.set_property_from_str("task", "translate");
        element.set_property("languages", "de, en");
        element.set_property("initial-prompt", "GStreamer");
        element.set_property("terms", "Okonkwo,Szczecin");
        element.set_property_from_str("mode", "offline");
        element.set_property("update-interval", 100u32);
        element.set_property("vad-threshold", 1f32);
        element.set_property_from_str("granularity", "word");
        element.set_property("max-line-length", 1u32);
        element.set_property("max-lines", 100u32);
        element.set_property("latency", u32::MAX);
        element.set_property("lateness", 1u32);
        let expected = Settings {
            model: "base".into(),
            device: crate::element::Device::Cpu,
            threads: 1024,
            language_code: Some("de".into()),
            task: Task::Translate,
            languages: Some("de, en".into()),
            initial_prompt: Some("GStreamer".into()),
            terms: Some("Okonkwo,Szczecin".into()),
            mode: crate::element::Mode::Offline,
            update_interval: 100,
            vad_threshold: 1.0,
            granularity: crate::element::Granularity::Word,
            max_line_length: 1,
            max_lines: 100,
            latency: u32::MAX,
            lateness: 1,
        };
        assert_eq!(*lock(&element.imp().settings), expected);
    }

    #[test]
    fn language_code_that_is_blank_is_unset() {
        let element = element();
        element.set_property("language-code", "de");
        element.set_property("language-code", " ");
        assert_eq!(element.property::<Option<String>>("language-code"), None);
    }

    #[test]
    fn model_that_is_null_is_empty() {
        let element = element();
        element.set_property("model", None::<String>);
        assert_eq!(element.property::<String>("model"), "");
    }
}
