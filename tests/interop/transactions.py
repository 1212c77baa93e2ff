"""Transactions of real clients on brokers of ours and of Java's: librdkafka's and Java's producers, a job that reads, works and
writes while brokers die, coordinators that move from one kind to the other."""

import contextlib
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import threading
import time

from harness import PATIENCE, World, busy, cluster_is_up, free_ports, metadata, mode, need_peer, need_python, say, topics_are_up, until

PARTITIONS = 3
FAST = {"offsets_topic_num_partitions": 5, "transaction_state_log_num_partitions": 5,
        "transaction_abort_timed_out_transaction_cleanup_interval_ms": 1000, "zookeeper_session_timeout_ms": 6000,
        "group_initial_rebalance_delay_ms": 0}


class Cluster:
    """Three servers and three brokers, each of the kind asked for."""

    def __init__(self, world, kinds, kafka):
        self.world, self.kafka = world, kafka
        self.ensemble = world.ensemble(["ours"])
        self.ensemble.start(1)
        until("the server", 30, lambda: mode(self.ensemble.client[1]) == "standalone")
        self.ports = dict(enumerate(free_ports(3 + 5)[5:], 1))
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port in self.ports.values())
        self.kinds = dict(enumerate(kinds, 1))
        for number in self.kinds:
            self.start(number)
        from confluent_kafka.admin import AdminClient
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        cluster_is_up(self.ports)

    def start(self, number, seconds=60):
        """Until it is alive; the znode of one that was killed may be in a Java broker's way until its session ends."""
        kafka = self.kafka if self.kinds[number] == "java" else None
        self.world.broker(number, self.ports[number], self.ensemble.connect + "/test", kafka, **FAST)

    def restart_if_dead(self, number):
        process = self.world.processes.get(f"broker-{number}")
        if process is None or process.poll() is not None:
            self.world.processes.pop(f"broker-{number}", None)
            self.start(number)

    def stop(self, number, how=signal.SIGTERM):
        self.world.stop(f"broker-{number}", how, seconds=90)

    def create(self, topic, partitions=PARTITIONS, **config):
        from confluent_kafka.admin import NewTopic
        config = {key.replace("_", "."): str(value) for key, value in config.items()}
        made = self.admin.create_topics([NewTopic(topic, partitions, 3, config={"min.insync.replicas": "2", **config})])
        next(iter(made.values())).result(240)
        topics_are_up(self.ports, topic)

    def in_sync(self, *topics):
        # Each says so itself: others may not have heard yet that one of them went.
        cluster_is_up(self.ports)
        topics_are_up(self.ports, *topics, in_sync=3)

    def coordinators(self):
        """Leaders of the partitions of __transaction_state."""
        topic = self.admin.list_topics("__transaction_state", 10).topics["__transaction_state"]
        return {p.id: p.leader for p in topic.partitions.values()}

    def producer(self, transactional_id, **more):
        import confluent_kafka as ck
        producer = ck.Producer({"bootstrap.servers": self.bootstrap, "log_level": 0, "transactional.id": transactional_id,
                                "transaction.timeout.ms": 20000, "linger.ms": 2, **more})
        retried(lambda: producer.init_transactions(60))
        return producer

    def read(self, topic, partitions=PARTITIONS, isolation="read_committed", seconds=120):
        """All records of a topic as (partition, offset, key, value), in order, up to what is the end of each partition now."""
        import confluent_kafka as ck
        consumer = ck.Consumer({"bootstrap.servers": self.bootstrap, "log_level": 0, "group.id": f"read-{time.time()}",
                                "enable.auto.commit": False, "auto.offset.reset": "earliest", "enable.partition.eof": True,
                                "isolation.level": isolation})
        consumer.assign([ck.TopicPartition(topic, p, ck.OFFSET_BEGINNING) for p in range(partitions)])
        found, ended, end = [], set(), time.monotonic() + seconds * PATIENCE
        while len(ended) < partitions:
            assert time.monotonic() < end, f"{len(found)} records of {topic} in {seconds * PATIENCE} s"
            for message in consumer.consume(2000, 0.5):
                if not message.error():
                    found.append((message.partition(), message.offset(), message.key(), message.value()))
                    ended.discard(message.partition())
                elif message.error().code() == ck.KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                elif message.error().fatal():
                    raise AssertionError(message.error())
        consumer.close()
        return found

    def lag(self, group, topic):
        """How many records a group has not committed yet."""
        import confluent_kafka as ck
        consumer = ck.Consumer({"bootstrap.servers": self.bootstrap, "log_level": 0, "group.id": group})
        try:
            at = consumer.committed([ck.TopicPartition(topic, p) for p in range(PARTITIONS)], 10)
            return sum(consumer.get_watermark_offsets(p, timeout=10)[1] - max(p.offset, 0) for p in at)
        finally:
            consumer.close()


