"""The same requests to a broker of Kafka 3.5.1 and to one of ours, their answers compared field by field: tests/src/differ."""

import os
import subprocess

from harness import REPO, World, free_ports, mode, need_peer, say, until
from kafka_clients import known

FAST = {"offsets_topic_num_partitions": 5, "transaction_state_log_num_partitions": 5, "offsets_topic_replication_factor": 1,
        "transaction_state_log_replication_factor": 1, "transaction_state_log_min_isr": 1, "group_initial_rebalance_delay_ms": 0,
        # When the two look for old segments is a matter of time, and the records here are old.
        "log_retention_ms": -1, "log_retention_check_interval_ms": 36000000}


def sessions(name, seeds, seconds, *recordings):
    kafka = need_peer("kafka")
    with World(name) as world:
        ensemble = world.ensemble(["ours"])
        ensemble.start(1)
        until("the server", 30, lambda: mode(ensemble.client[1]) == "standalone")
        ports = free_ports(8)[4:]
        for kind, port in zip(("java", "ours"), ports):
            # Each is broker 1 of a cluster of its own; what a broker alone has in its answers is called the same.
            world.broker(1, port, f"{ensemble.connect}/{kind}", kafka if kind == "java" else None,
                         log_dirs=world.dir / f"data-{kind}", **FAST)
            world.processes[kind] = world.processes.pop("broker-1")
            until(f"the broker at {port}", 90, lambda: known(port) == 1)
        done = subprocess.run(
            ["cargo", "run", "-q", "-p", "tests", "--bin", "differ", "--", "--kafka", f"127.0.0.1:{ports[0]}", "--ours",
             f"127.0.0.1:{ports[1]}", "--seeds", seeds, "--seconds", str(seconds), *recordings, "--word", "data-java=data-ours=DATA",
             "--word", f"{ensemble.connect}/java={ensemble.connect}/ours=ZK"],
            cwd=REPO, capture_output=True, text=True, timeout=seconds + 900, env=dict(os.environ))
        say(done.stdout.strip().splitlines()[-1] if done.stdout else done.stderr[-500:])
        assert done.returncode == 0, done.stdout[-60000:] + done.stderr[-2000:]


def differ_brief():
    """Some sessions, each drawn from a seed, with Kafka's broker and ours: no answer differs, but as the page on it lists."""
    sessions("differ-brief", os.environ.get("DIFFER_SEEDS", "0..60"), 60, "--recordings", "all")


def differ():
    """A thousand sessions, or those of DIFFER_SEEDS=FIRST..END."""
    sessions("differ", os.environ.get("DIFFER_SEEDS", "0..1000"), 1800)
