// SPDX-License-Identifier: MPL-2.0
//! Clips through `filesrc ! flacparse ! … ! whispernpu ! appsink`, as fast as it goes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use gst::prelude::*;

use crate::bus;
use crate::manifest::Clip;
use crate::mode::Mode;
use crate::options::Options;

/// Without a word, an end or an error for so long, a pipeline hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// What came of a clip.
#[derive(Default)]
pub struct Transcript {
    pub text: String,
    /// What the text was made of, each with its time in seconds from the clip's first sample.
    pub parts: Vec<(f64, String)>,
    /// As the element's TAG names it, if it sent one.
    pub language: Option<String>,
    /// From the start of the pipeline to its end of stream.
    pub wall: Duration,
}

impl Transcript {
    /// The parts that begin at that second or later.
    pub fn text_from(&self, second: f64) -> String {
        let parts = self.parts.iter().filter(|(start, _)| *start >= second);
        let texts: Vec<&str> = parts.map(|(_, text)| text.as_str()).collect();
        texts.join(" ")
    }
}

/// One pipeline, used for all clips as an application would.
pub struct Transcriber {
    pipeline: gst::Pipeline,
    source: gst::Element,
    whisper: gst::Element,
    sink: gst_app::AppSink,
    detect: bool,
}

impl Transcriber {
    /// For FLAC files alone or, if not `all_flac`, for whatever GStreamer decodes.
    pub fn new(options: &Options, all_flac: bool) -> Result<Self> {
        let decoder = if all_flac {
            "flacparse ! flacdec !"
        } else {
            "decodebin name=decoder"
        };
        let pipeline = gst::parse::launch(&format!(
            "filesrc name=source ! {decoder} audioconvert name=convert ! audioresample \
             ! whispernpu name=whisper ! text/x-raw, format=utf8 ! appsink name=sink sync=false",
        ))?;
        let pipeline = pipeline
            .downcast::<gst::Pipeline>()
            .ok()
            .context("not a pipeline")?;
        let element = |name| {
            pipeline
                .by_name(name)
                .with_context(|| format!("no element {name}"))
        };
        let (source, whisper, sink) = (element("source")?, element("whisper")?, element("sink")?);
        let sink = sink
            .downcast::<gst_app::AppSink>()
            .ok()
            .context("not an appsink")?;
        if !all_flac {
            link_first_sound(&element("decoder")?, &element("convert")?);
        }
        whisper.set_property("model", &options.model);
        whisper.set_property_from_str("device", &options.device);
        whisper.set_property("threads", options.threads);
        if options.mode == Mode::LeadIn {
            whisper.set_property_from_str("granularity", "word");
        }
        Ok(Self {
            pipeline,
            source,
            whisper,
            sink,
            detect: matches!(options.mode, Mode::Multi | Mode::LeadIn),
        })
    }

    /// What really runs, once a clip has been transcribed.
    pub fn active_device(&self) -> String {
        self.whisper
            .property::<Option<String>>("active-device")
            .unwrap_or_default()
    }

    pub fn transcribe(&self, clip: &Clip) -> Result<Transcript> {
        self.source
            .set_property("location", clip.path.to_str().context("path is not UTF-8")?);
        if !self.detect {
            let language = if clip.language == "-" {
                "en"
            } else {
                &clip.language
            };
            self.whisper.set_property("language-code", language);
        }
        let begin = Instant::now();
        let transcript = match self.pipeline.set_state(gst::State::Playing) {
            Ok(_) => self.listen(),
            Err(failure) => Err(bus::error(&self.pipeline).unwrap_or(failure.into())),
        };
        let wall = begin.elapsed();
        self.pipeline.set_state(gst::State::Null)?;
        let transcript = Transcript {
            wall,
            ..transcript?
        };
        Ok(Transcript {
            text: transcript.text_from(0.0),
            ..transcript
        })
    }

    /// The parts up to the end of the stream, and their language.
    fn listen(&self) -> Result<Transcript> {
        let bus = self.pipeline.bus().context("no bus")?;
        let wanted = [gst::MessageType::Error, gst::MessageType::Tag];
        let mut transcript = Transcript::default();
        let mut heard = Instant::now();
        loop {
            // An error ends the stream as well: the messages up to its end are read before it counts.
            let ended = self.sink.is_eos();
            while let Some(message) = bus.pop_filtered(&wanted) {
                match message.view() {
                    gst::MessageView::Error(error) => bail!(bus::described(error)),
                    gst::MessageView::Tag(tag) => {
                        let code = tag.tags().get::<gst::tags::LanguageCode>();
                        if let Some(code) = code {
                            transcript.language = Some(code.get().to_owned());
                        }
                    }
                    _ => {}
                }
            }
            if ended {
                return Ok(transcript);
            }
            if let Some(sample) = self
                .sink
                .try_pull_sample(gst::ClockTime::from_mseconds(100))
            {
                transcript.parts.push(part(&sample)?);
                heard = Instant::now();
            }
            if heard.elapsed() > PATIENCE {
                bail!("nothing happened for {} s", PATIENCE.as_secs());
            }
        }
    }
}

/// Links what `decoder` finds for each file. A link that a description makes serves one file only.
fn link_first_sound(decoder: &gst::Element, convert: &gst::Element) {
    let convert = convert.downgrade();
    decoder.connect_pad_added(move |_, pad| {
        let sink = convert
            .upgrade()
            .and_then(|convert| convert.static_pad("sink"));
        if let Some(sink) = sink.filter(|sink| !sink.is_linked()) {
            // A picture does not fit, and is left alone.
            let _ = pad.link(&sink);
        }
    });
}

/// When a buffer begins, and its text on one line.
fn part(sample: &gst::Sample) -> Result<(f64, String)> {
    let buffer = sample.buffer().context("a sample without a buffer")?;
    let start = buffer.pts().context("a text without a PTS")?;
    let bytes = buffer.map_readable()?;
    let text = std::str::from_utf8(&bytes).context("text is not UTF-8")?;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok((start.nseconds() as f64 / 1e9, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_a_second_leaves_out_what_came_before() {
        let part = |start, text: &str| (start, text.to_owned());
        let transcript = Transcript {
            parts: vec![part(1.0, "Ask"), part(2.0, "not"), part(3.0, "what.")],
            ..Transcript::default()
        };
        assert_eq!(transcript.text_from(2.0), "not what.");
        assert_eq!(transcript.text_from(3.5), "");
    }
}
