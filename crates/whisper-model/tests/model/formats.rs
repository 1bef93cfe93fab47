// SPDX-License-Identifier: MPL-2.0
//! Every format yields the same model.

use test_support::synthetic;

use std::fs;
use std::path::Path;

use synthetic::{D, Stored, TEXT_TOKENS, VOCAB};
use whisper_model::{Format, Model, ModelError, WeightData};

fn assert_is_the_synthetic_model(path: &Path, format: Format) {
    let model = Model::open(path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(model.format, format);
    let config = &model.config;
    assert_eq!(
        (
            config.n_mels,
            config.audio_ctx,
            config.text_ctx,
            config.vocab
        ),
        (80, 1500, 32, VOCAB)
    );
    assert_eq!(
        (config.audio_state, config.audio_heads, config.audio_layers),
        (D, 1, 1)
    );
    assert_eq!(
        (config.text_state, config.text_heads, config.text_layers),
        (D, 1, 1)
    );
    for (name, expected) in synthetic::tensors() {
        let weight = model.weight(&name).unwrap();
        assert_eq!(weight.shape, expected.shape, "{name}");
        assert_eq!(weight.to_f32(), expected.values, "{name}");
    }
    assert!(!model.has_weight("model.encoder.layers.0.self_attn.k_proj.bias"));
    assert_eq!(model.tokenizer.special().eot as usize, TEXT_TOKENS);
    assert_eq!(
        model.tokenizer.special().timestamp_begin as usize + 1501,
        VOCAB
    );
    assert_eq!(model.tokenizer.encode("hello"), [256, 257, 111]);
    assert_eq!(model.tokenizer.decode(&[256, 257, 111]), "hello");
}

#[test]
fn hugging_face_directories_hold_the_model() {
    let root = tempfile::tempdir().unwrap();
    for (name, stored) in [("f32", Stored::F32), ("f16", Stored::F16)] {
        let path = synthetic::write_hugging_face(&root.path().join(name), stored);
        assert_is_the_synthetic_model(&path, Format::HuggingFace);
        assert_is_the_synthetic_model(&path.join("model.safetensors"), Format::HuggingFace);
        assert_eq!(Model::open(&path).unwrap().config.alignment_heads, [(0, 0)]);
    }
}

#[test]
fn a_hugging_face_model_may_be_split_into_files() {
    let root = tempfile::tempdir().unwrap();
    let path = synthetic::write_sharded(root.path());
    assert_is_the_synthetic_model(&path, Format::HuggingFace);
}

#[test]
fn ctranslate2_directories_hold_each_element_type() {
    let root = tempfile::tempdir().unwrap();
    for (name, stored) in [
        ("f32", Stored::F32),
        ("f16", Stored::F16),
        ("i8", Stored::I8),
    ] {
        let path =
            synthetic::write_ctranslate2(&root.path().join(name), stored, stored == Stored::F16);
        assert_is_the_synthetic_model(&path, Format::CTranslate2);
        let model = Model::open(&path).unwrap();
        assert_eq!(model.config.alignment_heads, [(0, 0)]);
        let data = model
            .weight("model.decoder.layers.0.encoder_attn.v_proj.weight")
            .unwrap()
            .data;
        match stored {
            Stored::F32 => assert!(matches!(data, WeightData::F32(_))),
            Stored::F16 => assert!(matches!(data, WeightData::F16(_))),
            Stored::I8 => {
                assert!(matches!(data, WeightData::I8 { scales, .. } if scales == [1.0 / 128.0; D]))
            }
            Stored::Q8_0 | Stored::Q5_0 => unreachable!("not CTranslate2's"),
        }
    }
}

#[test]
fn ggml_files_hold_the_model() {
    let root = tempfile::tempdir().unwrap();
    for (name, stored) in [("ggml-f32.bin", Stored::F32), ("ggml-f16.bin", Stored::F16)] {
        let path = synthetic::write_ggml(&root.path().join(name), stored);
        assert_is_the_synthetic_model(&path, Format::Ggml);
    }
}

#[test]
fn the_vocabulary_must_belong_to_the_weights() {
    let root = tempfile::tempdir().unwrap();
    let path = synthetic::write_ctranslate2(root.path(), Stored::F16, false);
    let vocabulary = path.join("vocabulary.txt");
    let lines = fs::read_to_string(&vocabulary).unwrap();
    fs::write(&vocabulary, format!("{lines}<|another|>\n")).unwrap();
    let message = Model::open(&path).err().unwrap().to_string();
    assert!(
        message.contains("vocabulary") && message.contains("vocabulary.txt"),
        "{message}"
    );
    fs::remove_file(&vocabulary).unwrap();
    assert!(
        Model::open(&path)
            .err()
            .unwrap()
            .to_string()
            .contains("no vocabulary")
    );
}

#[test]
fn what_is_no_model_is_said_to_be_none() {
    let root = tempfile::tempdir().unwrap();
    assert!(matches!(
        Model::open(root.path()),
        Err(ModelError::Unrecognised { .. })
    ));
    assert!(matches!(
        Model::open(&root.path().join("absent")),
        Err(ModelError::Io { .. })
    ));
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("text", b"not a model, just some text"),
        ("short", b"lm"),
    ] {
        let path = root.path().join(name);
        fs::write(&path, bytes).unwrap();
        assert!(
            matches!(Model::open(&path), Err(ModelError::Unrecognised { .. })),
            "{name}"
        );
    }
}