@contextlib.contextmanager
def cluster(name, kinds, kafka=None):
    with World(name) as world:
        yield Cluster(world, kinds, kafka)


def retried(act, seconds=360):
    """As an application does it: again while the error says that it may."""
    import confluent_kafka as ck
    end = time.monotonic() + seconds
    while True:
        try:
            return act()
        except ck.KafkaException as why:
            if not why.args[0].retriable() or time.monotonic() > end:
                raise
            time.sleep(0.1)


def values(records):
    return sorted(value.decode() for _, _, _, value in records)


def commits_and_aborts(it, topic, prefix, transactions=6):
    """Transactions that end one way and the other; what was committed comes back."""
    producer = it.producer(f"{prefix}-id")
    committed, aborted = [], []
    for n in range(transactions):
        producer.begin_transaction()
        for i in range(5):
            value = f"{prefix}-{n}-{i}"
            producer.produce(topic, key=str(i), value=value, partition=i % PARTITIONS)
            (committed if n % 2 == 0 else aborted).append(value)
        producer.flush(240)
        retried(producer.commit_transaction if n % 2 == 0 else producer.abort_transaction)
    return committed, aborted


def fencing(it, topic):
    """A second producer of the same id shuts the first out; what that had under way is aborted."""
    import confluent_kafka as ck
    first = it.producer("fenced-id")
    first.begin_transaction()
    first.produce(topic, value="zombie", partition=0)
    first.flush(240)
    second = it.producer("fenced-id")
    try:
        first.commit_transaction(120)
        raise AssertionError("a fenced producer committed")
    except ck.KafkaException as why:
        assert why.args[0].fatal() or why.args[0].code() in (ck.KafkaError._FENCED, ck.KafkaError.INVALID_PRODUCER_EPOCH), why
    second.begin_transaction()
    second.produce(topic, value="successor", partition=0)
    retried(second.commit_transaction)
    return ["successor"]


def timeouts(it, topic):
    """A transaction whose producer is silent for too long is aborted."""
    # Long enough for a record on a busy machine.
    producer = it.producer("slow-id", **{"transaction.timeout.ms": int(2000 * min(busy(), 10))})
    producer.begin_transaction()
    producer.produce(topic, value="too-slow", partition=1)
    producer.flush(240)
    until("the end of what took too long", 30, lambda: hanging(it, topic) == 0)


def hanging(it, topic):
    """How many records at the ends of the partitions are not decided yet."""
    import confluent_kafka as ck
    def ends(isolation):
        consumer = ck.Consumer({"bootstrap.servers": it.bootstrap, "group.id": "ends", "isolation.level": isolation,
                                "log_level": 0})
        try:
            return [consumer.get_watermark_offsets(ck.TopicPartition(topic, p), timeout=10, cached=False)[1]
                    for p in range(PARTITIONS)]
        finally:
            consumer.close()
    return sum(ends("read_uncommitted")) - sum(ends("read_committed"))


def transactions():
    """librdkafka's transactions on three of our brokers: commit, abort, fencing, time-outs; and Java's own tools for them."""
    kafka = need_peer("kafka")
    need_python("confluent_kafka")
    with cluster("transactions", ["ours"] * 3, kafka) as it:
        it.create("t")
        committed, aborted = commits_and_aborts(it, "t", "a")
        committed += fencing(it, "t")
        timeouts(it, "t")
        everything = values(it.read("t", isolation="read_uncommitted"))
        assert everything == sorted(committed + aborted + ["zombie", "too-slow"]), everything
        assert values(it.read("t")) == sorted(committed), values(it.read("t"))
        say("committed, aborted, fenced and timed out as they should be")
        java_tools(it, kafka)
        for number in (1, 2, 3):
            it.stop(number)
        checked = sum(dumped(it.world, kafka, folder) for number in (1, 2, 3)
                      for folder in sorted((it.world.dir / f"kafka-{number}").glob("*-[0-9]*"))
                      if folder.name.startswith(("t-", "__transaction_state-")))
        say(f"kafka-dump-log finds {checked} batches valid")


