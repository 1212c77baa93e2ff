"""The same requests to a broker of Kafka 3.5.1 and to one of ours, their answers compared field by field: tests/src/differ."""

import os
import subprocess

from harness import REPO, World, cluster_is_up, free_ports, mode, need_peer, say, until

FAST = {"offsets_topic_num_partitions": 5, "transaction_state_log_num_partitions": 5, "offsets_topic_replication_factor": 1,
        "transaction_state_log_replication_factor": 1, "transaction_state_log_min_isr": 1, "group_initial_rebalance_delay_ms": 0,
        # When the two look for old segments is a matter of time, and the records here are old.
        "log_retention_ms": -1, "log_retention_check_interval_ms": 36000000}


# Who logs in, and how: tests/src/differ/stories.rs.
USERS = ("admin", "alice", "bob", "nobody")
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required " + " ".join(f'user_{user}="secret"' for user in USERS) + ";"


def rights(port, logins):
    """Two listeners: where nobody logs in everybody may do everything, and behind the other one asks for rights."""
    return {
        "listeners": f"PLAINTEXT://127.0.0.1:{port},LOGINS://127.0.0.1:{logins}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,LOGINS:SASL_PLAINTEXT", "inter.broker.listener.name": "PLAINTEXT",
        "authorizer.class.name": "kafka.security.authorizer.AclAuthorizer", "super.users": "User:ANONYMOUS;User:admin",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512", "delegation.token.secret.key": "of tokens",
        "listener.name.logins.plain.sasl.jaas.config": PLAIN,
        "listener.name.logins.scram-sha-256.sasl.jaas.config": SCRAM,
        "listener.name.logins.scram-sha-512.sasl.jaas.config": SCRAM}


def two_brokers(world):
    """A broker of Kafka and one of ours, and what `differ` has to know of them."""
    kafka = need_peer("kafka")
    ensemble = world.ensemble(["ours"])
    ensemble.start(1)
    until("the server", 30, lambda: mode(ensemble.client[1]) == "standalone")
    words, ports = [], free_ports(8)[4:]
    for kind, side, port, logins in (("java", "kafka", ports[0], ports[1]), ("ours", "ours", ports[2], ports[3])):
        # Each is broker 1 of a cluster of its own; what a broker alone has in its answers is called the same.
        world.broker(1, port, f"{ensemble.connect}/{kind}", kafka if kind == "java" else None,
                     log_dirs=world.dir / f"data-{kind}", **FAST, **rights(port, logins))
        world.processes[kind] = world.processes.pop("broker-1")
        cluster_is_up({1: port})
        words += [f"--{side}", f"127.0.0.1:{port}", f"--{side}-logins", f"127.0.0.1:{logins}"]
    return [*words, "--word", "data-java=data-ours=DATA", "--word", f"{ensemble.connect}/java={ensemble.connect}/ours=ZK"]


def sessions(name, seeds, seconds, *more):
    with World(name) as world:
        words = two_brokers(world)
        done = subprocess.run(
            ["cargo", "run", "-q", "-p", "tests", "--bin", "differ", "--", *words, "--seeds", seeds, "--seconds", str(seconds), *more],
            cwd=REPO, capture_output=True, text=True, timeout=seconds + 2400, env=dict(os.environ))
        say(done.stdout.strip().splitlines()[-1] if done.stdout else done.stderr[-500:])
        assert done.returncode == 0, done.stdout[-60000:] + done.stderr[-2000:]
        return done.stdout


def differ_brief():
    """Some sessions, each drawn from a seed, with Kafka's broker and ours: no answer differs, but as the page on it lists."""
    sessions("differ-brief", os.environ.get("DIFFER_SEEDS", "0..60"), 60, "--recordings", "all")


def differ():
    """A thousand sessions, or those of DIFFER_SEEDS=FIRST..END; every API in every version, if there are 300 of them."""
    first, end = (int(seed) for seed in os.environ.get("DIFFER_SEEDS", "0..1000").split(".."))
    print(sessions("differ", f"{first}..{end}", 3600, *(["--whole"] if end - first >= 300 else [])))
