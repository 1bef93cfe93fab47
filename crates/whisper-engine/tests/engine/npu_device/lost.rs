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
#[ignore = "needs the models tiny.en and base, and ../shared"]
fn lost_lane_of_one_product_is_seen() {
    let path = test_support::shared("golden").join("jfk.mel.npy");
    let mel: ndarray::Array2<f32> = ndarray_npy::read_npy(path).unwrap();
    // Zeros; what the lane's product before left; what another lane or product gave.
    let zeros = Fault::Garbage(0);
    for (name, faults) in [
        ("tiny.en", &[zeros, Fault::Stale, Fault::Repeats][..]),
        ("base", &[zeros]),
    ] {
        let model = Model::open(&Model::find(name).unwrap()).unwrap();
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
        println!("{name}: least cosine similarity of a sound device {sound:.5}");
        assert!(sound >= LEAST_SOUND, "{name}: {sound}");
        let of_window = syncs() - begin;
        for fault in faults {
            let mut most = 0.0f64;
            for sync in 0..of_window {
                control.plan(Plan {
                    step: Step::SyncFromDevice,
                    fault: *fault,
                    first: syncs() + sync,
                    times: 1,
                });
                let cosine = min_cosine_similarity(CONTEXT, &encode(&mut npu), &expected);
                println!("{name}: {cosine:.5} with {fault:?} in product {sync}");
                most = most.max(cosine);
            }
            println!("{name}: at most {most:.5} with {fault:?} in a lane of a product");
            assert!(most <= MOST_LOST, "{name}: {most}");
        }
    }
}
