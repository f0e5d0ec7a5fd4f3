//! What a guest's Linux ABI is, as tables generated from `abi/*.kdl`: calls with their arguments, structures, flags, numbers.
//!
//! The byte order is no part of a table: an architecture with both shares one. `crate::convert` converts by the tables,
//! `crate::syscall` performs calls by them.
//!
//! Not modelled: data that a guest of the other byte order reads from or writes to a descriptor whose contents are numbers (`eventfd`,
//! `timerfd`, `signalfd`, `inotify`, netlink): they are in the host's order.

include!(concat!(env!("OUT_DIR"), "/abi.rs"));

/// An ABI.
pub struct Abi {
    /// The architecture.
    pub name: &'static str,
    /// `e_machine` of its programs.
    pub machine: u16,
    /// What `uname` says.
    pub uname: &'static str,
    /// Bytes of a `long`, a pointer and an argument.
    pub long: u8,
    /// A 64-bit argument takes two registers that begin with an even one.
    pub even_pairs: bool,
    /// Its calls by number, in order.
    pub numbers: &'static [Number],
    /// Requests of `ioctl`.
    pub ioctls: &'static [Ioctl],
    /// Its structures.
    pub layouts: &'static Layouts,
    /// Its flags.
    pub flags: &'static Flags,
}

/// A call's number.
pub struct Number {
    /// What the guest gives.
    pub number: u32,
    /// The kernel's name for it.
    pub name: &'static str,
    /// The call.
    pub call: &'static Call,
}

/// A system call.
pub struct Call {
    /// Its name in the tables.
    pub name: &'static str,
    /// What is done for it.
    pub does: Does,
    /// Its arguments.
    pub args: &'static [Arg],
    /// What its result is.
    pub returns: Returns,
}

/// What is done for a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Does {
    /// The host's call of this number, with converted arguments.
    Host(libc::c_long),
    /// Code of `crate::syscall`.
    Hand(Hand),
    /// Code of the process.
    Process(Special),
    /// `ENOSYS`.
    Absent,
}

/// What a result is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(dead_code)] // Those no table happens to use.
pub enum Returns {
    /// A number.
    Int,
    /// An address or bits.
    Hex,
    /// A user or group of 16 bits.
    Id16,
}

/// What an argument is. The number with a structure or bytes is the argument that counts them.
#[derive(Clone, Copy)]
pub enum Arg {
    /// `int`.
    Int,
    /// `unsigned`.
    Uint,
    /// `long`.
    Long,
    /// `unsigned long`.
    Ulong,
    /// Permissions of a file.
    Octal,
    /// A user or group of 16 bits, -1 kept.
    Id16,
    /// A descriptor.
    Fd,
    /// A descriptor of a directory, or `AT_FDCWD`.
    DirFd,
    /// A path whose last link is followed.
    Path,
    /// A path whose last link is not followed.
    Link,
    /// A string that is no path.
    Text,
    /// Flags.
    Set(&'static FlagSet),
    /// An address, for code written by hand.
    Pointer,
    /// 64 bits in two registers.
    Wide,
    /// 64 bits in two arguments, the low one first.
    Position,
    /// Takes a register, means nothing.
    #[allow(dead_code)] // Of no table yet.
    Ignored,
    /// No argument (of an `ioctl`).
    None,
    /// A structure, or several, to the host.
    In(&'static Layout, Option<u8>),
    /// From the host; of several, as many as the result says.
    Out(&'static Layout, Option<u8>),
    /// Both ways.
    Inout(&'static Layout, Option<u8>),
    /// From the host if a signal interrupted the call.
    Rest(&'static Layout),
    /// Bytes to the host.
    InBytes(u8),
    /// Bytes from the host.
    OutBytes(u8),
}

/// A request of `ioctl`.
pub struct Ioctl {
    /// The guest's number.
    pub number: u32,
    /// Its name.
    pub name: &'static str,
    /// The host's number.
    pub host: u32,
    /// The third argument.
    pub arg: Arg,
}

/// A structure of the guest beside the host's.
pub struct Layout {
    /// Its name.
    pub name: &'static str,
    /// Bytes of the guest's.
    pub size: u32,
    /// Bytes of the host's.
    pub host_size: u32,
    /// Its members that both have.
    pub fields: &'static [Field],
}

impl Layout {
    /// The member called `name`.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|f| f.name == name)
    }
}

/// A number, or an array of them, in a structure.
pub struct Field {
    /// Its name, with those of the structures it is in.
    pub name: &'static str,
    /// Offset in the guest's structure.
    pub guest: u32,
    /// Bytes of one element in the guest's.
    pub size: u8,
    /// Has a sign.
    pub signed: bool,
    /// Offset in the host's structure.
    pub host: u32,
    /// Bytes of one element in the host's.
    pub host_size: u8,
    /// Elements.
    pub count: u32,
    /// What is special.
    pub how: How,
}

/// How a number is converted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// By sign or zero extension, and by leaving high bits out.
    Plain,
    /// All ones are no limit; what is too large is no limit either.
    Limit,
    /// Only the low 32 bits come in: a nanosecond beside padding (`__kernel_timespec`).
    Low,
    /// A user or group of 16 bits: -1 stays so, what is too large is 65534.
    Id16,
}

/// A set of flags.
pub struct FlagSet {
    /// All are the same for guest and host.
    pub same: bool,
    /// The flags.
    pub flags: &'static [Flag],
}

/// A flag: set if the bits of the mask have the value.
pub struct Flag {
    /// Its name.
    pub name: &'static str,
    /// The guest's value.
    pub value: u64,
    /// The guest's mask.
    pub mask: u64,
    /// The host's value.
    pub host: u64,
    /// The host's mask.
    pub host_mask: u64,
    /// What it says about links at the end of a path.
    pub link: LinkRule,
}

/// What a flag says about the link at the end of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkRule {
    /// Nothing.
    Same,
    /// It is followed.
    Follow,
    /// It is not followed.
    Nofollow,
}

/// The ABI of programs for `e_machine`.
pub fn of_machine(machine: u16) -> Option<&'static Abi> {
    [&ARM, &MICROBLAZE].into_iter().find(|a| a.machine == machine)
}

impl Abi {
    /// The call with a number.
    pub fn number(&self, number: u32) -> Option<&'static Number> {
        // Few numbers are left out, so that one is near the place it has by itself.
        let mut at = self.numbers.len().checked_sub(1)?.min(number as usize);
        while at > 0 && self.numbers[at].number > number {
            at -= 1;
        }
        self.numbers.get(at).filter(|n| n.number == number)
    }

    /// The call with a name of the tables.
    pub fn call(&self, name: &str) -> Option<&'static Call> {
        self.numbers.iter().map(|n| n.call).find(|c| c.name == name)
    }
}

#[cfg(test)]
mod tests;
