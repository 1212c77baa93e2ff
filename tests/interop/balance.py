"""`kafka-reassign-partitions --balance`, an addition of ours: plans by size and racks, on brokers of ours beside one of Java's."""

import json

from harness import World, cluster_is_up, need_peer, need_python, say, until
from replication import cluster

RACKS = {1: "a", 2: "a", 3: "b", 4: "b"}


def balanced_plan():
    """A lopsided topic is evened out by a plan of --balance, over racks; carried out, nothing is left to move."""
    kafka = need_peer("kafka")
    need_python("confluent_kafka")
    import confluent_kafka as ck

    with World("balanced-plan") as world:
        start, ports, bootstrap = cluster(world, [None, None, kafka, None], broker_rack=list(RACKS.values()))
        for number in ports:
            start(number)
        cluster_is_up(ports)

        def tool(name, *words):
            return world.run(world.tool(f"kafka-{name}.sh"), "--bootstrap-server", bootstrap, *words)

        def plan(*words):
            """What --balance says as JSON, and the replicas of each partition that it moves."""
            said = json.loads(tool("reassign-partitions", "--balance", "--json", *words))
            return said, {(one["topic"], one["partition"]): one["replicas"] for one in said["proposed"]["partitions"]}

        tool("topics", "--create", "--topic", "t", "--replica-assignment", ",".join(["1:3"] * 12))
        tool("topics", "--create", "--topic", "narrow", "--replica-assignment", "1:2,4:3")
        producer = ck.Producer({"bootstrap.servers": bootstrap, "log_level": 0, "acks": "all"})
        for part in range(12):
            for _ in range(10 + 10 * part):
                producer.produce("t", partition=part, value=b"v" * 1000)
        assert producer.flush(60) == 0

        file = world.dir / "plan.json"
        # Whichever broker is asked, it may hear of a new topic a moment later.
        until("a plan for both topics", 30, lambda: {topic for topic, _ in plan()[1]} == {"t", "narrow"})
        said, moves = plan()
        assert said["bytes_to_move"] > 0, said
        text = tool("reassign-partitions", "--balance")
        assert f"Bytes to move: {said['bytes_to_move']}" in text, text
        file.write_text(text.split("Proposed partition reassignment configuration\n")[1].splitlines()[0])
        assert json.loads(file.read_text()) == said["proposed"]
        for partition, replicas in moves.items():
            assert len({RACKS[id] for id in replicas}) == 2, f"{partition} on {replicas} is in one rack"
        assert {("narrow", 0), ("narrow", 1)} <= moves.keys(), moves
        topics = world.dir / "topics.json"
        topics.write_text('{"topics":[{"topic":"narrow"}],"version":1}')
        assert {topic for topic, _ in plan("--topics-to-move-json-file", topics)[1]} == {"narrow"}

        done = tool("reassign-partitions", "--execute", "--reassignment-json-file", file)
        assert "Successfully started partition reassignments for " in done, done
        until("the moves to end", 90, lambda: tool(
            "reassign-partitions", "--verify", "--reassignment-json-file", file).count("is completed.") == len(moves))
        until("nothing to move", 30, lambda: plan()[1] == {})
        said, _ = plan()
        loads = {one["broker"]: one["bytes"] for one in said["brokers"]}
        assert said["bytes_to_move"] == 0 and sorted(loads) == [1, 2, 3, 4], said
        mean = sum(loads.values()) / 4
        assert all(abs(load - mean) < mean / 4 for load in loads.values()), loads
        say(f"{len(moves)} partitions moved, bytes on the brokers: {loads}")

        # A broker that is to go: its rack's other one has to take all that is there.
        _, moves = plan("--broker-list", "1,2,3")
        assert moves and all(4 not in replicas and 3 in replicas for replicas in moves.values()), moves
