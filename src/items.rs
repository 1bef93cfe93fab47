// SPDX-License-Identifier: MPL-2.0
//! What is said of the words in a text buffer: a meta on it for applications, an event before it for what is upstream.

use gst::ClockTime;

use crate::cues::clock_time;
use captions::{Cue, words_as_json};

/// Name of the meta. Its field `items` is a JSON array with an object for each word that is new in the buffer:
/// `{"text":"Hi,","start":0.5,"end":0.9,"probability":0.98}`, in seconds of stream time, as in the format
/// `application/x-json`. A buffer that shows again what was shown before has an empty array.
const META: &str = "WhisperNpuItemMeta";

/// Makes the meta known, once a process. It describes the text whatever becomes of the buffer, so it has no tags.
pub fn register_meta() {
    if !gst::meta::CustomMeta::is_registered(META) {
        gst::meta::CustomMeta::register_simple(META);
    }
}

/// Puts the meta on `buffer`. The times of `cue` are in stream time.
pub fn attach(buffer: &mut gst::BufferRef, cue: &Cue) {
    if let Ok(mut meta) = gst::meta::CustomMeta::add(buffer, META) {
        meta.mut_structure().set("items", words_as_json(cue));
    }
}

/// The events that gst-plugins-rs' transcribers send upstream, one for each word that is new in `cue`.
pub fn announcements(
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