def java_tools(it, kafka):
    """Java's perf producer with transactions, and its kafka-transactions."""
    at = ["--bootstrap-server", it.bootstrap]
    it.create("perf")
    done = it.world.run(kafka, "producer-perf-test", "--topic", "perf", "--num-records", 5000, "--record-size", 100,
                        "--throughput", 1000, "--transactional-id", "perf-id", "--transaction-duration-ms", 200,
                        "--producer-props", f"bootstrap.servers={it.bootstrap}", seconds=120)
    assert "5000 records sent" in done, done
    until("the last transaction's end", 60, lambda: hanging(it, "perf") == 0)
    assert len(it.read("perf")) == 5000
    until("the end in the list", 30, lambda: re.search(
        r"^perf-id\s+\d+\s+\d+\s+CompleteCommit", it.world.run(kafka, "transactions", *at, "list"), re.M))
    described = it.world.run(kafka, "transactions", *at, "describe", "--transactional-id", "perf-id")
    assert "CompleteCommit" in described, described
    open_one = it.producer("open-id", **{"transaction.timeout.ms": 300000})
    open_one.begin_transaction()
    open_one.produce("perf", value="open", partition=2)
    open_one.flush(240)
    producers = it.world.run(kafka, "transactions", *at, "describe-producers", "--topic", "perf", "--partition", 2)
    start = [line.split()[-1] for line in producers.splitlines() if line and line[0].isdigit()]
    assert "None" in start and any(offset.isdigit() for offset in start), producers
    offset = next(offset for offset in start if offset.isdigit())
    # As an operator ends what its coordinator has forgotten.
    it.world.run(kafka, "transactions", *at, "abort", "--topic", "perf", "--partition", 2, "--start-offset", offset)
    until("the abort by hand", 20, lambda: hanging(it, "perf") == 0)
    assert len(it.read("perf")) == 5000
    say("Java's perf producer, kafka-transactions list, describe, describe-producers, abort")
    our_tools(it, kafka)


def our_tools(it, kafka):
    """Our perf producer with transactions, and our kafka-transactions beside Java's."""
    done = it.world.run(it.world.tool("kafka-producer-perf-test.sh"), "--topic", "perf", "--num-records", 2000, "--record-size",
                        100, "--throughput", 2000, "--transactional-id", "our-perf-id", "--transaction-duration-ms", 100,
                        "--producer-props", f"bootstrap.servers={it.bootstrap}", seconds=120)
    assert "2000 records sent" in done, done
    until("the last transaction's end", 60, lambda: hanging(it, "perf") == 0)
    assert len(it.read("perf")) == 7000
    at = ["--bootstrap-server", it.bootstrap]

    def run(*words):
        java = it.world.run(kafka, "transactions", *at, *words, check=False)
        ours = it.world.run(it.world.tool("kafka-transactions.sh"), *at, *words, check=False)
        return [line for line in java.splitlines() if not line.startswith("[")], ours.splitlines()

    for words in (["list"], ["describe", "--transactional-id", "our-perf-id"], ["describe", "--transactional-id", "nobody"],
                  ["describe-producers", "--topic", "perf", "--partition", 0], ["find-hanging", "--topic", "perf"],
                  ["abort", "--topic", "perf", "--partition", 0, "--start-offset", 7], ["find-hanging"]):
        def same():
            java, ours = run(*words)
            if words[0] == "describe" and len(java) > 1:
                # How long ago it began is another number the next second.
                java[1:], ours[1:] = (["\t".join(line.split("\t")[:7]) for line in said[1:]] for said in (java, ours))
                java[0], ours[0] = java[0].split(), ours[0].split()
            assert sorted(map(str, java)) == sorted(map(str, ours)), f"{words}: {java} and {ours}"
            return True

        # The last transaction's state may have changed between the two.
        until(f"the same of both: {words}", 5, same)
    say("our perf producer; our kafka-transactions says what Java's says")


