// SPDX-License-Identifier: MPL-2.0
//! Speech to test with, and a downstream that keeps what it gets.

use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, Once};
use std::time::{Duration, Instant};

use gst::ClockTime;
use gst::prelude::*;
use gst_check::Harness;

pub const AUDIO: &str = "audio/x-raw, format=S16LE, rate=16000, channels=1, layout=interleaved";
pub const RATE: usize = 16_000;

/// Initialises GStreamer with our plugin. Warnings of GLib and GStreamer fail the test.
pub fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().expect("GStreamer");
        gst::glib::log_set_always_fatal(
            gst::glib::LogLevels::LEVEL_WARNING | gst::glib::LogLevels::LEVEL_CRITICAL,
        );
        gstwhispernpu::plugin_register_static().expect("plugin");
        let model = whisper_model::Model::find("tiny.en");
        assert!(
            model.is_ok(),
            "these tests need a model, get it with: scripts/fetch-model tiny.en"
        );
    });
}

/// A clip of English, 16 kHz mono, and a word that is said in it.
pub struct Speech {
    pub samples: Vec<i16>,
    pub word: &'static str,
}

impl Speech {
    pub fn duration(&self) -> ClockTime {
        duration_of(self.samples.len())
    }
}

/// The project's own clip, or else one from Debian's package pocketsphinx-testdata. `None`, said on standard output,
/// if neither is there: the test is to be skipped.
pub fn speech() -> Option<&'static Speech> {
    static SPEECH: LazyLock<Option<Speech>> =
        LazyLock::new(|| shared_clip().or_else(packaged_clip));
    if SPEECH.is_none() {
        println!("skipped: no speech, install pocketsphinx-testdata");
    }
    SPEECH.as_ref()
}

fn shared_clip() -> Option<Speech> {
    let samples = flac("en-speech/jfk-inaugural.flac")?;
    Some(Speech {
        samples,
        word: "country",
    })
}

/// A sentence of German. `None`, said on standard output, if it is not there.
pub fn german() -> Option<Speech> {
    let samples = flac("multi/de-pv.flac");
    if samples.is_none() {
        println!("skipped: no German speech");
    }
    Some(Speech {
        samples: samples?,
        word: "portal",
    })
}

pub fn flac(name: &str) -> Option<Vec<i16>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/speech")
        .join(name);
    let mut clip = claxon::FlacReader::open(path).ok()?;
    let samples = clip
        .samples()
        .map(|sample| sample.map(|sample| sample as i16));
    samples.collect::<Result<_, _>>().ok()
}

fn packaged_clip() -> Option<Speech> {
    let path =
        "/usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01_austen_64kb-0870.wav";
    let wav = std::fs::read(path).ok()?;
    let data = wav.windows(4).position(|four| four == b"data")? + 8;
    let (samples, _) = wav[data..].as_chunks();
    Some(Speech {
        samples: samples
            .iter()
            .map(|&sample| i16::from_le_bytes(sample))
            .collect(),
        word: "leisure",
    })
}

pub fn duration_of(samples: usize) -> ClockTime {
    ClockTime::from_nseconds(samples as u64 * 62_500)
}

pub fn seconds(seconds: u64) -> ClockTime {
    ClockTime::from_seconds(seconds)
}

/// A buffer without times.
pub fn s16(samples: &[i16]) -> gst::Buffer {
    gst::Buffer::from_mut_slice(
        samples
            .iter()
            .flat_map(|sample| sample.to_le_bytes())
            .collect::<Vec<u8>>(),
    )
}

pub fn timed(mut buffer: gst::Buffer, pts: ClockTime, duration: ClockTime) -> gst::Buffer {
    let writable = buffer.make_mut();
    writable.set_pts(pts);
    writable.set_duration(duration);
    buffer
}

/// The samples as buffers of 100 ms from `base` on.
pub fn buffers(samples: &[i16], base: ClockTime) -> impl Iterator<Item = gst::Buffer> + '_ {
    samples
        .chunks(RATE / 10)
        .enumerate()
        .map(move |(index, chunk)| {
            timed(
                s16(chunk),
                base + duration_of(index * RATE / 10),
                duration_of(chunk.len()),
            )
        })
}

/// An appsrc of this name is a live source of our samples in a pipeline.
pub fn live_source(name: &str) -> String {
    format!("appsrc name={name} is-live=true format=time caps=\"{AUDIO}\"")
}

/// Pushes the samples into a playing live source as fast as they would be spoken, behind `position`. Gives the position
/// of what comes next.
pub fn speak(source: &gst_app::AppSrc, samples: &[i16], position: ClockTime) -> ClockTime {
    for buffer in buffers(samples, position) {
        let end = buffer
            .pts()
            .zip(buffer.duration())
            .map(|(pts, duration)| pts + duration);
        let now = source.current_running_time();
        if let Some(ahead) = end.zip(now).and_then(|(end, now)| end.checked_sub(now)) {
            std::thread::sleep(ahead.into());
        }
        source.push_buffer(buffer).expect("the buffer is taken");
    }
    position + duration_of(samples.len())
}

/// A piece of text that came out.
#[derive(Clone, Debug)]
pub struct Text {
    pub start: ClockTime,
    pub end: ClockTime,
    pub text: String,
    pub discont: bool,
    /// The words that are new in it, from its meta.
    pub items: Vec<serde_json::Value>,
}

