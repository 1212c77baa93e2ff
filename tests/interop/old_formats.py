"""Old message formats: the same bytes to a broker of Java's and to one of ours, the same bytes back."""

import gzip
import socket
import struct
import zlib

from harness import World, cluster_is_up, free_ports, need_peer, say, until


def message(offset, magic, key, value, timestamp=1_600_000_000_000, attributes=0, crc=None):
    """One message of format v0 or v1."""
    def part(data):
        return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data
    body = struct.pack(">bb", magic, attributes) + (struct.pack(">q", timestamp) if magic else b"") + part(key) + part(value)
    body = struct.pack(">I", zlib.crc32(body) if crc is None else crc) + body
    return struct.pack(">qi", offset, len(body)) + body


def wrapper(magic, messages, offset=None, codec=1, compress=lambda data: gzip.compress(data, mtime=0)):
    """A gzip wrapper around these."""
    offset = len(messages) - 1 if offset is None else offset
    return message(offset, magic, None, compress(b"".join(messages)), attributes=codec)


def sets():
    """(name, message set); what each of them gets is Java's to say."""
    for magic in (0, 1):
        plain = [message(i, magic, b"k%d" % i, b"value %d" % i, 1_600_000_000_000 + (7 * i) % 5) for i in range(5)]
        yield f"v{magic} plain", b"".join(plain)
        yield f"v{magic} one", plain[3]
        yield f"v{magic} offsets all 0", message(0, magic, b"a", b"b") * 3
        yield f"v{magic} keyless, valueless", message(0, magic, None, b"v") + message(1, magic, b"k", None) + message(2, magic, b"", b"")
        yield f"v{magic} wrapper", wrapper(magic, plain)
        yield f"v{magic} wrapper, wrong offset", wrapper(magic, plain, offset=2)
        yield f"v{magic} wrapper, offset 0", wrapper(magic, plain, offset=0)
        yield f"v{magic} wrapper, high offset", wrapper(magic, plain, offset=1000)
        yield f"v{magic} two wrappers", wrapper(magic, plain) * 2
        yield f"v{magic} wrapper and plain", wrapper(magic, plain) + plain[0]
        yield f"v{magic} empty wrapper", wrapper(magic, [], offset=0)
        yield f"v{magic} wrapper of null", message(0, magic, None, None, attributes=1)
        yield f"v{magic} wrapper of junk", message(0, magic, None, b"junk", attributes=1)
        yield f"v{magic} wrapper in a wrapper", wrapper(magic, [wrapper(magic, plain)], offset=0)
        yield f"v{magic} wrapper of a wrong crc", wrapper(magic, [message(0, magic, b"k", b"v", crc=7)])
        yield f"v{magic} wrapper of the other format", wrapper(magic, [message(0, 1 - magic, b"k", b"v")])
        yield f"v{magic} zstd wrapper", wrapper(magic, plain, codec=4)
        yield f"v{magic} codec 5", wrapper(magic, plain, codec=5)
        yield f"v{magic} wrong crc", message(0, magic, b"k", b"v", crc=1)
        yield f"v{magic} second wrong", plain[0] + message(1, magic, b"k", b"v", crc=1)
        yield f"v{magic} cut off", b"".join(plain)[:-3]
        yield f"v{magic} only a part", plain[0][:20]
        yield f"v{magic} then the other", plain[0] + message(1, 1 - magic, b"k", b"v")
        yield f"v{magic} LogAppendTime", message(0, magic, b"k", b"v", attributes=8)
        yield f"v{magic} negative time", message(0, magic, b"k", b"v", timestamp=-5)
        yield f"v{magic} no time", message(0, magic, b"k", b"v", timestamp=-1)
        yield f"v{magic} too large", message(0, magic, b"k", bytes(70_000))
    yield "nothing", b""
    yield "tiny size", struct.pack(">qi", 0, 3) + bytes(30)
    yield "format 3", message(0, 3, b"k", b"v")
    yield "a batch", batch([(b"k", b"v")] * 2)
    yield "two batches", batch([(b"k", b"v")] * 2) * 2


def varint(value):
    value = (value << 1) ^ (value >> 63)
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


CRC32C = [0] * 256
for i in range(256):
    c = i
    for _ in range(8):
        c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
    CRC32C[i] = c


def crc32c(data):
    c = 0xFFFFFFFF
    for byte in data:
        c = c >> 8 ^ CRC32C[(c ^ byte) & 0xFF]
    return c ^ 0xFFFFFFFF


