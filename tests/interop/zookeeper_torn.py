"""Torn and damaged logs: ours starts where Java's does, with what Java's has then, and refuses where Java's does."""

import os
import shutil
import signal
import time

from harness import PATIENCE, World, free_ports, mode, need_peer, say
from zookeeper_old import configured, filled
from zookeeper_tools import entries, flip

LINES = "create /a x\n" + "".join(f"create /n{i} {'v' * (i * 40)}\n" for i in range(20))


def last_log(version2):
    return max(version2.glob("log.*"), key=lambda path: int(path.name.split(".")[1], 16))


def first_log(version2):
    return min(version2.glob("log.*"), key=lambda path: int(path.name.split(".")[1], 16))


def put(path, at, data):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def damages():
    """Each with the log that it is done to: the last one, as a crash does, or one in the middle of the history."""
    done = {
        "half an entry, zeros behind it": lambda log, at: put(log, at[-2] + 20, bytes(at[-1] - at[-2] - 20)),
        "half an entry at the file's end": lambda log, at: os.truncate(log, at[-1] - 9),
        "an entry without its end": lambda log, at: put(log, at[-1] - 1, b"\0"),
        "half a header of an entry": lambda log, at: os.truncate(log, at[-2] + 6),
        "nothing behind the last entry": lambda log, at: os.truncate(log, at[-1]),
        "a wrong checksum at the end": lambda log, at: flip(log, at[-2] + 7),
        "a wrong checksum in the middle": lambda log, at: flip(log, at[1] + 7),
        "a damaged payload in the middle": lambda log, at: flip(log, at[1] + 40),
        "a negative length": lambda log, at: put(log, at[1] + 8, b"\xff\xff\xff\x00"),
        "a length beyond all reason": lambda log, at: put(log, at[1] + 8, b"\x7f\x00\x00\x00"),
        "a length beyond the file": lambda log, at: (os.truncate(log, at[-1]), put(log, at[1] + 8, b"\x00\x08\x00\x00")),
        "a length that is a little wrong": lambda log, at: put(log, at[1] + 8, (at[2] - at[1] - 12).to_bytes(4, "big")),
        "an empty file": lambda log, at: os.truncate(log, 0),
        "another magic": lambda log, at: put(log, 0, b"ZKXX"),
    }
    for what, damage in done.items():
        yield f"last log: {what}", last_log, damage
    for what in ("a wrong checksum in the middle", "an entry without its end", "an empty file"):
        yield f"first log: {what}", first_log, done[what]


def outcome(world, zookeeper, kind, name, data):
    """The tree as its names, or None where the server does not start."""
    command = [zookeeper, "server"] if kind == "java" else [world.tool("zkServer.sh"), "start-foreground"]
    port = free_ports(1)[0]
    process = world.start(name, *command, configured(world, name, data, port))
    end = time.monotonic() + 60 * PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            world.processes.pop(name)
            return None
        if mode(port):
            break
        time.sleep(0.1)
    said = world.run(zookeeper, "cli", "-server", f"127.0.0.1:{port}", "ls", "-R", "/", seconds=60)
    world.stop(name, signal.SIGKILL)
    return sorted(line for line in said.splitlines() if line.startswith("/"))


def torn_logs():
    """Starts on torn and damaged logs end as Java's do."""
    compared(list(damages()))


def torn_logs_brief():
    """As torn_logs, a few of them."""
    compared([case for case in damages() if case[0] in (
        "last log: half an entry, zeros behind it", "last log: a wrong checksum in the middle",
        "last log: a length beyond all reason", "last log: an empty file", "first log: an entry without its end")])


def compared(cases):
    zookeeper = need_peer("zookeeper")
    os.environ["JVMFLAGS"] = "-XX:TieredStopAtLevel=1"
    with World("torn") as world:
        data = filled(world, zookeeper, "whole", [zookeeper, "server"], LINES)
        # The first snapshot only, so that the whole history is in the logs.
        for snapshot in (data / "version-2").glob("snapshot.*"):
            if snapshot.name != "snapshot.0":
                snapshot.unlink()
        wrong = []
        for at, (what, which, damage) in enumerate(cases):
            seen = {}
            for kind in ("java", "ours"):
                copy = world.dir / f"{kind}-{at}"
                shutil.copytree(data, copy)
                log = which(copy / "version-2")
                damage(log, entries(log))
                seen[kind] = outcome(world, zookeeper, kind, f"{kind}-{at}-server", copy)
            java, ours = seen["java"], seen["ours"]
            say(f"{what}: " + ("refused" if java is None else f"{len(java)} nodes"))
            if java != ours:
                wrong.append(f"{what}: java {java and len(java)}, ours {ours and len(ours)}: "
                             f"{sorted(set(java or []) ^ set(ours or []))[:9]}")
        assert not wrong, "\n".join(wrong)
