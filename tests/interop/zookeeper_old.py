"""Directories that old ZooKeepers wrote: ours starts on them, and has what Java's 3.9.3 has there."""

import os
import pathlib
import re
import shutil
import signal
import subprocess

from harness import Skipped, World, free_ports, mode, need_peer, say, until

VERSIONS = ("3.4.14", "3.5.10", "3.6.4")
# What the newer of them need and do not bring, at the versions that 3.9.3 brings.
SHARED = ("commons-cli-*", "metrics-core-*", "snappy-java-*", "logback-*", "jetty-*", "javax.servlet-api-*", "jackson-*")

POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>peers</groupId><artifactId>zookeeper</artifactId><version>1</version><dependencies><dependency>
<groupId>org.apache.zookeeper</groupId><artifactId>zookeeper</artifactId><version>{}</version></dependency></dependencies></project>
"""

SHAPES = """create /a one
create /a/b two
create /a/c
create -e /eph x
create -s /a/s- q
set /a three
set /a/b "spaß"
setAcl /a/b world:anyone:r,ip:10.0.0.0/8:cdrwa
addauth digest u:p
create /sec secret auth::cdrwa
create /gone
create /gone/x
deleteall /gone
delete /nope
create /d1
create /d1/d2 xxxx
setquota -n 10 /d1
create /d1/d3 yyyyy
"""
NEWER = "create -c /cont c\ncreate -c /cont/below\ncreate -c /cont/below/it\n"


def jars(version):
    """The old server's own jars, fetched once."""
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "peers" / f"zookeeper-{version}"
    if not (home / "lib").exists():
        home.mkdir(parents=True, exist_ok=True)
        (home / "pom.xml").write_text(POM.format(version))
        got = subprocess.run(["mvn", "-q", "-B", "-f", home / "pom.xml", "dependency:copy-dependencies",
                              "-DincludeScope=runtime", f"-DoutputDirectory={home / 'lib.new'}"],
                             capture_output=True, text=True, timeout=600)
        if got.returncode:
            raise Skipped(f"ZooKeeper {version}'s jars cannot be fetched: {got.stdout.strip()[-200:]}")
        (home / "lib.new").rename(home / "lib")
    return home / "lib"


def old_server(version, shared, flags):
    path = [str(jars(version) / "*")]
    if not version.startswith("3.4"):
        path += [str(jar) for pattern in SHARED for jar in sorted(shared.glob(f"{pattern}.jar"))]
    return ["java", "-XX:TieredStopAtLevel=1", *flags, "-cp", ":".join(path), "org.apache.zookeeper.server.quorum.QuorumPeerMain"]


def configured(world, name, data, port):
    config = world.dir / f"{name}.cfg"
    config.write_text(f"tickTime=2000\ndataDir={data}\nclientPort={port}\nadmin.enableServer=false\n"
                      "extendedTypesEnabled=true\nsnapCount=20\nmaxSessionTimeout=900000\n")
    return config


def filled(world, zookeeper, name, command, lines):
    """Three lives of an old server; the last one is killed, so that its log ends as it stood."""
    data, port = world.dir / f"{name}-data", free_ports(1)[0]
    config = configured(world, name, data, port)
    many = "".join(f"create /many-{i} {'v' * i}\n" for i in range(30))
    for life, asked in enumerate((lines, many + "delete /many-7\n", "create -e /alive x\nset /a four\n")):
        world.start(f"{name}-{life}", *command, config)
        until(f"{name} to serve", 60, lambda: mode(port))
        # The end of input closes no session: its ephemeral nodes are to be there until all is compared.
        world.run(zookeeper, "cli", "-timeout", 900000, "-server", f"127.0.0.1:{port}", input=asked)
        world.stop(f"{name}-{life}", signal.SIGKILL if life == 2 else signal.SIGTERM)
    return data


def tree(world, zookeeper, port):
    """Every node with data, stat and ACL, as the real client shows them."""
    def cli(lines):
        said = world.run(zookeeper, "cli", "-server", f"127.0.0.1:{port}", input=lines)
        # Events come when they come: also between a prompt and its line.
        lines = re.sub(r"\[zk: [^\]]*\] ", "", said).splitlines()
        return "\n".join(line for line in lines if line and not line.startswith(("Connecting to ", "WATCHER::", "WatchedEvent")))

    paths = [line for line in cli("addauth digest u:p\nls -R /\n").splitlines() if line.startswith("/")]
    assert len(paths) > 30, paths
    asked = "".join(f"get -s {path}\ngetAcl {path}\n" for path in paths if path != "/zookeeper/config")
    return paths, cli("addauth digest u:p\n" + asked)


def compare(world, zookeeper, name, data):
    """Java's 3.9.3 and ours, each on its copy."""
    shown = {}
    for kind, command in (("java", [zookeeper, "server"]), ("ours", [world.tool("zkServer.sh"), "start-foreground"])):
        copy, port = world.dir / f"{name}-{kind}", free_ports(1)[0]
        shutil.copytree(data, copy)
        world.start(f"{name}-on-{kind}", *command, configured(world, f"{name}-{kind}", copy, port))
        until(f"{kind} to serve what {name} wrote", 60, lambda: mode(port))
        shown[kind] = tree(world, zookeeper, port)
        world.stop(f"{name}-on-{kind}")
    assert shown["java"][0] == shown["ours"][0], (shown["java"][0], shown["ours"][0])
    java, ours = (shown[kind][1].splitlines() for kind in ("java", "ours"))
    wrong = [(one, two) for one, two in zip(java, ours) if one != two]
    assert len(java) == len(ours) and not wrong, wrong[:10]
    assert "/a" in shown["ours"][0] and "/many-7" not in shown["ours"][0] and "four" in ours


def old_zookeepers():
    """Directories of 3.4, 3.5 and 3.6 servers, snapshots in gzip and snappy among them: ours has what Java's has there."""
    compressed = "-Dzookeeper.snapshot.compression.method="
    started([(version, version, []) for version in VERSIONS]
            + [(f"3.6.4-{method}", "3.6.4", [compressed + method]) for method in ("gz", "snappy")])


def old_zookeepers_brief():
    """As old_zookeepers, the oldest and a newer one with snappy."""
    started([("3.4.14", "3.4.14", []), ("3.6.4-snappy", "3.6.4", ["-Dzookeeper.snapshot.compression.method=snappy"])])


def started(cases):
    zookeeper = need_peer("zookeeper")
    classpath = subprocess.run([zookeeper, "classpath"], capture_output=True, text=True, check=True).stdout.strip()
    shared = pathlib.Path(classpath.split(":")[-1].rstrip("*"))
    with World("old") as world:
        for name, version, flags in cases:
            command = old_server(version, shared, flags)
            lines = SHAPES if version.startswith("3.4") else SHAPES + NEWER
            data = filled(world, zookeeper, name, command, lines)
            suffix = flags[0].split("=")[1] if flags else ""
            snapshots = list((data / "version-2").glob(f"snapshot.*{suffix}"))
            assert snapshots, list((data / "version-2").iterdir())
            compare(world, zookeeper, name, data)
            say(f"{name}: {len(snapshots)} snapshots, {len(list((data / 'version-2').glob('log.*')))} logs")
