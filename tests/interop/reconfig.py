"""Members that change while clients write: ours and Java's in one ensemble, told by Java's own zkCli."""

import logging
import re
import threading

from harness import Ensemble, World, free_ports, mode, need_peer, need_python, say, until, word


def reconfig_mixed():
    """Ours and Java's: members come, go and change roles, leaders of both kinds hand over, and no write is lost."""
    scenario(["ours", "java", "ours", "java", "ours"])


def reconfig_brief():
    """The same in short: one comes, the leader goes and comes back, one observes for a while."""
    scenario(["ours", "java", "ours", "java"], brief=True)


def scenario(kinds, brief=False):
    zookeeper = need_peer("zookeeper")
    need_python("kazoo")
    with World("reconfig") as world:
        ensemble = Changing(world, kinds, zookeeper)
        for i in (1, 2, 3):
            ensemble.first_start(i, [1, 2, 3])
        ensemble.members = {1, 2, 3}
        ensemble.wait(ensemble.members)
        ensemble.agree()
        with Writer(ensemble) as writer:
            writer.progress()
            for i in list(ensemble.kinds)[3:]:
                ensemble.first_start(i, [1, 2, 3, i])
                until(f"server {i} follows", 60, lambda: mode(ensemble.client[i]) == "follower")
                ensemble.change("-add", ensemble.line(i))
                ensemble.members.add(i)
                ensemble.agree()
                writer.progress()
            handed_over = set()
            for _ in range(8):
                leader = ensemble.leader_now()
                handed_over.add(kinds[leader - 1])
                ensemble.change("-remove", str(leader))
                ensemble.members.discard(leader)
                ensemble.agree()
                say(f"{leader} ({kinds[leader - 1]}) led and is out; {ensemble.leader_now()} leads")
                writer.progress()
                ensemble.change("-add", ensemble.line(leader))
                ensemble.members.add(leader)
                ensemble.agree()
                writer.progress()
                if brief or len(handed_over) == 2:
                    break
            assert brief or handed_over == set(kinds), f"only {handed_over} led"
            for kind in ["ours"] if brief else sorted(set(kinds)):
                leader = ensemble.leader_now()
                i = next(i for i in ensemble.kinds if kinds[i - 1] == kind and i != leader)
                ensemble.change("-add", ensemble.line(i, "observer"))
                until(f"server {i} observes", 60, lambda: mode(ensemble.client[i]) == "observer")
                writer.progress()
                # An observer's acknowledgements do not count for the change that makes it a voter: the others suffice.
                ensemble.change("-add", ensemble.line(i))
                until(f"server {i} follows", 60, lambda: mode(ensemble.client[i]) in ("follower", "leader"))
                say(f"{i} ({kind}) observed, and has its vote back")
                writer.progress()
            ensemble.change("-members", ",".join(ensemble.line(i) for i in (2, 3, 4)))
            ensemble.members = {2, 3, 4}
            ensemble.agree()
            writer.progress()
        for i in set(ensemble.kinds) - ensemble.members:
            ensemble.kill(i)
        for i in sorted(ensemble.members):
            ensemble.kill(i)
        for i in sorted(ensemble.members):
            ensemble.start(i)
        ensemble.wait(ensemble.members)
        ensemble.agree()
        writer.check()
        say(f"{len(writer.acknowledged)} acknowledged writes are there after a restart of everybody")


