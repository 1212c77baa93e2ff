"""Processes of ours and of Java's, started, watched and stopped for the interop layers."""

import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

REPO = pathlib.Path(__file__).resolve().parents[2]
PEERS = REPO.parent / "shared" / "peers"
# Another build than target/release's, and where ports are looked for.
BINARY = [os.environ["MENAGERIE_BINARY"]] if "MENAGERIE_BINARY" in os.environ else []
PORTS = int(os.environ.get("MENAGERIE_PORTS", "20000"))
PORTS_SPAN = int(os.environ.get("MENAGERIE_PORTS_SPAN", "10000"))


# How many times a layer's deadlines a busy machine may take: waiting ends with what is waited for, so it costs nothing.
PATIENCE = 4


class Skipped(Exception):
    """The layer cannot run here; the message says why."""


def need_peer(name):
    """The command of a real Java peer, fetched; or the layer is skipped."""
    command = PEERS / name
    if not command.exists():
        raise Skipped(f"{command} is not here")
    for tool in ("java", "mvn"):
        if not shutil.which(tool):
            raise Skipped(f"{tool} is not installed")
    got = subprocess.run([command, "get"], capture_output=True, text=True, timeout=900)
    if got.returncode:
        raise Skipped(f"{name}'s jars cannot be fetched: {got.stderr.strip()[-200:]}")
    return command


def need_python(*modules):
    """Python clients that nobody here wrote; or the layer is skipped."""
    for module in modules:
        try:
            __import__(module)
        except ImportError as why:
            raise Skipped(f"python module {module}: {why}") from None


def until(what, seconds, check, patience=PATIENCE):
    """The first true value of `check()`, or a failure that says what did not come. `patience` is 1 where the time is the point."""
    seconds *= patience
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            value = check()
            if value:
                return value
        except Exception as why:  # not there yet is what we wait for
            last = why
        time.sleep(0.1)
    raise AssertionError(f"{what} did not come within {seconds} s" + (f": {last!r}" if last else ""))


def word(port, text, host="127.0.0.1"):
    """The answer to a four-letter word; empty if there is none."""
    try:
        with socket.create_connection((host, port), 10) as s:
            s.settimeout(15)
            s.sendall(text.encode())
            answer = b""
            while chunk := s.recv(65536):
                answer += chunk
            return answer.decode()
    except OSError:
        return ""


def mode(port):
    for line in word(port, "srvr").splitlines():
        if line.startswith("Mode: "):
            return line[6:]
    return ""


next_port = PORTS + os.getpid() % 200 * 50 % PORTS_SPAN


def free_ports(count):
    """A run of ports that nobody listens on, behind those that were given before: who has those may not listen yet."""
    global next_port
    while True:
        if next_port + count > PORTS + PORTS_SPAN:
            next_port = PORTS
        ports = range(next_port, next_port + count)
        next_port += count
        sockets = []
        try:
            for port in ports:
                s = socket.socket()
                sockets.append(s)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(("127.0.0.1", port))
            return list(ports)
        except OSError:
            pass
        finally:
            for s in sockets:
                s.close()


def busy():
    """How many times slower than one at rest this machine is now, at a guess: for the few times that are the point themselves."""
    return min(max(1.0, 2 * os.getloadavg()[0] / os.cpu_count()), 30.0)


def metadata(port, *topics, everything=False):
    """What the broker on this port tells (Metadata v4, which creates no topic): the brokers' ids, the controller's, and of each
    topic {partition: (leader, replicas, replicas in sync)}, or its error. `everything`: of all topics."""
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.settimeout(60)
        names = b"".join(struct.pack(">h", len(topic)) + topic.encode() for topic in topics)
        request = struct.pack(">hhihi", 3, 4, 1, -1, -1 if everything else len(topics)) + names + b"\0"
        s.sendall(struct.pack(">i", len(request)) + request)
        stream = s.makefile("rb")

        def take(form):
            return struct.unpack(form, stream.read(struct.calcsize(form)))

        def text():
            return stream.read(max(take(">h")[0], 0)).decode()

        def some(one):
            return [one() for _ in range(take(">i")[0])]

        def broker():
            id, _, _, _ = take(">i")[0], text(), take(">i"), text()
            return id

        def partition():
            _, number, leader = take(">hii")
            return number, (leader, some(lambda: take(">i")[0]), some(lambda: take(">i")[0]))

        def topic():
            error, name, _, partitions = take(">h")[0], text(), take(">?"), some(partition)
            return name, error or dict(partitions)

        take(">iii")
        ids = set(some(broker))
        text()
        return ids, take(">i")[0], dict(some(topic))