def dumped(world, kafka, folder):
    """Has Java's kafka-dump-log read every file of a partition."""
    files = sorted(path for path in folder.iterdir()
                   if path.suffix in (".log", ".index", ".timeindex", ".txnindex", ".snapshot"))
    said = world.run(kafka, "dump-log", "--deep-iteration", "--files", ",".join(map(str, files)), seconds=300)
    bad = ["Mismatches in", "out of order", "Exception", "isvalid: false", "invalid bytes", "orrupt", "Non-consecutive",
           "mismatch"]
    found = [line for line in said.splitlines() if any(word in line for word in bad)]
    assert not found, f"{folder.name}: {found[:5]}"
    if folder.name.startswith("__transaction_state"):
        decoded = world.run(kafka, "dump-log", "--transaction-log-decoder", "--files", str(files[0].with_suffix(".log")))
        assert "Exception" not in decoded, decoded
    return len(re.findall("isvalid: true", said))


def transactions_mixed():
    """Coordinators and leaders of both kinds: transactions under way while each broker of ours and of Java's is stopped."""
    kafka = need_peer("kafka")
    need_python("confluent_kafka")
    with cluster("transactions-mixed", ["ours", "java", "ours"], kafka) as it:
        it.create("t")
        committed, aborted = [], []

        def both(more):
            committed.extend(more[0])
            aborted.extend(more[1])

        both(commits_and_aborts(it, "t", "start"))
        say(f"coordinators {it.coordinators()}")
        for number in (2, 1, 3):
            # One transaction is open while its coordinator, or a leader of its partitions, goes.
            producers = [it.producer(f"open-{number}-{n}") for n in range(5)]
            for n, producer in enumerate(producers):
                producer.begin_transaction()
                producer.produce("t", value=f"open-{number}-{n}", partition=n % PARTITIONS)
                producer.flush(240)
                (committed if n % 2 == 0 else aborted).append(f"open-{number}-{n}")
            it.stop(number)
            for n, producer in enumerate(producers):
                retried(producer.commit_transaction if n % 2 == 0 else producer.abort_transaction)
            both(commits_and_aborts(it, "t", f"without-{number}", 4))
            it.start(number)
            it.in_sync("t", "__transaction_state")
            say(f"broker {number} ({it.kinds[number]}) was stopped and is back; coordinators {it.coordinators()}")
        until("every transaction decided", 30, lambda: hanging(it, "t") == 0)
        assert values(it.read("t")) == sorted(committed)
        assert values(it.read("t", isolation="read_uncommitted")) == sorted(committed + aborted)
        for number in (1, 3, 2):
            it.stop(number)
        same = compare(it, "t")
        say(f"{len(committed)} committed and {len(aborted)} aborted records as they should be; {same} files are the same on all brokers")


def compare(it, topic):
    """The segments, transaction indexes and last producer snapshots of a topic, byte for byte on each broker."""
    count = 0
    for partition in range(PARTITIONS):
        folders = {n: it.world.dir / f"kafka-{n}" / f"{topic}-{partition}" for n in (1, 2, 3)}
        for suffix in (".log", ".txnindex"):
            of = {n: [path.read_bytes() for path in sorted(folder.glob(f"*{suffix}"))] for n, folder in folders.items()}
            assert of[1] == of[2] == of[3], f"{suffix} of {topic}-{partition} differ"
            count += 1
        snapshots = {n: max(folder.glob("*.snapshot")) for n, folder in folders.items()}
        read = {n: (path.name, producers_of(path.read_bytes())) for n, path in snapshots.items()}
        assert read[1] == read[2] == read[3], f"snapshots of {topic}-{partition} differ: {read}"
        count += 1
    return count


def producers_of(snapshot):
    """The entries of a producer snapshot; Java's stand in the order of a hash map."""
    body = snapshot[10:]
    return sorted(body[at:at + 46] for at in range(0, len(body), 46))


