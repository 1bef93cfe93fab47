// SPDX-License-Identifier: MPL-2.0
//! Entry points of the plugin, which a macro of the bindings makes.

#![allow(
    missing_docs,
    reason = "the macro documents none of the items that it exports"
)]

fn plugin_init(plugin: &gst::Plugin) -> Result<(), gst::glib::BoolError> {
    crate::element::register(plugin)
}

gst::plugin_define!(
    whispernpu,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MPL",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    // GStreamer's own words for a plugin without an address.
    "Unknown package origin",
    env!("BUILD_REL_DATE")
);
