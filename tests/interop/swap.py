"""A live ensemble of Java servers is swapped to ours, server by server on the same data directories, and back."""

import argparse
import asyncio
import bisect
import sys
import time

import sessions
from harness import World, main, mode, need_peer, say, until, word
from sessions import DELETED, NODE_EXISTS, OK, Lost, Session

TIMEOUT = 15.0
WRITERS = 6
BEATS = 20
FOLDER = 1000


def swap(nodes=100_000, count=200, kafka=False, java_only=True):
    """Java to ours and back under load: sessions, acknowledged writes, watches and ephemerals all stay."""
    zookeeper = need_peer("zookeeper")
    brokers = need_peer("kafka") if kafka else None
    with World("swap") as world:
        ensemble = world.ensemble(["java"] * 3, zookeeper)
        ensemble.start_all()
        if brokers:
            from swap_kafka import Kafka
            brokers = Kafka(world, ensemble, brokers)
        asyncio.run(Demo(world, ensemble, nodes, count, brokers).run(java_only))


def swap_brief():
    """A small live Java ensemble is swapped to ours, server by server, and back."""
    swap(nodes=5_000, count=20, java_only=False)


def swap_kafka():
    """The swap with three real Kafka 3.5.1 brokers on the ensemble, a producer with acks=all and a consumer."""
    swap(nodes=10_000, count=50, kafka=True, java_only=False)


class Writer:
    """Creates nodes and counts in one of its own, and keeps what was acknowledged, and when."""

    def __init__(self, number, session):
        self.number, self.session = number, session
        self.counter, self.version, self.made = f"/swap/count/w{number}", 0, 0
        # Acknowledged nodes, and the times of acknowledgements.
        self.acked, self.times = [], []

    async def run(self, demo):
        while not demo.over:
            if self.made % 2:
                await self.count()
            else:
                await self.create()
            self.made += 1
            self.times.append(time.monotonic())
            await asyncio.sleep(0.02)

    async def create(self):
        path = f"/swap/log/w{self.number}-{self.made}"
        again = False
        while True:
            try:
                reply = await self.session.create(path, path.encode())
                break
            except Lost:
                again = True
        assert reply.err == OK or again and reply.err == NODE_EXISTS, (path, reply.err)
        self.acked.append(path)

    async def count(self):
        value = str(self.version + 1).encode()
        while True:
            try:
                reply = await self.session.set(self.counter, value, self.version)
                assert reply.err == OK, (self.counter, reply.err, "a write before it is lost, or there is one too many")
                break
            except Lost:
                _, stat = await self.session.get(self.counter)
                assert self.version <= stat.version <= self.version + 1, (self.counter, stat.version, self.version)
                if stat.version > self.version:
                    break
        self.version += 1


class Watcher:
    """A session with an ephemeral node, a watch on its neighbour's, and data watches that it sets anew as they fire."""

    def __init__(self, number, demo):
        self.number, self.demo = number, demo
        self.mine = f"/swap/ephemeral/s{number}"
        self.neighbour = f"/swap/ephemeral/s{(number + 1) % demo.count}"
        self.beats = [f"/swap/beat/b{beat}" for beat in sorted({number % BEATS, number * 7 % BEATS})]
        self.versions = dict.fromkeys(self.beats, -1)
        self.fired, self.neighbour_gone = asyncio.Queue(), False
        self.events = 0
        self.session = Session(demo.hosts, TIMEOUT, number, self.on_event)

    async def begin(self):
        reply = await self.session.create(self.mine, b"", sessions.EPHEMERAL)
        assert reply.err == OK, reply.err

    async def run(self):
        assert await self.session.exists(self.neighbour, watch=True)
        for path in self.beats:
            await self.look(path)
        while True:
            await self.look(await self.fired.get())

    async def look(self, path):
        _, stat = await self.session.get(path, watch=True)
        if stat.version <= self.versions[path]:
            self.demo.wrong(f"session {self.number} was told of {path}, which is as it was: {stat.version}")
        self.versions[path] = stat.version

    def on_event(self, _, kind, path, watched):
        if not watched:
            self.demo.wrong(f"session {self.number} is told of {path}, where it has no watch")
        elif path == self.neighbour:
            self.neighbour_gone = kind == DELETED
            if not self.demo.ending:
                self.demo.wrong(f"session {self.number} is told that {path} changed ({kind})")
        else:
            self.events += 1
            self.fired.put_nowait(path)


