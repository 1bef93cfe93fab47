// SPDX-License-Identifier: MPL-2.0
//! `whispernpu`: timed subtitles from speech, as a GStreamer element.
//!
//! `docs/architecture.md` shows the way of one sample through these rooms.

pub mod audio;
pub mod caption;
pub mod decoder;
pub mod element;
pub mod encoder;
pub mod engine;
pub mod kernel;
pub mod mel;
pub mod model;
pub mod nn;
pub mod pool;
pub mod stream;

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
