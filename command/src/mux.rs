// SPDX-License-Identifier: MPL-2.0
//! A copy of a media file with the cues as a track. Sound and pictures are not encoded again.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use captions::{Cue, Format, Writer};
use gst::prelude::*;

use crate::problem::Problem;
use crate::recognition::make;

/// Extensions of files that get an MP4 copy; all others become Matroska, which holds nearly all.
const MP4: [&str; 4] = ["mp4", "m4v", "m4a", "mov"];

/// Parsers that make a stream fit for muxers, whatever container it comes from.
const PARSERS: [(&str, &str); 4] = [
    ("video/x-h264", "h264parse"),
    ("video/x-h265", "h265parse"),
    ("video/x-av1", "av1parse"),
    ("audio/mpeg", "aacparse"),
];

/// The extension of the copy of a file.
pub fn extension(input: &Path) -> &'static str {
    match is_mp4(input) {
        true => "subtitled.mp4",
        false => "subtitled.mkv",
    }
}

fn is_mp4(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.is_some_and(|extension| MP4.contains(&extension.to_lowercase().as_str()))
}

enum Event {
    End,
    Failed(Problem),
    LeftOut(String),
}

/// A copy that is being made.
pub struct Mux {
    pipeline: gst::Pipeline,
    events: Receiver<Event>,
    left_out: Vec<String>,
}

impl Mux {
    /// Begins to write the copy to `output`; its name says which container it is.
    ///
    /// # Errors
    ///
    /// If GStreamer lacks an element.
    pub fn start(
        input: &Path,
        cues: &[Cue],
        language: Option<&str>,
        output: &Path,
    ) -> Result<Self, Problem> {
        let (sender, events) = mpsc::channel();
        let pipeline = gst::Pipeline::new();
        let source = make("filesrc")?;
        source.set_property("location", input);
        let parser = make("parsebin")?;
        let muxer = make(if is_mp4(output) {
            "mp4mux"
        } else {
            "matroskamux"
        })?;
        let sink = make("filesink")?;
        sink.set_property("location", output);
        let built = pipeline
            .add_many([&source, &parser, &muxer, &sink])
            .and_then(|()| source.link(&parser))
            .and_then(|()| muxer.link(&sink));
        built.map_err(|error| Problem::Element(error.to_string()))?;

        // The parser shows all tracks before any data flows. Text that came before the first of them
        // would make a file of text alone.
        let text = Mutex::new(Some(Track::new(cues, language)));
        let (inside, target, tracks) = (pipeline.downgrade(), muxer.downgrade(), sender.clone());
        parser.connect_pad_added(move |_, pad| {
            let (Some(pipeline), Some(muxer)) = (inside.upgrade(), target.upgrade()) else {
                return;
            };
            if let Err(kind) = connect(&pipeline, pad, &muxer) {
                let _ = tracks.send(Event::LeftOut(kind));
                return;
            }
            let text = text.lock().ok().and_then(|mut text| text.take());
            if let Some(Err(error)) = text.map(|text| text.add_to(&pipeline, &muxer)) {
                let problem = Problem::Element(error.to_string());
                let _ = tracks.send(Event::Failed(problem));
            }
        });
        watch(pipeline.bus().as_ref(), output.to_owned(), sender);
        // A failed change of state has its reason on the bus.
        let _ = pipeline.set_state(gst::State::Playing);
        Ok(Self {
            pipeline,
            events,
            left_out: Vec::new(),
        })
    }

    /// Whether the copy is complete; waits for that no longer than `patience`.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn is_done(&mut self, patience: Duration) -> Result<bool, Problem> {
        match self.events.recv_timeout(patience) {
            Ok(Event::LeftOut(kind)) => self.left_out.push(kind),
            Ok(Event::Failed(problem)) => return Err(problem),
            Ok(Event::End) | Err(RecvTimeoutError::Disconnected) => return Ok(true),
            Err(RecvTimeoutError::Timeout) => {}
        }
        Ok(false)
    }

    /// Kinds of tracks that the container does not take.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }
}

