"""Our servers and real Java 3.9.3 servers in one ensemble."""

import contextlib
import json
import signal

from harness import World, need_peer, need_python, say, until


def two_of_ours():
    """Two of ours, one of Java's: each kind leads, any one is killed, nothing is lost."""
    mixed(["ours", "java", "ours"])


def one_of_ours():
    """One of ours, two of Java's: each kind leads, any one is killed, nothing is lost."""
    mixed(["java", "ours", "java"])


def mixed(kinds):
    zookeeper = need_peer("zookeeper")
    need_python("kazoo")
    with World("mixed") as world:
        ensemble = world.ensemble(kinds, zookeeper)
        ensemble.start_all()
        expected, led = {}, set()

        def write_and_check(round_, alive):
            for i in alive:
                with_client(ensemble, i, lambda c: write(c, f"/r{round_}-s{i}", expected))
            for i in alive:
                with_client(ensemble, i, lambda c: check(c, expected))
            say(f"round {round_}: {len(expected)} writes are on servers {sorted(alive)}, "
                f"{kinds[ensemble.leader() - 1]} leads")

        write_and_check(0, ensemble.client)
        # Whoever leads is killed and comes back: the lead goes round until both kinds have had it.
        for round_ in range(1, 7):
            leader = ensemble.leader()
            led.add(kinds[leader - 1])
            ensemble.kill(leader)
            rest = [i for i in ensemble.client if i != leader]
            ensemble.wait(rest)
            led.add(kinds[ensemble.leader() - 1])
            write_and_check(round_, rest)
            ensemble.start(leader)
            ensemble.wait(ensemble.client)
            write_and_check(f"{round_}b", ensemble.client)
            if len(led) == 2 and round_ >= 2:
                break
        assert led == set(kinds), f"only {led} led"
        for follower in [i for i in ensemble.client if i != ensemble.leader()]:
            ensemble.kill(follower)
            rest = [i for i in ensemble.client if i != follower]
            write_and_check(f"f{follower}", rest)
            ensemble.start(follower)
            ensemble.wait(ensemble.client)
        write_and_check("last", ensemble.client)


def with_client(ensemble, i, action):
    from kazoo.client import KazooClient
    client = KazooClient(hosts=f"127.0.0.1:{ensemble.client[i]}", timeout=20.0)
    client.start(timeout=120)
    try:
        return action(client)
    finally:
        client.stop()
        client.close()


def make_controller(world, zk, wanted, numbers, root="/test"):
    """One of the brokers `wanted` governs: whoever does is deposed while the others stand still, for the quickest takes its place.
    `zk(act)` gives what `act` finds as a client."""
    def controller():
        found = zk(lambda c: c.exists(f"{root}/controller") and c.get(f"{root}/controller")[0])
        return json.loads(found)["brokerid"] if found else None

    if until("a controller", 60, lambda: controller() is not None and [controller()])[0] in wanted:
        return
    held = [world.processes[f"broker-{number}"] for number in numbers if number not in wanted and f"broker-{number}" in world.processes]
    for process in held:
        process.send_signal(signal.SIGSTOP)
    try:
        zk(lambda c: c.exists(f"{root}/controller") and c.delete(f"{root}/controller"))
        until(f"one of {sorted(wanted)} to govern", 30, lambda: controller() in wanted)
    finally:
        for process in held:
            process.send_signal(signal.SIGCONT)


def write(client, path, expected):
    from kazoo.exceptions import NodeExistsError
    for n in range(20):
        with contextlib.suppress(NodeExistsError):  # by the attempt whose answer was lost
            client.retry(client.create, f"{path}-{n}", f"{path} {n}".encode())
        expected[f"{path}-{n}"] = f"{path} {n}".encode()


def check(client, expected):
    client.retry(client.sync, "/")
    for path, data in expected.items():
        assert client.retry(client.get, path)[0] == data, path
    stray = set(client.retry(client.get_children, "/")) - {p[1:] for p in expected} - {"zookeeper"}
    assert not stray, stray
