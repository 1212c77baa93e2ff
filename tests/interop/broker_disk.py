"""What our broker leaves on the disk: after kill -9, under compaction, and as Java's own tools and broker read it."""

import contextlib
import re
import shutil
import signal
import threading
import time

from harness import PATIENCE, World, busy, free_ports, mode, need_peer, need_python, say, topics_are_up, until

SETTINGS = {
    "offsets_topic_replication_factor": 1, "offsets_topic_num_partitions": 2,
    "transaction_state_log_replication_factor": 1, "transaction_state_log_min_isr": 1,
    "transaction_state_log_num_partitions": 2, "zookeeper_session_timeout_ms": 6000,
    "log_cleaner_backoff_ms": 300, "log_index_interval_bytes": 512,
}


class Lone:
    """One server and one broker of ours."""

    def __init__(self, world):
        self.world = world
        self.ensemble = world.ensemble(["ours"])
        self.ensemble.start(1)
        until("the server", 30, lambda: mode(self.ensemble.client[1]) == "standalone")
        self.port = free_ports(6)[5]
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.logs = world.dir / "kafka-1"

    def start(self, kafka=None, seconds=60, **more):
        """Until it answers. The znode of one that was killed may be in the way until its session ends."""
        end = time.monotonic() + seconds * PATIENCE
        while True:
            settings = {**SETTINGS, **more}
            process = self.world.broker(1, self.port, self.ensemble.connect + "/test", kafka, **settings)
            while process.poll() is None:
                if self.answers():
                    return
                if time.monotonic() > end:
                    raise AssertionError("the broker does not answer")
                time.sleep(0.2)
            self.world.processes.pop("broker-1", None)
            if time.monotonic() > end:
                raise AssertionError(f"the broker exited with {process.returncode}")
            time.sleep(0.5)

    def answers(self):
        from confluent_kafka.admin import AdminClient
        try:
            admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
            return bool(admin.list_topics(timeout=5).brokers)
        except Exception:
            return False

    def stop(self, how=signal.SIGTERM):
        self.world.stop("broker-1", how, seconds=60)

    def create(self, topic, partitions, **config):
        from confluent_kafka.admin import AdminClient, NewTopic
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        config = {key.replace("_", "."): str(value) for key, value in config.items()}
        for made in admin.create_topics([NewTopic(topic, partitions, 1, config=config)]).values():
            made.result(120)
        topics_are_up({1: self.port}, topic)

    def read(self, topic, partitions, seconds=60):
        """Everything in a topic: (partition, offset) -> (key, value)."""
        import confluent_kafka as ck
        consumer = ck.Consumer({"bootstrap.servers": self.bootstrap, "log_level": 0, "group.id": f"read-{time.time()}",
                                "enable.auto.commit": False, "auto.offset.reset": "earliest",
                                "enable.partition.eof": True, "isolation.level": "read_uncommitted"})
        consumer.assign([ck.TopicPartition(topic, p, ck.OFFSET_BEGINNING) for p in range(partitions)])
        found, ended, end, last = {}, set(), time.monotonic() + seconds * PATIENCE, None
        while len(ended) < partitions:
            assert time.monotonic() < end, f"{len(found)} records of {topic} in {seconds * PATIENCE} s: {last}"
            message = consumer.poll(1)
            if message is None:
                continue
            if not message.error():
                found[message.partition(), message.offset()] = (message.key(), message.value())
                ended.discard(message.partition())
            elif message.error().code() == ck.KafkaError._PARTITION_EOF:
                ended.add(message.partition())
            else:
                # A broker that has just begun does not know its partitions yet.
                last = message.error()
        consumer.close()
        return found

    def partitions(self, topic):
        return sorted(path for path in self.logs.glob(f"{topic}-*") if path.is_dir() and "delete" not in path.name)


@contextlib.contextmanager
def lone(name):
    need_python("confluent_kafka")
    with World(name) as world:
        yield Lone(world)


