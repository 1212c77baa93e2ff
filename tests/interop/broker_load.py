"""A cluster's users: idempotent writers with acks=all, readers in a group, transactions; and what they may expect in the end."""

import bisect
import contextlib
import statistics
import threading
import time

from harness import say, topics_are_up, until

KEYS = 20
PLAIN, COMPACTED, TRANSACTIONAL = "plain", "compacted", "transactional"


class Load:
    """Writers and readers of `partitions` partitions in three topics, each partition written `rate` times a second."""

    def __init__(self, brokers, partitions, rate):
        import confluent_kafka as ck
        from confluent_kafka.admin import AdminClient

        self.ck, self.brokers, self.rate = ck, brokers, rate
        # A broker that stands still keeps its connections: librdkafka asks nobody who leads now before its request has timed
        # out, unless another broker answers with an error meanwhile. By default that is a minute (with Java's brokers, too),
        # in which transactions time out as well.
        self.at = {"bootstrap.servers": brokers.bootstrap, "log_level": 0, "socket.timeout.ms": 10000}
        self.admin = AdminClient(self.at)
        few = partitions // 6
        self.topics = {PLAIN: partitions - 2 * few, COMPACTED: few, TRANSACTIONAL: few}
        self.acked = {part: [] for part in self.parts()}
        self.times = {part: [] for part in self.parts()}
        self.read = {part: {} for part in self.parts()}
        self.aborted, self.committed = [], []
        self.failures, self.faults, self.threads = [], [], []
        self.stopping, self.writing_over, self.readers_stopping = (threading.Event() for _ in range(3))

    def parts(self):
        return [(topic, number) for topic, count in self.topics.items() for number in range(count)]

    # ------------------------------------------------------------ set-up

    def create(self):
        from confluent_kafka.admin import NewTopic

        common = {"min.insync.replicas": "2", "segment.bytes": "200000"}
        tight = {**common, "cleanup.policy": "compact", "segment.bytes": "20000", "min.cleanable.dirty.ratio": "0.05",
                 "segment.ms": "15000"}
        new = {topic: NewTopic(topic, count, 3, config=tight if topic == COMPACTED else common) for topic, count in self.topics.items()}

        def made():
            # A creation whose answer was late has happened, and the next look finds it.
            there = {topic for topic, _ in self.brokers.states()}
            left = [new[topic] for topic in new if topic not in there]
            if left:
                self.admin.list_topics(timeout=10)
                for topic in self.admin.create_topics(left, request_timeout=60).values():
                    topic.result(120)
            return not left

        until("topics", 120, made)
        until("all in sync", 120, self.all_in_sync)
        topics_are_up(self.brokers.ports, *self.topics)

    def transact(self):
        """Transactions over all partitions of their topic, that end one way and the other, until all is over."""
        producer = self.ck.Producer({**self.at, "transactional.id": "load", "transaction.timeout.ms": 300000,
                                     "topic.metadata.refresh.fast.interval.ms": 50, "retry.backoff.ms": 20})
        self.patiently(producer.init_transactions)
        number = 0
        while not self.stopping.is_set():
            producer.begin_transaction()
            values = [((TRANSACTIONAL, part), f"t{number}-{part}") for part in range(self.topics[TRANSACTIONAL])]
            for (topic, part), value in values:
                producer.produce(topic, value=value, partition=part)
            if number % 3 == 2:
                # Until its partitions are in the transaction: while the one before is completed they are not, and librdkafka ends
                # one that the coordinator has not heard of, which is fatal (INVALID_TXN_STATE; seen of Java's coordinator).
                producer.flush(120)
                self.patiently(producer.abort_transaction)
                self.aborted += values
            elif self.patiently(producer.commit_transaction):
                self.committed += values
            else:
                self.patiently(producer.abort_transaction)
                self.aborted += values
            number += 1
            self.stopping.wait(0.3)

    def patiently(self, step):
        """True: it is done. False: the transaction has to be aborted. It is asked again as long as it may be."""
        end = time.monotonic() + 480
        while True:
            try:
                step(30)
                return True
            except self.ck.KafkaException as why:
                error = why.args[0]
                if error.txn_requires_abort():
                    return False
                if not error.retriable() or time.monotonic() > end:
                    raise

    def start(self, readers=3):
        for target in [self.write, self.transact] + [self.follow] * readers:
            thread = threading.Thread(target=self.guarded, args=(target,))
            thread.start()
            self.threads.append(thread)
        until("each partition to be written", 60, lambda: all(self.times.values()) and self.committed)

    def guarded(self, target):
        try:
            target()
        except Exception as why:  # a thread's end is the layer's failure
            self.faults.append(f"{target.__name__}: {why!r}")

    # ------------------------------------------------------------ at work

    def write(self):
        # One request under way to a broker: librdkafka answers a retry that was overtaken with a new epoch, and then sends
        # again what a leader that has gone may have taken (seen between two Java leaders).
        producer = self.ck.Producer({**self.at, "enable.idempotence": True, "acks": "all", "linger.ms": 2, "max.in.flight": 1,
                                     "message.timeout.ms": 600000, "topic.metadata.refresh.fast.interval.ms": 50,
                                     "retry.backoff.ms": 20, "queue.buffering.max.messages": 1000000})
        turn, begin = 0, time.monotonic()
        while True:
            over = self.writing_over.is_set()
            for topic, part in self.acked:
                key = f"k{turn % KEYS}" if topic == COMPACTED else None
                producer.produce(topic, key=key, value=str(turn), partition=part, on_delivery=self.delivered)
            turn += 1
            if over:
                break
            while not self.writing_over.is_set() and time.monotonic() < begin + turn / self.rate:
                producer.poll(0.01)
        left = producer.flush(600)
        assert left == 0, f"{left} records were neither acknowledged nor refused"

    def delivered(self, error, message):
        part = message.topic(), message.partition()
        if error:
            self.failures.append((part, str(error)))
        else:
            self.acked[part].append((message.offset(), int(message.value())))
            self.times[part].append(time.monotonic())

    def follow(self):
        consumer = self.ck.Consumer({**self.at, "group.id": "readers", "auto.offset.reset": "earliest",
                                     "session.timeout.ms": 10000, "auto.commit.interval.ms": 1000})
        consumer.subscribe(list(self.topics))
        while not self.readers_stopping.is_set():
            for message in consumer.consume(2000, 0.2):
                if not message.error():
                    self.saw((message.topic(), message.partition()), message.offset(), message.value())
        consumer.close()

    def saw(self, part, offset, value):
        before = self.read[part].setdefault(offset, value)
        if before != value:
            self.faults.append(f"a reader saw two records at offset {offset} of {part}: {before}, {value}")

    # ------------------------------------------------------------ looks

    def count(self):
        return sum(map(len, self.acked.values()))

    def all_in_sync(self):
        states = self.brokers.states()
        return states.keys() >= self.acked.keys() and all(leader >= 0 and isr == all_ for leader, isr, all_ in states.values())

    def leaders(self):
        return {leader for (topic, _), (leader, _, _) in self.brokers.states().items() if topic in self.topics}

    def balance(self):
        def balanced():
            if self.leaders() == {1, 2, 3}:
                return True
            # librdkafka asks a former controller until metadata tells it of the current one.
            with contextlib.suppress(Exception):
                self.admin.list_topics(timeout=5)
                self.admin.elect_leaders(self.ck.ElectionType.PREFERRED).result(30)
            return self.leaders() == {1, 2, 3}

        until("each broker to lead", 60, balanced)

    def goes_on(self, seconds=60):
        """Every partition is written again."""
        since = {part: len(times) for part, times in self.times.items()}
        until("each partition to be written on", seconds, lambda: all(
            len(times) > since[part] for part, times in self.times.items()))

    def gaps(self, since, end):
        """Of each partition, the longest time in seconds without an acknowledged write."""
        def longest(times):
            inside = list(times[bisect.bisect(times, since):bisect.bisect(times, end)])
            points = [since, *inside, end]
            return max(later - earlier for earlier, later in zip(points, points[1:]))

        return [longest(times) for times in self.times.values()]

    def check_alive(self):
        assert not self.failures, (len(self.failures), self.failures[:3])
        assert not self.faults, self.faults[:3]

    # ------------------------------------------------------------ the end

    def stop(self):
        self.stopping.set()
        self.threads[1].join(600)
        # The last record of each partition is behind all transactions.
        self.writing_over.set()
        self.threads[0].join(900)

    def abandon(self):
        """Ends all threads."""
        self.stopping.set()
        self.writing_over.set()
        self.readers_stopping.set()
        for thread in self.threads:
            thread.join(200)

    def finish(self):
        self.stop()
        self.check_alive()
        last = {part: max(offset for offset, _ in acked) for part, acked in self.acked.items()}
        behind = lambda: [part for part, offset in last.items() if max(self.read[part], default=-1) < offset]  # noqa: E731
        try:
            until("the group to have read all", 90, lambda: not behind())
        except AssertionError:
            raise AssertionError(f"the readers' group is behind in {len(behind())} partitions: {behind()[:5]}") from None
        self.abandon()
        self.check_alive()
        log = self.whole_log(last)
        for part in self.acked:
            self.check_part(part, log[part])
        self.check_transactions(log)
        say(f"{self.count()} acknowledged records are there once, in order; "
            f"{sum(map(len, self.read.values()))} records that readers saw are as they saw them")

    def whole_log(self, last):
        """offset -> (key, value) of each partition, read anew from its beginning up to what was acknowledged last."""
        consumer = self.ck.Consumer({**self.at, "group.id": "whole"})
        consumer.assign([self.ck.TopicPartition(topic, part, 0) for topic, part in self.acked])
        log = {part: {} for part in self.acked}

        def drain():
            for message in consumer.consume(20000, 1.0):
                if not message.error():
                    part = log[message.topic(), message.partition()]
                    assert not part or message.offset() > next(reversed(part)), "offsets go up"
                    part[message.offset()] = (message.key(), message.value())
            return all(max(log[part], default=-1) >= offset for part, offset in last.items())

        until("all that was acknowledged", 120, drain)
        consumer.close()
        return log

    def check_part(self, part, log):
        acked = self.acked[part]
        values = [int(value) for _, value in log.values() if not value.startswith(b"t")]
        assert values == sorted(set(values)), f"{part}: order and uniqueness"
        if part[0] == COMPACTED:
            there = set(values)
            newest = {}
            for _, value in acked:
                newest[value % KEYS] = max(value, newest.get(value % KEYS, -1))
            lost = [value for value in newest.values() if value not in there and not any(v > value and v % KEYS == value % KEYS for v in there)]
        else:
            lost = [(offset, value) for offset, value in acked if log.get(offset, (None, None))[1] != str(value).encode()]
        assert not lost, f"{part}: {len(lost)} of {len(acked)} acknowledged are lost: {lost[:5]}"
        for offset, value in self.read[part].items():
            now = log.get(offset, (None, None))[1]
            assert now == value or part[0] == COMPACTED and now is None, f"{part}: a reader saw {value} at {offset}, now {now}"

    def check_transactions(self, log):
        for part in (part for part in self.acked if part[0] == TRANSACTIONAL):
            there = [value.decode() for _, value in log[part].values() if value.startswith(b"t")]
            wanted = [value for where, value in self.committed if where == part]
            assert there == wanted, f"{part}: of transactions there is {there[:5]}, committed were {wanted[:5]}"
        if self.committed:
            say(f"{len(self.committed)} records of committed transactions are there, {len(self.aborted)} of aborted ones are not")


