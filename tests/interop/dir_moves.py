"""Replicas on the move between the log directories of a broker, under load: by Java's tools on ours, by ours on Java's."""

import json
import signal
import time

from broker_load import Load
from brokers import Brokers
from harness import World, need_peer, need_python, say, until

THROTTLE = "replica.alter.log.dirs.io.max.bytes.per.second"


class TwoDirs(Brokers):
    """Each broker has two log directories."""

    def dirs(self, number):
        return [self.world.dir / f"kafka-{number}-{name}" for name in "ab"]

    def start(self, number):
        kafka = self.kafka if self.kinds[number] == "java" else None
        self.world.broker(number, self.ports[number], self.ensemble.connect + "/test", kafka, zookeeper_session_timeout_ms=self.session_ms,
                          log_dirs=",".join(map(str, self.dirs(number))), log_cleaner_backoff_ms=500,
                          replica_fetch_backoff_ms=200, alter_log_dirs_replication_quota_window_num=2)

    def places(self, number):
        """(topic, partition) -> log directory, and likewise of the copies under way."""
        places, futures = {}, {}
        for path in (path for at in self.dirs(number) for path in at.glob("*-*") if path.is_dir()):
            name, _, suffix = path.name.partition(".")
            topic, _, partition = name.rpartition("-")
            found = {"": places}.get(suffix, futures if suffix.endswith("-future") else {})
            found[topic, int(partition)] = path.parent
        return places, futures


