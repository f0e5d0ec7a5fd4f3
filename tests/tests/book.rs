//! What the book prints is what the repository has.

use std::path::Path;

#[test]
fn the_tutorial_prints_the_board_that_is_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect(path);
    let (page, file) = (read("book/src/first-soc.md"), read("tests/guests/first-soc.kdl"));
    let board = &file[file.find("board \"first-soc\"").expect("the board's node")..];
    assert!(page.contains(board), "book/src/first-soc.md and tests/guests/first-soc.kdl differ");
}
