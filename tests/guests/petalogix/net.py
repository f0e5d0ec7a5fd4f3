#!/usr/bin/env python3
"""The peer of net.c: boots a machine, serves it, and says how fast it was.

    net.py KIND MEGABYTES COMMAND...

KIND is microblaze or microblazeel. `PORT` in the command is where net.c is to connect to. Prints a line `WHAT MiB/s` for each way; fails if a byte is wrong.
"""
import os, re, socket, struct, subprocess, sys, threading

kind, megabytes, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
BUFFER, ORDER = 32768, ">" if kind == "microblaze" else "<"
chunk = struct.pack(f"{ORDER}{BUFFER // 4}I", *((i * 2654435761 + 12345) & 0xFFFFFFFF for i in range(BUFFER // 4)))


def total(all, data):
    for (word,) in struct.iter_unpack(ORDER + "I", data):
        all = ((all << 1 | all >> 31) + word) & 0xFFFFFFFF
    return all


tcp, udp = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
tcp.bind(("127.0.0.1", 0))
port = tcp.getsockname()[1]
udp.bind(("127.0.0.1", port))
tcp.listen()
wrong = []


def serve():
    peer, _ = tcp.accept()
    for _ in range(megabytes << 20 >> 15):
        peer.sendall(chunk)
    for done in range(0, megabytes << 20, BUFFER):
        data = b""
        while len(data) < BUFFER:
            part = peer.recv(BUFFER - len(data))
            if not part:
                return wrong.append("the guest hung up")
            data += part
        if data != struct.pack(ORDER + "I", done) + chunk[4:]:
            wrong.append(f"what the guest sent is wrong behind byte {done}")
    peer.sendall(b"done")


def echo():
    while True:
        data, peer = udp.recvfrom(65536)
        udp.sendto(data, peer)


for what in (serve, echo):
    threading.Thread(target=what, daemon=True).start()
machine = subprocess.Popen([word.replace("PORT", str(port)) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace")
timer = threading.Timer(float(os.environ.get("NET_PATIENCE", 100)), machine.kill)
timer.start()
lines = []
for line in machine.stdout:
    lines.append(line.rstrip())
    if "NET done" in line:
        break
machine.kill()
timer.cancel()
found = dict((m[1], m) for m in (re.search(r"NET ([a-z-]+) (\d+) (\d+) ([0-9a-f]{8})", line) for line in lines) if m)
# Each chunk changes the sum in the same way: count the rotations.
expected = 0
for _ in range(megabytes << 20 >> 15):
    expected = total(expected, chunk)
if "tcp-in" not in found or int(found["tcp-in"][4], 16) != expected:
    wrong.append("what the guest received is wrong")
if "udp-echo" not in found or int(found["udp-echo"][2]) < 495 * 1400:
    wrong.append("datagrams are missing")
if wrong:
    print("\n".join(lines[-30:] + wrong))
    sys.exit(1)
for what, m in found.items():
    print(what, f"{int(m[2]) / 1.048576 / int(m[3]):.2f} MiB/s")
