//! Wrong specifications give the intended message; no text makes the front end panic.

use proptest::prelude::*;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/spec")
}

/// `BLESS=1` writes the messages found.
#[test]
fn wrong_specifications_say_what_is_wrong() {
    let mut wrong = Vec::new();
    let paths = emu_dsl::files_of(&folder()).unwrap();
    assert!(paths.len() >= 20);
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let found = match emu_dsl::load_texts(vec![(name.clone(), text)]) {
            Ok(_) => "no error\n".to_string(),
            Err(errors) => errors.to_string(),
        };
        let golden = path.with_extension("err");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&golden, &found).unwrap();
        }
        let wanted = std::fs::read_to_string(&golden).unwrap_or_default();
        if found != wanted {
            wrong.push(format!("{name}:\n--- wanted\n{wanted}--- found\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n(BLESS=1 accepts what was found)", wrong.join("\n"));
}

fn specifications() -> Vec<String> {
    emu_dsl::files_of(&folder()).unwrap().iter().map(|p| std::fs::read_to_string(p).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_text_never_panics(text in "[ -~\n]{0,200}") {
        let _ = emu_dsl::load_texts(vec![("x.isa".into(), text)]);
    }

    #[test]
    fn damaged_specifications_never_panic(which in 0usize..20, at in 0usize..900, cut in 0usize..40, insert in "[(){}\\[\\];:=?!a-z0-9 \"]{0,12}") {
        let mut text = specifications()[which].clone();
        let start = (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        let end = (start + cut).min(text.len());
        text.replace_range(start..end, &insert);
        let _ = emu_dsl::load_texts(vec![("x.isa".into(), text)]);
    }
}
