// SPDX-License-Identifier: MPL-2.0

use std::time::Duration;

use super::*;

fn word(text: &str) -> Word {
    Word {
        text: text.into(),
        spaced: true,
        start: Duration::from_millis(1500),
        end: Duration::from_millis(1999),
        probability: 0.5,
    }
}

fn cue(lines: &[&[&str]]) -> Cue {
    let (start, end) = (Duration::from_millis(1500), Duration::from_millis(2001));
    let line = |line: &&[&str]| line.iter().copied().map(word).collect();
    Cue::all_new(start, end, lines.iter().map(line).collect())
}

#[test]
fn text_cannot_break_the_frame_of_a_file() {
    let hostile = cue(&[&["a--->", "b"], &["\n\n"], &["--", ">", "<i>&"]]);
    assert_eq!(
        Writer::new(Format::Utf8).write(&hostile),
        "a-> b\n-- > <i>&"
    );
    assert_eq!(
        Writer::new(Format::PangoMarkup).write(&hostile),
        "a-&gt; b\n-- &gt; &lt;i&gt;&amp;"
    );
    let mut joined = cue(&[&["--", ">"]]);
    joined.lines[0][1].spaced = false;
    assert_eq!(Writer::new(Format::Utf8).write(&joined), "->");
}

#[test]
fn subrip_numbers_cues_and_has_any_count_of_hours() {
    let mut writer = Writer::new(Format::SubRip);
    assert_eq!(
        writer.write(&cue(&[&["one"], &["two"]])),
        "1\n00:00:01,500 --> 00:00:02,001\none\ntwo\n\n"
    );
    let late = Cue {
        start: Duration::from_secs(123 * 3600 + 59 * 60 + 59),
        end: Duration::from_secs(124 * 3600),
        ..cue(&[&["late"]])
    };
    assert_eq!(
        writer.write(&late),
        "2\n123:59:59,000 --> 124:00:00,000\nlate\n\n"
    );
    assert_eq!(writer.header(), None);
}

#[test]
fn webvtt_has_its_header_once_and_escapes() {
    let mut writer = Writer::new(Format::WebVtt);
    assert_eq!(
        writer.write(&cue(&[&["a<b>&"]])),
        "WEBVTT\n\n00:00:01.500 --> 00:00:02.001\na&lt;b&gt;&amp;\n\n"
    );
    assert_eq!(
        writer.write(&cue(&[&["c"]])),
        "00:00:01.500 --> 00:00:02.001\nc\n\n"
    );
    assert_eq!(writer.header(), None);
    assert_eq!(
        Writer::new(Format::WebVtt).header().as_deref(),
        Some("WEBVTT\n\n")
    );
}

#[test]
fn json_has_one_object_a_line_with_its_words() {
    let line = Writer::new(Format::JsonLines).write(&cue(&[&["say", "\"hi\""], &["日本"]]));
    assert_eq!(line.matches('\n').count(), 1);
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["start"], 1.5);
    assert_eq!(value["end"], 2.001);
    assert_eq!(value["text"], "say \"hi\"\n日本");
    assert_eq!(value["lines"], serde_json::json!(["say \"hi\"", "日本"]));
    assert_eq!(
        value["words"][2],
        serde_json::json!({"text": "日本", "start": 1.5, "end": 1.999, "probability": 0.5})
    );
}

#[test]
fn json_lists_only_new_words() {
    let mut rolled = cue(&[&["say", "it"], &["again"]]);
    rolled.new_words = 1;
    let line = Writer::new(Format::JsonLines).write(&rolled);
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["text"], "say it\nagain");
    assert_eq!(value["words"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        value["words"],
        serde_json::from_str::<serde_json::Value>(&words_as_json(&rolled)).unwrap()
    );
    rolled.new_words = 0;
    assert_eq!(words_as_json(&rolled), "[]");
}

/// The same cue in the three formats that hold times, from start to end.
fn times_of(start: Duration, end: Duration) -> [String; 3] {
    let cue = Cue {
        start,
        end,
        ..cue(&[&["x"]])
    };
    let subrip = Writer::new(Format::SubRip).write(&cue);
    let webvtt = Writer::new(Format::WebVtt).write(&cue);
    let json = Writer::new(Format::JsonLines).write(&cue);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    [
        subrip.lines().nth(1).unwrap().to_owned(),
        webvtt.lines().nth(2).unwrap().to_owned(),
        format!("{} {}", json["start"], json["end"]),
    ]
}

#[test]
fn times_are_rounded_to_the_nearest_millisecond() {
    assert_eq!(
        times_of(
            Duration::from_nanos(619_999_999),
            Duration::from_nanos(1_000_499_999)
        ),
        [
            "00:00:00,620 --> 00:00:01,000",
            "00:00:00.620 --> 00:00:01.000",
            "0.62 1.0"
        ]
    );
    // Rounding carries into seconds, minutes and hours.
    assert_eq!(
        times_of(
            Duration::from_micros(59_999_500),
            Duration::from_nanos(3_599_999_999_999)
        ),
        [
            "00:01:00,000 --> 01:00:00,000",
            "00:01:00.000 --> 01:00:00.000",
            "60.0 3600.0"
        ]
    );
}

#[test]
fn rounded_times_stay_in_order() {
    let at = |nanos: u64| times_of(Duration::ZERO, Duration::from_nanos(nanos))[0].clone();
    let times: Vec<_> = (0..4_000)
        .map(|step| at(998_000_000 + step * 1_001))
        .collect();
    assert!(times.is_sorted());
    // The last time there is does not overflow.
    hms(Duration::MAX);
}

#[test]
fn json_is_read_as_it_was_written() {
    let mut mixed = cue(&[&["say", "a--->", "b"], &["日本", "語"], &["b"]]);
    mixed.lines[1][1].spaced = false;
    for cue in [mixed, cue(&[&["one"]]), cue(&[&["a", "a"], &["a"]])] {
        let line = Writer::new(Format::JsonLines).write(&cue);
        assert_eq!(cue_from_json(&line).unwrap(), cue, "{line}");
    }
    assert!(
        !Writer::new(Format::JsonLines)
            .write(&cue(&[&["a"]]))
            .contains("spaced")
    );
    for wrong in ["", "{}", "[1]", "{\"start\":"] {
        assert!(cue_from_json(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn json_of_a_rolled_cue_gives_its_new_words() {
    let mut rolled = cue(&[&["say", "it"], &["once", "again"]]);
    rolled.new_words = 1;
    let read = cue_from_json(&Writer::new(Format::JsonLines).write(&rolled)).unwrap();
    assert_eq!(read.text(), "again");
    assert_eq!(read.new_words().count(), 1);
}
