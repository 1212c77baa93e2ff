"""Three brokers, ours or Java's, on an ensemble of ours: one cluster, and what ZooKeeper knows of it."""

import json

from harness import cluster_is_up, free_ports, until
from mixed_ensemble import make_controller, with_client


class Brokers:
    def __init__(self, world, kinds, kafka=None, session_ms=6000):
        self.world, self.kafka, self.kinds = world, kafka, dict(enumerate(kinds, 1))
        self.session_ms = session_ms
        self.ensemble = world.ensemble(["ours"] * 3)
        self.ensemble.start_all()
        self.ports = dict(enumerate(free_ports(3 + 12)[12:], 1))
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port in self.ports.values())
        for number in self.kinds:
            self.start(number)
        cluster_is_up(self.ports)

    def start(self, number):
        kafka = self.kafka if self.kinds[number] == "java" else None
        # Java's broker waits for its former session to end: 18 s, if nobody says less.
        self.world.broker(number, self.ports[number], self.ensemble.connect + "/test", kafka, zookeeper_session_timeout_ms=self.session_ms)

    def stop(self, number):
        """In good order."""
        code = self.world.stop(f"broker-{number}", seconds=90)
        # Java's broker ends by the signal's exit code.
        assert code in ((0,) if self.kinds[number] == "ours" else (0, 143)), f"broker {number} exited with {code}"

    def zk(self, act):
        """What a client of some server that is up finds, in the ensemble's latest state."""
        server = next(i for i in self.ensemble.client if f"zk-{i}" in self.world.processes)
        return with_client(self.ensemble, server, lambda c: (c.sync("/"), act(c))[1])

    def controller(self):
        return until("a controller", 60, lambda: [self.zk(lambda c: json.loads(c.get("/test/controller")[0])["brokerid"])])[0]

    def govern(self, number):
        """It becomes the controller, if it is not."""
        make_controller(self.world, self.zk, {number}, self.kinds)

    def states(self):
        """(topic, partition) -> (leader, in-sync replicas, replicas), as ZooKeeper has them: a client may ask the very broker
        that does not answer."""
        def read(c):
            topics = c.get_children("/test/brokers/topics")
            nodes = [c.get_async(f"/test/brokers/topics/{topic}") for topic in topics]
            replicas = {(topic, int(part)): len(brokers) for topic, node in zip(topics, nodes)
                        for part, brokers in json.loads(node.get(10)[0])["partitions"].items()}
            states = [c.get_async(f"/test/brokers/topics/{topic}/partitions/{part}/state") for topic, part in replicas]
            states = [json.loads(state.get(10)[0]) for state in states]
            return {part: (state["leader"], len(state["isr"]), replicas[part]) for part, state in zip(replicas, states)}

        return self.zk(read)