def job(bootstrap):
    """One life of the job that copies `in` to `out`. An error that cannot be retried ends it; so may a kill at any time."""
    import confluent_kafka as ck
    consumer = ck.Consumer({"bootstrap.servers": bootstrap, "group.id": "job", "enable.auto.commit": False,
                            "auto.offset.reset": "earliest", "isolation.level": "read_committed", "log_level": 0,
                            "session.timeout.ms": 6000, "max.poll.interval.ms": 60000})
    producer = ck.Producer({"bootstrap.servers": bootstrap, "transactional.id": "job-id", "log_level": 0,
                            "transaction.timeout.ms": 15000, "linger.ms": 1})
    try:
        retried(lambda: producer.init_transactions(60))
        consumer.subscribe(["in"])
        while True:
            messages = [m for m in consumer.consume(50, 0.3) if not m.error()]
            if not messages:
                print("done 0")
                continue
            producer.begin_transaction()
            for message in messages:
                producer.produce("out", value=message.value(), partition=message.partition())
            positions = {}
            for message in messages:
                positions[message.topic(), message.partition()] = message.offset() + 1
            offsets = [ck.TopicPartition(t, p, o) for (t, p), o in positions.items()]
            retried(lambda: producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), 10), 25)
            retried(lambda: producer.commit_transaction(10), 25)
            print(f"done {len(messages)}")
    except ck.KafkaException as why:
        error = why.args[0]
        print(f"the job ends with {error.name()}")
        if error.txn_requires_abort():
            with contextlib.suppress(ck.KafkaException):
                retried(lambda: producer.abort_transaction(10), 25)


def java_job(world):
    """The command of the job with Kafka's own clients, compiled."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    jars = cache / "peers" / "kafka" / "libs" / "*"
    source = pathlib.Path(__file__).with_name("Job.java")
    world.run("javac", "-cp", jars, "-d", world.dir, source)
    return ["java", "-Xmx128M", "-cp", f"{world.dir}:{jars}", "Job"]


class Lives:
    """One life of the job after the other. One that does nothing for long is killed: librdkafka's
    send_offsets_to_transaction may wait for ever, whatever time it was given (seen where the group's coordinator, which it
    had asked before, had gone; some lives hang so, with three of Java's brokers as with ours)."""

    def __init__(self, command):
        self.command = command
        self.done = self.count = self.hung = 0
        self.over, self.process = threading.Event(), None
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        while not self.over.is_set():
            self.count += 1
            self.process = process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                                      stdin=subprocess.DEVNULL, text=True)
            last = [time.monotonic()]
            watcher = threading.Thread(target=self.watch, args=(process, last))
            watcher.start()
            for line in process.stdout:
                last[0] = time.monotonic()
                if line.startswith("done "):
                    self.done += int(line[5:])
                else:
                    say(line.rstrip())
            process.wait()
            watcher.join()

    def watch(self, process, last):
        while process.poll() is None:
            # A JVM takes its time to begin on a busy machine.
            if self.over.is_set() or time.monotonic() - last[0] > 30 * min(busy(), 5):
                self.hung += not self.over.is_set()
                process.kill()
            time.sleep(0.2)

    def end(self):
        self.over.set()
        self.thread.join(300)


def victim(it, chance):
    """A broker to be killed: any, or the one that coordinates the job's transactions or its group."""
    whose = chance.choice(["any", "job-id", "job"])
    if whose == "any":
        return chance.randint(1, 3)
    topic = "__transaction_state" if whose == "job-id" else "__consumer_offsets"
    hashed = 0
    for letter in whose:
        hashed = (hashed * 31 + ord(letter)) & 0xFFFFFFFF
    hashed = abs(hashed - (1 << 32) if hashed >> 31 else hashed)
    with contextlib.suppress(Exception):  # nobody leads it yet
        partitions = it.admin.list_topics(topic, 10).topics[topic].partitions
        leader = partitions[hashed % len(partitions)].leader
        if leader in (1, 2, 3):
            say(f"broker {leader} coordinates {whose}")
            return leader
    return chance.randint(1, 3)


