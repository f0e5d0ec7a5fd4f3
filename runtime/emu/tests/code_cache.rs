//! `--code-cache`: what a second run takes from a first, what is refused, and that nobody who is killed leaves a damaged cache.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use emu_store::examine;
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn place() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let at = dir.path().join("cache");
    (dir, at)
}

/// The demo of a board, to its prompt: the same each time.
fn demo(at: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emu"));
    command
        .args(["--board", "zynq7000", "--exit-on", "zynq7000 ready", "--timeout", "60", "--time", "deterministic", "--code-cache"])
        .arg(at)
        .args(more);
    command.stdin(Stdio::null());
    command
}

fn run(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The counters of the first CPU.
fn counters(output: &Output) -> BTreeMap<String, u64> {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find_map(|line| line.strip_prefix("cpu0: ")).unwrap_or_else(|| panic!("{text}"));
    line.split(", ").filter_map(|pair| pair.split_once(' ')).map(|(name, n)| (name.to_string(), n.parse().unwrap())).collect()
}

#[test]
fn a_second_run_translates_nothing_and_does_the_same() {
    for jit in ["quick", "full"] {
        let (_dir, at) = place();
        let options = ["--stats", "--jit", jit, "--jit-threads", "0", "--jit-threshold", "10"];
        let off = run(demo(Path::new("off"), &options));
        let (first, second) = (run(demo(&at, &options)), run(demo(&at, &options)));
        assert_eq!(off.stdout, first.stdout);
        assert_eq!(off.stdout, second.stdout);
        let [off, first, second] = [&off, &first, &second].map(counters);
        assert_eq!((first["stored-blocks"], second["blocks"]), (0, 0), "{jit}: {first:?} {second:?}");
        assert_eq!((off["blocks"], first["blocks"]), (first["blocks"], second["stored-blocks"]), "{jit}: {first:?} {second:?}");
        assert_eq!(off["instructions"], second["instructions"], "a deterministic run is the same");
        assert_eq!((first["stored-regions"], second["stored-regions"]), (0, second["regions"]), "{jit}: {second:?}");
        assert_eq!((jit == "full", second["rejected"]), (second["regions"] > 0, 0));
    }
}

#[test]
fn what_translations_depend_on_is_told_apart() {
    let (_dir, at) = place();
    let quick = run(demo(&at, &["--stats", "--jit", "quick"]));
    // Code that counts its jumps back is another's.
    let full = run(demo(&at, &["--stats", "--jit", "full"]));
    assert_eq!(counters(&full)["stored-blocks"], 0);
    let again = run(demo(&at, &["--stats", "--jit", "quick"]));
    assert_eq!(counters(&again)["stored-blocks"], counters(&quick)["blocks"]);
    let off = run(demo(&at, &["--stats", "--jit", "off"]));
    assert_eq!(counters(&off)["stored-blocks"], 0);
}

#[test]
fn a_directory_of_others_is_refused_and_said() {
    let (_dir, at) = place();
    fs::create_dir(&at).unwrap();
    fs::set_permissions(&at, Permissions::from_mode(0o755)).unwrap();
    let output = run(demo(&at, &["--stats"]));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("warning: --code-cache: ") && text.contains("others may use it"), "{text}");
    assert_eq!(fs::read_dir(&at).unwrap().count(), 0, "nothing is put there");
}

#[test]
fn a_damaged_cache_is_made_anew() {
    let (_dir, at) = place();
    // When regions come is another matter.
    let options = ["--stats", "--jit", "quick"];
    let first = counters(&run(demo(&at, &options)));
    let file = fs::read_dir(&at).unwrap().map(|e| e.unwrap().path()).find(|p| p.extension().is_some_and(|e| e == "code")).unwrap();
    let bytes = fs::read(&file).unwrap();
    for length in [0, 20, 47, 48, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&file, &bytes[..length]).unwrap();
        let now = counters(&run(demo(&at, &options)));
        assert!(now["stored-blocks"] < first["blocks"]);
        assert_eq!(now["blocks"] + now["stored-blocks"], first["blocks"], "cut at {length}: {now:?}");
        // What the run just made.
        fs::read_dir(&at)
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "code") && *p != file)
            .for_each(|other| fs::remove_file(other).unwrap());
    }
}