#[test]
fn an_index_cannot_lead_out_of_its_directory() {
    let root = tempfile::tempdir().unwrap();
    let path = synthetic::write_sharded(root.path());
    let index = r#"{"weight_map": {"model.encoder.conv1.weight": "../secret.safetensors"}}"#;
    fs::write(path.join("model.safetensors.index.json"), index).unwrap();
    assert!(matches!(
        Model::open(&path),
        Err(ModelError::Malformed { .. })
    ));
}

#[test]
fn alignment_heads_beyond_the_decoder_do_no_harm() {
    let root = tempfile::tempdir().unwrap();
    let hugging_face = synthetic::write_hugging_face(&root.path().join("hf"), Stored::F16);
    let ctranslate2 = synthetic::write_ctranslate2(&root.path().join("ct2"), Stored::F16, true);
    for file in [
        hugging_face.join("generation_config.json"),
        ctranslate2.join("config.json"),
    ] {
        let open = |heads: &str| {
            let config = format!(r#"{{"alignment_heads": {heads}}}"#);
            fs::write(&file, config).unwrap();
            Model::open(file.parent().unwrap())
        };
        let model = open("[[25, 0]]").unwrap();
        assert_eq!(model.config.alignment_heads, []);
        let warning = model.warning.unwrap();
        assert!(
            warning.contains("head 0 of decoder layer 25") && warning.contains("config.json"),
            "{warning}"
        );
        assert_eq!(open("[[0, 0], [0, 0]]").unwrap().warning, None);
        let many = format!("[{}[0, 0]]", "[0, 0],".repeat(1_000_000));
        assert!(matches!(open(&many), Err(ModelError::Malformed { .. })));
    }
}

#[test]
fn configured_dimensions_must_be_those_of_the_tensors() {
    let root = tempfile::tempdir().unwrap();
    let path = synthetic::write_hugging_face(root.path(), Stored::F16);
    for (field, value) in [
        ("encoder_layers", 2u64),
        ("d_model", 128),
        ("vocab_size", 3000),
        ("decoder_layers", u64::MAX),
    ] {
        let mut config = synthetic::config_json();
        config[field] = value.into();
        fs::write(path.join("config.json"), config.to_string()).unwrap();
        assert!(
            matches!(Model::open(&path), Err(ModelError::Malformed { .. })),
            "{field}"
        );
    }
}

#[test]
fn rows_of_a_weight_are_those_of_the_whole() {
    let root = tempfile::tempdir().unwrap();
    for stored in [Stored::F16, Stored::I8] {
        let model = Model::open(&synthetic::write_ctranslate2(root.path(), stored, true)).unwrap();
        let name = "model.decoder.layers.0.encoder_attn.v_proj.weight";
        let whole = model.weight(name).unwrap().to_f32();
        let part = model.weight_rows(name, 5..9).unwrap();
        assert_eq!(part.shape, [4, D]);
        assert_eq!(part.to_f32(), whole[5 * D..9 * D]);
        assert_eq!(model.weight_shape(name).unwrap(), [D, D]);
        assert!(matches!(
            model.weight_rows(name, D - 1..D + 1),
            Err(ModelError::NoWeight { .. })
        ));
    }
}

/// A process that maps the file would die of it.
#[test]
fn a_file_that_is_truncated_after_it_was_opened_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let ggml = synthetic::write_ggml(&root.path().join("ggml-small.bin"), Stored::F16);
    let ctranslate2 = synthetic::write_ctranslate2(&root.path().join("ct2"), Stored::F16, true);
    let hugging_face = synthetic::write_hugging_face(&root.path().join("hf"), Stored::F16);
    for (path, weights) in [
        (&ggml, ggml.clone()),
        (&ctranslate2, ctranslate2.join("model.bin")),
        (&hugging_face, hugging_face.join("model.safetensors")),
    ] {
        let model = Model::open(path).unwrap();
        let file = fs::File::options().write(true).open(&weights).unwrap();
        file.set_len(5000).unwrap();
        let name = "model.decoder.layers.0.fc2.weight";
        let error = model.weight(name).map(drop).unwrap_err();
        assert!(
            matches!(&error, ModelError::Io { path, .. } if *path == weights),
            "{error}"
        );
    }
}
