//! The book's reference of the language leaves no word of the grammar out.

use std::collections::BTreeSet;

#[test]
fn the_reference_has_every_keyword() {
    let read = |path: &str| std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let grammar: String = read("src/grammar.pest").lines().filter(|l| !l.starts_with("//")).collect::<Vec<_>>().join("\n");
    let keywords: BTreeSet<&str> =
        grammar.split('"').filter(|w| w.len() > 1 && w.chars().all(|c| c.is_ascii_lowercase() || c == '_')).collect();
    let reference = read("../book/src/reference/isa-language.md");
    let words = reference.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    // `mem32` stands for `mem`.
    let words: BTreeSet<&str> = words.map(|w| w.trim_end_matches(|c: char| c.is_ascii_digit())).collect();
    let missing: Vec<_> = keywords.difference(&words).collect();
    assert!(keywords.len() > 80 && missing.is_empty(), "{} keywords, of which the reference lacks {missing:?}", keywords.len());
}