class Demo:
    def __init__(self, world, ensemble, nodes, count, brokers):
        self.world, self.ensemble, self.nodes, self.count, self.brokers = world, ensemble, nodes, count, brokers
        self.hosts = [f"127.0.0.1:{port}" for port in ensemble.client.values()]
        self.over = self.ending = False
        self.faults, self.tasks, self.table = [], [], []

    def wrong(self, what):
        self.faults.append(what)

    async def run(self, java_only):
        await self.load()
        self.watchers = [Watcher(number, self) for number in range(self.count)]
        await asyncio.wait_for(asyncio.gather(*(watcher.begin() for watcher in self.watchers)), 240)
        self.tasks += [asyncio.create_task(watcher.run()) for watcher in self.watchers]
        self.writers = [Writer(n, Session(self.hosts, TIMEOUT, n)) for n in range(WRITERS)]
        for writer in self.writers:
            assert (await writer.session.create(writer.counter)).err == OK
        self.tasks += [asyncio.create_task(writer.run(self)) for writer in self.writers]
        self.tasks.append(asyncio.create_task(self.beat()))
        if self.brokers:
            await asyncio.to_thread(self.brokers.begin)
        await asyncio.sleep(2)
        say(f"{self.nodes} nodes; {self.count} sessions with ephemeral nodes and watches; {WRITERS} writers")
        if java_only:
            await self.roll("java restarted", "java")
        await self.roll("java to ours", "ours")
        await self.roll("ours to java", "java")
        await self.finish()
        for line in self.table:
            print(line, flush=True)

    async def load(self):
        """The nodes, written by one session with many requests under way."""
        loader = Session(self.hosts, TIMEOUT)
        for folder in ("", "/load", "/beat", "/count", "/log", "/ephemeral"):
            assert (await loader.create("/swap" + folder)).err == OK
        for beat in range(BEATS):
            assert (await loader.create(f"/swap/beat/b{beat}")).err == OK
        begin, paths = time.monotonic(), []
        for node in range(self.nodes):
            if node % FOLDER == 0:
                paths.append((f"/swap/load/{node // FOLDER}", b""))
            paths.append((f"/swap/load/{node // FOLDER}/n{node}", str(node).encode() * 10))
        for at in range(0, len(paths), 500):
            replies = await asyncio.gather(*(loader.create(*path) for path in paths[at:at + 500]))
            assert all(reply.err == OK for reply in replies), {reply.err for reply in replies}
        say(f"{len(paths)} nodes created in {time.monotonic() - begin:.0f} s")
        await loader.close()

    async def beat(self):
        session, number = Session(self.hosts, TIMEOUT), 0
        while not self.over:
            number += 1
            for beat in range(BEATS):
                try:
                    reply = await session.set(f"/swap/beat/b{beat}", str(number).encode(), -1)
                    assert reply.err == OK, reply.err
                except Lost:
                    pass
            await asyncio.sleep(1)
        await session.close()

    # ------------------------------------------------------------ the swap

    async def roll(self, name, kind):
        """Each server in turn, its leader last, is stopped and started as `kind`."""
        sessions_ = [one.session for one in self.watchers + self.writers]
        for session in sessions_:
            session.reset_down()
        begin = time.monotonic()
        leader = await asyncio.to_thread(until, "a leader", 30, self.ensemble.leader)
        gaps, waits = [], []
        for server in [i for i in self.ensemble.client if i != leader] + [leader]:
            what, at = mode(self.ensemble.client[server]), time.monotonic()
            await asyncio.to_thread(self.replace, server, kind)
            await asyncio.sleep(1.5)
            gap = self.longest_gap(at, time.monotonic())
            gaps.append(gap)
            waits.append(max(self.longest_gap(at, time.monotonic(), [writer]) for writer in self.writers))
            say(f"{name}: server {server} ({what}) is back after {time.monotonic() - at - 1.5:.1f} s; "
                f"longest time without an acknowledged write {gap * 1000:.0f} ms, of one writer {waits[-1] * 1000:.0f} ms")
            self.check_alive()
        down = max(session.down_longest for session in sessions_)
        self.table.append(f"  {name:15} longest gap in service {max(gaps) * 1000:5.0f} ms   "
                          f"of one writer {max(waits) * 1000:5.0f} ms   "
                          f"(a follower's stop {max(waits[:-1]) * 1000:5.0f} ms, the leader's {waits[-1] * 1000:5.0f} ms)   "
                          f"of a session's connection {down * 1000:5.0f} ms   in all {time.monotonic() - begin:.0f} s")

    def replace(self, server, kind):
        ensemble = self.ensemble
        ensemble.kill(server, how=15)
        ensemble.kinds[server] = kind
        ensemble.start(server)
        until(f"server {server} to serve as {kind}", 90, lambda: mode(ensemble.client[server]) in ("leader", "follower"))
        until("both followers in sync", 90, lambda: self.synced() == 2)

    def synced(self):
        leader = self.ensemble.leader()
        lines = word(self.ensemble.client[leader], "mntr").splitlines() if leader else []
        return next((float(line.split()[1]) for line in lines if line.startswith("zk_synced_followers")), 0)

    def longest_gap(self, since, until_, writers=None):
        """The longest time in which nobody's write was acknowledged, or no write of these writers."""
        times = sorted(t for writer in writers or self.writers for t in writer.times[bisect.bisect(writer.times, since - 1):])
        points = [since] + [t for t in times if since <= t <= until_] + [until_]
        return max(later - earlier for earlier, later in zip(points, points[1:]))

    def check_alive(self):
        for task in self.tasks:
            if task.done() and task.exception():
                raise task.exception()
        expired = [one.session for one in self.watchers + self.writers if one.session.expired]
        assert not expired, f"{len(expired)} sessions are lost"
        assert not self.faults, (len(self.faults), self.faults[:5])
        if self.brokers:
            self.brokers.check_alive()

    # ------------------------------------------------------------ the end

    async def finish(self):
        if self.brokers:
            await asyncio.to_thread(self.brokers.finish)
        self.over = True
        await asyncio.sleep(3)
        self.check_alive()
        for host in self.hosts:
            session = Session([host], TIMEOUT)
            await self.check_server(session)
            await session.close()
        writes = sum(writer.made for writer in self.writers)
        say(f"{writes} acknowledged writes are on all three servers; {self.count} ephemeral nodes stand, each with its "
            f"session; {sum(watcher.events for watcher in self.watchers)} events came, none twice, none missed")
        await self.check_last_watches()
        for one in self.writers:
            await one.session.close()
        for task in self.tasks:
            task.cancel()

    async def check_server(self, session):
        await session.sync()
        there = set(await session.children("/swap/log"))
        acked = [path for writer in self.writers for path in writer.acked]
        lost = [path for path in acked if path.rsplit("/", 1)[1] not in there]
        assert not lost, f"{len(lost)} acknowledged writes are lost on {session.host}: {lost[:5]}"
        for at in range(0, len(acked), 500):
            got = await asyncio.gather(*(session.get(path) for path in acked[at:at + 500]))
            assert [data for data, _ in got] == [path.encode() for path in acked[at:at + 500]]
        for writer in self.writers:
            data, stat = await session.get(writer.counter)
            assert (stat.version, int(data)) == (writer.version, writer.version), (writer.counter, stat.version, data)
        for folder in range(-(-self.nodes // FOLDER)):
            names = await session.children(f"/swap/load/{folder}")
            assert len(names) == min(FOLDER, self.nodes - folder * FOLDER), (folder, len(names))
        for node in range(0, self.nodes, max(self.nodes // 500, 1)):
            data, _ = await session.get(f"/swap/load/{node // FOLDER}/n{node}")
            assert data == str(node).encode() * 10, node
        for watcher in self.watchers:
            stat = await session.exists(watcher.mine)
            assert stat and stat.owner == watcher.session.id, f"{watcher.mine} is not what session {watcher.number} made"
            for path, version in watcher.versions.items():
                _, stat = await session.get(path)
                assert stat.version == version, f"session {watcher.number} waits for {path}: {version}, {stat.version}"

    async def check_last_watches(self):
        """Watches that were set before the first server went, and moved all the way, still fire."""
        self.ending = True
        await asyncio.gather(*(watcher.session.close() for watcher in self.watchers[1::2]))
        end = time.monotonic() + 60
        even = self.watchers[0:len(self.watchers) // 2 * 2:2]
        while not all(watcher.neighbour_gone for watcher in even) and time.monotonic() < end:
            await asyncio.sleep(0.1)
        missed = [watcher.number for watcher in even if not watcher.neighbour_gone]
        assert not missed, f"sessions {missed} were not told that their neighbour's node is gone"
        assert not self.faults, self.faults[:5]
        await asyncio.gather(*(watcher.session.close() for watcher in self.watchers[0::2]))
        say(f"{len(even)} watches from before the first swap fired at the end")


if __name__ == "__main__":
    options = argparse.ArgumentParser(prog="scripts/swap-demo", description=__doc__)
    options.add_argument("--nodes", type=int, default=100_000)
    options.add_argument("--sessions", type=int, default=200)
    options.add_argument("--kafka", action="store_true", help="three real Kafka brokers are on it all the while")
    given = options.parse_args()

    def swap_demo():
        """Java, restarted; Java to ours; and back."""
        swap(given.nodes, given.sessions, given.kafka)

    sys.argv[1:] = []
    main({"swap_demo": swap_demo}, {})
