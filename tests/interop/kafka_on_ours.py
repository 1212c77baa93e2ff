"""Real Kafka 3.5.1 on our ensemble."""

import json
import signal
import subprocess
import time

from harness import World, cluster_is_up, free_ports, need_peer, need_python, say, until
from mixed_ensemble import with_client


def kafka_on_ours(records=1_000_000, seconds=60):
    """Three Java brokers under /test on three of our servers: a leader of ours and the controller's broker are killed."""
    kafka = need_peer("kafka")
    need_python("kazoo")
    with World("kafka-on-ours") as world:
        ensemble = world.ensemble(["ours"] * 3)
        ensemble.start_all()
        ports = dict(enumerate(free_ports(3 + 12)[12:], 1))
        bootstrap = ",".join(f"127.0.0.1:{port}" for port in ports.values())
        for number, port in ports.items():
            world.broker(number, port, ensemble.connect + "/test", kafka)

        def znode(path):
            alive = next(i for i in ensemble.client if f"zk-{i}" in world.processes)
            return with_client(ensemble, alive, lambda c: (c.sync("/"), c.get("/test" + path)[0])[1])

        def brokers():
            alive = next(i for i in ensemble.client if f"zk-{i}" in world.processes)
            return with_client(ensemble, alive, lambda c: set(c.get_children("/test/brokers/ids")))

        cluster_is_up(ports)
        at = ["--bootstrap-server", bootstrap]
        world.run(kafka, "topics", *at, "--create", "--topic", "t", "--partitions", 6, "--replication-factor", 3,
                  "--config", "min.insync.replicas=2")
        perf = world.dir / "producer.log"
        producer = subprocess.Popen(
            [kafka, "producer-perf-test", "--topic", "t", "--num-records", str(records), "--record-size", "100",
             "--throughput", str(records // seconds), "--producer-props", f"bootstrap.servers={bootstrap}", "acks=all"],
            stdout=open(perf, "w"), stderr=subprocess.STDOUT)
        until("the first records", 60, lambda: "records sent" in perf.read_text())
        leader = ensemble.leader()
        say(f"kill -9 of our leader, server {leader}")
        ensemble.kill(leader)
        ensemble.wait([i for i in ensemble.client if i != leader])
        time.sleep(seconds / 6)
        ensemble.start(leader)
        controller = json.loads(znode("/controller"))["brokerid"]
        say(f"kill -9 of the controller's broker, {controller}")
        world.stop(f"broker-{controller}", signal.SIGKILL)
        successor = until("another controller", 60,
                          lambda: (now := json.loads(znode("/controller"))["brokerid"]) != controller and now)
        until("the dead broker's node to go", 40, lambda: str(controller) not in brokers())
        world.broker(controller, ports[controller], ensemble.connect + "/test", kafka)
        until("it to come back", 60, lambda: str(controller) in brokers())
        code, said = producer.wait(timeout=300), perf.read_text()
        assert code == 0 and f"{records} records sent" in said, said[-3000:]
        # What failed for good is printed bare; the log's warnings, in brackets, are of retries.
        errors = [line for line in said.splitlines() if "Exception" in line and not line.startswith("[")]
        assert not errors, errors[:5]
        say(f"broker {successor} is the controller; {said.strip().splitlines()[-1]}")
        ends = world.run(kafka, "get-offsets", *at, "--topic", "t")
        total = sum(int(line.split(":")[2]) for line in ends.splitlines() if line.startswith("t:"))
        assert total == records, f"{total} records are there; an idempotent producer's come once:\n{ends}"
        read = world.run(kafka, "consumer-perf-test", *at, "--topic", "t", "--messages", records, "--timeout", 60000,
                         seconds=300)
        assert int(read.splitlines()[-1].split(",")[4]) >= records, read
        say(f"{records} consumed: {read.splitlines()[-1]}")