def exactly_once(kinds, seconds, name, kills, client="librdkafka"):
    """A job that reads a topic, and writes each record once to another, in transactions, while brokers, the coordinators among
    them, and the job itself die at random."""
    kafka = need_peer("kafka")
    need_python("confluent_kafka")
    import confluent_kafka as ck
    seed = int(os.environ.get("MENAGERIE_SEED", "0")) or random.randrange(1 << 31)
    chance = random.Random(seed)
    say(f"MENAGERIE_SEED={seed}")
    with cluster(name, kinds, kafka) as it:
        it.create("in")
        it.create("out")
        stop, failures, sent = threading.Event(), [], [0]
        source = ck.Producer({"bootstrap.servers": it.bootstrap, "log_level": 0, "enable.idempotence": True, "acks": "all",
                              "linger.ms": 5, "max.in.flight": 1, "message.timeout.ms": 900000})

        def feed():
            while not stop.is_set():
                source.produce("in", value=str(sent[0]), partition=sent[0] % PARTITIONS,
                               on_delivery=lambda error, _: failures.append(error) if error else None)
                source.poll(0)
                sent[0] += 1
                time.sleep(0.004)
                # What a life that is killed did last it does not tell.
                while not stop.is_set() and sent[0] > 3000 + lives.done + 50 * lives.count:
                    source.poll(0.1)
            failures.extend(["unsent"] * source.flush(900))

        feeder = threading.Thread(target=feed)
        command = java_job(it.world) if client == "java" else [sys.executable, "-u", __file__]
        lives = Lives([*command, it.bootstrap])
        feeder.start()
        try:
            until("the job to work", 90, lambda: lives.done > 50)
            end, n = time.monotonic() + seconds, 0
            while time.monotonic() < end:
                # Each is killed once in any case.
                number = n + 1 if n < 3 else victim(it, chance)
                n += 1
                it.stop(number, signal.SIGKILL if kills else signal.SIGTERM)
                say(f"broker {number} ({it.kinds[number]}) {'killed' if kills else 'stopped'} with {lives.done} done")
                pause = 2 + 8 * chance.random()
                if kills and chance.random() < 0.5:
                    time.sleep(pause * chance.random())
                    lives.process.kill()
                    say(f"the job killed with {lives.done} done")
                time.sleep(pause)
                it.start(number)
                before = lives.done

                def back():
                    it.restart_if_dead(number)
                    # It knows all, so it is registered anew; before its session ends, its former life counts as in sync.
                    ids, _, now = metadata(it.ports[number], "in", "out", "__transaction_state", "__consumer_offsets")
                    assert ids == {1, 2, 3}
                    return all(len(isr) == 3 for topic in now.values() for _, _, isr in topic.values())

                until(f"broker {number} to be back in sync", 120, back)
                until("the job to go on", 120, lambda: lives.done > before)
                if kills and chance.random() < 0.3:
                    lives.process.kill()
                    say(f"the job killed with {lives.done} done")
            stop.set()
            feeder.join(900)
            assert not failures, failures[:3]
            until("everything to be done", 180, lambda: it.lag("job", "in") == 0)
        finally:
            stop.set()
            lives.end()
            feeder.join(900)
        until("every transaction decided", 60, lambda: hanging(it, "out") == 0)
        out = it.read("out", seconds=300)
        numbers = [int(value) for _, _, _, value in out]
        assert len(numbers) == len(set(numbers)), f"{len(numbers) - len(set(numbers))} records are there twice"
        assert sorted(numbers) == list(range(sent[0])), f"{sent[0] - len(numbers)} of {sent[0]} are lost"
        for partition in range(PARTITIONS):
            of = [int(value) for p, _, _, value in out if p == partition]
            assert of == sorted(of), f"partition {partition} is out of order"
        say(f"{sent[0]} records went through {lives.count} lives of the job ({lives.hung} hung) and {n} deaths of brokers, "
            "each once and in order")


def exactly_once_java():
    """The same on three of Java's brokers, for comparison."""
    exactly_once(["java"] * 3, 40, "exactly-once-java", True)


def exactly_once_brief():
    """Read, work, write in transactions on three of our brokers, each killed once: nothing lost, nothing twice."""
    exactly_once(["ours"] * 3, 20, "exactly-once-brief", True)


def exactly_once_brief_java_client():
    """The same with Kafka's own clients."""
    exactly_once(["ours"] * 3, 20, "exactly-once-brief-java-client", True, "java")


def exactly_once_ours():
    """Read, work, write in transactions on three of our brokers, killed at random for ten minutes."""
    exactly_once(["ours"] * 3, 600, "exactly-once-ours", True)


def exactly_once_java_client():
    """The same with Kafka's own clients."""
    exactly_once(["ours"] * 3, 600, "exactly-once-java-client", True, "java")


def exactly_once_mixed():
    """Read, work, write in transactions on two of our brokers and one of Java's, killed at random for ten minutes."""
    exactly_once(["ours", "java", "ours"], 600, "exactly-once-mixed", True)


if __name__ == "__main__":
    job(sys.argv[1])