/// What came out of the src pad, in order.
#[derive(Clone, Debug)]
pub enum Out {
    Text(Text),
    Event(gst::Event),
}

/// An element between a source and a sink of the test's, with upstream not live.
pub struct Listener {
    pub harness: Harness,
    out: Arc<Mutex<Vec<Out>>>,
    bus: gst::Bus,
}

impl Listener {
    /// `sink` are the caps that downstream takes, `properties` as on the command line.
    pub fn new(properties: &str, sink: &str) -> Self {
        let mut listener = Self::before_data(properties, sink);
        listener.harness.set_src_caps_str(AUDIO);
        listener
    }

    /// As [`new`](Self::new), but nothing was sent yet.
    pub fn before_data(properties: &str, sink: &str) -> Self {
        init();
        let element = gst::parse::launch(&format!("whispernpu {properties}")).expect("element");
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let out = record(&element.static_pad("src").expect("src pad"));
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        harness.set_live(false);
        harness.set_sink_caps_str(sink);
        harness.play();
        Self { harness, out, bus }
    }

    pub fn element(&self) -> gst::Element {
        self.harness.element().expect("element")
    }

    pub fn push(&mut self, buffer: gst::Buffer) {
        self.harness.push(buffer).expect("the buffer is taken");
    }

    pub fn push_samples(&mut self, samples: &[i16], base: ClockTime) {
        buffers(samples, base).for_each(|buffer| self.push(buffer));
    }

    pub fn push_event(&mut self, event: gst::Event) {
        assert!(self.harness.push_event(event), "the event is taken");
    }

    pub fn segment(&mut self, start: ClockTime) {
        let mut segment = gst::FormattedSegment::<ClockTime>::new();
        segment.set_start(start);
        segment.set_time(start);
        self.push_event(gst::event::Segment::new(&segment));
    }

    /// Sends EOS and waits until it comes out.
    pub fn finish(&mut self) -> Vec<Out> {
        self.push_event(gst::event::Eos::new());
        self.wait_until(
            "EOS",
            |out| matches!(out, Out::Event(event) if event.type_() == gst::EventType::Eos),
        )
    }

    /// Waits until something comes out; gives all that came so far.
    pub fn wait_until(&self, what: &str, found: impl Fn(&Out) -> bool) -> Vec<Out> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let out = self.out();
            if out.iter().any(&found) {
                return out;
            }
            assert!(
                Instant::now() < deadline,
                "no {what} within a minute, but {out:#?} and {:?}",
                self.messages()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn out(&self) -> Vec<Out> {
        self.out.lock().expect("recorder").clone()
    }

    /// Forgets what came out so far.
    pub fn forget(&self) {
        self.out.lock().expect("recorder").clear();
    }

    pub fn messages(&self) -> Vec<gst::Message> {
        std::iter::from_fn(|| self.bus.pop()).collect()
    }

    /// A counter of the `stats` property.
    pub fn stat(&self, field: &str) -> u64 {
        self.element()
            .property::<gst::Structure>("stats")
            .get(field)
            .expect(field)
    }
}

/// Keeps what passes `pad`.
pub fn record(pad: &gst::Pad) -> Arc<Mutex<Vec<Out>>> {
    let out = Arc::new(Mutex::new(Vec::new()));
    let kept = out.clone();
    pad.add_probe(
        gst::PadProbeType::DATA_DOWNSTREAM | gst::PadProbeType::EVENT_FLUSH,
        move |_, info| {
            let item = match &info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => Out::Text(text(buffer)),
                Some(gst::PadProbeData::Event(event)) => Out::Event(event.clone()),
                _ => return gst::PadProbeReturn::Ok,
            };
            kept.lock().expect("recorder").push(item);
            gst::PadProbeReturn::Ok
        },
    );
    out
}

fn text(buffer: &gst::Buffer) -> Text {
    let start = buffer.pts().expect("text has a PTS");
    let map = buffer.map_readable().expect("text can be read");
    Text {
        start,
        end: start + buffer.duration().expect("text has a duration"),
        text: std::str::from_utf8(&map).expect("text is UTF-8").to_owned(),
        discont: buffer.flags().contains(gst::BufferFlags::DISCONT),
        items: items(buffer),
    }
}

fn items(buffer: &gst::BufferRef) -> Vec<serde_json::Value> {
    if buffer.flags().contains(gst::BufferFlags::HEADER) {
        return Vec::new();
    }
    let meta =
        gst::meta::CustomMeta::from_buffer(buffer, "WhisperNpuItemMeta").expect("text has a meta");
    let items: String = meta.structure().get("items").expect("the meta has items");
    serde_json::from_str(&items).expect("the items are a JSON array")
}

pub fn texts(out: &[Out]) -> Vec<Text> {
    let text = |item: &Out| {
        if let Out::Text(text) = item {
            Some(text.clone())
        } else {
            None
        }
    };
    out.iter().filter_map(text).collect()
}

pub fn events(out: &[Out]) -> Vec<gst::Event> {
    let event = |item: &Out| {
        if let Out::Event(event) = item {
            Some(event.clone())
        } else {
            None
        }
    };
    out.iter().filter_map(event).collect()
}

/// All text, in lower case, on one line.
pub fn said(out: &[Out]) -> String {
    let texts: Vec<String> = texts(out)
        .into_iter()
        .map(|text| text.text.replace('\n', " ").to_lowercase())
        .collect();
    texts.join(" ")
}
