"""Replicas on the move between brokers of ours and of Java's, under load, whoever the controller is."""

import json
import signal
import time

from broker_load import Writer
from harness import World, cluster_is_up, free_ports, mode, need_peer, need_python, say, until
from mixed_ensemble import with_client

PARTITIONS = 4
OURS, JAVAS = [1, 2], [3, 4]
# A broker that is stopped for a while keeps its registration for as long.
SESSION_MS = 20000


def moves():
    """Replicas move from Java's brokers to ours and back under load: taken back, gone on with by another kind of controller."""
    kafka = need_peer("kafka")
    need_python("kazoo", "confluent_kafka")
    with World("moves") as world:
        ensemble = world.ensemble(["ours"])
        # A single member is no ensemble: it serves alone.
        ensemble.start(1)
        until("ZooKeeper", 60, lambda: mode(ensemble.client[1]))
        ports = dict(zip(OURS + JAVAS, free_ports(4)))
        bootstrap = ",".join(f"127.0.0.1:{port}" for port in ports.values())
        at = {"bootstrap.servers": bootstrap, "log_level": 0}
        held_up = set()

        def start(number):
            java = kafka if number in JAVAS else None
            world.broker(number, ports[number], ensemble.connect + "/test", java, zookeeper_session_timeout_ms=SESSION_MS,
                         auto_leader_rebalance_enable="false")

        def zk(act):
            return with_client(ensemble, 1, lambda c: act(c))

        def brokers():
            return {int(name) for name in zk(lambda c: c.get_children("/test/brokers/ids"))}

        def controller():
            found = zk(lambda c: c.exists("/test/controller") and c.get("/test/controller")[0])
            return found and json.loads(found)["brokerid"]

        def make_controller(wanted):
            """Deposes the controller while those that are not wanted are held up: ours would always be faster."""
            if controller() not in wanted:
                held = [number for number in OURS + JAVAS if number not in wanted and number not in held_up]
                for number in held:
                    hold_up(number)
                zk(lambda c: c.exists("/test/controller") and c.delete("/test/controller"))
                try:
                    until("the wanted controller", 20, lambda: controller() in wanted)
                finally:
                    for number in held:
                        go_on(number)
            say(f"the controller is {controller()}")

        def node(topic):
            return json.loads(zk(lambda c: c.get(f"/test/brokers/topics/{topic}")[0]))

        def hold_up(number):
            held_up.add(number)
            if f"broker-{number}" in world.processes:
                world.processes[f"broker-{number}"].send_signal(signal.SIGSTOP)

        def go_on(number):
            held_up.discard(number)
            if f"broker-{number}" in world.processes:
                world.processes[f"broker-{number}"].send_signal(signal.SIGCONT)

        def plan(name, topic, replicas, partitions=PARTITIONS):
            file = world.dir / f"{name}.json"
            file.write_text(json.dumps({"version": 1, "partitions": [
                {"topic": topic, "partition": p, "replicas": replicas} for p in range(partitions)]}))
            return file

        def tool(whose, *words):
            command = [kafka, "reassign-partitions"] if whose == "java" else [world.tool("kafka-reassign-partitions.sh")]
            # One that is held up takes connections, and answers nothing.
            awake = ",".join(f"127.0.0.1:{port}" for number, port in ports.items() if number not in held_up)
            return world.run(*command, "--bootstrap-server", awake, *words)

        def topics(*words):
            return world.run(world.tool("kafka-topics.sh"), "--bootstrap-server", bootstrap, *words)

        def is_moving(topic="t"):
            return bool(node(topic)["adding_replicas"] or node(topic)["removing_replicas"])

        def begin(whose, file):
            said = tool(whose, "--execute", "--reassignment-json-file", file)
            assert "Successfully started partition reassignment" in said, said

        def finish(whose, file, replicas):
            until("the reassignment to end", 90, lambda: not is_moving())
            # Whichever broker is asked may hear of the end a moment later.
            until("the tool to see the end", 30, lambda: tool(
                whose, "--verify", "--preserve-throttles", "--reassignment-json-file", file).count("is completed.") == PARTITIONS)
            assert set(map(tuple, node("t")["partitions"].values())) == {tuple(replicas)}
            others = set(OURS + JAVAS) - set(replicas)
            until("the old replicas to be deleted", 60, lambda: not any(
                (world.dir / f"kafka-{number}" / f"t-{p}").exists() for number in others for p in range(PARTITIONS)))
            say(f"the replicas are on {replicas}, {writer.count()} records acknowledged")

        for number in OURS + JAVAS:
            start(number)
        cluster_is_up(ports)
        make_controller(JAVAS)
        cluster_is_up(ports)
        topics("--create", "--topic", "t", "--replica-assignment", ",".join(["3:4"] * PARTITIONS))

        with Writer(at, PARTITIONS) as writer:
            to_ours, to_java = plan("to-ours", "t", OURS), plan("to-java", "t", JAVAS)
            begin("ours", to_ours)
            finish("java", to_ours, OURS)

            # Taken back half way, by the kind of controller that did not begin it.
            for begins, ends in ((OURS, JAVAS), (JAVAS, OURS)):
                make_controller(begins)
                hold_up(4)
                begin("java", to_java)
                said = tool("ours", "--list")
                assert f"t-0: replicas: 3,4,1,2. adding: 3,4. removing: 1,2." in said, said
                make_controller([ends[0]])
                assert is_moving()
                said = tool("java" if ends is OURS else "ours", "--cancel", "--preserve-throttles", "--reassignment-json-file", to_java)
                assert "Successfully cancelled partition reassignments for: t-0,t-1,t-2,t-3" in said, said
                go_on(4)
                until("all brokers", 60, lambda: brokers() == {1, 2, 3, 4})
                finish("ours", to_ours, OURS)

            # The controller is killed half way; one of the other kind goes on.
            for begins, there, away, waits in ((OURS, to_java, JAVAS, 4), (JAVAS, to_ours, OURS, 2)):
                make_controller([begins[0]])
                hold_up(waits)
                begin("ours", there)
                assert is_moving()
                world.stop(f"broker-{begins[0]}", signal.SIGKILL)
                until("the registration to end", 40, lambda: begins[0] not in brokers())
                go_on(waits)
                make_controller([away[0]])
                start(begins[0])
                until("all brokers", 90, lambda: brokers() == {1, 2, 3, 4})
                finish("java", there, away)

            # The old node, at a controller of ours.
            make_controller(OURS)
            entries = [{"topic": "t", "partition": p, "replicas": JAVAS} for p in range(PARTITIONS)]
            zk(lambda c: c.create("/test/admin/reassign_partitions", json.dumps({"version": 1, "partitions": entries}).encode()))
            until("the old node to be done with", 60, lambda: not zk(lambda c: c.exists("/test/admin/reassign_partitions")))
            finish("ours", to_java, JAVAS)

            # A topic that is deleted half way is moved first.
            make_controller(OURS)
            topics("--create", "--topic", "d", "--replica-assignment", "3")
            hold_up(4)
            begin("ours", plan("d", "d", [4], 1))
            zk(lambda c: c.create("/test/admin/delete_topics/d"))
            time.sleep(2)
            assert is_moving("d") and zk(lambda c: c.exists("/test/admin/delete_topics/d"))
            go_on(4)
            until("the topic to be gone", 60, lambda: not zk(lambda c: c.exists("/test/admin/delete_topics/d")))
            assert not zk(lambda c: c.exists("/test/brokers/topics/d"))
            say("a topic was deleted behind its reassignment")
        writer.check()
