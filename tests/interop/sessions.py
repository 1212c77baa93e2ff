"""ZooKeeper sessions by the hundred in one thread: a small client of its own, whose every step a check can see.

kazoo has a few threads per session, and hides what a fault run is about: connections lost, requests whose outcome is
unknown, watches that are set again."""

import asyncio
import struct
import time

CREATE, DELETE, EXISTS, GET, SET, SYNC, PING, CHILDREN, SET_WATCHES, CLOSE = 1, 2, 3, 4, 5, 9, 11, 12, 101, -11
OK, NO_NODE, BAD_VERSION, NODE_EXISTS, SESSION_MOVED = 0, -101, -103, -110, -118
CREATED, DELETED, CHANGED, CHILDREN_CHANGED = 1, 2, 3, 4
EPHEMERAL = 1
STAT = struct.Struct(">qqqqiiiqiiq")


class Lost(Exception):
    """The connection ended with a request under way: nobody knows what became of it."""


class Expired(Exception):
    """The ensemble has ended the session."""


class Stat:
    def __init__(self, raw):
        (self.czxid, self.mzxid, _, _, self.version, self.cversion, _, self.owner, _, self.children,
         self.pzxid) = STAT.unpack(raw)


class Reply:
    def __init__(self, zxid, err, body):
        self.zxid, self.err, self.body, self.at = zxid, err, body, 0

    def buffer(self):
        (size,) = struct.unpack_from(">i", self.body, self.at)
        self.at += 4 + max(size, 0)
        return self.body[self.at - max(size, 0):self.at] if size >= 0 else None

    def stat(self):
        self.at += STAT.size
        return Stat(self.body[self.at - STAT.size:self.at])

    def names(self):
        (count,) = struct.unpack_from(">i", self.body, self.at)
        self.at += 4
        return [self.buffer().decode() for _ in range(count)]


def text(value):
    raw = value.encode()
    return struct.pack(">i", len(raw)) + raw


def blob(value):
    return struct.pack(">i", len(value)) + value


ANYONE = struct.pack(">ii", 1, 31) + text("world") + text("anyone")