impl Drop for Mux {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// The track of text.
struct Track {
    buffers: Vec<gst::Buffer>,
    tags: Option<gst::TagList>,
}

impl Track {
    fn new(cues: &[Cue], language: Option<&str>) -> Self {
        let mut writer = Writer::new(Format::Utf8);
        let buffer = |cue: &Cue| {
            let mut buffer = gst::Buffer::from_slice(writer.write(cue).into_bytes());
            if let Some(buffer) = buffer.get_mut() {
                buffer.set_pts(gst::ClockTime::try_from(cue.start).ok());
                buffer.set_duration(gst::ClockTime::try_from(cue.duration()).ok());
            }
            buffer
        };
        let tags = |language: &str| {
            let mut tags = gst::TagList::new();
            let replace = gst::TagMergeMode::Replace;
            tags.make_mut()
                .add::<gst::tags::LanguageCode>(&language, replace);
            tags
        };
        Self {
            buffers: cues.iter().map(buffer).collect(),
            tags: language.map(tags),
        }
    }

    /// All of it at once: the muxer sorts it in among the other tracks.
    fn add_to(
        self,
        pipeline: &gst::Pipeline,
        muxer: &gst::Element,
    ) -> Result<(), gst::glib::BoolError> {
        let caps = gst::Caps::builder("text/x-raw").field("format", "utf8");
        let source = gst_app::AppSrc::builder()
            .caps(&caps.build())
            .format(gst::Format::Time)
            .max_bytes(0)
            .build();
        if let Some(tags) = self.tags {
            source.send_event(gst::event::Tag::new(tags));
        }
        pipeline.add(&source)?;
        source.link_pads(Some("src"), muxer, Some("subtitle_%u"))?;
        for buffer in self.buffers {
            let _ = source.push_buffer(buffer);
        }
        let _ = source.end_of_stream();
        source.sync_state_with_parent()
    }
}

/// Puts a track into the copy, or says what kind of track it is that does not fit.
fn connect(pipeline: &gst::Pipeline, pad: &gst::Pad, muxer: &gst::Element) -> Result<(), String> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let kind = caps
        .structure(0)
        .map_or("", |caps| caps.name().as_str())
        .to_owned();
    let link = || {
        let queue = gst::ElementFactory::make("queue")
            .property("max-size-buffers", 0u32)
            .property("max-size-bytes", 0u32)
            .property("max-size-time", 10_000_000_000u64)
            .build()?;
        pipeline.add(&queue)?;
        let known = PARSERS.iter().find(|(caps, _)| *caps == kind);
        // Without the parser most files go as well.
        let parser = known.and_then(|(_, name)| gst::ElementFactory::make(name).build().ok());
        // MPEG audio of the first versions, such as MP3, has another parser, which has run already.
        let is_aac = caps.structure(0).is_some_and(|caps| {
            caps.get::<i32>("mpegversion")
                .is_ok_and(|version| version >= 2)
        });
        let parser = parser.filter(|_| kind != "audio/mpeg" || is_aac);
        let first = parser.as_ref().unwrap_or(&queue);
        if let Some(parser) = &parser {
            pipeline.add(parser)?;
            parser.link(&queue)?;
            parser.sync_state_with_parent()?;
        }
        // From the front to the back: the muxer chooses its pad by what the track may hold.
        let sink = first.static_pad("sink");
        if sink.is_none_or(|sink| pad.link(&sink).is_err()) {
            return Err(gst::glib::bool_error!("the track does not link"));
        }
        queue.link(muxer)?;
        queue.sync_state_with_parent()
    };
    link().map_err(|_: gst::glib::BoolError| kind.clone())
}

fn watch(bus: Option<&gst::Bus>, output: PathBuf, sender: Sender<Event>) {
    let Some(bus) = bus else {
        return;
    };
    bus.set_sync_handler(move |_, message| {
        let event = match message.view() {
            gst::MessageView::Eos(_) => Some(Event::End),
            gst::MessageView::Error(error) => {
                let error = error.error();
                Some(Event::Failed(
                    match error.matches(gst::ResourceError::NoSpaceLeft) {
                        true => Problem::output(&output)(io::ErrorKind::StorageFull.into()),
                        false => Problem::Element(error.to_string()),
                    },
                ))
            }
            _ => None,
        };
        if let Some(event) = event {
            let _ = sender.send(event);
        }
        gst::BusSyncReply::Drop
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_keep_their_container_where_it_takes_text() {
        for (input, copy) in [
            ("a.mp4", "subtitled.mp4"),
            ("a.MOV", "subtitled.mp4"),
            ("a.mkv", "subtitled.mkv"),
            ("a.webm", "subtitled.mkv"),
            ("a", "subtitled.mkv"),
        ] {
            assert_eq!(extension(Path::new(input)), copy, "{input}");
        }
    }
}
