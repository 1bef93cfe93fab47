// SPDX-License-Identifier: MPL-2.0
//! GStreamer plugin with the element `whispernpu`: speech in, timed subtitles out.
//!
//! The plugin is the part of the project that knows GStreamer. Recognition is [`whisper_engine`],
//! text is [`captions`].
//!
//! # The path of audio
//!
//! 1. The streaming thread of the sink pad (`sink_pad`, `input`, `timeline`) writes buffers as mel
//!    rows into runs, and appends runs and events to the `input_queue`.
//! 2. The `worker` thread recognises the runs. `text_stream` makes cues and gaps of the words, and
//!    appends them to the `output_queue`.
//! 3. The push task of the src pad (`src_pad`, `push_task`) negotiates the format, and pushes
//!    buffers and events.
//!
//! A `session` holds what the three threads share, from PAUSED to READY. A `recogniser` holds the
//! model, and outlives sessions. `imp` is the GObject class; its functions are in `properties`,
//! `states`, `messages` and the two pads.
//!
//! # Locking
//!
//! Order: `input`, then one of `recogniser`, `session` and `settings`, then the input queue, then a
//! run. The output queue's lock is held alone. All but `input` are held for a copy or an append;
//! `input` belongs to the streaming thread. No lock is held while the element pushes, queries or
//! posts.

#![deny(missing_docs, unsafe_code, clippy::unwrap_used)]

mod caps;
#[cfg(test)]
mod documentation;
mod element;
mod imp;
mod input;
mod input_queue;
mod items;
mod messages;
mod output_queue;
mod plugin;
mod properties;
mod push_task;
mod recogniser;
mod run_writer;
mod sample_format;
mod segment;
mod session;
mod settings;
mod sink_pad;
mod src_pad;
mod states;
mod stats;
mod text_stream;
mod timeline;
mod unsynced_pad;
mod whole_samples;
mod worker;

/// Registers the plugin with GStreamer, for programs that link it statically.
pub use plugin::plugin_register_static;