#[test]
fn fifty_runs_are_killed_and_the_cache_is_whole() {
    let (_dir, at) = place();
    let begun = Instant::now();
    run(demo(&at, &[]));
    let whole = begun.elapsed();
    let mut dice = 3u64;
    for round in 0..50 {
        if round % 3 == 0 {
            // There is something to write again.
            for entry in fs::read_dir(&at).unwrap().map(|e| e.unwrap().path()) {
                if entry.extension().is_some_and(|e| e == "code") {
                    fs::remove_file(entry).unwrap();
                }
            }
        }
        let mut child =
            demo(&at, &["--jit", ["quick", "full"][round / 2 % 2]]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let moment = whole.mul_f64((dice >> 40) as f64 / f64::from(1 << 24) * 1.2);
        std::thread::sleep(if round % 2 == 0 { moment } else { moment.max(whole.mul_f64(0.9)) } + Duration::from_micros(dice % 1000));
        child.kill().unwrap();
        child.wait().unwrap();
        let examined = examine(&at).unwrap();
        assert_eq!(examined.bad, 0, "after {round}: {examined:?}");
    }
    for jit in ["quick", "full"] {
        let [first, second] = [0; 2].map(|_| counters(&run(demo(&at, &["--stats", "--jit", jit]))));
        assert_eq!((first["rejected"], second["rejected"]), (0, 0), "{first:?} {second:?}");
        // When regions come, and with them blocks that count no more, is another matter.
        assert!(second["blocks"] == 0 || jit == "full", "{first:?} {second:?}");
    }
}

/// A dynamic program with threads, a forked child and a shell that executes others, twice; skipped where there is no compiler for ARM.
#[test]
fn programs_and_their_children_use_it() {
    let (dir, at) = place();
    let source = dir.path().join("p.c");
    let text = r#"
        #include <stdio.h>
        #include <stdlib.h>
        #include <pthread.h>
        #include <sys/wait.h>
        #include <unistd.h>
        static void *work(void *n) { long s = 0; for (long i = 0; i < 100000; i++) s += i ^ (long)n; return (void *)s; }
        int main(int argc, char **argv) {
            if (argc > 1) { printf("child %s\n", argv[1]); return 0; }
            pthread_t t[4];
            long sum = 0;
            for (long n = 0; n < 4; n++) pthread_create(&t[n], 0, work, (void *)n);
            for (int n = 0; n < 4; n++) { void *r; pthread_join(t[n], &r); sum += (long)r; }
            printf("sum %ld\n", sum);
            fflush(stdout);
            if (fork() == 0) { printf("forked %f\n", sum / 3.0); exit(0); }
            wait(0);
            if (fork() == 0) { execl(argv[0], argv[0], "one", (char *)0); _exit(1); }
            wait(0);
            return 7;
        }"#;
    fs::write(&source, text).unwrap();
    let program = dir.path().join("p");
    let Ok(done) = Command::new("arm-linux-gnueabihf-gcc").args(["-O1", "-pthread", "-o"]).arg(&program).arg(&source).status() else {
        eprintln!("skipped: there is no arm-linux-gnueabihf-gcc");
        return;
    };
    assert!(done.success());
    let run = |cache: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_emu"));
        command.args(["run", "--code-cache"]).arg(cache).args(["--stats", "-L", "/usr/arm-linux-gnueabihf"]).arg(&program);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
        output
    };
    let off = run(Path::new("off"));
    for round in 0..4 {
        let output = run(&at);
        assert_eq!(output.stdout, off.stdout);
        let examined = examine(&at).unwrap();
        assert!(examined.good > 100 && examined.bad == 0, "{examined:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        // Each process says it: the forked child, the executed one, and their parent.
        for line in text.lines().filter(|line| line.starts_with("instructions")).skip(usize::from(round == 0) * 3) {
            let count = |name: &str| -> u64 {
                line.split(", ").find_map(|pair| pair.strip_prefix(name)?.trim().parse().ok()).unwrap_or_else(|| panic!("{line}"))
            };
            assert!(count("stored-blocks ") > 5 * count("blocks "), "{line}");
        }
    }
}
