//! What an engine counts.

/// The counters, each with the name under which it is shown.
macro_rules! counters {
    ($($(#[$doc:meta])* $counter:ident = $name:literal,)*) => {
        /// Counters for `--stats`.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $counter: u64,)*
        }

        impl Stats {
            /// Adds those of another engine.
            pub fn add(&mut self, other: &Stats) {
                $(self.$counter += other.$counter;)*
            }

            /// All of them by name, as `--stats` says them.
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$(($name, self.$counter)),*]
            }
        }
    };
}

counters! {
    /// Guest instructions executed.
    instructions = "instructions",
    /// Blocks translated.
    blocks = "blocks",
    /// Blocks that another process, or another engine, had translated.
    stored_blocks = "stored-blocks",
    /// Guest instructions translated.
    translated = "translated",
    /// Bytecode words made.
    words = "words",
    /// Look-ups of the next block outside generated code and the bytecode loop: the jump cache did not know it, or it is to be linked.
    lookups = "lookups",
    /// Look-ups by generated code of what its jump cache did not know.
    jump_misses = "jump-misses",
    /// Jumps linked to their target.
    links = "links",
    /// Jumps of generated code after which the block key was computed from the state, by a call.
    rekeys = "rekeys",
    /// Accesses of generated code that did not find their page in the TLB's front: misses of the TLB behind it, devices, pages that hold code, crossings.
    front_misses = "front-misses",
    /// Translation-table walks.
    tlb_misses = "tlb-misses",
    /// Exceptions and interrupts delivered.
    exceptions = "exceptions",
    /// Regions made, and put in front of their first block.
    regions = "regions",
    /// Of these, what another process or engine had compiled.
    stored_regions = "stored-regions",
    /// ... and taken away again, as they were not worth it.
    dropped_regions = "dropped-regions",
    /// Words of bytecode that the quick tier left to the interpreter, each time.
    interpreted = "interpreted",
    /// Times the interpreter took over inside a block: accesses that go together did not find their page, or floating-point controls do not suit the host.
    resumed = "resumed",
    /// Translations of others that were not what they had written.
    rejected = "rejected",
    /// Times translations were forgotten: the code cache was full, or a debugger changed where to stop.
    flushes = "flushes",
}
