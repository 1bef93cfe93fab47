// SPDX-License-Identifier: MPL-2.0
//! Clips through `filesrc ! flacparse ! … ! whispernpu ! appsink`, as fast as it goes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use gst::prelude::*;

use crate::bus;
use crate::manifest::Clip;
use crate::options::{Mode, Options};

/// Without a word, an end or an error for so long, a pipeline hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// What came of a clip.
pub struct Transcript {
    pub text: String,
    /// As the element's TAG names it, if it sent one.
    pub language: Option<String>,
    /// From the start of the pipeline to its end of stream.
    pub wall: Duration,
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
        Ok(Self {
            pipeline,
            source,
            whisper,
            sink,
            detect: options.mode == Mode::Multi,
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
        let (text, language) = transcript?;
        Ok(Transcript {
            text,
            language,
            wall,
        })
    }

    /// The text up to the end of the stream, and its language.
    fn listen(&self) -> Result<(String, Option<String>)> {
        let bus = self.pipeline.bus().context("no bus")?;
        let wanted = [gst::MessageType::Error, gst::MessageType::Tag];
        let (mut text, mut language) = (Vec::new(), None);
        let mut heard = Instant::now();
        loop {
            // An error ends the stream as well: the messages up to its end are read before it counts.
            let ended = self.sink.is_eos();
            while let Some(message) = bus.pop_filtered(&wanted) {
                match message.view() {
                    gst::MessageView::Error(error) => bail!(bus::described(error)),
                    gst::MessageView::Tag(tag) => {
                        let code = tag.tags().get::<gst::tags::LanguageCode>();
                        language = code.map(|code| code.get().to_owned()).or(language);
                    }
                    _ => {}
                }
            }
            if ended {
                return Ok((text.join(" "), language));
            }
            if let Some(sample) = self
                .sink
                .try_pull_sample(gst::ClockTime::from_mseconds(100))
            {
                text.push(text_of(&sample)?);
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

/// The text of a buffer on one line.
fn text_of(sample: &gst::Sample) -> Result<String> {
    let buffer = sample.buffer().context("a sample without a buffer")?;
    let bytes = buffer.map_readable()?;
    let text = std::str::from_utf8(&bytes).context("text is not UTF-8")?;
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}