def known(port):
    """The brokers' ids, and the controller's, that the one on this port tells of."""
    return metadata(port)[:2]


def topics_are_up(ports, *topics, in_sync=1, seconds=120):
    """Until each broker of these (id -> port), asked itself, knows these topics, who leads each of their partitions, and so many
    replicas in sync. Who made a topic knows of it before the brokers do; and one that comes back hears how far behind it is."""
    def check():
        for port in ports.values():
            told = metadata(port, *topics)[2]
            # With an error, it is a number.
            if not all(one and all(leader >= 0 and len(isr) >= in_sync for leader, _, isr in one.values()) for one in told.values()):
                return False
        return True

    until(f"{', '.join(topics)} at each of the brokers {sorted(ports)}", seconds, check)


def cluster_is_up(ports, seconds=240):
    """Until each broker of these (id -> port of a listener without security), asked itself, names all of them, and all the
    same controller. What ZooKeeper has of brokers their controller may not know yet, and the others hear of it from there."""
    def check():
        told = [known(port) for port in ports.values()]
        return all(ids == set(ports) and controller in ids for ids, controller in told) and len({one for _, one in told}) == 1

    until(f"each of the brokers {sorted(ports)} to know all, and their controller", seconds, check)


def secure_cluster_is_up(world, addresses, client, seconds=240):
    """As `cluster_is_up`, of brokers (id -> address) that want a login, by our tool with this file of a client's settings."""
    def told(address):
        said = world.run(world.tool("kafka-broker-api-versions.sh"), "--bootstrap-server", address, "--command-config", client, check=False)
        return {int(id) for id in re.findall(r"\(id: (\d+) rack: [^)]*\) -> \(", said)}

    until(f"each of the brokers {sorted(addresses)} to know all", seconds,
          lambda: all(told(address) == set(addresses) for address in addresses.values()))


