"""Ensembles of other shapes than voters that count the same, with servers of ours and of Java's in each."""

import signal

from harness import Ensemble, World, free_ports, mode, need_peer, need_python, say, until, word
from mixed_ensemble import check, with_client, write


class Shape(Ensemble):
    """Servers at addresses of their own, 127.0.0.1 and up. `roles`: "observer" where one does not vote."""

    def __init__(self, world, kinds, zookeeper, extra="", roles=(), second_hosts=None, flags=""):
        self.world, self.kinds, self.zookeeper, self.flags = world, dict(enumerate(kinds, 1)), zookeeper, flags
        ports = free_ports(4 * len(kinds))
        self.client = {i: ports[4 * (i - 1)] for i in self.kinds}
        self.observer_port = ports[3]
        lines = extra.format(observer_port=self.observer_port)
        for i in self.kinds:
            role = roles[i - 1] if roles else "participant"
            address = f"127.0.0.{i}:{self.client[i] + 1}:{self.client[i] + 2}"
            second = f"|{second_hosts}:{self.client[i] + 1}:{self.client[i] + 2}" if second_hosts else ""
            lines += f"server.{i}={address}{second}:{role};127.0.0.1:{self.client[i]}\n"
        for i in self.kinds:
            data = world.dir / f"zk-{i}"
            data.mkdir()
            (data / "myid").write_text(f"{i}\n")
            (world.dir / f"zoo-{i}.cfg").write_text(
                f"tickTime=1000\ninitLimit=10\nsyncLimit=5\ndataDir={data}\n4lw.commands.whitelist=*\n"
                f"admin.enableServer=false\n{lines}")

    def start(self, i):
        config = self.world.dir / f"zoo-{i}.cfg"
        if self.kinds[i] == "java":
            command = [self.zookeeper, "server", config]
        else:
            command = [self.world.tool("zkServer.sh"), "start-foreground", config]
        self.world.start(f"zk-{i}", *command, env={"JVMFLAGS": self.flags, "SERVER_JVMFLAGS": ""})

    def figure(self, i, key):
        for line in word(self.client[i], "mntr").splitlines():
            if line.startswith(key + "\t"):
                return line.split("\t")[1]
        return None


def hierarchical():
    """Groups and weights, ours and Java's mixed: two of a group decide, what weighs nothing only follows."""
    zookeeper = need_peer("zookeeper")
    need_python("kazoo")
    with World("hierarchical") as world:
        groups = "group.1=1:2:3\ngroup.2=4\nweight.4=0\n"
        for kinds in (["ours", "java", "ours", "java"], ["java", "ours", "java", "ours"]):
            ensemble = Shape(world, kinds, zookeeper, groups)
            ensemble.start_all()
            expected = {}
            assert ensemble.leader() != 4, "it weighs nothing"
            for i in ensemble.client:
                with_client(ensemble, i, lambda c: write(c, f"/all-s{i}", expected))
            first = ensemble.leader()
            ensemble.kill(first)
            rest = [i for i in ensemble.client if i != first]
            ensemble.wait(rest)
            second = ensemble.leader()
            assert second != 4
            for i in rest:
                with_client(ensemble, i, lambda c: write(c, f"/less-s{i}", expected))
                with_client(ensemble, i, lambda c: check(c, expected))
            say(f"{kinds}: {kinds[first - 1]} led, then {kinds[second - 1]}; {len(expected)} writes are there")
            ensemble.kill(next(i for i in rest if i not in (second, 4)))
            until("no service with one of the group", 60, lambda: not mode(ensemble.client[second]))
            until("none of what weighs nothing", 60, lambda: not mode(ensemble.client[4]))
            ensemble.start(first)
            ensemble.wait([first, second, 4])
            for i in (first, second, 4):
                with_client(ensemble, i, lambda c: check(c, expected))
            for i in (first, second, 4):
                ensemble.kill(i)
            for data in world.dir.glob("zk-?"):
                data.rename(data.with_name(f"{data.name}-{kinds[0]}"))


