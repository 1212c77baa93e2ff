"""ZooKeeper's tools that work on files, Java's and ours side by side: same words on the same files, same output, same
exit code, same files afterwards. And ours on directories that old ZooKeepers wrote."""

import hashlib
import os
import shutil
import subprocess

from harness import World, free_ports, mode, need_peer, say, until
from side_by_side import SideBySide

CLASSES = {
    "txnlog": "org.apache.zookeeper.server.persistence.TxnLogToolkit",
    "snapshot": "org.apache.zookeeper.server.SnapshotFormatter",
    "comparer": "org.apache.zookeeper.server.SnapshotComparer",
    "summary": "org.apache.zookeeper.server.SnapshotRecursiveSummary",
    "purge": "org.apache.zookeeper.server.PurgeTxnLog",
}
OURS = {"txnlog": "zkTxnLogToolkit.sh", "snapshot": "zkSnapShotToolkit.sh", "comparer": "zkSnapshotComparer.sh",
        "summary": "zkSnapshotRecursiveSummaryToolkit.sh", "purge": "zkCleanup.sh"}

# Shapes that the formats know: every kind of node, quotas, errors, a multi by `deleteall`, names and data beyond ASCII.
SHAPES = """create /a one
create /a/b two
create /a/c
create -e /eph x
create -s /a/s- q
create -c /cont c
create -c /cont/below
create -t 100000 /ttl "t t"
set /a three
set /a/b "spaß, %7D}"
setAcl /a/b world:anyone:r,ip:10.0.0.0/8:cdrwa
addauth digest u:p
create /sec secret auth::cdrwa
create /gone
create /gone/x
create /gone/y
deleteall /gone
create /d1
create /d1/d2
create /d1/d2/d3 xxxxxxxxxxxxxxxxxx
delete /a/c
delete /nope
setquota -n 10 /d1
create /zwölf "a,b"
""" + "".join(f"create /a/n{i} {'v' * i}\n" for i in range(40))


def java_server(world, command, name, data, port, env=None, **keys):
    """A real server on `data`; the caller stops it."""
    config = world.dir / f"{name}.cfg"
    settings = {"tickTime": 2000, "dataDir": data, "clientPort": port, "admin.enableServer": "false",
                "extendedTypesEnabled": "true", **keys}
    config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    world.start(name, *command, config, env=env)
    until(f"{name} to serve", 60, lambda: mode(port))


def filled(world, zookeeper, port):
    """A directory of two lives of a real server: two snapshots at least, two logs."""
    data = world.dir / "data"
    for life, lines in enumerate((SHAPES, "create /after restart\nset /a four\n")):
        java_server(world, [zookeeper, "server"], f"java-{life}", data, port)
        world.run(zookeeper, "cli", "-server", f"127.0.0.1:{port}", input=lines)
        world.stop(f"java-{life}")
    java_server(world, [zookeeper, "server"], "java-end", data, port)
    world.stop("java-end")
    return data


def files(folder):
    """Names and contents; a log's padding counts."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


class FileTools(SideBySide):
    """Each side has a copy of the folder, where {d} is."""

    def __init__(self, java, ours, cwd, data):
        super().__init__("", java, ours, cwd)
        self.data = data

    def __call__(self, tool, words, **how):
        return super().__call__(tool, words, at=False, **how)

    def words(self, words, prefix):
        return super().words(words.replace("{v}", f"{prefix}data/version-2"), prefix)

    def fresh(self, damage=None):
        for prefix in self.commands:
            copy = self.cwd / f"{prefix}data"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(self.data, copy)
            if damage:
                damage(copy / "version-2")

    def same_files(self, what):
        java, ours = (files(self.cwd / f"{prefix}data" / "version-2") for prefix in self.commands)
        self.cases += 1
        if java != ours:
            wrong = [name for name in {**java, **ours} if java.get(name) != ours.get(name)]
            self.differences.append(f"{what}: the files differ: {wrong}")


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def entries(log):
    """Offsets of a log's entries, and of what follows them."""
    data, at, found = log.read_bytes(), 16, []
    while (size := int.from_bytes(data[at + 8:at + 12], "big")) > 0:
        found.append(at)
        at += 13 + size
    return found + [at]


def log_tools(run, brief):
    for words in ("", "-h", "--help", "-x", "--nope", "-z", "-c", "--dum x y", "--ver", "{v}/nope", "{v}/snapshot.0",
                  "{v}/log.1", "-d {v}/log.1", "-dv {v}/log.1", "--dump {v}/log.1", "-c {v}/log.1", "-z 5 {v}/log.1",
                  "-c -z 5 {v}/nope", "-c -z x {v}/log.1", "-c -z 0x5 {v}/log.1", "--chop --zxid=8 {v}/log.1",
                  "-cz9 {v}/log.1", "-c -z 010 {v}/log.1", "-c -z 99999 {v}/log.1", "-c -z 0 {v}/log.1",
                  "-c -z 3 {v}/snapshot.0", "-r {v}/log.1", "-r {v}/log.1", "-rv {v}/nope"):
        run("txnlog", words)
    run.same_files("chopped and fixed")

    def first(version2):
        return version2 / "log.1"

    damages = {
        "a wrong checksum": lambda v: flip(first(v), entries(first(v))[3] + 7),
        "a damaged payload": lambda v: flip(first(v), entries(first(v))[5] - 3),
        "no end": lambda v: flip(first(v), entries(first(v))[4] - 1),
        "half an entry": lambda v: os.truncate(first(v), entries(first(v))[6] - 9),
        "an entry without its last byte": lambda v: os.truncate(first(v), entries(first(v))[6] - 1),
        "no padding": lambda v: os.truncate(first(v), entries(first(v))[-1]),
        "half a header": lambda v: os.truncate(first(v), 9),
        "an endless length": lambda v: flip(first(v), entries(first(v))[5] + 8),
    }
    for what, damage in list(damages.items())[:3 if brief else None]:
        say(what)
        cases = (("{v}/log.1", ""), ("-r {v}/log.1", "what\nyes\nno\n"), ("-r {v}/log.1", "n n n n"),
                 ("-r {v}/log.1", "Abort"), ("-r {v}/log.1", ""), ("-ry {v}/log.1", ""), ("-rvy {v}/log.1", ""),
                 ("-c -z 30 {v}/log.1", ""))
        for words, answers in cases[:2] if brief else cases:
            run.fresh(damage)
            run("txnlog", words, input=answers)
            run.same_files(f"{what}: {words}")