def dump(world, kafka, folder, gaps=False):
    """Has Java's kafka-dump-log read every file of a partition; what it finds fault with is a failure."""
    files = sorted(path for path in folder.iterdir()
                   if path.suffix in (".log", ".index", ".timeindex", ".txnindex", ".snapshot"))
    logs = [path for path in files if path.suffix == ".log"]
    assert logs, f"{folder} has no segments"
    said = world.run(kafka, "dump-log", "--deep-iteration", "--files", ",".join(map(str, files)), seconds=300)
    bad = ["Mismatches in", "out of order", "Exception", "isvalid: false", "invalid bytes", "orrupt"]
    if gaps:
        # An index entry may be about a batch that compaction emptied: the tool finds no record's time in it, in Java's
        # own directories, too.
        said = re.sub(r"Found timestamp mismatch in .*\n(  Index timestamp: \d+, log timestamp: -1\n)*", "", said)
    else:
        bad.append("Non-consecutive")
    bad += ["mismatch", "log timestamp"]
    found = [line for line in said.splitlines() if any(word in line for word in bad)]
    assert not found, f"{folder.name}: {found[:5]}"
    batches = len(re.findall("isvalid: true", said))
    assert batches or all(path.stat().st_size == 0 for path in logs), said[-2000:]
    return batches


def killed_broker(kills=4, seconds_between=2):
    """kill -9 of the only broker, again and again, under an idempotent acks=all producer: what was acknowledged is there."""
    kafka = need_peer("kafka")
    with lone("killed-broker") as it:
        import confluent_kafka as ck
        it.start()
        it.create("t", 2, segment_bytes=200000, flush_messages=100)
        producer = ck.Producer({"bootstrap.servers": it.bootstrap, "log_level": 0, "enable.idempotence": True, "acks": "all",
                                "linger.ms": 2, "message.timeout.ms": 600000, "queue.buffering.max.messages": 2000})
        acknowledged, failures, stop = {}, [], threading.Event()

        def delivered(error, message):
            if error:
                failures.append(error)
            else:
                acknowledged[message.partition(), message.offset()] = (message.key(), message.value())

        def produce():
            n = 0
            while not stop.is_set():
                try:
                    producer.produce("t", key=b"%d" % n, value=b"value %d" % n, on_delivery=delivered)
                    n += 1
                except BufferError:
                    producer.poll(0.05)
                producer.poll(0)

        worker = threading.Thread(target=produce)
        worker.start()
        try:
            for kill in range(kills):
                had = len(acknowledged)
                until("records", 60, lambda: len(acknowledged) > had + 500)
                time.sleep(seconds_between)
                it.stop(signal.SIGKILL)
                say(f"kill -9 number {kill + 1} with {len(acknowledged)} acknowledged")
                if kill == kills - 1:
                    torn = it.partitions("t")[0]
                    newest = max(torn.glob("*.log"))
                    with open(newest, "ab") as log:
                        log.write(newest.read_bytes()[:100])
                    say(f"and half a batch written behind the end of {torn.name}/{newest.name}")
                it.start()
            had = len(acknowledged)
            until("records after the last kill", 60, lambda: len(acknowledged) > had + 500)
        finally:
            stop.set()
            worker.join(30)
        assert producer.flush(600) == 0 and not failures, failures[:3]
        found = it.read("t", 2)
        lost = {at: said for at, said in acknowledged.items() if found.get(at) != said}
        assert not lost, f"{len(lost)} of {len(acknowledged)} are not where they were acknowledged: {sorted(lost.items())[:3]}"
        values = [value for _, value in found.values()]
        assert len(values) == len(set(values)), "the idempotent producer's records are there twice"
        it.stop()
        assert (it.logs / ".kafka_cleanshutdown").exists()
        count = sum(dump(it.world, kafka, folder) for folder in it.partitions("t"))
        say(f"{len(acknowledged)} acknowledged, all there once; kafka-dump-log finds {count} batches valid")


