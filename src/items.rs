// SPDX-License-Identifier: MPL-2.0
//! News of the words in a text buffer: a meta on the buffer, and events to upstream before it.

use gst::ClockTime;

use crate::text_stream::clock_time;
use captions::{Cue, words_as_json};

/// Name of the meta. Its field `items` is a JSON array of the words that are new in the buffer, as
/// [`words_as_json`] writes it, in seconds of stream time.
const META: &str = "WhisperNpuItemMeta";

/// Registers the meta, once a process. It has no tags, so that elements copy it with the text.
pub fn register_meta() {
    if !gst::meta::CustomMeta::is_registered(META) {
        gst::meta::CustomMeta::register_simple(META);
    }
}

/// Puts the meta on `buffer`. The times of `cue` are stream times.
pub fn attach(buffer: &mut gst::BufferRef, cue: &Cue) {
    if let Ok(mut meta) = gst::meta::CustomMeta::add(buffer, META) {
        meta.mut_structure().set("items", words_as_json(cue));
    }
}

/// Events for upstream, one for each word that is new in `cue`, as gst-plugins-rs' transcribers
/// send them.
pub fn new_item_events(
    cue: &Cue,
    segment: &gst::FormattedSegment<ClockTime>,
    seqnum: Option<gst::Seqnum>,
) -> impl Iterator<Item = gst::Event> {
    cue.new_words().map(move |word| {
        let structure = gst::Structure::builder("rstranscribe/new-item")
            .field("speaker", None::<String>)
            .field("content", &word.text)
            .field(
                "running-time",
                segment.to_running_time(clock_time(word.start)),
            )
            .field("duration", clock_time(word.end.saturating_sub(word.start)))
            .build();
        gst::event::CustomUpstream::builder(structure)
            .seqnum_if_some(seqnum)
            .build()
    })
}
