"""Requests about settings, byte by byte: what tools would hide of the answers can be compared."""

import socket
import struct

TOPIC, BROKER, LOGGER = 2, 4, 8
SET, DELETE, APPEND, SUBTRACT = range(4)


def text(value):
    return struct.pack(">h", -1) if value is None else struct.pack(">h", len(value.encode())) + value.encode()


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


class Answer:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        value, = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def text(self):
        size = self.take(">h")
        if size < 0:
            return None
        self.at += size
        return self.data[self.at - size:self.at].decode()

    def array(self, one):
        return [one() for _ in range(self.take(">i"))]


class Wire:
    """One connection to a listener without security."""

    def __init__(self, port, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout=120)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def call(self, key, version, body):
        frame = struct.pack(">hhi", key, version, 7) + text("settings") + body
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)
        answer = Answer(self.read(struct.unpack(">i", self.read(4))[0]))
        assert answer.take(">i") == 7
        return answer

    def read(self, size):
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            assert more, "the connection was closed"
            data += more
        return data

    def describe(self, kind, name):
        """(code, text), and the settings: (name, value, read only, source, sensitive, synonyms, type)."""
        answer = self.call(32, 3, array([struct.pack(">b", kind) + text(name) + struct.pack(">i", -1)]) + b"\1\0")
        answer.take(">i")

        def synonym():
            return answer.text(), answer.text(), answer.take(">b")

        def entry():
            name, value = answer.text(), answer.text()
            read_only, source, sensitive = answer.take(">?"), answer.take(">b"), answer.take(">?")
            synonyms, kind = answer.array(synonym), answer.take(">b")
            answer.text()
            return name, value, read_only, source, sensitive, synonyms, kind

        def result():
            error = answer.take(">h"), answer.text()
            answer.take(">b"), answer.text()
            return error, {one[0]: one for one in answer.array(entry)}
        return answer.array(result)[0]

    def alter(self, kind, name, changes, validate=False):
        """(code, text) of an incremental change: (key, operation, value) each."""
        one = [text(key) + struct.pack(">b", operation) + text(value) for key, operation, value in changes]
        answer = self.call(44, 0, array([struct.pack(">b", kind) + text(name) + array(one)]) + bytes([validate]))
        answer.take(">i")
        return answer.array(lambda: (answer.take(">h"), answer.text(), answer.take(">b"), answer.text()))[0][:2]

    def replace(self, kind, name, settings, validate=False):
        """(code, text) of each answer, where the whole set is replaced; several sets may be given."""
        sets = settings if isinstance(settings, list) else [settings]
        one = [struct.pack(">b", kind) + text(name) + array([text(key) + text(value) for key, value in each.items()])
               for each in sets]
        answer = self.call(33, 1, array(one) + bytes([validate]))
        answer.take(">i")
        return [one[:2] for one in
                answer.array(lambda: (answer.take(">h"), answer.text(), answer.take(">b"), answer.text()))]
