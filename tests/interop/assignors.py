"""Kafka's assignors: groups of Java's consumers, of ours, and of both, on our brokers."""

import json
from concurrent.futures import ThreadPoolExecutor

from harness import World, cluster_is_up, free_ports, mode, need_peer, say, until
from tool_host import Alone, ToolHost, jars

PARTITIONS = 7
CLASSES = {"range": "Range", "roundrobin": "RoundRobin", "sticky": "Sticky", "cooperative-sticky": "CooperativeSticky"}
# Who begins, who comes, and who comes last.
GROUPS = {"java": ("java",) * 3, "ours": ("ours",) * 3, "both": ("java", "ours", "ours"), "turned": ("ours", "java", "java")}


class Member:
    """A verifiable consumer, and what its events say it owns."""

    def __init__(self, command, world, words):
        self.process = Alone([*command, *words], world.dir, b"")

    def owns(self):
        own = set()
        for line in bytes(self.process.said["stdout"]).split(b"\n")[:-1]:
            event = json.loads(line)
            partitions = {one["partition"] for one in event.get("partitions", ()) if "partition" in one}
            if event["name"] == "partitions_assigned":
                own |= partitions
            elif event["name"] == "partitions_revoked":
                own -= partitions
        return own

    def end(self):
        self.process.process.terminate()
        self.process.result(30)


def settled(members):
    """Together they have everything once, and nobody two more than another: between two rounds of cooperative members that is not so yet."""
    own = [member.owns() for member in members]
    sizes = [len(some) for some in own]
    whole = sorted(sum(map(sorted, own), [])) == list(range(PARTITIONS))
    return own if whole and max(sizes) - min(sizes) <= 1 else None


def one_group(world, commands, bootstrap, strategy, kinds, name):
    """What the members own when one, two and three of them are there, and when the first has gone."""
    members, stages = [], []
    for number, kind in enumerate(kinds):
        # Members come in the order of their names.
        (world.dir / f"{name}-{number}.properties").write_text(f"client.id={'abc'[number]}\nheartbeat.interval.ms=500\n")
        words = ["--bootstrap-server", bootstrap, "--topic", "t", "--group-id", name, "--consumer.config", f"{name}-{number}.properties",
                 "--assignment-strategy", f"org.apache.kafka.clients.consumer.{CLASSES[strategy]}Assignor"]
        members.append(Member(commands[kind], world, words))
        stages.append(until(f"{name} with {len(members)} members", 90, lambda: settled(members)))
    members.pop(0).end()
    stages.append(until(f"{name} without its first member", 90, lambda: settled(members)))
    for member in members:
        member.end()
    return stages


def sticks(stages):
    """Nobody loses more than the others need, and nobody who is left loses anything."""
    two, three, left = stages[1:]
    kept = [len(before & after) for before, after in zip(two, three)]
    return sorted(map(len, three)) == [2, 2, 3] and sum(kept) >= 5 and all(a <= b for a, b in zip(three[1:], left))


def assignors():
    """Groups with each of Kafka's assignors, of Java's consumers, ours, and both: the same comes out."""
    need_peer("kafka")
    with World("assignors") as world:
        ensemble = world.ensemble(["ours"])
        ensemble.start(1)
        until("ZooKeeper", 60, lambda: mode(ensemble.client[1]))
        port = free_ports(1)[0]
        world.broker(1, port, ensemble.connect, offsets_topic_replication_factor=1)
        bootstrap = f"127.0.0.1:{port}"
        create = (world.tool("kafka-topics.sh"), "--bootstrap-server", bootstrap, "--create", "--topic", "t", "--partitions", PARTITIONS)
        cluster_is_up({1: port})
        world.run(*create)
        host = ToolHost(jars(), world.dir, "")
        try:
            commands = {"java": host.alone("verifiable-consumer"), "ours": [world.tool("kafka-verifiable-consumer.sh")]}
            for strategy in CLASSES:
                # Most of the time goes into waiting for rounds.
                with ThreadPoolExecutor(len(GROUPS)) as all_at_once:
                    begun = {group: all_at_once.submit(one_group, world, commands, bootstrap, strategy, kinds, f"{strategy}-{group}")
                             for group, kinds in GROUPS.items()}
                found = {group: one.result() for group, one in begun.items()}
                say(f"{strategy}: {found['ours']}")
                for group, stages in found.items():
                    if "sticky" in strategy:
                        assert sticks(stages), (strategy, group, stages)
                    else:
                        assert stages == found["java"], (strategy, group, stages, found["java"])
        finally:
            host.close()
