use super::*;

const EXAMPLE: &str = r#"struct timespec { long tv_sec; long tv_nsec; }
struct timespec64 host=timespec64 { i64 tv_sec; nanos64 tv_nsec; }
host timespec64 { i64 tv_sec; i64 tv_nsec; }
struct mixed { u8 a 3; u64 b; timespec t; u16 _pad; }
flags open {
  value O_WRONLY 1 mask=3
  bit O_NOFOLLOW 0x20000 link=nofollow
}
call openat dirfd path set:open octal
call pread64 fd outbytes*2 ulong wide
call poll inout:timespec*1 uint int
hand readv fd pointer int
process mmap2 pointer ulong
absent bpf
ioctl 0x5413 TIOCGWINSZ out:mixed
"#;

const ABI: &str = r#"abi arm machine=40 uname=armv7l long=4 align64=8 pairs=even
flags open { bit O_NOFOLLOW 0x8000; }
number 1 openat
number 2 pread64
number 3 poll is=poll
number 4 readv
number 5 mmap2
number 6 bpf
"#;

fn run(common: &str, abi: &str) -> Result<String, String> {
    generate(&[("calls.kdl".into(), common.into()), ("arm.kdl".into(), abi.into())]).map_err(|e| e.to_string())
}

#[test]
fn the_example_works() {
    let made = run(EXAMPLE, ABI).unwrap();
    for wanted in [
        "Does::Host(libc::SYS_openat), args: &[Arg::DirFd, Arg::Path, Arg::Set(&ARM_FLAGS.open), Arg::Octal]",
        "args: &[Arg::Fd, Arg::OutBytes(2), Arg::Ulong, Arg::Wide]",
        "Arg::Inout(&ARM_LAYOUTS.timespec, Some(1))",
        "Does::Hand(Hand::Readv)",
        "Does::Process(Special::Mmap2)",
        "value: 0x8000, mask: 0x8000, host: 0x20000",
        "Number { number: 0x6, name: \"bpf\"",
    ] {
        assert!(made.contains(wanted), "{wanted}: {made}");
    }
    assert_eq!(made, run(EXAMPLE, ABI).unwrap());
}

#[test]
fn members_are_aligned_by_the_rules_of_each_side() {
    let offsets = |align| {
        let made = run(EXAMPLE, &ABI.replace("align64=8", &format!("align64={align}"))).unwrap();
        let at = made.find("mixed: Layout { name").unwrap();
        made[at..].lines().take(5).map(|l| l.trim().to_string()).collect::<Vec<_>>()
    };
    let eight = offsets(8);
    assert!(eight[0].contains("size: 32, host_size: 40"), "{eight:?}");
    assert!(eight[2].contains("guest: 8, size: 8, signed: false, host: 8, host_size: 8"), "{eight:?}");
    assert!(eight[3].contains("\"t.tv_sec\", guest: 16, size: 4, signed: true, host: 16, host_size: 8"), "{eight:?}");
    let four = offsets(4);
    assert!(four[0].contains("size: 24, host_size: 40"), "{four:?}");
    assert!(four[2].contains("guest: 4"), "{four:?}");
}

/// A broken line is added to the example: the message, and the line it is reported at.
#[test]
fn problems_have_their_lines() {
    let last = EXAMPLE.lines().count() + 1;
    for (line, wanted) in [
        ("call bad fdd", "`fdd` is no kind of argument"),
        ("call bad in:nothing", "there is no struct `nothing`"),
        ("call bad set:nothing", "there is no set of flags `nothing`"),
        ("call bad inbytes*1 fd", "argument 1 is no count"),
        ("call bad inbytes", "`inbytes` is no kind of argument"),
        ("call bad int int int int int int int", "a call has at most 6 arguments"),
        ("call bad int wide wide wide", "`bad` needs 8 registers of arm, which has 6"),
        ("call openat int", "a second call `openat`"),
        ("call bad int color=1", "`call` has no `color`"),
        ("call bad returns=float", "`returns` must be one of int, hex, id16"),
        ("struct s { long a; long a; }", "a second member `a`"),
        ("struct s { quark a; }", "there is no type `quark`"),
        ("struct s { s a; }", "the struct `s` contains itself"),
        ("struct s host=nothing { long a; }", "there is no host structure `nothing`"),
        ("struct s host=timespec64 { long other; }", "the host's structure has no member `other`"),
        ("struct s host=timespec64 { long tv_sec 2; }", "another count"),
        ("struct timespec { long a; }", "a second struct `timespec`"),
        ("flags f { bit A; }", "this `bit` has no number"),
        ("flags f { value A 4 mask=3; }", "the value is not within the mask"),
        ("flags f { set A 4; }", "flags hold no `set`"),
        ("ioctl 1 X", "an ioctl has one argument"),
        ("number 1 openat", "numbers belong into the file of an ABI"),
        ("thing", "there is no `thing` here"),
        ("struct", "this `struct` has no name"),
        ("call {", ""),
    ] {
        let error = run(&format!("{EXAMPLE}{line}\n"), &format!("{ABI}number 99 bad\n")).unwrap_err();
        assert!(error.contains(wanted) && error.contains(&format!("calls.kdl:{last}:")), "{line}: {error}");
    }
}

#[test]
fn problems_of_an_abi_have_their_lines() {
    let last = ABI.lines().count() + 1;
    for (line, wanted) in [
        ("number 2 poll", "a second call with the number 2"),
        ("number 99 nothing", "there is no call `nothing`"),
        ("flags nothing { bit A 1; }", "there are no flags `nothing` to override"),
        ("number many poll", "this `number` has no number"),
    ] {
        let error = run(EXAMPLE, &format!("{ABI}{line}\n")).unwrap_err();
        assert!(error.contains(wanted) && error.contains(&format!("arm.kdl:{last}:")), "{line}: {error}");
    }
    let error = run(EXAMPLE, &ABI.replace("0x8000", "0x8000; bit O_OTHER 1")).unwrap_err();
    assert!(error.contains("there is no flag `O_OTHER` in `open`") && error.contains("arm.kdl:2:"), "{error}");
}

proptest::proptest! {
    #[test]
    fn no_text_panics(at in 0usize..700, cut in 0usize..40, put in "[\\PC\n\"{};=#*:0-9a-fx.]{0,12}") {
        let mut text: Vec<char> = EXAMPLE.chars().collect();
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, put.chars());
        let text: String = text.into_iter().collect();
        if let Err(e) = run(&text, ABI) {
            proptest::prop_assert!(e.starts_with("error[abi]: "));
        }
    }
}
