#!/usr/bin/env bash
# Debian's armhf programs under an emulator of user mode: what they print must be what is known, or what the host's own programs print.
#
#     tests/user/run.sh [emu|qemu] [CHECK...]      all checks, or those named; `list` for CHECK lists them
#
# `emu` (the default) is `emu run` of $EMU, else of target/release; `qemu` is qemu-arm. The sysroot is $EMU_SYSROOT, else one that sysroot.sh makes
# beside the repository (a minute, 280 MiB). Checks whose name ends in -exec start other guest programs: emu runs those too; qemu-arm
# only does where the kernel knows it for ARM programs (binfmt_misc), and they are skipped where it does not: qemu-arm would run the host's programs of
# the same paths instead.
# A check may take $LIMIT seconds (300). Ends with a table and "N passed, N failed, N skipped"; what a failed check printed is shown.
set -uo pipefail
cd "$(dirname "$0")/../.."
mode=emu
case ${1:-} in emu | qemu) mode=$1 && shift ;; esac
root=$(realpath -m "${EMU_SYSROOT:-../sysroot-armhf}")
limit=${LIMIT:-300}
case $mode in
emu) include= runner="${EMU:-$PWD/${CARGO_TARGET_DIR:-target}/release/emu} run -L $root" ;;
qemu)
    # qemu-arm 7.2 looks for the file of a statx in the host's folders only: what programs find by it has to be named.
    runner="env PERL5LIB=$root/usr/lib/arm-linux-gnueabihf/perl/5.36:$root/usr/share/perl/5.36 qemu-arm -L $root"
    include="-isysroot $root -isystem $root/usr/lib/gcc/arm-linux-gnueabihf/12/include"
    ;;