class World:
    """A temporary folder, an installed Menagerie, and the processes that run in it."""

    def __init__(self, name):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"menagerie-{name}-"))
        self.prefix = self.dir / "opt"
        self.processes = {}
        self.failed = False
        subprocess.run([REPO / "scripts" / "install", self.prefix, *BINARY], check=True, stdout=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for name in list(self.processes):
            self.stop(name, signal.SIGKILL)
        if kind is not None and kind is not Skipped:
            for log in sorted(self.dir.glob("*.log")):
                tail = log.read_text(errors="replace").splitlines()[-25:]
                print(f"--- {log.name}", *tail, sep="\n    ", flush=True)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def tool(self, name):
        return self.prefix / "bin" / name

    def start(self, name, *command, env=None):
        log = open(self.dir / f"{name}.log", "ab")
        self.processes[name] = subprocess.Popen(
            [str(part) for part in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})}, cwd=self.dir)
        return self.processes[name]

    def stop(self, name, how=signal.SIGTERM, seconds=30):
        process = self.processes.pop(name)
        process.send_signal(how)
        try:
            return process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{name} did not stop within {seconds * PATIENCE} s") from None

    def run(self, *command, input=None, seconds=120, check=True):
        """What a command prints; its failure is the layer's."""
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, input=input,
                              timeout=seconds * PATIENCE, cwd=self.dir)
        if check and done.returncode:
            raise AssertionError(f"{command} exited {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done.stdout + done.stderr

    # ------------------------------------------------------------ ensembles

    def ensemble(self, kinds, zookeeper=None):
        """A server for each of `kinds` ("ours" or "java"), all started; gives an `Ensemble`."""
        return Ensemble(self, kinds, zookeeper)

    def broker(self, number, port, zookeeper, kafka=None, **properties):
        """A broker of ours, or of Java's where its command is given."""
        settings = {
            "broker.id": number, "listeners": f"PLAINTEXT://127.0.0.1:{port}", "log.dirs": self.dir / f"kafka-{number}",
            "zookeeper.connect": zookeeper, "offsets.topic.replication.factor": 3, "group.initial.rebalance.delay.ms": 0,
            "transaction.state.log.replication.factor": 3, "transaction.state.log.min.isr": 2,
            **{key.replace("_", "."): value for key, value in properties.items()}}
        file = self.dir / f"broker-{number}.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        command = [kafka, "server"] if kafka else [self.tool("kafka-server-start.sh")]
        return self.start(f"broker-{number}", *command, file, env={
            "KAFKA_HEAP_OPTS": "-Xmx512M -Xms256M", "LOG_DIR": str(self.dir / f"logs-{number}")})


class Ensemble:
    def __init__(self, world, kinds, zookeeper):
        self.world, self.kinds, self.zookeeper = world, dict(enumerate(kinds, 1)), zookeeper
        ports = free_ports(4 * len(kinds))
        self.client = {i: ports[4 * (i - 1)] for i in self.kinds}
        servers = "".join(f"server.{i}=127.0.0.1:{self.client[i] + 1}:{self.client[i] + 2}\n" for i in self.kinds)
        for i in self.kinds:
            data = world.dir / f"zk-{i}"
            data.mkdir()
            (data / "myid").write_text(f"{i}\n")
            (world.dir / f"zoo-{i}.cfg").write_text(
                f"tickTime=1000\ninitLimit=10\nsyncLimit=5\ndataDir={data}\nclientPort={self.client[i]}\n"
                f"4lw.commands.whitelist=*\nmaxClientCnxns=0\nadmin.enableServer=false\nextendedTypesEnabled=true\n{servers}")

    @property
    def connect(self):
        return ",".join(f"127.0.0.1:{port}" for port in self.client.values())

    def start(self, i):
        config = self.world.dir / f"zoo-{i}.cfg"
        if self.kinds[i] == "java":
            self.world.start(f"zk-{i}", self.zookeeper, "server", config)
        else:
            self.world.start(f"zk-{i}", self.world.tool("zkServer.sh"), "start-foreground", config)

    def start_all(self):
        for i in self.kinds:
            self.start(i)
        self.wait(self.kinds)

    def wait(self, members, seconds=60):
        """Until each of them serves and one leads."""
        until("an ensemble with a leader", seconds,
              lambda: all(mode(self.client[i]) for i in members) and self.leader())

    def kill(self, i, how=signal.SIGKILL):
        self.world.stop(f"zk-{i}", how)

    def leader(self):
        """Who leads; None where nobody does for a while."""
        end = time.monotonic() + 10
        while True:
            found = next((i for i in self.client if mode(self.client[i]) == "leader"), None)
            if found or time.monotonic() > end:
                return found
            time.sleep(0.1)


def say(text):
    print(f"  {time.strftime('%T')} {text}", flush=True)


def main(layers, by_name):
    """Runs the layers named on the command line, or all of `layers`; one line each, exit code 1 if one failed."""
    wanted = sys.argv[1:] or list(layers)
    layers = {**layers, **by_name}
    failed, skipped = [], []
    for name in wanted:
        print(f"-- {name}: {layers[name].__doc__.splitlines()[0]}", flush=True)
        begin = time.monotonic()
        try:
            layers[name]()
            print(f"-- {name}: ok in {time.monotonic() - begin:.0f} s", flush=True)
        except Skipped as why:
            print(f"-- {name}: skipped: {why}", flush=True)
            skipped.append(name)
        except Exception:
            import traceback
            traceback.print_exc(file=sys.stdout)
            print(f"-- {name}: FAILED", flush=True)
            failed.append(name)
    if failed:
        print("failed:", *failed)
    print(f"{len(wanted) - len(failed) - len(skipped)} passed, {len(failed)} failed, {len(skipped)} skipped")
    sys.exit(bool(failed))