class Changing(Ensemble):
    """An ensemble whose servers have the members' lines, with client ports, in files of their own."""

    def __init__(self, world, kinds, zookeeper):
        self.world, self.kinds, self.zookeeper = world, dict(enumerate(kinds, 1)), zookeeper
        ports = free_ports(3 * len(kinds))
        self.client = {i: ports[3 * (i - 1)] for i in self.kinds}
        self.members = set()

    def line(self, i, role="participant"):
        client = self.client[i]
        return f"server.{i}=127.0.0.1:{client + 1}:{client + 2}:{role};127.0.0.1:{client}"

    def first_start(self, i, known):
        data = self.world.dir / f"zk-{i}"
        data.mkdir()
        (data / "myid").write_text(f"{i}\n")
        lines = "".join(f"{self.line(n)}\n" for n in known)
        (self.world.dir / f"zoo-{i}.cfg").write_text(
            f"tickTime=1000\ninitLimit=10\nsyncLimit=5\ndataDir={data}\n4lw.commands.whitelist=*\nmaxClientCnxns=0\n"
            f"admin.enableServer=false\nreconfigEnabled=true\nskipACL=yes\n{lines}")
        self.start(i)

    def leader_now(self):
        return until("a leader", 60, lambda: next((i for i in self.members if mode(self.client[i]) == "leader"), None))

    def cli(self, i, *command):
        return self.world.run(self.zookeeper, "cli", "-server", f"127.0.0.1:{self.client[i]}", *command, check=False)

    def change(self, *options):
        """By the real zkCli, at the leader, until a quorum of the new members is in sync."""
        def once():
            said = self.cli(self.leader_now(), "reconfig", *options)
            assert "Committed new configuration" in said, said[-600:]
            return True
        until(f"reconfig {' '.join(options)}", 90, once)

    def config(self, i):
        """As one member has it."""
        client = connect([self.client[i]])
        try:
            return sorted(client.get("/zookeeper/config")[0].decode().split("\n"))
        finally:
            client.stop()
            client.close()

    def agree(self):
        """Until every member serves and has the same members, those that we think of."""
        wanted = sorted(self.line(i) for i in self.members)
        def same():
            texts = {tuple(self.config(i)) for i in self.members}
            text = texts.pop()
            return not texts and [line for line in text if line.startswith("server")] == wanted
        until(f"the members {sorted(self.members)} everywhere", 90, same)
        def shown():
            shown = self.cli(self.leader_now(), "config")
            assert all(line in shown for line in wanted), shown
            assert all(self.line(i) in word(self.client[i], "conf") for i in self.members), "conf shows the members"
            self.files()
            return True
        until("the members wherever they are shown", 20, shown)

    def files(self):
        """zoo.cfg points to a file with the members' lines, and has none."""
        for i in self.members:
            text = (self.world.dir / f"zoo-{i}.cfg").read_text()
            assert "server." not in text and "clientPort" not in text, text
            dynamic = re.search(r"^dynamicConfigFile=(.*)$", text, re.M)[1]
            assert sorted(open(dynamic).read().split("\n")) == sorted(self.line(n) for n in self.members), dynamic


def connect(ports):
    from kazoo.client import KazooClient
    quiet = logging.getLogger("quiet")
    quiet.setLevel(logging.CRITICAL)
    client = KazooClient(hosts=",".join(f"127.0.0.1:{port}" for port in ports), timeout=20.0, logger=quiet)
    client.start(timeout=120)
    return client


class Writer:
    """A client that writes all the time, and remembers what was acknowledged."""

    def __init__(self, ensemble):
        self.ensemble, self.acknowledged, self.over = ensemble, set(), False
        self.thread = threading.Thread(target=self.write, daemon=True)

    def connect(self):
        return connect([self.ensemble.client[i] for i in self.ensemble.members])

    def __enter__(self):
        client = self.connect()
        client.create("/w")
        client.stop()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join(240)

    def write(self):
        n, client = 0, None
        while not self.over:
            try:
                client = client or self.connect()
                client.create(f"/w/{n}", b"x")
                self.acknowledged.add(n)
            except Exception:  # a lost connection: whether it was written is open
                if client:
                    client.stop()
                    client.close()
                client = None
            n += 1

    def progress(self):
        """Something is acknowledged from now on, and all that was is there."""
        before = len(self.acknowledged)
        until("an acknowledged write", 90, lambda: len(self.acknowledged) > before + 20)
        self.check()

    def check(self):
        client = self.connect()
        try:
            acknowledged = set(self.acknowledged)
            client.sync("/w")
            there = {int(name) for name in client.get_children("/w")}
            assert acknowledged <= there, f"lost: {sorted(acknowledged - there)[:10]}"
        finally:
            client.stop()
            client.close()