class Writer:
    """While its block lasts, an idempotent writer with acks=all of all partitions of topic `t`."""

    def __init__(self, at, partitions):
        import confluent_kafka as ck

        self.ck, self.at, self.partitions = ck, at, range(partitions)
        # One request under way: see Load.
        self.producer = ck.Producer({**at, "enable.idempotence": True, "acks": "all", "linger.ms": 5, "max.in.flight": 1,
                                     "message.timeout.ms": 600000, "queue.buffering.max.messages": 1000000})
        self.acknowledged, self.failures = [set() for _ in self.partitions], []
        self.stopping, self.thread = threading.Event(), threading.Thread(target=self.produce)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join(30)

    def produce(self):
        i = 0
        while not self.stopping.is_set():
            self.producer.produce("t", value=str(i), partition=i % len(self.partitions), on_delivery=self.delivered)
            self.producer.poll(0)
            i += 1
            time.sleep(0.002)

    def delivered(self, error, message):
        if error:
            self.failures.append(error)
        else:
            self.acknowledged[message.partition()].add(int(message.value()))

    def count(self):
        return sum(map(len, self.acknowledged))

    def check(self):
        """Behind the block: what was acknowledged is there, once, in order."""
        assert self.producer.flush(600) == 0 and not self.failures, self.failures[:3]
        consumer = self.ck.Consumer({**self.at, "group.id": "g"})
        consumer.assign([self.ck.TopicPartition("t", p, 0) for p in self.partitions])
        got = [[] for _ in self.partitions]

        def drain():
            for message in consumer.consume(5000, 1.0):
                if not message.error():
                    got[message.partition()].append(int(message.value()))
            return sum(map(len, got)) >= self.count()

        try:
            until("all that was acknowledged", 60, drain)
        except AssertionError:
            for p in self.partitions:
                ends = consumer.get_watermark_offsets(self.ck.TopicPartition("t", p), timeout=5)
                say(f"{p}: {len(self.acknowledged[p])} acknowledged, {len(got[p])} read, offsets {ends}")
            raise
        consumer.close()
        for p in self.partitions:
            assert got[p] == sorted(set(got[p])), f"order and uniqueness in partition {p}"
            missing = self.acknowledged[p] - set(got[p])
            assert not missing, f"{len(missing)} of partition {p} are lost: {sorted(missing)[:5]}"
        say(f"{self.count()} acknowledged records are there once, in order")


def describe(gaps):
    return f"longest gap of a partition {max(gaps) * 1000:5.0f} ms, median {statistics.median(gaps) * 1000:4.0f} ms"