class Session:
    """One session; `hosts` are tried in turn, from `first` on. Events of watches go to `on_event(session, kind, path)`."""

    def __init__(self, hosts, timeout=15.0, first=0, on_event=None):
        self.hosts, self.timeout, self.next = hosts, timeout, first
        self.on_event = on_event or (lambda *_: None)
        self.id, self.password, self.seen = 0, b"\0" * 16, 0
        # What is watched: the lists that move along to the next server.
        self.data_watches, self.exist_watches, self.child_watches = set(), set(), set()
        self.expired = self.closing = False
        self.connected = asyncio.Event()
        self.down_since, self.down_longest, self.connections = None, 0.0, 0
        self.pending, self.xid, self.writer, self.host = [], 0, None, None
        self.life = asyncio.create_task(self._live())

    def reset_down(self):
        """The longest time without a connection is counted from here on."""
        self.down_longest = 0.0

    # ------------------------------------------------------------ connections

    async def _live(self):
        while not (self.expired or self.closing):
            self.host = self.hosts[self.next % len(self.hosts)]
            self.next += 1
            try:
                await self._one_connection()
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, struct.error):
                pass
            if self.connected.is_set():
                self.connected.clear()
                self.down_since = time.monotonic()
            if self.writer:
                self.writer.close()
                self.writer = None
            pending, self.pending = self.pending, []
            for _, answer in pending:
                if not answer.done():
                    answer.set_exception(Lost())
            if not self.closing:
                await asyncio.sleep(0.05)

    async def _one_connection(self):
        patience = self.timeout / 3
        host, port = self.host.rsplit(":", 1)
        reader, self.writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), patience)
        hello = struct.pack(">iqiq", 0, self.seen, int(self.timeout * 1000), self.id) + blob(self.password) + b"\0"
        self.writer.write(blob(hello))
        welcome = await asyncio.wait_for(self._frame(reader), patience)
        _, _, session = struct.unpack_from(">iiq", welcome)
        if session == 0:
            self.expired = True
            return
        assert self.id in (0, session), f"asked for session 0x{self.id:x}, got 0x{session:x}"
        self.id, self.password = session, welcome[20:36]
        if self.data_watches or self.exist_watches or self.child_watches:
            lists = b"".join(struct.pack(">i", len(paths)) + b"".join(map(text, sorted(paths)))
                             for paths in (self.data_watches, self.exist_watches, self.child_watches))
            self.writer.write(blob(struct.pack(">iiq", -8, SET_WATCHES, self.seen) + lists))
        self.connections += 1
        if self.down_since is not None:
            self.down_longest = max(self.down_longest, time.monotonic() - self.down_since)
            self.down_since = None
        self.connected.set()
        pings = asyncio.create_task(self._ping(self.writer))
        try:
            while True:
                self._take(await asyncio.wait_for(self._frame(reader), self.timeout * 2 / 3))
        finally:
            pings.cancel()

    async def _ping(self, writer):
        while True:
            await asyncio.sleep(self.timeout / 4)
            writer.write(blob(struct.pack(">ii", -2, PING)))

    @staticmethod
    async def _frame(reader):
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        return await reader.readexactly(size)

    def _take(self, frame):
        xid, zxid, err = struct.unpack_from(">iqi", frame)
        if xid == -1:
            kind, _ = struct.unpack_from(">ii", frame, 16)
            path = Reply(0, 0, frame[24:]).buffer().decode()
            return self._event(kind, path)
        if zxid > 0:
            assert zxid >= self.seen, f"the zxid goes back from 0x{self.seen:x} to 0x{zxid:x}"
            self.seen = zxid
        if xid in (-2, -8):
            return None
        expected, answer = self.pending.pop(0)
        assert expected == xid, f"reply {xid} where {expected} is due"
        if not answer.done():
            answer.set_result(Reply(zxid, err, frame[16:]))
        return None

    def _event(self, kind, path):
        lists = {CREATED: [self.exist_watches, self.data_watches], CHANGED: [self.data_watches, self.exist_watches],
                 DELETED: [self.data_watches, self.child_watches, self.exist_watches],
                 CHILDREN_CHANGED: [self.child_watches]}[kind]
        fired = [watches for watches in lists if path in watches]
        for watches in fired:
            watches.discard(path)
        self.on_event(self, kind, path, bool(fired))

    # ------------------------------------------------------------ requests

    def send(self, op, body):
        """Sends it, and gives what its answer will be set in. Raises `Lost` where there is no connection."""
        if not self.connected.is_set():
            raise Lost()
        self.xid += 1
        answer = asyncio.get_running_loop().create_future()
        self.pending.append((self.xid, answer))
        self.writer.write(blob(struct.pack(">ii", self.xid, op) + body))
        return answer

    async def ready(self):
        """A connection is there; or the session has expired."""
        while not self.connected.is_set():
            if self.expired:
                raise Expired(f"session 0x{self.id:x}")
            try:
                await asyncio.wait_for(self.connected.wait(), 0.5)
            except asyncio.TimeoutError:
                pass

    async def once(self, op, body):
        """One attempt, when a connection is there."""
        await self.ready()
        return await self.send(op, body)

    async def surely(self, op, body):
        """A read, or what may be done twice: repeated until it is answered."""
        while True:
            try:
                return await self.once(op, body)
            except Lost:
                pass

    async def create(self, path, data=b"", flags=0):
        return await self.once(CREATE, text(path) + blob(data) + ANYONE + struct.pack(">i", flags))

    async def set(self, path, data, version):
        return await self.once(SET, text(path) + blob(data) + struct.pack(">i", version))

    async def delete(self, path, version=-1):
        return await self.once(DELETE, text(path) + struct.pack(">i", version))

    async def get(self, path, watch=False):
        """(data, stat), or None where the node is not there."""
        while True:
            try:
                reply = await self.once(GET, text(path) + bytes([watch]))
            except Lost:
                continue
            if reply.err == NO_NODE:
                return None
            assert reply.err == OK, (path, reply.err)
            if watch:
                self.data_watches.add(path)
            return reply.buffer(), reply.stat()

    async def exists(self, path, watch=False):
        reply = await self.surely(EXISTS, text(path) + bytes([watch]))
        if watch:
            (self.data_watches if reply.err == OK else self.exist_watches).add(path)
        return reply.stat() if reply.err == OK else None

    async def children(self, path):
        reply = await self.surely(CHILDREN, text(path) + b"\0")
        assert reply.err == OK, (path, reply.err)
        return reply.names()

    async def sync(self):
        return await self.surely(SYNC, text("/"))

    async def close(self):
        """Ends the session, and its ephemeral nodes with it."""
        if not self.expired:
            await self.surely(CLOSE, b"")
        self.abandon()

    def abandon(self):
        """Lets go of the connection; the session lives on until its time is up."""
        self.closing = True
        self.life.cancel()
        if self.writer:
            self.writer.close()
