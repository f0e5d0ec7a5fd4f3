//! Board files: any text gives a board or messages, and what is made of a board is made or refused.
#![no_main]

use emu_boards::{Request, check, diagnostic, load_text, view};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let registry = emu_machine::schema::Registry { devices: emu_devices::registry(), cpus: vec![] };
    let board = load_text(&Request { board: "fuzz".into(), ..Request::default() }, text);
    let problems = check(&board, &registry);
    _ = diagnostic::render(&problems, &board.sources);
    let (plan, _) = emu_boards::plan(&board, &registry);
    _ = view::device_tree_blob(&board, &plan);
    _ = view::device_tree_source(&board, &plan);
});