esac
command -v $(sed 's/^env [^ ]* //; s/ .*//' <<< "$runner") > /dev/null || {
    echo "there is no emulator to test: $runner" >&2
    exit 2
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bin=$root/usr/bin
multiarch=$root/usr/lib/arm-linux-gnueabihf

# g PROGRAM ARGUMENTS...: a program of the sysroot, with an environment that is always the same.
g() {
    local program=$1
    shift
    [[ $program == */* ]] || program=$bin/$program
    env -i PATH=/usr/bin:/bin HOME="$work" TMPDIR="$work" LC_ALL=C.UTF-8 TZ=UTC PYTHONDONTWRITEBYTECODE=1 \
        GIT_AUTHOR_DATE=2001-02-03T04:05:06Z GIT_COMMITTER_DATE=2001-02-03T04:05:06Z GIT_CONFIG_NOSYSTEM=1 $runner "$program" "$@"
}

# ---- the checks: each prints; what comes out must be the text in `expected_NAME`, else a file of that name must have been written by the check.

check_bash() {
    g bash -c '
        declare -A age=([anna]=7 [otto]=9); for k in $(printf "%s\n" "${!age[@]}" | while read -r x; do echo $x; done); do sum=$((sum + age[$k])); done; echo sum $sum
        fact() { local n=$1; ((n < 2)) && { echo 1; return; }; echo $((n * $(fact $((n - 1))))); }; fact 12
        text="the quick brown fox"; echo "${text^^} ${text//o/0} ${#text} ${text:4:5}"
        trap "echo got USR1" USR1; kill -USR1 $$; trap "echo bye" EXIT
        (exit 3); echo status $?; (kill -TERM $BASHPID); echo signalled $?
        coproc { while read -r line; do echo "<$line>"; done; }; echo hello >&${COPROC[1]}; read -r back <&${COPROC[0]}; echo "$back"; eval "exec ${COPROC[1]}>&-"; wait
        for i in 1 2 3; do (exit $i) & pids+=($!); done; for p in ${pids[@]}; do wait $p; echo child $?; done
        while read -r a b; do echo "$b-$a"; done <<< "one two"
        [[ abc123 =~ ([a-z]+)([0-9]+) ]] && echo "${BASH_REMATCH[2]}${BASH_REMATCH[1]}"
        for ((i = 0; i < 20000; i++)); do ((x += i % 7)); done; echo $x'
}
expected_bash='sum 16
479001600
THE QUICK BROWN FOX the quick br0wn f0x 19 quick
got USR1
status 3
signalled 143
<hello>
child 1
child 2
child 3
two-one
123abc
59997
bye'

check_bash_exec() {
    # uname tells a guest program from the host's.
    g bash -c 'uname -m; cd "$TMPDIR"; for i in 3 1 2; do echo "line $i" > file$i; done; ls | grep file | sort -r | sed s/file/FILE/ | awk "{ print NR, \$0 }"
        cat file* | wc -l; x=$(date -u -d @0 +%Y-%m-%d); echo $x; (sleep 0.1; exit 4) & wait $!; echo $?; find . -name "file*" | sort | xargs -n1 basename
        true && ! false && echo logic; sh -c "exit 7"; echo $?; printf "#!/bin/bash\necho script \$1 \$(uname -m)\n" > run; chmod +x run; ./run one; env -i /usr/bin/env A=b env'
}
expected_bash_exec='armv7l
1 FILE3
2 FILE2
3 FILE1
3
1970-01-01
4
file1
file2
file3
logic
7
script one armv7l
A=b'

check_coreutils() {
    {
        g seq 1 200000 | g sha256sum
        g seq 1 200000 | g md5sum
        g seq 1 50000 | g sort -r -n | g cksum
        g seq 1 30000 | g shuf --random-source="$bin/seq" | g sort -n | g md5sum
        g factor 18446744073709551557 1000000016000000063
        g seq 1 1000 | g tac | g head -3
        g seq 100000 | g split -l 30000 - "$work/part"
        g cat "$work"/part* | g wc
        g ls "$work" | g tr a-z A-Z
        g stat -c '%s %F' "$work/partaa"
        g dd if=/dev/zero bs=1000 count=100 status=none | g b2sum
        g date -u -d '2024-02-29 12:00' +%s
        g expr 7 '*' 6
        g uname -m
        g timeout 0.3 /nothing
        echo $?
    } 2> "$work/errors"
}
expected_coreutils() {
    seq 1 200000 | sha256sum
    seq 1 200000 | md5sum
    seq 1 50000 | sort -r -n | cksum
    seq 1 30000 | md5sum
    printf '%s\n' "18446744073709551557: 18446744073709551557" "1000000016000000063: 1000000007 1000000009" 1000 999 998 " 100000  100000  588895"
    ls "$work" | tr a-z A-Z
    echo "168894 regular file"
    head -c 100000 /dev/zero | b2sum
    printf '%s\n' 1709208000 42 armv7l 127
}

check_text() {
    g seq 1 100000 > "$work/numbers"
    g grep -c '7.*7' "$work/numbers"
    g grep -E '^([0-9])\1\1\1$' "$work/numbers" | g wc -l
    g sed -n -E 's/^(.)(.)(.)$/\3\2\1/p' "$work/numbers" | g md5sum
    g gawk '{ s += $1 * 1.5; n[$1 % 10]++ } END { printf "%.1f %d %s\n", s, n[3], strftime("%Y", 0, 1) }' "$work/numbers"
    g gawk 'BEGIN { printf "%.6f %.6f\n", exp(1), atan2(0, -1); print substr("hello", 2, 3), toupper("x"), length("four") }'
    g diff <(printf 'a\nb\nc\n') <(printf 'a\nx\nc\n')
}
expected_text() {
    seq 1 100000 | grep -c '7.*7'
    echo 9
    seq 1 100000 | sed -n -E 's/^(.)(.)(.)$/\3\2\1/p' | md5sum
    printf '%s\n' "7500075000.0 10000 1970" "2.718282 3.141593" "ell X 4" 2c2 '< b' --- '> x'
}

check_perl() {
    g perl -e '
        use strict; my %h; $h{$_ % 7} += $_ for 1 .. 50000; print join(",", map { "$_=$h{$_}" } sort keys %h), "\n";
        my $t = "The cat sat on the mat"; (my $u = $t) =~ s/(\w+)/\u\L$1/g; print "$u\n"; print join("|", $t =~ /\b(\wat)\b/g), "\n";
        printf "%.10f %s %s\n", sqrt(2), unpack("H*", pack("nNvV", 1, 2, 3, 4)), join(".", unpack("C4", pack("N", 3232235777)));
        $| = 1; pipe(my $r, my $w); my $pid = fork; if (!$pid) { close $r; print $w "from the child\n"; exit 5 } close $w; print scalar <$r>; waitpid $pid, 0; print $? >> 8, "\n";
        my $got = 0; $SIG{ALRM} = sub { $got++ }; alarm 1; my $n = 0; $n++ until $got; print "alarm $got\n";
        eval { local $SIG{USR1} = sub { die "usr1\n" }; kill USR1 => $$; select undef, undef, undef, 0.1 for 1 .. 20; }; print "died: $@";
        my $deep; $deep = sub { my $d = shift; $d ? 1 + $deep->($d - 1) : 0 }; no warnings; print $deep->(20000), "\n";
        print 2**53, " ", 10 % 3, " ", -7 / 2, " ", 1e308 * 10, "\n"; my @s = sort { $a <=> $b } map { ($_ * 7919) % 10007 } 1 .. 10006; print "$s[0] $s[-1]\n";
        use Digest::SHA "sha1_hex"; use List::Util "sum"; use POSIX (); print sha1_hex("emu"), " ", sum(1 .. 10), " ", POSIX::floor(-1.5), "\n"'
}
expected_perl() {
    python3 -c '
h = {}
for i in range(1, 50001): h[i % 7] = h.get(i % 7, 0) + i
print(",".join(f"{k}={h[k]}" for k in sorted(h)))'
    printf '%s\n' "The Cat Sat On The Mat" "cat|sat|mat" "1.4142135624 000100000002030004000000 192.168.1.1" "from the child" 5 "alarm 1" "died: usr1" 20000 \
        "9.00719925474099e+15 1 -3.5 Inf" "1 10006" "$(printf emu | sha1sum | cut -d' ' -f1) 55 -2"
}

check_perl_threads() {
    g perl -e 'use threads; use threads::shared; use Thread::Queue; my $sum :shared = 0; my $q = Thread::Queue->new; my @t = map { threads->create(sub { while (defined(my $i = $q->dequeue)) { lock $sum; $sum += $i } }) } 1 .. 4;
        $q->enqueue(1 .. 2000); $q->end; $_->join for @t; print "$sum\n"; print join(",", map { threads->create(sub { $_[0] ** 2 }, $_)->join } 1 .. 10), "\n"'
}
expected_perl_threads='2001000
1,4,9,16,25,36,49,64,81,100'

check_perl_exec() { g perl -e 'print `uname -m`; system "sh", "-c", "exit 6"; print $? >> 8, "\n"; open my $p, "-|", "seq 5 | sort -r" or die; print <$p>; exec "echo", "done"'; }
expected_perl_exec='armv7l
6
5
4
3
2
1
done'

check_python() {
    g python3 -c '
import sqlite3, ssl, threading, hashlib, json, zlib, struct, platform, queue, time, signal, os, socket, select, mmap, tempfile, ctypes, math
print(platform.machine(), struct.calcsize("P"))
db = sqlite3.connect(":memory:"); db.execute("create table t (a integer primary key, b text)")
db.executemany("insert into t (b) values (?)", ((str(i * 7919 % 1009),) for i in range(5000)))
print(db.execute("select count(*), sum(a), max(b), count(distinct b) from t where b like ?", ("1%",)).fetchone())
print(ssl.OPENSSL_VERSION.split()[0], hashlib.sha256(b"emu" * 100000).hexdigest()[:16], zlib.crc32(b"emu" * 1000))
total = 0; lock = threading.Lock()
def work():
    global total
    for _ in range(5000):
        with lock: total += 1
threads = [threading.Thread(target=work) for _ in range(8)]; [t.start() for t in threads]; [t.join() for t in threads]; print(total)
q = queue.Queue(5); out = []
def consume():
    while (x := q.get()) is not None: out.append(x * x)
c = threading.Thread(target=consume); c.start(); [q.put(i) for i in range(1000)]; q.put(None); c.join(); print(sum(out))
e = threading.Event(); print(e.wait(0.05)); threading.Timer(0.05, e.set).start(); print(e.wait(60))
print(json.loads(json.dumps({"a": [1, 2.5, None, "\u00fc"]})), math.gamma(5.5), 2 ** 200 % 1000007, round(math.pi ** 20, 3))
hits = []; signal.signal(signal.SIGALRM, lambda *a: hits.append(1)); signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
while len(hits) < 3: pass
signal.setitimer(signal.ITIMER_REAL, 0); print("alarms")
r, w = os.pipe(); pid = os.fork()
if not pid: os.write(w, b"child"); os._exit(9)
print(os.read(r, 5), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
a, b = socket.socketpair(); ep = select.epoll(); ep.register(b, select.EPOLLIN); a.sendall(b"x" * 10); print(len(ep.poll(10)), b.recv(100))
s = socket.create_server(("127.0.0.1", 0)); t = threading.Thread(target=lambda: (lambda c: (c.sendall(c.recv(10)[::-1]), c.close()))(s.accept()[0])); t.start(); k = socket.create_connection(s.getsockname()); k.sendall(b"abc"); print(k.recv(10)); t.join()
f = tempfile.TemporaryFile(); f.write(b"\0" * 8192); f.flush(); m = mmap.mmap(f.fileno(), 8192); m[5:8] = b"map"; m.flush(); f.seek(5); print(f.read(3))
print(ctypes.CDLL(None).abs(-5), ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda x: x + 1)(41))
def deep(n): return 0 if n == 0 else 1 + deep(n - 1)
import sys; sys.setrecursionlimit(5000); print(deep(3000))
'
}
expected_python="armv7l 4
$(python3 - << 'END'
v = [(i + 1, str(i * 7919 % 1009)) for i in range(5000)]
v = [x for x in v if x[1].startswith("1")]
import hashlib, zlib, math
print((len(v), sum(a for a, _ in v), max(b for _, b in v), len({b for _, b in v})))
print("OpenSSL", hashlib.sha256(b"emu" * 100000).hexdigest()[:16], zlib.crc32(b"emu" * 1000))
print(40000); print(sum(i * i for i in range(1000)))
print(False); print(True)
print({"a": [1, 2.5, None, "\u00fc"]}, math.gamma(5.5), 2 ** 200 % 1000007, round(math.pi ** 20, 3))
END
)
alarms
b'child' 9
1 b'xxxxxxxxxx'
b'abc'
b'map'
5 42
3000"
expected_python=${expected_python/b\'abc\'/b\'cba\'}

check_python_pool() {
    g python3 -c '
import multiprocessing as mp, concurrent.futures as cf, asyncio
def f(x): return x * x
with mp.get_context("fork").Pool(3) as p: print(sum(p.map(f, range(500))))
with cf.ThreadPoolExecutor(6) as e: print(sum(e.map(f, range(2000))))
q = mp.get_context("fork").Queue(); p = mp.get_context("fork").Process(target=lambda: q.put("queued")); p.start(); print(q.get()); p.join(); print(p.exitcode)
async def tick(n): await asyncio.sleep(0.01 * n); return n
async def main(): return await asyncio.gather(*[tick(n) for n in (3, 1, 2)])
print(asyncio.run(main()))'
}
expected_python_pool='41541750
2664667000
queued
0
[3, 1, 2]'

# A certificate made by openssl, and a TLS connection between two threads over it.
check_tls() {
    g openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/key.pem" -out "$work/cert.pem" -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -config "$root/usr/lib/ssl/openssl.cnf" 2> "$work/errors" || cat "$work/errors"
    (cd "$work" && g python3 -c '
import ssl, socket, threading
a, b = socket.socketpair(); s = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH); s.load_cert_chain("cert.pem", "key.pem"); c = ssl.create_default_context(cafile="cert.pem")
def serve():
    with s.wrap_socket(a, server_side=True) as t:
        while d := t.recv(65536): t.sendall(d.upper())
t = threading.Thread(target=serve); t.start()
with c.wrap_socket(b, server_hostname="localhost") as k:
    print(k.version()); n = 0
    for i in range(50): k.sendall(b"hello" * 1000); n += len(k.recv(5000))
    print(n > 0, k.getpeercert()["subject"])
    k.shutdown(socket.SHUT_WR)
t.join()')
}
expected_tls="TLSv1.3
True ((('commonName', 'localhost'),),)"

check_python_exec() {
    g python3 -c '
import subprocess, sys, os
print(subprocess.run(["uname", "-m"], capture_output=True, text=True).stdout.strip())
print(subprocess.run([sys.executable, "-c", "import sys; print(sys.argv[1:], sys.stdin.read())", "a"], input="in", capture_output=True, text=True).stdout.strip())
p = subprocess.Popen(["sleep", "100"]); p.terminate(); print(p.wait())
print(os.system("exit 3") >> 8, subprocess.getoutput("echo $((1 + 1)) | cat"))
import multiprocessing as mp
if __name__ == "__main__": print(mp.get_context("spawn").Pool(2).map(abs, [-1, -2, 3]))'
}
expected_python_exec="armv7l
['a'] in
-15
3 2
[1, 2, 3]"

program() {
    cat > "$work/program.c" << 'END'
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
static int order(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
int main(int argc, char **argv)
{
	int v[1000]; unsigned x = 1; double s = 0;
	for (int i = 0; i < 1000; i++) { x = x * 1103515245 + 12345; v[i] = x >> 16; s += sqrt(i); }
	qsort(v, 1000, sizeof *v, order);
	printf("%d %d %d %.6f %d %s\n", v[0], v[500], v[999], s, argc, argc > 1 ? argv[1] : "-");
	return 42;
}
END
}
program_says='41 33214 65484 21065.833111 2 there'

# What the driver does, step by step.
check_gcc_stages() {
    program
    local level
    for level in -O0 -O2; do
        g "$root/usr/lib/gcc/arm-linux-gnueabihf/12/cc1" -quiet $level -mfloat-abi=hard -march=armv7-a+fp -mthumb -imultiarch arm-linux-gnueabihf $include "$work/program.c" -o "$work/program.s" &&
            g as "$work/program.s" -o "$work/program.o" &&
            g ld -pie -dynamic-linker /lib/ld-linux-armhf.so.3 "$multiarch"/{Scrt1,crti}.o "$root/usr/lib/gcc/arm-linux-gnueabihf/12/crtbeginS.o" "$work/program.o" \
                -L"$root/usr/lib/gcc/arm-linux-gnueabihf/12" -L"$multiarch" -lm -lc "$root/usr/lib/gcc/arm-linux-gnueabihf/12/crtendS.o" "$multiarch/crtn.o" -o "$work/program"
        g "$work/program" there
        echo $?
        rm -f "$work/program"
    done
    g objdump -d "$work/program.o" | g grep -c 'main>:'
}
expected_gcc_stages="$program_says
42
$program_says
42
1"

check_gcc_exec() {
    program
    (
        cd "$work"
        g gcc -O2 program.c -o program -lm && g ./program there
        echo $?
        g gcc -O1 -static -mthumb -flto program.c -o program -lm && g ./program there
        printf '#include <iostream>\n#include <vector>\n#include <stdexcept>\nint main() { std::vector<int> v{1, 2}; try { v.at(5) = 1; } catch (std::out_of_range &) { std::cout << "caught\\n"; } }\n' > p.cc
        g g++ -O2 p.cc -o p && g ./p
    )
}
expected_gcc_exec="$program_says
42
$program_says
caught"

check_make_exec() {
    program
    (cd "$work" && printf 'all: one two\n\t@cat one two | sort\n%%:\n\t@echo made $@ by $$(uname -m) > $@\nprogram: program.c\n\t@gcc -c $< -o $@\n.PHONY: all\n' > Makefile && g make -j2 -s && g make -s -q one && echo "up to date" && rm one two)
}
expected_make_exec='made one by armv7l
made two by armv7l
up to date'

check_git() {
    (
        mkdir "$work/repo" && cd "$work/repo"
        git() { g git -c user.name=a -c user.email=a@b -c gc.auto=0 -c maintenance.auto=false -c core.pager= -c init.defaultBranch=main "$@"; }
        git init -q
        g seq 1 3000 > numbers && echo one > file && git add . && git commit -q -m first
        echo two >> file && git commit -q -a -m second
        git log --format='%h %s' --stat | g cat
        git diff HEAD~ HEAD -- file | g tail -3
        git checkout -q -b other HEAD~ && echo other > new && git add new && git commit -q -m third && git branch | g cat
        git cat-file -p HEAD^{tree}
        git fsck
        git status --short | g wc -l
    )
}
expected_git() {
    (
        mkdir "$work/expected" && cd "$work/expected"
        export GIT_AUTHOR_DATE=2001-02-03T04:05:06Z GIT_COMMITTER_DATE=2001-02-03T04:05:06Z HOME=$work/expected
        git() { command git -c user.name=a -c user.email=a@b -c gc.auto=0 -c core.pager= -c init.defaultBranch=main "$@"; }
        git init -q
        seq 1 3000 > numbers && echo one > file && git add . && git commit -q -m first
        echo two >> file && git commit -q -a -m second
        git log --format='%h %s' --stat | cat
        git diff HEAD~ HEAD -- file | tail -3
        git checkout -q -b other HEAD~ && echo other > new && git add new && git commit -q -m third && git branch | cat
        git cat-file -p HEAD^{tree}
        git fsck 2> /dev/null
        echo 0
    )
}

check_git_exec() {
    (
        mkdir "$work/repo" && cd "$work/repo" && g git init -q -b main && g git config user.name a && g git config user.email a@b
        g seq 1 3000 > numbers && g git add . && g git commit -q -m first && echo more >> numbers && g git commit -q -a -m second
        g git clone -q . ../clone && cd ../clone && g git config user.name a && g git config user.email a@b && g git log --format=%s && g git gc -q && g git fsck && g git status -s
        printf '#!/bin/sh\nuname -m > hook\n' > .git/hooks/pre-commit && chmod +x .git/hooks/pre-commit && echo x > x && g git add x && g git commit -q -m third && cat hook
        g git push -q origin HEAD:refs/heads/pushed && cd ../repo && g git log --format=%s pushed
        g git rebase -q HEAD~1 && g git stash list && g git archive HEAD | g tar t
    ) 2>&1
}
expected_git_exec='second
first
armv7l
third
second
first
numbers'

check_openssl_speed() { # the wording, not the figures
    g openssl speed -seconds 1 sha256 aes-128-cbc 2>&1 | grep -E '^(Doing|sha256|aes-128-cbc)' | sed -E 's/: .*/: done/; s/ +[0-9.]+k/ N/g'
}
expected_openssl_speed() {
    local name size
    for name in sha256 aes-128-cbc; do
        for size in 16 64 256 1024 8192 16384; do echo "Doing $name $([ $name = sha256 ] || true)for 1s on $size size blocks: done"; done
    done
    echo "sha256 N N N N N N"
    echo "aes-128-cbc N N N N N N"
}

check_openssl() {
    head -c 3000000 "$bin/perl" > "$work/data"
    local sum
    for sum in md5 sha1 sha256 sha512 sha3-256 blake2b512; do g openssl dgst -r -$sum "$work/data" | cut -d' ' -f1; done
    for sum in aes-128-cbc aes-256-gcm chacha20 camellia-128-ctr; do
        [ $sum = aes-256-gcm ] || g openssl enc -$sum -K 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f -iv 000102030405060708090a0b0c0d0e0f -in "$work/data" 2> /dev/null | md5sum
    done
    g openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/ec.pem"
    g openssl dgst -sha256 -sign "$work/ec.pem" -out "$work/sig" "$work/data" && openssl dgst -sha256 -prverify "$work/ec.pem" -signature "$work/sig" "$work/data"
    g openssl prime 1000000007
}
expected_openssl() {
    local sum
    for sum in md5 sha1 sha256 sha512 sha3-256 blake2b512; do openssl dgst -r -$sum "$work/data" | cut -d' ' -f1; done
    for sum in aes-128-cbc chacha20 camellia-128-ctr; do
        openssl enc -$sum -K 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f -iv 000102030405060708090a0b0c0d0e0f -in "$work/data" 2> /dev/null | md5sum
    done
    echo "Verified OK"
    echo "3B9ACA07 (1000000007) is prime"
}

check_xz() {
    # Half compressible, half hardly.
    { seq 1 3700000 | head -c 25000000; cat "$root"/usr/lib/gcc/arm-linux-gnueabihf/12/cc1 "$root"/usr/lib/gcc/arm-linux-gnueabihf/12/cc1plus | head -c 25000000; } > "$work/data"
    g xz -1 -k "$work/data" && mv "$work/data" "$work/before" && xz -t "$work/data.xz" && g xz -d "$work/data.xz" && cmp "$work/data" "$work/before" && stat -c %s "$work/data"
}
expected_xz=50000000

check_xz_threads() {
    seq 1 3700000 | head -c 12000000 > "$work/data"
    g xz -0 -T4 --block-size=1MiB -c "$work/data" > "$work/data.xz" && xz -t "$work/data.xz" && g xz -T4 -dc "$work/data.xz" | cmp - "$work/data" && echo same
}
expected_xz_threads=same

check_tar() {
    g tar cf "$work/all.tar" -C "$root/usr/include" linux && mkdir "$work/out" && g tar xf "$work/all.tar" -C "$work/out" && diff -r "$root/usr/include/linux" "$work/out/linux" &&
        g find "$work/out" -type f | wc -l | sed "s/^$(find "$root/usr/include/linux" -type f | wc -l)$/all/" && g diff -r "$root/usr/include/linux" "$work/out/linux" && echo same
}
expected_tar='all
same'

stress() { g stress-ng --temp-path "$work" --verify "$@" 2>&1 | grep -oE 'successful run|unsuccessful.*|fail:.*|error:.*|stressor terminated.*' | sort | uniq; }
check_stress_cpu() { stress --cpu 2 --cpu-method all --cpu-ops 300 -t 200; }
check_stress_vm() { stress --vm 2 --vm-bytes 16M --vm-method all --vm-ops 2000 -t 200; }
check_stress_threads() { stress --pthread 1 --pthread-ops 300 --futex 1 --futex-ops 3000 --mutex 1 --mutex-ops 3000 --sem-sysv 1 --sem-sysv-ops 20000 --atomic 1 --atomic-ops 200 -t 200; }
check_stress_signals() { stress --sigq 1 --sigq-ops 1000 --signal 1 --signal-ops 20000 --sigsegv 1 --sigsegv-ops 1000 --timer 1 --timer-ops 1000 --itimer 1 --itimer-ops 500 -t 200; }
check_stress_memory() { stress --mmap 1 --mmap-bytes 8M --mmap-ops 20 --mremap 1 --mremap-bytes 8M --mremap-ops 20 --fork 1 --fork-ops 200 --pipe 1 --pipe-ops 20000 --memcpy 1 --memcpy-ops 20 --qsort 1 --qsort-ops 2 -t 200; }
expected_stress_cpu='successful run' expected_stress_vm='successful run' expected_stress_threads='successful run'
expected_stress_signals='successful run' expected_stress_memory='successful run'

# ---- running them

all=$(declare -F | sed -n 's/^declare -f check_//p')
# Only those named, and in the order of this file.
names=$(grep -oE '^check_[a-z_]+' "$0" | sed 's/^check_//')
if [ "${1:-}" = list ]; then
    echo "$names" | tr _ -
    exit 0
fi
for name in "$@"; do
    grep -qx "${name//-/_}" <<< "$all" || {
        echo "no check \`$name\`; $0 list" >&2
        exit 2
    }
done
[ $# = 0 ] || names=$(printf '%s\n' "${@//-/_}")
[ -n "${EMU_SYSROOT:-}" ] || tests/user/sysroot.sh "$root" || exit 1
binfmt=no
grep -qs '^enabled' /proc/sys/fs/binfmt_misc/qemu-arm && binfmt=yes

passed=0 failed=0 skipped=0
results=
for name in $names; do
    if [ $mode = qemu ] && [ $binfmt = no ] && [[ $name == *_exec ]]; then
        skipped=$((skipped + 1))
        results+="skipped ${name//_/-} (executes guest programs: needs binfmt_misc)"$'\n'
        continue
    fi
    rm -rf "$work"
    mkdir "$work"
    begin=$(date +%s%N)
    # The whole group dies with the limit, also what the check left behind.
    set -m
    (check_"$name") > "$work.out" 2> "$work.err" < /dev/null &
    pid=$!
    set +m
    (sleep "$limit" && kill -KILL -- -$pid) > /dev/null 2>&1 &
    guard=$!
    wait $pid 2> /dev/null
    status=$?
    kill $guard 2> /dev/null && wait $guard 2> /dev/null
    kill -KILL -- -$pid 2> /dev/null
    seconds=$((($(date +%s%N) - begin) / 10000000))
    seconds=$((seconds / 100)).$(printf %02d $((seconds % 100)))
    if declare -F expected_"$name" > /dev/null; then
        expected_"$name" > "$work.expected"
    else
        expected=expected_$name
        printf '%s\n' "${!expected}" > "$work.expected"
    fi
    if cmp -s "$work.expected" "$work.out"; then
        passed=$((passed + 1)) verdict=passed
    else
        failed=$((failed + 1)) verdict=FAILED
        [ $status = 137 ] && verdict="FAILED (after $limit s)"
        echo "---- ${name//_/-}: expected (<), and what it printed (>)"
        diff "$work.expected" "$work.out" | head -20
        tail -5 "$work.err"
    fi
    results+="$(printf '%s %s %s s' "$verdict" "${name//_/-}" "$seconds")"$'\n'
    rm -f "$work".{out,err,expected}
done
printf '%s' "$results"
echo "$mode: $passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