def batch(records, codec=0, timestamp=1_600_000_000_000, headers=0, attributes=0):
    """A record batch of (key, value)."""
    body = b""
    for i, (key, value) in enumerate(records):
        one = b"\0" + varint(i % 3) + varint(i)
        for part in (key, value):
            one += varint(-1) if part is None else varint(len(part)) + part
        one += varint(headers) + (varint(1) + b"h" + varint(1) + b"x") * headers
        body += varint(len(one)) + one
    if codec == 1:
        body = gzip.compress(body, mtime=0)
    count = len(records)
    tail = struct.pack(">hiqqqhii", codec | attributes, count - 1, timestamp, timestamp + min(2, count - 1), -1, -1, -1, count) + body
    return struct.pack(">qiibI", 0, len(tail) + 9, -1, 2, crc32c(tail)) + tail


class Raw:
    """A connection that takes bytes and gives bytes."""

    def __init__(self, port):
        self.port, self.socket = port, None

    def call(self, key, version, body):
        if not self.socket:
            self.socket = socket.create_connection(("127.0.0.1", self.port), 5)
            self.socket.settimeout(60)
        frame = struct.pack(">hhih", key, version, 9, 3) + b"raw" + body
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)
        try:
            size = struct.unpack(">i", self.take(4))[0]
            return self.take(size)[4:]
        except ConnectionError:
            self.socket = None
            return b"closed"
        except TimeoutError:
            # What is late would be taken for the next answer.
            self.socket = None
            raise

    def take(self, count):
        data = b""
        while len(data) < count:
            chunk = self.socket.recv(count - len(data))
            if not chunk:
                raise ConnectionError("closed")
            data += chunk
        return data


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


def create(raw, topic, **configs):
    body = struct.pack(">i", 1) + text(topic) + struct.pack(">ihi", 1, 1, 0) + struct.pack(">i", len(configs))
    for key, value in configs.items():
        body += text(key.replace("_", ".")) + text(value)
    # NONE, or TOPIC_ALREADY_EXISTS: a broker that answers may not be registered yet.
    return raw.call(19, 0, body + struct.pack(">i", 10_000))[-2:] in (b"\0\0", b"\0\x24")


def produce(raw, version, topic, records, acks=1):
    body = (struct.pack(">h", -1) if version >= 3 else b"") + struct.pack(">hii", acks, 5000, 1) + text(topic)
    size = -1 if records is None else len(records)
    return raw.call(0, version, body + struct.pack(">iii", 1, 0, size) + (records or b""))


def fetch(raw, version, topic, offset, max_bytes=1 << 20, total=1 << 22):
    body = struct.pack(">iii", -1, 0, 1) + (struct.pack(">i", total) if version >= 3 else b"")
    body += (b"\0" if version >= 4 else b"") + (struct.pack(">ii", 0, -1) if version >= 7 else b"")
    body += struct.pack(">i", 1) + text(topic) + struct.pack(">ii", 1, 0) + (struct.pack(">i", -1) if version >= 9 else b"")
    body += struct.pack(">q", offset) + (struct.pack(">q", -1) if version >= 5 else b"") + struct.pack(">i", max_bytes)
    body += struct.pack(">i", 0) if version >= 7 else b""
    return raw.call(1, version, body + (text("") if version >= 11 else b""))


def records_of(answer, version, topic):
    """The records of a fetch of one partition, and what stands before them."""
    at = (4 if version >= 1 else 0) + 4 + 2 + len(topic) + 4 + 4 + 2 + 8 + (8 if version >= 4 else 0) + (8 if version >= 5 else 0)
    at += 4 if version >= 4 else 0
    size = struct.unpack_from(">i", answer, at)[0]
    return answer[:at], answer[at + 4:at + 4 + max(size, 0)]


def decoded(data):
    """Messages of a set with the wrappers' contents, not their compressed bytes; whatever is cut off, left out."""
    found, at = [], 0
    while at + 17 <= len(data):
        offset, size = struct.unpack_from(">qi", data, at)
        if offset < 0 or at + 12 + size > len(data):
            break
        magic, attributes = data[at + 16], data[at + 17]
        if magic < 2 and attributes & 7 == 1:
            value = at + (26 if magic == 0 else 34) - 4
            stamp = data[at + 18:at + 26] if magic else b""
            found.append((offset, magic, attributes, stamp, decoded(gzip.decompress(data[value + 4:at + 12 + size]))))
        elif magic == 2 and data[at + 22] & 7 == 1:
            head = data[at:at + 8] + data[at + 21:at + 61]
            found.append((head, gzip.decompress(data[at + 61:at + 12 + size])))
        else:
            found.append(data[at:at + 12 + size])
        at += 12 + size
    return found


