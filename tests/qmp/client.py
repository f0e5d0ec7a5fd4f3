#!/usr/bin/env python3
"""QEMU's own client on a control socket: client.py SOCKET. Needs the package qemu.qmp; ends the machine."""

import asyncio
import sys

from qemu.qmp import ExecuteError, QMPClient


async def main(path):
    client = QMPClient("test")
    await client.connect(path)
    assert (await client.execute("query-status"))["running"]
    assert (await client.execute("query-version"))["package"].startswith("emu")
    names = {c["name"] for c in await client.execute("query-commands")}
    for name in sorted(n for n in names if n.startswith("query-")):
        print(name, await client.execute(name))
    try:
        await client.execute("frobnicate")
        raise AssertionError("an unknown command was executed")
    except ExecuteError as e:
        assert e.error_class == "CommandNotFound", e
    with client.listener(("STOP", "RESUME", "RESET")) as events:
        await client.execute("stop")
        assert (await events.get())["event"] == "STOP"
        assert (await client.execute("query-status"))["status"] == "paused"
        await client.execute("system_reset")
        assert (await events.get())["data"] == {"guest": False, "reason": "host-qmp-system-reset"}
        await client.execute("cont")
        assert (await events.get())["event"] == "RESUME"
    text = await client.execute("human-monitor-command", {"command-line": "info cpus"})
    assert "cpu0" in text, text
    with client.listener("SHUTDOWN") as events:
        await client.execute("quit")
        assert (await events.get())["data"]["reason"] == "host-qmp-quit"
    await client.disconnect()


asyncio.run(main(sys.argv[1]))
