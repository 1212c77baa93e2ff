"""Three real Kafka 3.5.1 brokers, a producer with acks=all and a consumer, on an ensemble under whatever test."""

import json
import signal
import time

from harness import cluster_is_up, free_ports, mode, say, until
from mixed_ensemble import with_client

TOPIC = "swapped"


class Kafka:
    def __init__(self, world, ensemble, kafka):
        self.world, self.ensemble, self.kafka = world, ensemble, kafka
        self.ports = dict(enumerate(free_ports(3 + 12)[12:], 1))
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port in self.ports.values())

    def znodes(self, *paths):
        alive = next(i for i in self.ensemble.client if mode(self.ensemble.client[i]))
        return with_client(self.ensemble, alive, lambda c: [c.get("/kafka" + path) for path in paths])

    def begin(self):
        for number, port in self.ports.items():
            self.world.broker(number, port, self.ensemble.connect + "/kafka", self.kafka)
        ids = [f"/brokers/ids/{number}" for number in self.ports]
        cluster_is_up(self.ports)
        # A broker that lost its session would come back by a new node.
        self.born = [stat.czxid for _, stat in self.znodes(*ids)]
        at = ["--bootstrap-server", self.bootstrap]
        self.world.run(self.kafka, "topics", *at, "--create", "--topic", TOPIC, "--partitions", 6,
                       "--replication-factor", 3, "--config", "min.insync.replicas=2")
        self.world.start("producer", self.kafka, "verifiable-producer", *at, "--topic", TOPIC, "--throughput", 200,
                         "--acks", "-1")
        self.world.start("consumer", self.kafka, "verifiable-consumer", *at, "--topic", TOPIC, "--group-id", "g",
                         "--reset-policy", "earliest", "--verbose")
        until("a record to be consumed", 90, lambda: self.told("consumer", "record_data"))
        say("three Kafka brokers, a producer and a consumer are at work")

    def told(self, process, name):
        """What the producer or the consumer has said of this kind."""
        lines = (self.world.dir / f"{process}.log").read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and f'"name":"{name}"' in line]

    def check_alive(self):
        for name, process in self.world.processes.items():
            assert process.poll() is None, f"{name} has ended"

    def finish(self):
        now = [stat.czxid for _, stat in self.znodes(*(f"/brokers/ids/{number}" for number in self.ports))]
        assert now == self.born, f"brokers lost their sessions: {self.born} {now}"
        self.world.stop("producer", signal.SIGTERM, 60)
        acked = {(r["partition"], r["offset"]): r["value"] for r in self.told("producer", "producer_send_success")}
        refused = self.told("producer", "producer_send_error")
        assert acked and not refused, (len(acked), refused[:3])

        def consumed():
            return {(r["partition"], r["offset"]): r["value"] for r in self.told("consumer", "record_data")}

        end = time.monotonic() + 60
        while acked.keys() - consumed().keys() and time.monotonic() < end:
            time.sleep(0.5)
        got = consumed()
        lost = [value for key, value in acked.items() if got.get(key) != value]
        assert not lost, f"{len(lost)} of {len(acked)} acknowledged records were not consumed: {lost[:5]}"
        described = self.world.run(self.kafka, "topics", "--bootstrap-server", self.bootstrap, "--describe", "--topic",
                                   TOPIC, "--under-replicated-partitions")
        assert TOPIC not in described, described
        say(f"Kafka: {len(acked)} records acknowledged and consumed, none refused; no broker lost its session")
        self.world.stop("consumer", signal.SIGTERM, 60)
        for number in self.ports:
            self.world.stop(f"broker-{number}", signal.SIGTERM, 60)
