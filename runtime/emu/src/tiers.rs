//! `--jit` and what goes with it.

use crate::code_cache;
use clap::Args;
use emu_ir::interp::{Tiers, Workers};
use emu_store::{Reserve, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Threads that compile regions, if none is asked for, and jumps back until one is made.
const THREADS: u8 = 1;
const THRESHOLD: u32 = 30_000;
/// No directory for translations.
const OFF: &str = "off";

/// Which tiers execute guest code.
#[derive(Args, Debug, Clone)]
pub struct TierArgs {
    /// Which tiers execute guest code: off: the interpreter; quick: blocks as host code; full: hot loops as regions, too; auto: what is fastest
    #[arg(long, value_name = "TIER", default_value = "auto", value_parser = ["auto", "off", "quick", "full"])]
    jit: String,
    /// Threads that compile regions; 0: CPUs wait for them
    #[arg(long, value_name = "N", default_value_t = THREADS, value_parser = clap::value_parser!(u8).range(..=64))]
    jit_threads: u8,
    /// A region is made of a loop that jumped back so often
    #[arg(long, value_name = "N", default_value_t = THRESHOLD, hide = true)]
    jit_threshold: u32,
    /// Keep translations in this directory, which must be yours alone, and take those there are; `off`: do not
    #[arg(long, value_name = "DIR", default_value = OFF)]
    code_cache: PathBuf,
}

impl TierArgs {
    /// What they say.
    pub fn tiers(&self) -> Tiers {
        match self.jit.as_str() {
            "off" => Tiers::Interpreter,
            "quick" => Tiers::Quick,
            _ => {
                let workers = Arc::new(Workers::new(self.jit_threads.into(), emu_user::without_signals));
                Tiers::All { workers, threshold: self.jit_threshold, thorough: false, windows: None }
            }
        }
    }

    /// Where translations are kept, if they are; `reserve` is what becomes of descriptors.
    pub fn store(&self, reserve: Reserve) -> Option<Arc<Store>> {
        (self.code_cache != Path::new(OFF)).then(|| code_cache::open(&self.code_cache, reserve))?
    }

    /// The same as arguments, where they are not what is there by itself.
    pub fn again(&self) -> Vec<String> {
        let mut again = Vec::new();
        let mut option = |name: &str, value: String, usual: &str| {
            if value != usual {
                again.extend([name.to_string(), value]);
            }
        };
        option("--jit", self.jit.clone(), "auto");
        option("--jit-threads", self.jit_threads.to_string(), &THREADS.to_string());
        option("--jit-threshold", self.jit_threshold.to_string(), &THRESHOLD.to_string());
        if self.code_cache != Path::new(OFF) {
            let path = std::path::absolute(&self.code_cache).unwrap_or_else(|_| self.code_cache.clone());
            // What is no text is not handed on.
            again.extend(path.to_str().into_iter().flat_map(|path| ["--code-cache".to_string(), path.to_string()]));
        }
        again
    }
}
