"""What time and operators end: transactions that take too long, ids and producers that nobody uses, transactions that no
coordinator knows of. One story, on a broker of ours and on one of Java's; both have to tell it alike."""

import re
import socket
import struct
import time

from harness import World, cluster_is_up, free_ports, mode, need_peer, need_python, say, until

# Short enough to be waited for.
SETTINGS = {"offsets_topic_replication_factor": 1, "offsets_topic_num_partitions": 1,
            "transaction_state_log_replication_factor": 1, "transaction_state_log_min_isr": 1,
            "transaction_state_log_num_partitions": 1, "group_initial_rebalance_delay_ms": 0,
            "transaction_abort_timed_out_transaction_cleanup_interval_ms": 500,
            "transaction_remove_expired_transaction_cleanup_interval_ms": 500,
            "transactional_id_expiration_ms": 30000, "producer_id_expiration_ms": 30000,
            "producer_id_expiration_check_interval_ms": 500}


class Story:
    def __init__(self, world, kafka, kind):
        self.world, self.kafka = world, kafka
        self.ensemble = world.ensemble(["ours"])
        self.ensemble.start(1)
        until("the server", 30, lambda: mode(self.ensemble.client[1]) == "standalone")
        self.port = free_ports(6)[5]
        self.bootstrap = f"127.0.0.1:{self.port}"
        world.broker(1, self.port, self.ensemble.connect, kafka if kind == "java" else None, **SETTINGS)
        from confluent_kafka.admin import AdminClient, NewTopic
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        cluster_is_up({1: self.port})
        made = self.admin.create_topics([NewTopic("t", 1, 1)])
        next(iter(made.values())).result(60)
        self.told = []

    def tell(self, what, found):
        say(f"{what}: {found}")
        self.told.append((what, found))

    def producer(self, name, timeout_ms=60000):
        import confluent_kafka as ck
        producer = ck.Producer({"bootstrap.servers": self.bootstrap, "log_level": 0, "transactional.id": name,
                                "transaction.timeout.ms": timeout_ms})
        producer.init_transactions(60)
        return producer

    def open(self, producer, value):
        producer.begin_transaction()
        producer.produce("t", value=value, partition=0)
        producer.flush(30)

    def transactions(self, *words, ours=False):
        """What kafka-transactions says, without what differs from run to run; where it is asked often, ours, which is quick."""
        tool = [self.world.tool("kafka-transactions.sh")] if ours else [self.kafka, "transactions"]
        said = self.world.run(*tool, "--bootstrap-server", self.bootstrap, *words, check=False)
        lines = [line for line in said.splitlines() if line and not line.startswith("[") and "\tat " not in line]
        return [re.sub(r"\s+", " ", re.sub(r"\b\d{6,}\b", "TIME", line)).strip() for line in lines]

    def state(self, name):
        return next((line.split()[3] for line in self.transactions("list", ours=True) if line.split()[0] == name), None)

    def producers(self):
        """(producer id, epoch, start of what is open) of each producer of the partition."""
        rows = [line.split() for line in self.transactions("describe-producers", "--topic", "t", "--partition", 0, ours=True)]
        return sorted((int(row[0]), int(row[1]), row[-1]) for row in rows if row[0].isdigit())

    def ends(self):
        """Where the partition ends for who reads all, and for who reads what is committed."""
        import confluent_kafka as ck
        found = []
        for isolation in ("read_uncommitted", "read_committed"):
            consumer = ck.Consumer({"bootstrap.servers": self.bootstrap, "group.id": "ends", "log_level": 0,
                                    "isolation.level": isolation})
            found.append(consumer.get_watermark_offsets(ck.TopicPartition("t", 0), timeout=10, cached=False)[1])
            consumer.close()
        return found

    def values(self):
        import confluent_kafka as ck
        consumer = ck.Consumer({"bootstrap.servers": self.bootstrap, "group.id": f"r{time.time()}", "log_level": 0,
                                "enable.partition.eof": True, "isolation.level": "read_committed"})
        consumer.assign([ck.TopicPartition("t", 0, ck.OFFSET_BEGINNING)])
        found, end = [], time.monotonic() + 60
        while time.monotonic() < end:
            for message in consumer.consume(100, 1):
                if message.error():
                    consumer.close()
                    return found
                found.append(message.value().decode())
        raise AssertionError(f"no end of the partition after {found}")

    def hang(self, producer_id, age_ms):
        """A record of a transaction that was never begun: this version takes it as it comes."""
        from kafka.record.default_records import DefaultRecordBatchBuilder
        builder = DefaultRecordBatchBuilder(2, 0, True, producer_id, 0, 0, 1 << 16)
        builder.append(0, int(time.time() * 1000) - age_ms, None, b"hanging", [])
        batch = bytes(builder.build())
        body = struct.pack(">h4shii", 4, b"hung", -1, 10000, 1) + struct.pack(">h1s", 1, b"t") + struct.pack(">ii", 1, 0)
        body += struct.pack(">i", len(batch)) + batch
        frame = struct.pack(">hhih1s", 0, 3, 1, 1, b"c") + body
        with socket.create_connection(("127.0.0.1", self.port), 10) as s:
            s.settimeout(10)
            s.sendall(struct.pack(">i", len(frame)) + frame)
            answer = s.recv(4096)
        # Size, correlation, one topic "t", one partition 0.
        return struct.unpack(">h", answer[4 + 4 + 4 + 3 + 4 + 4:][:2])[0]


