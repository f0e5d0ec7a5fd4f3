//! What the book prints is what the repository has.

use std::path::Path;

#[test]
fn the_tutorials_print_the_boards_that_are_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect(path);
    for name in ["first-soc", "own-soc"] {
        let (page, file) = (read(&format!("book/src/{name}.md")), read(&format!("tests/guests/{name}.kdl")));
        let board = &file[file.find(&format!("board \"{name}\"")).expect("the board's node")..];
        assert!(page.contains(board), "book/src/{name}.md and tests/guests/{name}.kdl differ");
    }
}