def compacted():
    """A compacted topic and __consumer_offsets are cleaned, read the same, and Java's kafka-dump-log finds nothing wrong."""
    kafka = need_peer("kafka")
    with lone("compacted") as it:
        import confluent_kafka as ck
        it.start()
        it.create("c", 1, cleanup_policy="compact", segment_bytes=50000, min_cleanable_dirty_ratio=0.01,
                  delete_retention_ms=1000)
        expected = {}
        for codec in ("none", "lz4", "zstd", "snappy", "gzip"):
            producer = ck.Producer({"bootstrap.servers": it.bootstrap, "log_level": 0, "enable.idempotence": True, "linger.ms": 5,
                                    "batch.num.messages": 20, "compression.type": codec})
            for n in range(4000):
                key = b"%d" % (n * 31 % 97)
                value = None if key == b"13" else b"%s %d" % (codec.encode(), n) * 3
                producer.produce("c", key=key, value=value)
                expected[key] = value
                if n % 500 == 0:
                    producer.flush(240)
            assert producer.flush(240) == 0
        checkpoint = it.logs / "cleaner-offset-checkpoint"
        folder = it.partitions("c")[0]
        until("the cleaner to get near the end", 60,
              lambda: int(dict(re.findall(r"^(\S+) 0 (\d+)$", checkpoint.read_text(), re.M)).get("c", 0)) > 18000)
        size = sum(path.stat().st_size for path in folder.glob("*.log"))
        found = it.read("c", 1)
        last = {}
        for (_, offset), (key, value) in sorted(found.items()):
            last[key] = value
        # The tombstone may be gone.
        assert {k: v for k, v in last.items() if v is not None} == {k: v for k, v in expected.items() if v is not None}
        assert len(found) < 6000, f"{len(found)} of 20000 records are still there"
        say(f"{len(found)} of 20000 records are left in {size} bytes")

        say("many commits of one group")
        consumer = ck.Consumer({"bootstrap.servers": it.bootstrap, "log_level": 0, "group.id": "g", "auto.offset.reset": "earliest"})
        # The topic of offsets is made first.
        until("a commit", 60, lambda: consumer.commit(offsets=[ck.TopicPartition("c", 0, 0)], asynchronous=False))
        for n in range(300):
            consumer.commit(offsets=[ck.TopicPartition("c", 0, n)], asynchronous=False)
        consumer.close()
        it.stop(signal.SIGKILL)
        it.start()
        again = it.read("c", 1)
        assert {k: v for k, v in again.items()}.items() <= found.items(), "a record came back"
        consumer = ck.Consumer({"bootstrap.servers": it.bootstrap, "log_level": 0, "group.id": "g"})
        committed = until("the committed offset", 30, lambda: consumer.committed([ck.TopicPartition("c", 0)], 30))
        assert committed[0].offset == 299, committed
        consumer.close()
        it.stop()
        count = dump(it.world, kafka, folder, gaps=True)
        count += sum(dump(it.world, kafka, path, gaps=True) for path in it.partitions("__consumer_offsets"))
        say(f"kafka-dump-log finds {count} batches valid")


def java_takes_over():
    """A Java broker starts on the log directory that ours left, and ours on what the Java broker left; all is there."""
    kafka = need_peer("kafka")
    with lone("java-takes-over") as it:
        import confluent_kafka as ck
        it.start()
        it.create("t", 2, segment_bytes=100000)
        it.create("c", 1, cleanup_policy="compact", segment_bytes=20000, min_cleanable_dirty_ratio=0.01)
        expected = 0

        def write(who):
            producer = ck.Producer({"bootstrap.servers": it.bootstrap, "log_level": 0, "enable.idempotence": True, "linger.ms": 5,
                                    "batch.num.messages": 50})
            for n in range(3000):
                producer.produce("t", key=b"%d" % n, value=b"%s %d" % (who, n))
                producer.produce("c", key=b"%d" % (n % 11), value=b"%s %d" % (who, n))
                if n % 200 == 0:
                    producer.flush(240)
            assert producer.flush(240) == 0
            consumer = ck.Consumer({"bootstrap.servers": it.bootstrap, "log_level": 0, "group.id": "g"})
            until("a commit", 60, lambda: consumer.commit(offsets=[ck.TopicPartition("t", 0, expected + 3000)], asynchronous=False))
            consumer.close()

        for turn, who in enumerate(("ours", "java", "ours again", "java again")):
            write(who.encode())
            expected += 3000
            found = it.read("t", 2)
            values = [value for _, value in found.values()]
            assert len(values) == expected == len(set(values)), f"{len(values)} records, {expected} were written"
            time.sleep(1.5)
            latest = {}
            for _, (key, value) in sorted(it.read("c", 1).items()):
                latest[key] = value
            assert latest == {b"%d" % (n % 11): b"%s %d" % (who.encode(), n) for n in range(2989, 3000)}, latest
            crash = turn == 2
            it.stop(signal.SIGKILL if crash else signal.SIGTERM)
            java = turn % 2 == 0
            say(f"{who}: {expected} records are there; now {'Java' if java else 'ours'}{' after a crash' if crash else ''}")
            it.start(kafka if java else None, seconds=90)
            consumer = ck.Consumer({"bootstrap.servers": it.bootstrap, "log_level": 0, "group.id": "g"})
            at = until("the committed offset", 60, lambda: consumer.committed([ck.TopicPartition("t", 0)], 30))
            assert at[0].offset == expected, at
            consumer.close()
            assert len(it.read("t", 2)) == expected
        it.stop()