def failure(act):
    import confluent_kafka as ck
    try:
        act()
        return "none"
    except ck.KafkaException as why:
        error = why.args[0]
        return f"{error.name()}, fatal: {error.fatal()}, to be aborted: {error.txn_requires_abort()}"


def tell(it):
    used = it.producer("used")
    it.open(used, "one")
    used.commit_transaction(30)
    until("the end of a transaction", 20, lambda: it.state("used") == "CompleteCommit")
    it.tell("after a commit", (it.state("used"), it.producers()))

    slow = it.producer("slow", 2000)
    it.open(slow, "too late")
    it.tell("under way", (it.state("slow"), it.ends()))
    until("the end of what takes too long", 20, lambda: it.state("slow") == "CompleteAbort")
    it.tell("when its time is up", (it.producers(), it.ends(), it.values()))
    it.tell("its producer commits", failure(lambda: slow.commit_transaction(30)))

    it.tell("nobody's record", it.hang(7_000, 3_600_000))
    it.tell("it holds up", (it.ends(), it.values()))
    it.tell("found", it.transactions("find-hanging", "--broker-id", 1))
    it.tell("found of the topic", it.transactions("find-hanging", "--topic", "t"))
    start = it.ends()[1]
    it.tell("abort of another offset", it.transactions("abort", "--topic", "t", "--partition", 0, "--start-offset", 1)[:1])
    it.tell("abort", it.transactions("abort", "--topic", "t", "--partition", 0, "--start-offset", start))
    until("the abort by hand", 20, lambda: len(set(it.ends())) == 1)
    it.tell("then", (it.ends(), it.values(), it.transactions("find-hanging", "--broker-id", 1)))

    until("ids that nobody uses to be forgotten", 60, lambda: it.state("used") is None and it.state("slow") is None)
    until("their producers too", 60, lambda: it.producers() == [])
    it.tell("described", it.transactions("describe", "--transactional-id", "used")[:1])

    def go_on():
        it.open(used, "after all")
        used.commit_transaction(30)
    it.tell("who was forgotten goes on", failure(go_on))
    again = it.producer("used")
    it.open(again, "two")
    again.commit_transaction(30)
    until("the end of a transaction", 20, lambda: it.state("used") == "CompleteCommit")
    it.tell("a new one of that id", (it.producers(), it.ends(), it.values()))


def transaction_ends():
    """Time-outs, expiry of ids and producers, and hanging transactions ended by hand: our broker tells what Java's tells."""
    kafka = need_peer("kafka")
    need_python("confluent_kafka", "kafka")
    told = {}
    for kind in ("java", "ours"):
        with World(f"transaction-ends-{kind}") as world:
            it = Story(world, kafka, kind)
            tell(it)
            told[kind] = it.told
    for java, ours in zip(told["java"], told["ours"], strict=True):
        assert java == ours, f"Java's: {java}\nours:   {ours}"
    say(f"{len(told['ours'])} of {len(told['java'])} observations are the same")
