// SPDX-License-Identifier: MPL-2.0
//! Errors of pipelines.

use gst::prelude::*;

/// The error that a pipeline has come to.
pub fn error(pipeline: &gst::Pipeline) -> Option<anyhow::Error> {
    let message = pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
    match message.view() {
        gst::MessageView::Error(error) => Some(anyhow::Error::msg(described(error))),
        _ => None,
    }
}

/// Who says what.
pub fn described(error: &gst::message::Error) -> String {
    let source = error
        .src()
        .map(|source| source.path_string().to_string())
        .unwrap_or_default();
    format!(
        "{source}: {} ({})",
        error.error(),
        error.debug().unwrap_or_default()
    )
}
