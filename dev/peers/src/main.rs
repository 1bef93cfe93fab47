// SPDX-License-Identifier: MPL-2.0
//! Our side of `benches/peers/run`: one answer, a line of JSON, for each line on standard input.
//!
//! ```sh
//! cargo run --release -p peers -- MODEL THREADS [alone]
//! ```
//!
//! MODEL is a name or a path. `WHISPERNPU_ISA` chooses the kernels. With `alone`, `encode` leaves out the
//! decoder's keys and values, as most encoders do.
//!
//! | request | answer |
//! |---|---|
//! | `window FILE` | takes a window's mel, `.npy`, (frames, bands) |
//! | `encode` | `seconds` for that window |
//! | `hidden FILE` | writes the encoder's output, `.npy` |
//! | `logits FILE TOKEN…` | writes the logits that follow each token, `.npy` |
//! | `token CONTEXT COUNT` | `seconds` of one of COUNT tokens that follow CONTEXT others |
//! | `transcribe FILE` | `text` of a FLAC file and `seconds`, through the element in a pipeline |
//!
//! Each answer also has what was asked for, or an `error`.

use std::io::{BufRead, Write};
use std::str::FromStr;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use gst::prelude::*;
use ndarray::Array2;
use rayon::ThreadPool;
use serde_json::{Value, json};
use whisper_engine::decoder::{DecodeSession, Decoder, EncodedWindow};
use whisper_engine::encoder::cpu::CpuEncoder;
use whisper_engine::encoder::{AudioFeatures, Encoder};
use whisper_model::Model;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (model, threads, alone) = match arguments.as_slice() {
        [model, threads] => (model, threads, false),
        [model, threads, alone] if alone == "alone" => (model, threads, true),
        _ => bail!("usage: peers MODEL THREADS [alone]"),
    };
    let threads = threads.parse().context("THREADS")?;
    let mut ours = Ours::new(model, threads, alone);
    for line in std::io::stdin().lock().lines() {
        let answer = ours
            .answer(&line?)
            .unwrap_or_else(|error| json!({ "error": format!("{error:#}") }));
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// What can be asked for, each part made when it is first wanted.
struct Ours {
    name: String,
    threads: usize,
    alone: bool,
    parts: Option<Parts>,
    player: Option<Player>,
}

impl Ours {
    fn new(name: &str, threads: usize, alone: bool) -> Self {
        Self {
            name: name.into(),
            threads,
            alone,
            parts: None,
            player: None,
        }
    }

    fn answer(&mut self, request: &str) -> Result<Value> {
        let words: Vec<&str> = request.split('\t').collect();
        match *words.as_slice() {
            ["transcribe", path] => self.player()?.transcribe(path),
            ["window", path] => {
                let alone = self.alone;
                self.parts()?.window(path, alone)
            }
            ["encode"] => self.parts()?.encode(),
            ["hidden", path] => self.parts()?.hidden(path),
            ["token", context, count] => self.parts()?.token(number(context)?, number(count)?),
            ["logits", path, ref tokens @ ..] => {
                let tokens = tokens.iter().map(|token| number(token));
                self.parts()?
                    .logits(path, &tokens.collect::<Result<Vec<_>>>()?)
            }
            _ => bail!("unknown request {request:?}"),
        }
    }

    fn parts(&mut self) -> Result<&mut Parts> {
        if self.parts.is_none() {
            self.parts = Some(Parts::new(&self.name, self.threads)?);
        }
        self.parts.as_mut().context("no parts")
    }

    fn player(&mut self) -> Result<&Player> {
        if self.player.is_none() {
            self.player = Some(Player::new(&self.name, self.threads as u32)?);
        }
        self.player.as_ref().context("no player")
    }
}

fn number<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(word: &str) -> Result<T> {
    word.parse().with_context(|| format!("{word:?}"))
}

/// Encoder and decoder on a pool as the engine has.
struct Parts {
    encoder: Box<dyn Encoder>,
    decoder: Decoder,
    features: AudioFeatures,
    /// The last window, for the decoder.
    audio: Option<EncodedWindow>,
    threads: ThreadPool,
}

impl Parts {
    fn new(name: &str, threads: usize) -> Result<Self> {
        let model = Model::open(&Model::find(name)?)?;
        Ok(Self {
            encoder: Box::new(CpuEncoder::new(&model)?),
            decoder: Decoder::new(&model)?,
            features: AudioFeatures::new(&model.config),
            audio: None,
            threads: rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()?,
        })
    }

    fn window(&mut self, path: &str, alone: bool) -> Result<Value> {
        let mel: Array2<f32> = ndarray_npy::read_npy(path).context("the mel")?;
        let mut input = self.encoder.input();
        ensure!(
            mel.dim() == input.dim(),
            "a mel of the shape {:?}",
            mel.dim()
        );
        input.assign(&mel);
        self.encode()?;
        self.audio = Some(self.decoder.prepare(&self.features)?);
        if alone {
            self.features.cross.clear();
        }
        Ok(json!({ "runs": self.encoder.description() }))
    }

    fn encode(&mut self) -> Result<Value> {
        let (encoder, features) = (&mut self.encoder, &mut self.features);
        let context = features.hidden.nrows();
        let began = Instant::now();
        self.threads.install(|| encoder.encode(context, features))?;
        Ok(json!({ "seconds": began.elapsed().as_secs_f64() }))
    }

    fn hidden(&mut self, path: &str) -> Result<Value> {
        ndarray_npy::write_npy(path, &self.features.hidden)?;
        Ok(json!({}))
    }

    fn logits(&mut self, path: &str, tokens: &[u32]) -> Result<Value> {
        let audio = self.audio.as_ref().context("no window")?;
        let logits = self
            .decoder
            .logits(tokens, &mut DecodeSession::default(), audio, None)?;
        let shape = (tokens.len(), self.decoder.vocab());
        ndarray_npy::write_npy(path, &Array2::from_shape_vec(shape, logits)?)?;
        Ok(json!({}))
    }

    fn token(&mut self, context: u32, count: u32) -> Result<Value> {
        let audio = self.audio.as_ref().context("no window")?;
        let decoder = &self.decoder;
        let (mut cache, mut logits) = (DecodeSession::default(), Vec::new());
        let mut feed = |tokens: &[u32]| {
            decoder.forward(tokens, &mut cache, audio, None)?;
            decoder.logits_after(&mut cache, tokens.len() - 1, &mut logits)
        };
        self.threads.install(|| {
            feed(&(0..context).map(said).collect::<Vec<_>>())?;
            let began = Instant::now();
            (context..context + count).try_for_each(|place| feed(&[said(place)]))?;
            Ok(json!({ "seconds": began.elapsed().as_secs_f64() / f64::from(count) }))
        })
    }
}

/// The token at a place of a text: which it is makes no difference to the time.
fn said(place: u32) -> u32 {
    300 + place
}

/// The element in a pipeline that is used for all files, as an application would.
struct Player {
    pipeline: gst::Pipeline,
    source: gst::Element,
    sink: gst_app::AppSink,
}

impl Player {
    fn new(model: &str, threads: u32) -> Result<Self> {
        gst::init()?;
        gstwhispernpu::plugin_register_static()?;
        let pipeline = gst::parse::launch(
            "filesrc name=source ! flacparse ! flacdec ! audioconvert ! audioresample \
             ! whispernpu name=whisper language-code=en \
             ! text/x-raw, format=utf8 ! appsink name=sink sync=false",
        )?;
        let pipeline = pipeline
            .downcast::<gst::Pipeline>()
            .ok()
            .context("not a pipeline")?;
        let named = |name| {
            pipeline
                .by_name(name)
                .with_context(|| format!("no element {name}"))
        };
        let (source, whisper, sink) = (named("source")?, named("whisper")?, named("sink")?);
        whisper.set_property("model", model);
        whisper.set_property("threads", threads);
        let sink = sink
            .downcast::<gst_app::AppSink>()
            .ok()
            .context("not an appsink")?;
        Ok(Self {
            pipeline,
            source,
            sink,
        })
    }

    fn transcribe(&self, path: &str) -> Result<Value> {
        self.source.set_property("location", path);
        let began = Instant::now();
        let started = self.pipeline.set_state(gst::State::Playing);
        let text = started.map_err(Into::into).and_then(|_| self.listen());
        let seconds = began.elapsed().as_secs_f64();
        let error = self.error();
        self.pipeline.set_state(gst::State::Null)?;
        match error {
            Some(error) => Err(error),
            None => Ok(json!({ "text": text?, "seconds": seconds })),
        }
    }

    /// All text up to the end of the stream, which an error ends as well.
    fn listen(&self) -> Result<String> {
        let mut text = Vec::new();
        while let Ok(sample) = self.sink.pull_sample() {
            let buffer = sample.buffer().context("a sample without a buffer")?;
            let bytes = buffer.map_readable()?;
            text.extend(
                std::str::from_utf8(&bytes)?
                    .split_whitespace()
                    .map(str::to_owned),
            );
        }
        Ok(text.join(" "))
    }

    fn error(&self) -> Option<anyhow::Error> {
        let message = self
            .pipeline
            .bus()?
            .pop_filtered(&[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(error) => Some(error.error().into()),
            _ => None,
        }
    }
}
