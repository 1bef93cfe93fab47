// SPDX-License-Identifier: MPL-2.0
//! The published models, installed by `scripts/fetch-model tiny.en base`, against golden data.

use whisper_model::{Format, Model, WeightData};

fn installed(name: &str) -> Model {
    let path = Model::find(name).unwrap_or_else(|error| panic!("{error}"));
    Model::open(&path).unwrap()
}

#[test]
#[ignore = "needs the models tiny.en and base"]
fn tiny_en_opens_with_its_dimensions_and_heads() {
    let model = installed("tiny.en");
    let config = &model.config;
    assert_eq!(
        (config.n_mels, config.audio_ctx, config.text_ctx),
        (80, 1500, 448)
    );
    assert_eq!(
        (config.audio_state, config.audio_heads, config.audio_layers),
        (384, 6, 4)
    );
    assert_eq!(
        (config.text_state, config.text_heads, config.text_layers),
        (384, 6, 4)
    );
    assert_eq!(config.vocab, 51864);
    assert_eq!(config.alignment_heads.len(), 8);
    assert!(!model.tokenizer.is_multilingual());
    let special = model.tokenizer.special();
    assert_eq!(
        (special.eot, special.sot, special.no_timestamps),
        (50256, 50257, 50362)
    );
}

#[test]
#[ignore = "needs the models tiny.en and base"]
fn base_opens_with_its_dimensions_and_languages() {
    let model = installed("base");
    let config = &model.config;
    assert_eq!(
        (config.audio_state, config.audio_heads, config.audio_layers),
        (512, 8, 6)
    );
    assert_eq!(config.vocab, 51865);
    let tokenizer = &model.tokenizer;
    assert!(tokenizer.is_multilingual());
    let special = tokenizer.special();
    assert_eq!(
        (special.eot, special.sot, special.no_timestamps),
        (50257, 50258, 50363)
    );
    assert_eq!(
        (special.transcribe, special.timestamp_begin),
        (50359, 50364)
    );
    assert_eq!(tokenizer.language_token("en"), Some(50259));
    assert_eq!(tokenizer.language_code(50357), Some("su"));
    assert_eq!(tokenizer.language_token("yue"), None);
}

#[test]
#[ignore = "needs the models tiny.en and base"]
fn stacked_projections_are_rows_of_the_file() {
    let model = installed("tiny.en");
    assert_eq!(model.format, Format::CTranslate2);
    let weight = |name: &str| {
        model
            .weight(&format!("model.decoder.layers.1.{name}"))
            .unwrap()
    };
    let (k, v) = (
        weight("encoder_attn.k_proj.weight"),
        weight("encoder_attn.v_proj.weight"),
    );
    let (WeightData::F16(k), WeightData::F16(v)) = (k.data, v.data) else {
        panic!("not float16")
    };
    assert_eq!([k.len(), v.len()], [384 * 384 * 2; 2]);
    assert_ne!(k, v);
    assert!(!model.has_weight("model.decoder.layers.1.encoder_attn.k_proj.bias"));
    assert!(model.weight("model.decoder.layers.4.fc1.weight").is_err());
    let norm = weight("final_layer_norm.weight").to_f32();
    assert!(norm.iter().all(|value| value.is_finite()) && norm.len() == 384);
}

#[test]
#[ignore = "needs the models tiny.en and base, and ../shared"]
fn golden_text_encodes_to_the_golden_tokens_and_back() {
    for name in ["tiny.en", "base"] {
        let golden = test_support::shared(&format!("golden/jfk.tokens.{name}.json"));
        let model = installed(name);
        let golden: serde_json::Value =
            serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
        let tokens: Vec<u32> = serde_json::from_value(golden["tokens"].clone()).unwrap();
        let text = golden["text"].as_str().unwrap();
        assert_eq!(model.tokenizer.encode(text), tokens);
        assert_eq!(model.tokenizer.decode(&tokens), text);
    }
}

#[test]
#[ignore = "needs the models tiny.en and base"]
fn the_non_speech_tokens_are_openais() {
    for (name, expected) in [
        ("tiny.en", &ENGLISH_NON_SPEECH[..]),
        ("base", &MULTILINGUAL_NON_SPEECH[..]),
    ] {
        assert_eq!(installed(name).tokenizer.non_speech(), expected, "{name}");
    }
}

#[test]
#[ignore = "needs the models tiny.en and base"]
fn text_in_many_scripts_survives() {
    for name in ["tiny.en", "base"] {
        let model = installed(name);
        for text in [
            " Hello, world! It's 10:45.",
            "Grüße aus Köln – schöne Straßen",
            "今日は良い天気ですね。",
            "Привет, как дела?",
            "مرحبا بالعالم",
            "नमस्ते दुनिया",
            "한국어 문장 🙂🏳️‍🌈",
            "  spaces \n\n and\ttabs  ",
        ] {
            let tokens = model.tokenizer.encode(text);
            assert_eq!(model.tokenizer.decode(&tokens), text);
            let pieces: Vec<u8> = tokens
                .iter()
                .flat_map(|token| model.tokenizer.bytes(*token))
                .copied()
                .collect();
            assert_eq!(pieces, text.as_bytes());
        }
    }
}

/// For vocabularies of 51864 tokens, computed from the published vocabulary with openai/whisper's
/// rule.
#[rustfmt::skip]
const ENGLISH_NON_SPEECH: [u32; 84] = [
    1, 2, 7, 8, 9, 10, 14, 25, 26, 27, 28, 29, 31, 58, 59, 60, 61, 62, 63, 90, 91, 92, 93, 357, 366, 438, 532, 685, 705, 796,
    930, 1058, 1220, 1267, 1279, 1303, 1343, 1377, 1391, 1635, 1782, 1875, 2162, 2361, 2488, 3467, 4008, 4211, 4600, 4808,
    5299, 5855, 6329, 7203, 9609, 9959, 10563, 10786, 11420, 11709, 11907, 13163, 13697, 13700, 14808, 15306, 16410, 16791,
    17992, 19203, 19510, 20724, 22305, 22935, 27007, 30109, 30420, 33409, 34949, 40283, 40493, 40549, 47282, 49146,
];

#[rustfmt::skip]
const MULTILINGUAL_NON_SPEECH: [u32; 82] = [
    1, 2, 7, 8, 9, 10, 14, 25, 26, 27, 28, 29, 31, 58, 59, 60, 61, 62, 63, 90, 91, 92, 93, 359, 503, 522, 542, 873, 893, 902,
    918, 922, 931, 1350, 1853, 1982, 2460, 2627, 3246, 3253, 3268, 3536, 3846, 3961, 4183, 4667, 6585, 6647, 7273, 9061, 9383,
    10428, 10929, 11938, 12033, 12331, 12562, 13793, 14157, 14635, 15265, 15618, 16553, 16604, 18362, 18956, 20075, 21675,
    22520, 26130, 26161, 26435, 28279, 29464, 31650, 32302, 32470, 36865, 42863, 47425, 49870, 50254,
];
