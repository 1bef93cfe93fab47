// SPDX-License-Identifier: MPL-2.0
//! One lane of one product is lost, on real speech: the comparison with the CPU sees it.

use whisper_engine::encoder::AudioFeatures;
use whisper_engine::encoder::Encoder;
use whisper_engine::encoder::cpu::CpuEncoder;
use whisper_engine::encoder::fallback::min_cosine_similarity;
use whisper_model::Model;

use super::faulty::{Control, Fault, Plan, Step};
use super::on_device;

/// Rows of the recording, 11 s: two lanes.
const CONTEXT: usize = 550;
/// What the comparison asks for lies between: the first is the least of a sound device, the second
/// the most with a lane lost.
const LEAST_SOUND: f64 = 0.995;
const MOST_LOST: f64 = 0.985;

#[test]
#[ignore = "needs the model tiny.en, and ../shared"]
fn lost_lane_of_one_product_is_seen() {
    let path = test_support::shared("golden").join("jfk.mel.npy");
    let mel: ndarray::Array2<f32> = ndarray_npy::read_npy(path).unwrap();
    let model = Model::open(&Model::find("tiny.en").unwrap()).unwrap();
    let encode = |encoder: &mut dyn Encoder| {
        let mut features = AudioFeatures::new(&model.config);
        encoder.input().assign(&mel);
        encoder.encode(CONTEXT, &mut features).unwrap();
        features
    };
    let expected = encode(&mut CpuEncoder::new(&model).unwrap());
    let control = Control::default();
    let mut npu = on_device(&model, &control).unwrap();
    let syncs = || control.counts().of(Step::SyncFromDevice);
    let begin = syncs();
    let sound = min_cosine_similarity(CONTEXT, &encode(&mut npu), &expected);
    println!("least cosine similarity of a sound device {sound:.5}");
    assert!(sound >= LEAST_SOUND, "{sound}");
    // Zeros in all products; in some, what was there before, or what the sync before gave.
    let faults = [
        (Fault::Garbage(0), 0..syncs() - begin),
        (Fault::Stale, 0..2),
        (Fault::Repeats, 9..13),
    ];
    for (fault, products) in faults {
        for product in products {
            control.plan(Plan {
                step: Step::SyncFromDevice,
                fault,
                first: syncs() + product,
                times: 1,
            });
            let cosine = min_cosine_similarity(CONTEXT, &encode(&mut npu), &expected);
            println!("{cosine:.5} with {fault:?} in product {product}");
            // NaN is seen too.
            assert!(cosine <= MOST_LOST || cosine.is_nan(), "{cosine}");
        }
    }
}
