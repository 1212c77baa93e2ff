"""Processes of ours and of Java's, started, watched and stopped for the interop layers."""

import os
import pathlib
import shutil
import signal
import socket
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


def until(what, seconds, check):
    """The first true value of `check()`, or a failure that says what did not come."""
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
        with socket.create_connection((host, port), 2) as s:
            s.settimeout(3)
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


def free_ports(count):
    """A run of ports that nobody listens on."""
    base = PORTS + os.getpid() % 200 * 50 % PORTS_SPAN
    while True:
        sockets = []
        try:
            for port in range(base, base + count):
                s = socket.socket()
                sockets.append(s)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(("127.0.0.1", port))
            return list(range(base, base + count))
        except OSError:
            base = PORTS + (base - PORTS + 53) % PORTS_SPAN
        finally:
            for s in sockets:
                s.close()


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
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{name} did not stop within {seconds} s") from None

    def run(self, *command, input=None, seconds=120, check=True):
        """What a command prints; its failure is the layer's."""
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, input=input,
                              timeout=seconds, cwd=self.dir)
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
        return next((i for i in self.client if mode(self.client[i]) == "leader"), None)


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