def snapshot_tools(run, names):
    newest, oldest = names[-1], names[0]
    run.fresh()
    (run.cwd / "text").write_text("no snapshot at all\n")
    timestamp = [(r'"timestamp":\S+?\}', '"timestamp":T}')]
    for words in ("", "-d", "{v}/nope", "{v}", "text", f"{{v}}/{newest} more", f"-d -json {{v}}/{newest}", f"-x {{v}}/{newest}",
                  *(f"{{v}}/{name}" for name in names), *(f"-d {{v}}/{name}" for name in names), f"-json {{v}}/{newest}"):
        run("snapshot", words, loose=timestamp)
    for words in ("", "{v}/nope / 1", f"{{v}}/{newest} /", f"{{v}}/{newest} / x", f"{{v}}/{newest} / 0", f"{{v}}/{newest} / 1",
                  f"{{v}}/{newest} / 2", f"{{v}}/{newest} /d1 0", f"{{v}}/{newest} /sec 3", "text / 0"):
        run("summary", words)
    run("summary", f"{{v}}/{newest} /nope 0", loose=[(r"NullPointerException: .*", "NullPointerException")])
    seconds = [(r"in \d+\.\d{6} seconds", "in S seconds")]
    both = f"-l {{v}}/{oldest} -r {{v}}/{newest}"
    for words in ("", "-x", "-l x", f"{both} -b 1", f"{both} -b x -n 1", f"{both} -b 1 -n x", f"{both} -b 1 -n 1", f"{both} -b 3 -n 0 -d",
                  f"{both} -b 99999 -n 99999", f"{both} --bytes 3 --nodes=3", "-l text -r text -b 1 -n 1", "-l nope -r nope -b 1 -n 1",
                  f"-r {{v}}/{oldest} -l {{v}}/{newest} -b 3 -n 3 -d"):
        run("comparer", words, loose=seconds)
    for typed in ("", "\n\n\n\n\n\n\n", "3\n/d1\n/nope\n99\n-1\nx\n\n\n\n\n\n", "/\n/zookeeper/quota\n4\n"):
        run("comparer", f"{both} -b 3 -n 3 -i", loose=seconds, input=typed)


def cleanup(run, world):
    """Ours reads zoo.cfg, so Java gets what its script would give."""
    run.fresh()
    for words in ("", "-n", "-n 2", "-n x", "-k 3", "-n 3", "-n 3 4"):
        run("purge", words, unordered="out")
    run.same_files("a purge that leaves three")
    for prefix in run.commands:
        version2 = run.cwd / f"{prefix}data" / "version-2"
        newest = sorted(version2.glob("snapshot.*"), key=lambda path: int(path.name.split(".")[1], 16))[-1]
        for zxid in (0x100, 0x101, 0x102, 0x103):
            shutil.copy2(newest, version2 / f"snapshot.{zxid:x}")
        (version2 / "snapshot.104").write_bytes(b"cut short")
        for zxid in (0xf0, 0x101, 0x102):
            (version2 / f"log.{zxid:x}").write_bytes(b"ZKLG" + bytes(12))
        for path in version2.iterdir():
            os.utime(path, (1e9, 1e9))
    run("purge", "-n 3", unordered="out")
    run.same_files("a purge of seven")


def zookeeper_tools():
    """Log, snapshot and cleanup tools, Java's and ours on the same files."""
    side_by_side(brief=False)


def zookeeper_tools_brief():
    """As zookeeper_tools, with the damages that differ most."""
    side_by_side(brief=True)


def side_by_side(brief):
    zookeeper = need_peer("zookeeper")
    classpath = subprocess.run([zookeeper, "classpath"], capture_output=True, text=True, check=True).stdout.strip()
    with World("zookeeper-tools") as world:
        data = filled(world, zookeeper, free_ports(1)[0])
        (world.dir / "conf").mkdir()

        def java(tool):
            words = ["java", "-XX:TieredStopAtLevel=1", "-Dzookeeper.log.level=OFF", "-cp", classpath, CLASSES[tool]]
            return words + (["jj-data"] if tool == "purge" else [])

        def ours(tool):
            return [world.tool(OURS[tool])] + (["--config", world.dir / "conf"] if tool == "purge" else [])

        (world.dir / "conf" / "zoo.cfg").write_text("dataDir=oo-data\n")
        run = FileTools(java, ours, world.dir, data)
        run.fresh()
        names = sorted((path.name for path in (data / "version-2").glob("snapshot.*")), key=lambda name: int(name.split(".")[1], 16))
        for part in (lambda: log_tools(run, brief), lambda: snapshot_tools(run, names), lambda: cleanup(run, world)):
            part()
        say(f"{run.cases} cases")
        run.report()
