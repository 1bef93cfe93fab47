// SPDX-License-Identifier: MPL-2.0
//! `whispernpu`: timed subtitles from speech, as a GStreamer element.
//!
//! This crate knows GStreamer and nothing else: pads, properties, events, messages. Recognition is in
//! [`whisper_engine`], text in [`captions`].
//!
//! The way through: `input` (sink pad, upstream's streaming thread) writes mel rows into runs and queues them with
//! the events in the `feed`; `worker` (own thread) lets a schedule recognise them and `captions` makes cues and
//! gaps of the words, into the `outbox`; `output` (task of the src pad) formats and pushes them.
//!
//! Locking order: input, settings, then the inner locks of feed, outbox and run, of which no two are held at once.
//! No lock is held while pushing, querying or posting.

mod caps;
mod cues;
mod element;
mod events;
mod imp;
mod input;
mod input_queue;
mod items;
mod output;
mod output_queue;
mod queries;
mod recogniser;
mod session;
mod settings;
mod stats;
mod timeline;
mod worker;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), gst::glib::BoolError> {
    element::register(plugin)
}

gst::plugin_define!(
    whispernpu,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MPL",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_REPOSITORY"),
    env!("BUILD_REL_DATE")
);