def disk_upkeep():
    """Retention after a change of configuration, DeleteRecords, a topic's deletion, and a log directory that fails."""
    kafka = need_peer("kafka")
    with lone("disk-upkeep") as it:
        import confluent_kafka as ck
        from confluent_kafka.admin import AdminClient
        dirs = [it.world.dir / name for name in ("disk-a", "disk-b")]
        settings = {"log_dirs": ",".join(map(str, dirs)), "log_retention_check_interval_ms": 500,
                    "log_segment_delete_delay_ms": 1000, "log_flush_start_offset_checkpoint_interval_ms": 300,
                    "replica_high_watermark_checkpoint_interval_ms": 300}
        it.start(**settings)
        at = ["--bootstrap-server", it.bootstrap]

        def write(topic, partition, count, producer=None):
            producer = producer or ck.Producer({"bootstrap.servers": it.bootstrap, "log_level": 0, "linger.ms": 5,
                                                "batch.num.messages": 20, "message.timeout.ms": int(5000 * min(busy(), 6))})
            failures = []
            for n in range(count):
                producer.produce(topic, partition=partition, value=b"x" * 100,
                                 on_delivery=lambda error, _: error and failures.append(error))
                if n % 200 == 0:
                    producer.flush(200)
            assert producer.flush(200) == 0
            return failures

        def bounds(topic, partition):
            consumer = ck.Consumer({"bootstrap.servers": it.bootstrap, "log_level": 0, "group.id": "b"})
            low_high = consumer.get_watermark_offsets(ck.TopicPartition(topic, partition), timeout=60)
            consumer.close()
            return low_high

        def home(topic, partition):
            return next(path for dir in dirs if (path := dir / f"{topic}-{partition}").is_dir())

        it.create("t", 4, segment_bytes=20000)
        assert sorted(home("t", p).parent.name for p in range(4)) == ["disk-a", "disk-a", "disk-b", "disk-b"]
        for partition in range(4):
            assert not write("t", partition, 1000)

        say("delete-records, and the log start after kill -9")
        (it.world.dir / "delete.json").write_text(
            '{"version":1,"partitions":[{"topic":"t","partition":0,"offset":333},{"topic":"t","partition":1,"offset":-1}]}')
        said = it.world.run(kafka, "delete-records", *at, "--offset-json-file", "delete.json")
        assert "t-0\tlow_watermark: 333" in said and "t-1\tlow_watermark: 1000" in said, said
        checkpoint = home("t", 0).parent / "log-start-offset-checkpoint"
        until("the checkpoint", 20, lambda: "t 0 333" in checkpoint.read_text())
        it.stop(signal.SIGKILL)
        it.start(**settings)
        topics_are_up({1: it.port}, "t")
        assert bounds("t", 0) == (333, 1000) and bounds("t", 1) == (1000, 1000)

        say("retention.bytes is set while the topic is in use")
        it.world.run(kafka, "configs", *at, "--alter", "--entity-type", "topics", "--entity-name", "t", "--add-config",
                     "retention.bytes=40000,file.delete.delay.ms=500")
        until("retention", 60, lambda: bounds("t", 2)[0] > 0)
        folder = home("t", 2)
        until("all that is too much to go", 30, lambda: sum(path.stat().st_size for path in folder.glob("*.log")) < 80000)
        until("the deleted files to go", 30, lambda: not list(folder.glob("*.deleted")))
        first = min(int(path.stem) for path in folder.glob("*.log"))
        assert bounds("t", 2) == (first, 1000)

        say("a topic is deleted")
        it.create("gone", 2)
        paths = [home("gone", partition) for partition in range(2)]
        it.world.run(kafka, "topics", *at, "--delete", "--topic", "gone")
        until("its folders to be renamed", 20, lambda: not any(path.exists() for path in paths))
        until("its folders to go", 30, lambda: not any(list(dir.glob("gone-*")) for dir in dirs))

        say("a log directory fails")
        lost = [partition for partition in range(4) if home("t", partition).parent == dirs[1]]
        kept = [partition for partition in range(4) if partition not in lost]
        dirs[1].rename(it.world.dir / "pulled-out")
        for partition in lost:
            write("t", partition, 400)
        for partition in kept:
            assert not write("t", partition, 400)
        assert write("t", lost[0], 1), "a partition of the lost directory still takes records"
        described = AdminClient({"bootstrap.servers": it.bootstrap, "log_level": 0}).list_topics("t", timeout=10).topics["t"]
        leaders = {partition: state.leader for partition, state in described.partitions.items()}
        until("the controller to hear of it", 20, lambda: {
            partition: state.leader for partition, state in AdminClient(
                {"bootstrap.servers": it.bootstrap, "log_level": 0}).list_topics("t", timeout=10)
            .topics["t"].partitions.items()} == {p: (-1 if p in lost else 1) for p in range(4)}), leaders
        said = it.world.run(kafka, "log-dirs", *at, "--describe")
        assert "disk-b" in said and "KafkaStorageException" in said, said
        it.stop()
        assert (dirs[0] / ".kafka_cleanshutdown").exists()

        say("and comes back")
        (it.world.dir / "pulled-out").rename(dirs[1])
        it.start(**settings)
        for partition in range(4):
            until("its leader", 20, lambda: not write("t", partition, 10))
        it.stop()


