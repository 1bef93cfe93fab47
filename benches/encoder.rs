// SPDX-License-Identifier: MPL-2.0
//! `encoder/<model>/30s`: one window on all threads, with the instruction set that `WHISPERNPU_ISA` names or the
//! fastest; `encoder/<model>/30s/<isa>` with each other one, `…/reference` on candle-core.

use criterion::{Criterion, criterion_group, criterion_main};
use whisper_engine::encoder::cpu::CpuEncoder;
use whisper_engine::encoder::{AudioFeatures, Encoder};
use whisper_kernels::Isa;
use whisper_model::Model;
use whisper_reference::ReferenceEncoder;

/// Time depends on the window's size only, so any numbers will do.
fn bench(criterion: &mut Criterion, name: &str, model: &Model, encoder: &mut dyn Encoder) {
    let mut features = AudioFeatures::new(&model.config);
    for ((frame, band), x) in encoder.input().indexed_iter_mut() {
        *x = ((frame * (band + 3)) as f32 * 0.01).sin() * 0.7;
    }
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            encoder
                .encode(model.config.audio_ctx, &mut features)
                .unwrap()
        });
    });
}

fn encoder(criterion: &mut Criterion) {
    for name in ["tiny.en", "base"] {
        let model = match Model::find(name).and_then(|path| Model::open(&path)) {
            Ok(model) => model,
            Err(error) => {
                eprintln!("skipped: {error}");
                continue;
            }
        };
        let name = format!("encoder/{name}/30s");
        let mut encoder = CpuEncoder::new(&model).unwrap();
        bench(criterion, &name, &model, &mut encoder);
        for isa in Isa::available().filter(|isa| Ok(*isa) != Isa::choose()) {
            let mut encoder = CpuEncoder::with_isa(&model, isa).unwrap();
            bench(criterion, &format!("{name}/{isa}"), &model, &mut encoder);
        }
        let mut encoder = ReferenceEncoder::new(&model).unwrap();
        bench(
            criterion,
            &format!("{name}/reference"),
            &model,
            &mut encoder,
        );
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = encoder
}
criterion_main!(benches);
