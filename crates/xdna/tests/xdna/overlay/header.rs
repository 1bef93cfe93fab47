// SPDX-License-Identifier: MPL-2.0
//! `kernels/aie2p/contract.h`: the contract's numbers for the core program and the array design.

use std::fmt::Write;

use xdna::arithmetic::{GELU_END, GELU_ROOT};
use xdna::contract::*;

pub fn text() -> String {
    let mut text = String::from(
        "// SPDX-License-Identifier: MPL-2.0\n\
         //\n\
         // The contract's numbers, written from contract.rs and arithmetic.rs in crates/xdna/src.\n\
         // Change those, then: WHISPERNPU_WRITE_HEADER=1 cargo test -p xdna header\n\
         #pragma once\n\n\
         namespace contract {\n\n",
    );
    let numbers = [
        ("COLUMNS", COLUMNS),
        ("ROWS", ROWS),
        ("FIRST_CORE_ROW", FIRST_CORE_ROW),
        ("TILE", TILE),
        ("SUB", SUB),
        ("A_TILE_BYTES", A_TILE_BYTES),
        ("B_TILE_BYTES", B_TILE_BYTES),
        ("B_VALUE_BYTES", B_VALUE_BYTES),
        ("C_TILE_BYTES", C_TILE_BYTES),
        ("PARAMETERS_AT", Parameters::ADDRESS as usize),
        ("PARAMETER_WORDS", Parameters::WORDS),
        ("START_LOCK", START_LOCK as usize),
        ("EPILOGUE_NONE", Epilogue::None as usize),
        ("EPILOGUE_GELU", Epilogue::Gelu as usize),
        ("A_CHANNEL", A_CHANNEL as usize),
        ("B_CHANNEL", B_CHANNEL as usize),
        ("C_CHANNEL", C_CHANNEL as usize),
        ("GELU_TERMS", GELU_ROOT.len()),
    ];
    // Where a parameter is among the words follows from where its value turns up.
    let places = Parameters {
        k_tiles: 0,
        m_passes: 1,
        n_passes: 2,
        own_passes: 3,
        epilogue: 4,
    };
    let names = ["K_TILES", "M_PASSES", "N_PASSES", "OWN_PASSES", "EPILOGUE"];
    for (name, number) in numbers {
        writeln!(text, "constexpr unsigned {name} = {number};").unwrap();
    }
    for (value, name) in names.iter().enumerate() {
        let place = places
            .words()
            .iter()
            .position(|word| *word as usize == value);
        writeln!(
            text,
            "constexpr unsigned PARAMETER_{name} = {};",
            place.unwrap()
        )
        .unwrap();
    }
    let columns: Vec<_> = (0..ROWS).map(|row| a_column(row).to_string()).collect();
    let columns = columns.join(", ");
    writeln!(text, "constexpr unsigned A_COLUMNS[] = {{{columns}}};\n").unwrap();
    // Hexadecimal floats are exact, and C++ reads them.
    writeln!(
        text,
        "constexpr float GELU_END = {};",
        hexadecimal(GELU_END)
    )
    .unwrap();
    let terms: Vec<_> = GELU_ROOT
        .iter()
        .map(|term| format!("    {},\n", hexadecimal(*term)))
        .collect();
    writeln!(
        text,
        "constexpr float GELU_ROOT[] = {{\n{}}};\n\n}} // namespace contract",
        terms.concat()
    )
    .unwrap();
    text
}

/// A normal number as C++17 writes it.
fn hexadecimal(x: f32) -> String {
    let bits = x.to_bits();
    let sign = if bits >> 31 == 1 { "-" } else { "" };
    let exponent = (bits >> 23 & 0xff) as i32 - 127;
    format!("{sign}0x1.{:06x}p{exponent}f", (bits & 0x7f_ffff) << 1)
}