def transactions_compacted():
    """The same log with transactions, cleaned by Java's broker and by ours: the same batches are left, with the same records."""
    kafka = need_peer("kafka")
    with lone("transactions-compacted") as it:
        import confluent_kafka as ck
        from transactions import retried
        it.start(kafka, log_cleaner_enable="false", transaction_state_log_num_partitions=2)
        it.create("c", 1, cleanup_policy="compact", segment_bytes=20000, min_cleanable_dirty_ratio=0.01)
        at = {"bootstrap.servers": it.bootstrap, "log_level": 0, "linger.ms": 2}
        # Without compression: two compressors make two sizes of one record.
        producers = [ck.Producer({**at, "transactional.id": f"id-{n}"}) for n in range(3)]
        for producer in producers:
            retried(lambda: producer.init_transactions(60))
        plain = ck.Producer({**at, "enable.idempotence": True, "acks": "all"})
        for n in range(120):
            # The third writes at the beginning only: of its records nothing is left, but of its last batch.
            producer = producers[2 if n in (3, 7) else n % 2]
            producer.begin_transaction()
            for i in range(1 + n % 5):
                key = b"%d" % ((n * 7 + i) % 23)
                producer.produce("c", key=key, value=None if n % 11 == 4 else b"%d" % n * 20)
            producer.flush(240)
            plain.produce("c", key=b"p%d" % (n % 5), value=b"%d" % n * 20)
            assert plain.flush(240) == 0
            retried(producer.abort_transaction if n % 3 == 1 else producer.commit_transaction)
        for n in range(600):
            plain.produce("c", key=b"f%d" % (n % 3), value=b"%d" % n * 20)
            if n % 20 == 0:
                plain.flush(240)
        assert plain.flush(240) == 0
        it.stop()
        before, checkpoint = it.world.dir / "before", it.logs / "cleaner-offset-checkpoint"
        it.logs.rename(before)
        cleaned = {}
        for who, command in (("java", kafka), ("ours", None)):
            shutil.copytree(before, it.logs)
            it.start(command, seconds=90)
            reached = until(f"{who}'s cleaner", 60, lambda: re.search(r"^c 0 (\d+)$", checkpoint.read_text(), re.M))
            it.stop()
            folder = it.partitions("c")[0]
            logs = ",".join(map(str, sorted(folder.glob("*.log"))))
            said = it.world.run(kafka, "dump-log", "--deep-iteration", "--print-data-log", "--files", logs, seconds=120)
            # When the horizon is depends on the clock, and so the checksum and the base timestamp.
            said = re.sub(r"deleteHorizonMs: OptionalLong\[\d+\]", "deleteHorizonMs: set", said)
            said = re.sub(r"crc: \d+", "", said).replace(str(it.logs), "")
            indexes = [(path.name, path.read_bytes()) for path in sorted(folder.glob("*.txnindex"))]
            cleaned[who] = (reached.group(1), said.splitlines(), indexes)
            it.logs.rename(it.world.dir / f"cleaned-{who}")
        (upto, java, java_indexes), (ours_upto, ours, ours_indexes) = cleaned["java"], cleaned["ours"]
        assert upto == ours_upto, f"Java's cleaner got to {upto}, ours to {ours_upto}"
        different = [pair for pair in zip(java, ours) if pair[0] != pair[1]]
        assert len(java) == len(ours) and not different, f"{len(java)} and {len(ours)} lines; {different[:3]}"
        assert java_indexes == ours_indexes, "the transaction indexes differ"
        batches = [line for line in ours if line.startswith("baseOffset")]
        empty = sum(" count: 0 " in line for line in batches)
        horizons = sum("deleteHorizonMs: set" in line for line in batches)
        assert empty and horizons, f"{empty} empty batches, {horizons} with a horizon"
        say(f"{len(batches)} batches are left on both, {empty} of them empty, {horizons} with a delete horizon")