def old_formats():
    """Produce 0-2 with message sets, Fetch 0-3 of batches: our answers are Java's, byte by byte where nothing is compressed."""
    kafka = need_peer("kafka")
    with World("old-formats") as world:
        ensemble = world.ensemble(["ours"] * 3)
        ensemble.start_all()
        ports = dict(zip(("java", "ours"), free_ports(2 + 12)[12:]))
        for number, (kind, port) in enumerate(ports.items(), 1):
            world.broker(number, port, f"{ensemble.connect}/{kind}", kafka if kind == "java" else None,
                         offsets_topic_replication_factor=1, log_retention_ms=-1, log_cleaner_enable="false")
        raws = {kind: Raw(port) for kind, port in ports.items()}
        topics = {
            "plain": {}, "gz": {"compression_type": "gzip"}, "none": {"compression_type": "uncompressed"},
            "stamped": {"message_timestamp_type": "LogAppendTime"}, "keyed": {"cleanup_policy": "compact"},
            "late": {"message_timestamp_difference_max_ms": "1000"}, "small": {"max_message_bytes": "60000"},
            "off": {"message_downconversion_enable": "false"}, "batches": {}, "zstd": {"compression_type": "zstd"}}
        for kind, raw in raws.items():
            cluster_is_up({1 if kind == "java" else 2: raw.port})
            for topic, configs in topics.items():
                until(f"{kind}'s {topic}", 60, lambda: create(raw, topic, **configs))
            for topic in topics:
                until(f"{kind}'s leader of {topic}", 30, lambda: produce(raw, 2, topic, b"")[-18:-16] == b"\0\0"
                      or produce(raw, 2, topic, b"")[8 + 2 + len(topic) + 4:][:2] == b"\0\0")
        wrong = []

        def both(what, act, stamp=None):
            answers = {kind: act(raw) for kind, raw in raws.items()}
            if stamp:
                answers = {kind: stamp(answer) for kind, answer in answers.items()}
            if answers["java"] != answers["ours"]:
                wrong.append(what)
                say(f"{what}: Java says {answers['java']!r:.300}, we say {answers['ours']!r:.300}")

        asked = 0
        for topic in topics:
            # The broker's time is not the same on both.
            head = 4 + 2 + len(topic) + 4 + 4 + 2 + 8
            mask = (lambda answer: answer[:head] + answer[head + 8:]) if topic == "stamped" else None
            for name, data in sets():
                for version in (0, 1, 2):
                    acks = -1 if version == 2 else 1
                    masked = mask if version == 2 else None
                    both(f"{name} to {topic} by Produce {version}", lambda raw: produce(raw, version, topic, data, acks), masked)
                    asked += 1
        say(f"{asked} produces compared, {len(wrong)} differ")
        for data in (batch([(b"k%d" % i, b"value %d" % i) for i in range(5)], headers=1), batch([(None, b"x" * 200)] * 9),
                     batch([(b"a", None)]), batch([(b"k", b"y" * 100)] * 20, codec=1), batch([(b"z", b"z")])):
            both("a batch", lambda raw: produce(raw, 8, "batches", data))
        fetches = 0
        for topic in topics:
            for version in (0, 1, 2, 3, 4, 5):
                for offset in (0, 1, 3, 6, 14, 20, 35, 36, 1000, -1):
                    for limits in ((1 << 20, 1 << 22), (300, 1 << 22), (40, 1 << 22), (0, 100), (1 << 20, 100)):
                        answers = {kind: fetch(raw, version, topic, offset, *limits) for kind, raw in raws.items()}
                        fetches += 1
                        if answers["java"] == answers["ours"]:
                            continue
                        split = {kind: records_of(answer, version, topic) for kind, answer in answers.items()}
                        contents = {kind: decoded(records) for kind, (_, records) in split.items()}
                        # A compressor of another kind also moves the place at which the answer is cut.
                        common = min(map(len, contents.values()))
                        same = contents["java"][:common] == contents["ours"][:common]
                        shorter = max(map(len, contents.values())) - common
                        same = same and shorter <= 1 + common // 10 and split["java"][0] == split["ours"][0]
                        if topic == "stamped" or (same and gzip_inside(contents["java"])):
                            continue
                        wrong.append((topic, version, offset, limits))
                        first = next((i for i in range(common) if contents["java"][i] != contents["ours"][i]), common)
                        say(f"Fetch {version} of {topic} from {offset}, {limits}: entry {first} of {[*map(len, contents.values())]}: "
                            f"Java {contents['java'][first:first + 1]!r:.300} ours {contents['ours'][first:first + 1]!r:.300}")
        say(f"{fetches} fetches compared")
        assert not wrong, f"{len(wrong)} differ: {wrong[:5]}"


def gzip_inside(contents):
    """Whether anything was compressed: its bytes depend on the compressor."""
    return any(isinstance(one, tuple) for one in contents)
