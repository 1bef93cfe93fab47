// SPDX-License-Identifier: MPL-2.0
//! What comes out of the element.

use std::sync::{Arc, Mutex};

use gst::ClockTime;
use gst::prelude::*;

/// A piece of text that came out.
#[derive(Clone, Debug)]
pub struct Text {
    pub start: ClockTime,
    pub end: ClockTime,
    pub text: String,
    pub discont: bool,
    /// The words that are new in it, from its meta.
    pub items: Vec<serde_json::Value>,
}

/// What came out of the src pad, in order.
#[derive(Clone, Debug)]
pub enum Out {
    Text(Text),
    Event(gst::Event),
}

/// Keeps what passes `pad`.
pub fn record(pad: &gst::Pad) -> Arc<Mutex<Vec<Out>>> {
    let out = Arc::new(Mutex::new(Vec::new()));
    let kept = out.clone();
    pad.add_probe(
        gst::PadProbeType::DATA_DOWNSTREAM | gst::PadProbeType::EVENT_FLUSH,
        move |_, info| {
            let item = match &info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => Out::Text(text(buffer)),
                Some(gst::PadProbeData::Event(event)) => Out::Event(event.clone()),
                _ => return gst::PadProbeReturn::Ok,
            };
            kept.lock().expect("recorder").push(item);
            gst::PadProbeReturn::Ok
        },
    );
    out
}

fn text(buffer: &gst::Buffer) -> Text {
    let start = buffer.pts().expect("text has a PTS");
    let map = buffer.map_readable().expect("text can be read");
    Text {
        start,
        end: start + buffer.duration().expect("text has a duration"),
        text: std::str::from_utf8(&map).expect("text is UTF-8").to_owned(),
        discont: buffer.flags().contains(gst::BufferFlags::DISCONT),
        items: items(buffer),
    }
}

fn items(buffer: &gst::BufferRef) -> Vec<serde_json::Value> {
    if buffer.flags().contains(gst::BufferFlags::HEADER) {
        return Vec::new();
    }
    let meta =
        gst::meta::CustomMeta::from_buffer(buffer, "WhisperNpuItemMeta").expect("text has a meta");
    let items: String = meta.structure().get("items").expect("the meta has items");
    serde_json::from_str(&items).expect("the items are a JSON array")
}

pub fn texts(out: &[Out]) -> Vec<Text> {
    let text = |item: &Out| {
        if let Out::Text(text) = item {
            Some(text.clone())
        } else {
            None
        }
    };
    out.iter().filter_map(text).collect()
}

pub fn events(out: &[Out]) -> Vec<gst::Event> {
    let event = |item: &Out| {
        if let Out::Event(event) = item {
            Some(event.clone())
        } else {
            None
        }
    };
    out.iter().filter_map(event).collect()
}

/// All text, in lower case, on one line.
pub fn said(out: &[Out]) -> String {
    let texts: Vec<String> = texts(out)
        .into_iter()
        .map(|text| text.text.replace('\n', " ").to_lowercase())
        .collect();
    texts.join(" ")
}

/// The words in order, each with its start in milliseconds.
pub fn timed_words(out: &[Out]) -> Vec<(String, u64)> {
    let word = |text: Text| (text.text.to_lowercase(), text.start.mseconds());
    texts(out).into_iter().map(word).collect()
}
