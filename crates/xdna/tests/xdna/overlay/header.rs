// SPDX-License-Identifier: MPL-2.0
//! `kernels/aie2p/contract.h`: the contract's numbers for the core program and the array design.

use std::fmt::Write;

use xdna::contract::*;

pub fn text() -> String {
    let mut text = String::from(
        "// SPDX-License-Identifier: MPL-2.0\n\
         //\n\
         // The contract's numbers, written from contract.rs in crates/xdna/src.\n\
         // Change that, then: WHISPERNPU_WRITE_HEADER=1 cargo test -p xdna header\n\
         #pragma once\n\n\
         namespace contract {\n\n",
    );
    // Where a parameter is among the words follows from where its value turns up.
    let parameters = Parameters {
        more_k_tiles: 7,
        output: 8,
    };
    let place = |value| parameters.words().iter().position(|word| *word == value);
    let numbers = [
        ("COLUMNS", COLUMNS),
        ("ROWS", ROWS),
        ("FIRST_CORE_ROW", FIRST_CORE_ROW),
        ("TILE_ROWS", TILE_ROWS),
        ("TILE", TILE),
        ("SUB", SUB),
        ("A_TILE_BYTES", A_TILE_BYTES),
        ("B_TILE_BYTES", B_TILE_BYTES),
        ("C_TILE_BYTES", C_TILE_BYTES),
        ("PARAMETERS_AT", Parameters::ADDRESS as usize),
        ("PARAMETER_WORDS", Parameters::WORDS),
        ("PARAMETER_MORE_K_TILES", place(7).unwrap()),
        ("PARAMETER_OUTPUT", place(8).unwrap()),
        ("OUTPUT_F32", Output::F32 as usize),
        ("OUTPUT_BF16", Output::Bf16 as usize),
    ];
    for (name, number) in numbers {
        writeln!(text, "constexpr unsigned {name} = {number};").unwrap();
    }
    let lists = [
        ("A_COLUMNS", A_SHIMS.map(|shim| shim.0).to_vec()),
        ("A_CHANNELS", A_SHIMS.map(|shim| shim.1).to_vec()),
        ("B_COLUMNS", B_SHIMS.map(|shim| shim.0).to_vec()),
        ("B_CHANNELS", B_SHIMS.map(|shim| shim.1).to_vec()),
        ("C_COLUMNS", C_SHIMS.to_vec()),
    ];
    for (name, numbers) in lists {
        let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
        let numbers = numbers.join(", ");
        writeln!(text, "constexpr unsigned {name}[] = {{{numbers}}};").unwrap();
    }
    text + "\n} // namespace contract\n"
}
