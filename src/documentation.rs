// SPDX-License-Identifier: MPL-2.0
//! Holds `docs/element.md` against the code.

use std::collections::BTreeSet;

use gst::glib;
use gst::prelude::*;

use crate::element::WhisperNpu;
use crate::stats;

const PAGE: &str = include_str!("../docs/element.md");

/// The cells of the first row that names `name`.
fn row(name: &str) -> Vec<&'static str> {
    let cell = format!("`{name}`");
    let row = PAGE
        .lines()
        .find(|line| line.starts_with('|') && line.contains(&cell));
    row.unwrap_or_else(|| panic!("docs/element.md has no row for {name}"))
        .split('|')
        .map(str::trim)
        .collect()
}

/// The names in the first column of all tables under a heading.
fn names_under(heading: &str) -> BTreeSet<&'static str> {
    let section = PAGE.split("\n## ").find(|part| part.starts_with(heading));
    let rows = section
        .unwrap_or("")
        .lines()
        .filter(|line| line.starts_with("| `"));
    rows.filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split(','))
        .map(|name| name.trim().trim_matches('`'))
        .collect()
}

fn own_properties() -> Vec<glib::ParamSpec> {
    gst::init().expect("GStreamer");
    let element: WhisperNpu = glib::Object::new();
    let own = |spec: &glib::ParamSpec| spec.owner_type() == element.type_();
    element
        .list_properties()
        .iter()
        .filter(|spec| own(spec))
        .cloned()
        .collect()
}

/// Default and range as the page writes them; empty where it need not.
fn default_and_range(spec: &glib::ParamSpec) -> (String, String) {
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecUInt>() {
        let range = if spec.maximum() == u32::MAX {
            String::new()
        } else {
            format!("{} to {}", spec.minimum(), spec.maximum())
        };
        return (spec.default_value().to_string(), range);
    }
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecFloat>() {
        let range = format!("{} to {}", spec.minimum(), spec.maximum());
        return (spec.default_value().to_string(), range);
    }
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecEnum>() {
        let nicks: Vec<_> = spec
            .enum_class()
            .values()
            .iter()
            .map(|v| format!("`{}`", v.nick()))
            .collect();
        let default = spec.default_value_as_i32();
        let default = spec.enum_class().value(default).expect("a value").nick();
        return (format!("`{default}`"), nicks.join(", "));
    }
    (String::new(), String::new())
}

#[test]
fn page_has_each_property_with_default_and_range() {
    let specs = own_properties();
    let names: BTreeSet<_> = specs.iter().map(|spec| spec.name()).collect();
    assert_eq!(names_under("Properties"), names);
    for spec in &specs {
        let row = row(spec.name());
        let (default, range) = default_and_range(spec);
        assert!(
            row[3].contains(&default),
            "default of {}: {row:?}",
            spec.name()
        );
        assert!(row[4].contains(&range), "range of {}: {row:?}", spec.name());
    }
}

#[test]
fn page_says_when_each_property_can_be_set() {
    for spec in own_properties() {
        let flags = spec.flags();
        let expected = if !flags.contains(glib::ParamFlags::WRITABLE) {
            "read-only"
        } else if flags.contains(gst::PARAM_FLAG_MUTABLE_PLAYING) {
            "P"
        } else {
            "R"
        };
        let set_in = row(spec.name())[5];
        assert!(set_in.starts_with(expected), "{}: {set_in}", spec.name());
    }
}

#[test]
fn page_has_each_counter() {
    gst::init().expect("GStreamer");
    let stats = stats::all_fields();
    let fields: BTreeSet<_> = stats.fields().map(|field| field.as_str()).collect();
    assert_eq!(names_under("Counters"), fields);
}
