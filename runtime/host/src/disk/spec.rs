//! `FILE[,format=FORMAT][,snapshot][,readonly][,backing=allow]`: a disk on the command line. A comma in the file's name is written twice.

use super::{Error, Format};
use std::path::PathBuf;
use std::str::FromStr;

/// A disk as the command line says it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Spec {
    /// The image.
    pub file: PathBuf,
    /// Its format; if none is given, by the file's first bytes.
    pub format: Option<Format>,
    /// What is written goes to a temporary file, and is lost at the end.
    pub snapshot: bool,
    /// Nothing is written.
    pub read_only: bool,
    /// Files that the image names may be opened.
    pub backing: bool,
}

const KEYS: [&str; 4] = ["format", "snapshot", "readonly", "backing"];

/// Splits at single commas; two are one of the text.
fn split(text: &str) -> Vec<String> {
    let (mut all, mut chars) = (vec![String::new()], text.chars().peekable());
    while let Some(c) = chars.next() {
        if c == ',' && chars.next_if_eq(&',').is_none() {
            all.push(String::new());
        } else if let Some(last) = all.last_mut() {
            last.push(c);
        }
    }
    all
}

impl FromStr for Spec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Spec, Error> {
        let wrong = |what: String, help: String| Error::Spec(format!("disk `{text}`: {what}\n  help: {help}"));
        let mut parts = split(text).into_iter();
        let file = parts.next().unwrap_or_default();
        if file.is_empty() {
            return Err(wrong("there is no file".into(), "FILE[,format=FORMAT][,snapshot][,readonly][,backing=allow]".into()));
        }
        let mut spec = Spec { file: file.into(), ..Spec::default() };
        for part in parts {
            let (key, value) = part.split_once('=').map_or((part.as_str(), None), |(k, v)| (k, Some(v)));
            let on = || match value {
                None | Some("on") => Ok(true),
                Some("off") => Ok(false),
                Some(other) => Err(wrong(format!("`{key}` is not `{other}`"), format!("{key}, {key}=on or {key}=off"))),
            };
            match key {
                "snapshot" => spec.snapshot = on()?,
                "readonly" => spec.read_only = on()?,
                "backing" => match value {
                    Some("allow") => spec.backing = true,
                    Some("deny") => spec.backing = false,
                    _ => return Err(wrong("`backing` has no such value".into(), "backing=allow or backing=deny".into())),
                },
                "format" => {
                    let name = value.unwrap_or_default();
                    let known = Format::names();
                    let none = || wrong(format!("there is no format `{name}`"), format!("{}{}", nearest(name, &known), known.join(", ")));
                    spec.format = Some(Format::named(name).ok_or_else(none)?);
                }
                _ => {
                    let help = format!("{}{}; a comma in the file's name is written twice", nearest(key, &KEYS), KEYS.join(", "));
                    return Err(wrong(format!("there is no option `{key}`"), help));
                }
            }
        }
        Ok(spec)
    }
}

/// A guess at what was meant, as the beginning of a help text.
fn nearest(word: &str, known: &[&str]) -> String {
    let best = known.iter().max_by(|a, b| strsim::jaro_winkler(word, a).total_cmp(&strsim::jaro_winkler(word, b)));
    best.filter(|best| strsim::jaro_winkler(word, best) > 0.75).map_or(String::new(), |best| format!("did you mean `{best}`? There are "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_doubled_commas() {
        let spec: Spec = "a,,b.img,format=qcow2,snapshot,readonly=off,backing=allow".parse().unwrap();
        let file = PathBuf::from("a,b.img");
        assert_eq!(spec, Spec { file, format: Some(Format::Qcow2), snapshot: true, read_only: false, backing: true });
        assert_eq!("a,,".parse::<Spec>().unwrap().file, PathBuf::from("a,"));
    }

    #[test]
    fn errors_name_the_nearest_key() {
        let error = |text: &str| text.parse::<Spec>().unwrap_err().to_string();
        assert!(error("a,fromat=raw").contains("did you mean `format`?"), "{}", error("a,fromat=raw"));
        assert!(error("a,format=qcow22").contains("did you mean `qcow2`?"));
        assert!(error("a,zzz").contains("there is no option `zzz`") && !error("a,zzz").contains("did you mean"));
        assert!(error("a,snapshot=maybe").contains("snapshot=on"));
        assert!(error("").contains("there is no file") && error(",readonly").contains("there is no file"));
        assert!(error("a,backing").contains("backing=allow"));
    }
}