class Moves:
    def __init__(self, world, kinds, kafka, partitions=18):
        self.world, self.kafka = world, kafka
        self.brokers = TwoDirs(world, kinds, kafka)
        self.load = Load(self.brokers, partitions, 8)
        self.load.create()

    def tool(self, whose, name, *words, check=True):
        command = [self.kafka, name] if whose == "java" else [self.world.tool(f"kafka-{name}.sh")]
        return self.world.run(*command, "--bootstrap-server", self.brokers.bootstrap, *words, check=check)

    def plan(self, number):
        """Every replica on this broker goes to the other directory; returns the plan's file and where they will be."""
        topics = {topic: self.brokers.zk(lambda c: json.loads(c.get(f"/test/brokers/topics/{topic}")[0]))["partitions"]
                  for topic in self.load.topics}
        places, _ = self.brokers.places(number)
        a, b = self.brokers.dirs(number)
        there = {part: b if at == a else a for part, at in places.items() if part[0] in topics}
        assert len(there) == len(self.load.acked), f"{len(there)} replicas are on broker {number}"
        file = self.world.dir / f"plan-{number}.json"
        file.write_text(json.dumps({"version": 1, "partitions": [
            {"topic": topic, "partition": part, "replicas": topics[topic][str(part)],
             "log_dirs": [str(there[topic, part]) if id == number else "any" for id in topics[topic][str(part)]]}
            for topic, part in there]}))
        return file, there

    def begin(self, whose, file, *words):
        said = self.tool(whose, "reassign-partitions", "--execute", "--reassignment-json-file", file, *words)
        assert "Successfully started log directory moves for: " in said, said

    def done(self, number, there):
        places, futures = self.brokers.places(number)
        return not futures and there.items() <= places.items()

    def finish(self, whose, number, file, there):
        until("the replicas to be there", 90, lambda: self.done(number, there))

        def is_told():
            said = self.tool(whose, "reassign-partitions", "--verify", "--reassignment-json-file", file)
            finished = [line for line in said.splitlines() if line.startswith("Reassignment of replica ") and "completed successfully." in line]
            assert len(finished) == len(there), said
            return True

        until("the tool to tell of it", 30, is_told)
        until("all in sync", 60, self.load.all_in_sync)
        self.load.goes_on()
        self.load.check_alive()
        say(f"all {len(there)} replicas of broker {number} ({self.brokers.kinds[number]}) are in their other directory by the tools of {whose}")

    def move(self, whose, number):
        file, there = self.plan(number)
        self.begin(whose, file)
        self.finish(whose, number, file, there)

    def throttled(self, whose, number):
        """A move that stands still, with copies under way."""
        file, there = self.plan(number)
        self.begin(whose, file, "--replica-alter-log-dirs-throttle", "1")
        until("copies under way", 30, lambda: self.brokers.places(number)[1])
        time.sleep(1)
        assert self.brokers.places(number)[1], "a throttled move is done at once"
        return file, there

    def lift(self, number):
        self.world.run(self.world.tool("kafka-configs.sh"), "--bootstrap-server", self.brokers.bootstrap, "--alter", "--entity-type",
                       "brokers", "--entity-name", str(number), "--delete-config", THROTTLE)

    def hasten(self, number, there):
        """A broker that is just starting may miss a change of its settings: it is told again."""
        def is_done():
            self.world.run(self.world.tool("kafka-configs.sh"), "--bootstrap-server", self.brokers.bootstrap, "--alter", "--entity-type",
                           "brokers", "--entity-name", str(number), "--add-config", f"{THROTTLE}=100000000")
            time.sleep(2)
            return self.done(number, there)

        until("the replicas to be there", 90, is_done)

    def cancel(self, whose, number):
        """Moves that are called off leave everything as it was."""
        file, there = self.throttled(whose, number)
        waiting = self.brokers.places(number)[1]
        said = self.tool(whose, "reassign-partitions", "--cancel", "--preserve-throttles", "--reassignment-json-file", file)
        until("the copies to go", 30, lambda: not self.brokers.places(number)[1])
        places, _ = self.brokers.places(number)
        stayed = [part for part in waiting if places[part] != there[part]]
        assert stayed, f"none of {len(waiting)} moves was called off: {said}"
        self.lift(number)
        say(f"{len(stayed)} moves on broker {number} ({self.brokers.kinds[number]}) were called off by the tool of {whose}")

    def another_life(self, whose, number, kind, how):
        """The broker goes in the middle of a move; its next life, maybe of another kind, goes on with it."""
        file, there = self.throttled(whose, number)
        before = set(self.brokers.places(number)[1])
        if how == signal.SIGKILL:
            self.world.stop(f"broker-{number}", how)
        else:
            self.brokers.stop(number)
        assert before >= set(self.brokers.places(number)[1]) != set(), "the copies are still there"
        self.brokers.kinds[number] = kind
        self.brokers.start(number)
        self.in_sync()
        self.hasten(number, there)
        self.finish(whose, number, file, there)

    def in_sync(self):
        try:
            until("all in sync", 90, self.load.all_in_sync)
        except AssertionError:
            states = self.brokers.states()
            raise AssertionError(f"not in sync: {[(part, at) for part, at in states.items() if at[1] != at[2] or at[0] < 0]}") from None

    def tools_agree(self):
        """kafka-log-dirs, of Java and ours, when nothing is written any more."""
        words = ["log-dirs", "--describe", "--topic-list", ",".join(self.load.topics)]

        def same():
            # The cleaner is at work still.
            java, ours = self.tool("java", *words), self.tool("ours", *words)
            assert java == ours and '"isFuture":false' in ours, f"{java}\n{ours}"
            return ours

        ours = until("the tools to agree", 30, same)
        sizes = json.loads(ours.splitlines()[-1])
        assert len([p for b in sizes["brokers"] for d in b["logDirs"] for p in d["partitions"]]) == 3 * len(self.load.acked)


def dir_moves():
    """Replicas change their log directory under load, on brokers of ours by Java's tool and the reverse; nothing is lost."""
    with_moves("dir-moves", lambda it: (it.move("java", 1), it.move("ours", 2), it.cancel("ours", 1), it.another_life("ours", 3, "ours", signal.SIGKILL)))


def dir_moves_mixed():
    """As dir_moves, and a move that a broker of the one kind began goes on in one of the other kind on the same directories."""
    def work(it):
        it.move("java", 1)
        it.move("ours", 2)
        it.cancel("java", 1)
        it.cancel("ours", 2)
        it.another_life("java", 3, "java", signal.SIGTERM)
        it.another_life("ours", 2, "ours", signal.SIGTERM)
        it.another_life("ours", 3, "ours", signal.SIGKILL)

    with_moves("dir-moves-mixed", work)


def with_moves(name, work):
    kafka = need_peer("kafka")
    need_python("kazoo", "confluent_kafka")
    with World(name) as world:
        it = Moves(world, ["ours", "java", "ours"], kafka)
        try:
            it.load.start()
            work(it)
            it.load.finish()
            it.tools_agree()
        finally:
            it.load.abandon()
