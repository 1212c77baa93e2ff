"""Three of our servers on hosts of their own (network namespaces) under faults, with every answer recorded and checked."""

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import sessions
from harness import REPO, Skipped, World, main, say, until, word
from sessions import NODE_EXISTS, NO_NODE, OK, BAD_VERSION, SESSION_MOVED, Expired, Lost, Session, blob, text

CLIENTS, CELLS, PORT = 6, 3, 2181
SESSION = 6.0
SYSTEM_ERROR, SESSION_EXPIRED = -1, -112
DISK_MB = 48


def faults(seed=None, seconds=60):
    """Kills, pauses, partitions and full disks under clients whose histories must be linearizable."""
    seed = seed if seed is not None else random.randrange(1 << 32)
    say(f"INTEROP_SCRIPT=faults.py scripts/interop --seed {seed} --seconds {seconds}: the same faults, at about the same time")
    need_hosts()
    with World("faults") as world, Hosts(world) as hosts:
        asyncio.run(Run(world, hosts, random.Random(seed), seconds).run())


def need_hosts():
    if os.geteuid() != 0:
        raise Skipped("network namespaces need root")
    for tool in ("ip", "mount"):
        if not shutil.which(tool):
            raise Skipped(f"{tool} is not installed")
    name = f"mf{os.getpid()}"
    tried = subprocess.run(f"ip netns add {name} && ip netns del {name} && ip link add {name} type bridge && "
                           f"ip link del {name}", shell=True, capture_output=True, text=True)
    if tried.returncode:
        raise Skipped(f"no network namespaces here: {tried.stderr.strip()}")


def sh(command, check=True):
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert not check or done.returncode == 0, f"{command}: {done.stderr}"
    return done


class Hosts:
    """Three namespaces with a small disk each, on one bridge with this machine."""

    def __init__(self, world):
        self.world, self.name = world, f"mf{os.getpid()}"
        self.net = f"10.{64 + os.getpid() % 64}.{os.getpid() // 64 % 256}"
        self.address = {i: f"{self.net}.{i}" for i in (1, 2, 3)}
        # Which of them stand still, and which are killed; the file that fills a disk.
        self.stopped, self.down, self.filler = set(), set(), {}

    def __enter__(self):
        sh(f"ip link add {self.name} type bridge && ip addr add {self.net}.254/24 dev {self.name} && "
           f"ip link set {self.name} up")
        for i in self.address:
            ns = f"{self.name}-{i}"
            sh(f"ip netns add {ns} && ip link add {self.name}v{i} type veth peer name eth0 netns {ns} && "
               f"ip link set {self.name}v{i} master {self.name} up && ip -n {ns} addr add {self.address[i]}/24 dev eth0 && "
               f"ip -n {ns} link set eth0 up && ip -n {ns} link set lo up")
            data = self.world.dir / f"data-{i}"
            data.mkdir()
            sh(f"mount -t tmpfs -o size={DISK_MB}m {ns} {data}")
            (data / "myid").write_text(f"{i}\n")
            servers = "".join(f"server.{j}={address}:2888:3888\n" for j, address in self.address.items())
            (self.world.dir / f"zoo-{i}.cfg").write_text(
                f"tickTime=500\ninitLimit=20\nsyncLimit=4\ndataDir={data}\nclientPort={PORT}\npreAllocSize=512\ndiskReserveMb=8\n"
                f"snapCount=2000\nautopurge.purgeInterval=1\n4lw.commands.whitelist=*\nmaxClientCnxns=0\n"
                f"admin.enableServer=false\n{servers}")
        return self

    def __exit__(self, *_):
        for i in self.address:
            with contextlib.suppress(KeyError):
                self.signal(i, signal.SIGCONT)
        for name in list(self.world.processes):
            self.world.stop(name, signal.SIGKILL)
        for i in self.address:
            sh(f"umount {self.world.dir / f'data-{i}'}; ip netns del {self.name}-{i}", check=False)
        sh(f"ip link del {self.name}", check=False)

    def start(self, i):
        self.down.discard(i)
        self.world.start(f"zk-{i}", "ip", "netns", "exec", f"{self.name}-{i}", self.world.tool("zkServer.sh"),
                         "start-foreground", self.world.dir / f"zoo-{i}.cfg")

    def signal(self, i, how):
        process = self.world.processes[f"zk-{i}"]
        if process.poll() is None:
            process.send_signal(how)

    def kill(self, i):
        self.down.add(i)
        self.world.stop(f"zk-{i}", signal.SIGKILL)

    def cut(self, i, j, on):
        """Packets from one to the other go nowhere, or arrive again."""
        verb = "add" if on else "del"
        sh(f"ip netns exec {self.name}-{i} ip route {verb} blackhole {self.address[j]}/32", check=False)

    def fill(self, i):
        self.filler[i] = self.world.dir / f"data-{i}" / "filler"
        sh(f"dd if=/dev/zero of={self.filler[i]} bs=64k 2>/dev/null", check=False)

    def free(self, i):
        self.filler.pop(i).unlink(missing_ok=True)

    def mode(self, i):
        lines = word(PORT, "srvr", self.address[i]).splitlines() if i not in self.stopped | self.down else []
        return next((line[6:] for line in lines if line.startswith("Mode: ")), "")