def observer_masters():
    """An observer of ours behind Java's followers, and one of Java's behind ours; its master goes, another serves."""
    zookeeper = need_peer("zookeeper")
    need_python("kazoo")
    with World("observers") as world:
        for voters, observer in (("java", "ours"), ("ours", "java")):
            ensemble = Shape(world, [voters] * 3 + [observer], zookeeper, "observerMasterPort={observer_port}\n",
                             ["participant"] * 3 + ["observer"])
            for i in (1, 2, 3):
                ensemble.start(i)
            ensemble.wait([1, 2, 3])
            expected = {}
            with_client(ensemble, 1, lambda c: write(c, "/before", expected))
            ensemble.start(4)
            until("an observer that serves", 60, lambda: mode(ensemble.client[4]) == "observer")
            first = int(until("its master", 20, lambda: ensemble.figure(4, "zk_observer_master_id")))
            assert first != ensemble.leader(), "a follower is to serve it"
            until("the master to count it", 20, lambda: ensemble.figure(first, "zk_synced_observers") == "1")
            with_client(ensemble, 4, lambda c: check(c, expected))
            with_client(ensemble, 4, lambda c: write(c, "/through", expected))
            with_client(ensemble, ensemble.leader(), lambda c: check(c, expected))
            with_client(ensemble, ensemble.leader(), lambda c: write(c, "/beside", expected))
            with_client(ensemble, 4, lambda c: check(c, expected))
            moved_sessions(ensemble)
            ensemble.kill(first, signal.SIGKILL)
            until("another master", 60, lambda: (ensemble.figure(4, "zk_observer_master_id") or str(first)) != str(first))
            with_client(ensemble, 4, lambda c: check(c, expected))
            with_client(ensemble, 4, lambda c: write(c, "/again", expected))
            ensemble.start(first)
            ensemble.wait([1, 2, 3])
            for i in ensemble.client:
                with_client(ensemble, i, lambda c: check(c, expected))
            second = int(until("its master", 20, lambda: ensemble.figure(4, "zk_observer_master_id")))
            say(f"{observer} observes {voters}: served by {first}, then by {second}; {len(expected)} writes are there")
            for i in ensemble.client:
                ensemble.kill(i)
            for data in world.dir.glob("zk-?"):
                data.rename(data.with_name(f"{data.name}-{observer}"))


def moved_sessions(ensemble):
    """An ephemeral lives on when its session moves from the leader to the observer, and ends with it there."""
    from kazoo.client import KazooClient
    leader, observer = (f"127.0.0.1:{ensemble.client[i]}" for i in (ensemble.leader(), 4))
    at_leader = KazooClient(hosts=leader, timeout=20.0)
    at_leader.start(timeout=120)
    at_leader.create("/mine", b"", ephemeral=True)
    session = at_leader.client_id
    # Whatever becomes of its connection, it is not to fetch the session back.
    at_leader.set_hosts("127.0.0.1:9")
    at_observer = KazooClient(hosts=observer, timeout=20.0, client_id=session)
    at_observer.start(timeout=120)
    assert at_observer.client_id == session
    at_observer.set("/mine", b"moved")
    at_observer.stop()
    at_observer.close()
    with_client(ensemble, 4, lambda c: (c.sync("/"), until("the end of the ephemeral", 20, lambda: not c.exists("/mine"))))
    at_leader.stop()
    at_leader.close()


def several_addresses():
    """Every server has two addresses, one of them out of reach; ours and Java's find each other by the other one."""
    zookeeper = need_peer("zookeeper")
    need_python("kazoo")
    with World("addresses") as world:
        kinds = ["ours", "java", "ours"]
        ensemble = Shape(world, kinds, zookeeper, second_hosts="nowhere.invalid",
                         flags="-Dzookeeper.multiAddress.enabled=true")
        ensemble.start_all()
        expected = {}
        for i in ensemble.client:
            with_client(ensemble, i, lambda c: write(c, f"/all-s{i}", expected))
        leader = ensemble.leader()
        ensemble.kill(leader)
        rest = [i for i in ensemble.client if i != leader]
        ensemble.wait(rest)
        for i in rest:
            with_client(ensemble, i, lambda c: check(c, expected))
        ensemble.start(leader)
        ensemble.wait(ensemble.client)
        for i in ensemble.client:
            with_client(ensemble, i, lambda c: check(c, expected))
        say(f"{kinds}: {kinds[leader - 1]} led, then {kinds[ensemble.leader() - 1]}; {len(expected)} writes are there")