class Run:
    def __init__(self, world, hosts, rng, seconds):
        self.world, self.hosts, self.rng, self.seconds = world, hosts, rng, seconds
        self.over, self.lines, self.clients = False, [], []
        self.counts = dict.fromkeys(("answered", "refused", "unknown", "sessions"), 0)

    async def run(self):
        for i in self.hosts.address:
            self.hosts.start(i)
        await asyncio.to_thread(until, "three servers", 60, self.all_serve)
        keeper = asyncio.create_task(self.keep())
        work = [asyncio.create_task(self.client(n)) for n in range(CLIENTS)]
        say(self.left_out())
        await self.trouble(work)
        await asyncio.to_thread(until, "everyone to serve again", 60, self.all_serve)
        await asyncio.sleep(2)
        self.over = True
        await asyncio.wait_for(asyncio.gather(*work), 60)
        keeper.cancel()
        await self.last_reads()
        await asyncio.to_thread(self.check)

    def all_serve(self):
        return sorted(map(self.hosts.mode, self.hosts.address)) == ["follower", "follower", "leader"]

    def left_out(self):
        reasons = []
        if not shutil.which("faketime"):
            reasons.append("clock steps (no libfaketime)")
        if sh("dmsetup targets", check=False).returncode:
            reasons.append("slow and failing sectors (no device mapper)")
        return "skipped: " + ", ".join(reasons) if reasons else "every kind of fault is here"

    async def keep(self):
        """A server that has ended by itself, for want of space, is started again as a supervisor does."""
        while True:
            await asyncio.sleep(1)
            for i in set(self.hosts.address) - self.hosts.down:
                if self.world.processes[f"zk-{i}"].poll() is not None:
                    say(f"server {i} has ended by itself; it is started again")
                    self.hosts.start(i)

    # ------------------------------------------------------------ faults

    async def trouble(self, work):
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            kind = self.rng.choice((self.killed, self.killed, self.paused, self.paused, self.isolated, self.isolated,
                                    self.one_way, self.full, self.all_killed))
            await kind(self.rng.choice(list(self.hosts.address)))
            await asyncio.sleep(self.rng.uniform(0.5, 3))
            for task in work:
                if task.done():
                    task.result()

    async def leader_or(self, i):
        """The leader more often than not: most goes wrong where it is."""
        modes = await asyncio.gather(*(asyncio.to_thread(self.hosts.mode, j) for j in self.hosts.address))
        leads = [j for j, mode in zip(self.hosts.address, modes) if mode == "leader"]
        return leads[0] if leads and self.rng.random() < 0.6 else i

    async def for_a_while(self, low, high):
        seconds = self.rng.uniform(low, high)
        await asyncio.sleep(seconds)
        return seconds

    async def killed(self, i):
        i = await self.leader_or(i)
        self.hosts.kill(i)
        seconds = await self.for_a_while(0.2, 4)
        self.hosts.start(i)
        say(f"kill -9 of server {i}, back after {seconds:.1f} s")

    async def all_killed(self, _):
        for i in self.hosts.address:
            self.hosts.kill(i)
        await asyncio.sleep(0.3)
        for i in self.hosts.address:
            self.hosts.start(i)
        say("kill -9 of all three at once")

    async def paused(self, i):
        i = await self.leader_or(i)
        self.hosts.stopped.add(i)
        self.hosts.signal(i, signal.SIGSTOP)
        seconds = await self.for_a_while(0.5, 7)
        self.hosts.signal(i, signal.SIGCONT)
        self.hosts.stopped.discard(i)
        say(f"server {i} stood still for {seconds:.1f} s")

    async def isolated(self, i):
        i = await self.leader_or(i)
        ways = [way for j in self.hosts.address if j != i for way in ((i, j), (j, i))]
        await self.without(ways, f"server {i} reached no other, its clients still")

    async def one_way(self, i):
        j = self.rng.choice([j for j in self.hosts.address if j != i])
        await self.without([(i, j)], f"nothing from server {i} reached server {j}")

    async def without(self, ways, what):
        for way in ways:
            self.hosts.cut(*way, True)
        seconds = await self.for_a_while(1, 7)
        for way in ways:
            self.hosts.cut(*way, False)
        say(f"{what} for {seconds:.1f} s")

    async def full(self, i):
        self.hosts.fill(i)
        seconds = await self.for_a_while(1, 4)
        self.hosts.free(i)
        say(f"the disk of server {i} was full for {seconds:.1f} s")

    # ------------------------------------------------------------ clients

    async def client(self, number):
        hosts = [f"{address}:{PORT}" for address in self.hosts.address.values()]
        rng, session, versions = random.Random(self.rng.random()), None, {}
        while not self.over:
            if session is None or session.expired:
                session = Session(hosts, SESSION, number)
                self.counts["sessions"] += 1
            path = f"/cell-{rng.randrange(CELLS)}"
            with contextlib.suppress(Lost, Expired):
                await self.operate(session, rng, path, versions)
            await asyncio.sleep(rng.uniform(0.005, 0.05))
        session.abandon()

    async def operate(self, session, rng, path, versions):
        await session.ready()
        draw = rng.random()
        data = f"{rng.getrandbits(40):x}"
        expected = versions.get(path, -1) if rng.random() < 0.5 else -1
        if draw < 0.08:
            await self.record(session, path, "create", data, -1)
        elif draw < 0.5:
            await self.record(session, path, "set", data, expected, versions)
        elif draw < 0.54:
            await self.record(session, path, "delete", "-", expected)
        else:
            await self.record(session, path, "read", "-", -1, versions)

    async def record(self, session, path, call, data, expected, versions=None):
        """One operation, a read with the sync before it, and a line of history for it."""
        start = time.monotonic_ns()
        body = text(path)
        if call == "create":
            answer = session.send(sessions.CREATE, body + blob(data.encode()) + sessions.ANYONE + bytes(4))
        elif call == "set":
            answer = session.send(sessions.SET, body + blob(data.encode()) + expected.to_bytes(4, "big", signed=True))
        elif call == "delete":
            answer = session.send(sessions.DELETE, body + expected.to_bytes(4, "big", signed=True))
        else:
            synced = session.send(sessions.SYNC, body)
            synced.add_done_callback(lambda future: future.exception())
            answer = session.send(sessions.GET, body + b"\0")
        line = [f"{session.id}", path, start, "-", call, data, expected, "unknown", "-", "-", "-", "-"]
        self.lines.append(line)
        try:
            reply = await answer
        except Lost:
            self.counts["unknown"] += 1
            raise
        if reply.err in (SESSION_MOVED, SESSION_EXPIRED):
            self.counts["unknown"] += 1
            return
        if reply.err == SYSTEM_ERROR:
            # A server without room refuses what would be written: it has not happened.
            self.counts["refused"] += 1
            self.lines.remove(line)
            return
        self.counts["answered"] += 1
        line[3], line[10] = time.monotonic_ns(), reply.zxid
        names = {OK: "done", NODE_EXISTS: "exists", NO_NODE: "nonode", BAD_VERSION: "badversion"}
        line[7] = names[reply.err]
        if reply.err == NO_NODE and call == "read":
            line[7] = "none"
        elif reply.err == OK and call == "set":
            stat = reply.stat()
            line[7], line[8], line[11] = "version", stat.version, stat.mzxid
        elif reply.err == OK and call == "read":
            value = reply.buffer().decode()
            stat = reply.stat()
            line[7], line[8], line[9], line[11] = "value", stat.version, value, stat.mzxid
        if versions is not None and line[8] != "-":
            versions[path] = line[8]

    async def last_reads(self):
        """What each server has at the end is part of the history."""
        for address in self.hosts.address.values():
            session = Session([f"{address}:{PORT}"], SESSION)
            for cell in range(CELLS):
                await session.ready()
                await self.record(session, f"/cell-{cell}", "read", "-", -1)
            await session.close()

    def check(self):
        history = self.world.dir / "history.tsv"
        history.write_text("".join("\t".join(map(str, line)) + "\n" for line in self.lines))
        counts = self.counts
        say(f"{counts['answered']} operations answered, {counts['refused']} refused, {counts['unknown']} of unknown outcome, "
            f"{counts['sessions']} sessions")
        assert counts["answered"] > 20 * self.seconds, counts
        done = subprocess.run(["cargo", "run", "-q", "-p", "tests", "--bin", "linear", "--", str(history)], cwd=REPO,
                              capture_output=True, text=True)
        if done.returncode:
            kept = f"/tmp/menagerie-faults-{os.getpid()}.tsv"
            shutil.copy(history, kept)
            raise AssertionError(f"{done.stdout}{done.stderr}\nthe history is kept: {kept}")
        say(done.stdout.strip())


if __name__ == "__main__":
    options = argparse.ArgumentParser(prog="INTEROP_SCRIPT=faults.py scripts/interop", description=__doc__)
    options.add_argument("--seed", type=int)
    options.add_argument("--seconds", type=int, default=60)
    given = options.parse_args()

    def fault_run():
        """Kills, pauses, partitions and full disks."""
        faults(given.seed, given.seconds)

    sys.argv[1:] = []
    main({"faults": fault_run}, {})
