"""A live cluster of Java's brokers is swapped to ours, broker by broker on the same directories, and back."""

import argparse
import re
import sys
import time

from broker_load import Load, describe
from brokers import Brokers
from harness import World, cluster_is_up, main, need_peer, need_python, say, until


def broker_swap(partitions=300, rate=4, java_only=True):
    """Three Kafka 3.5.1 brokers to ours and back under load: what was acknowledged is there, once, in order."""
    kafka = need_peer("kafka")
    need_python("kazoo", "confluent_kafka")
    with World("broker-swap") as world:
        Swap(world, kafka, partitions, rate).run(java_only)


def broker_swap_brief():
    """Three Kafka 3.5.1 brokers of a few partitions are swapped to ours, broker by broker, and back."""
    broker_swap(partitions=36, rate=8, java_only=False)


class Swap:
    def __init__(self, world, kafka, partitions, rate):
        self.world, self.kafka, self.partitions, self.table = world, kafka, partitions, []
        self.brokers = Brokers(world, ["java"] * 3, kafka)
        self.load = Load(self.brokers, partitions, rate)

    def run(self, java_only):
        self.load.create()
        try:
            self.load.start()
            say(f"{self.partitions} partitions of three replicas are written and read")
            if java_only:
                self.roll("Java restarted", "java")
            self.roll("Java to ours", "ours")
            self.roll("ours to Java", "java")
            self.load.finish()
        finally:
            self.load.abandon()
        print("\n".join(self.table), flush=True)

    def roll(self, name, to):
        """Each broker in turn, the controller last, is stopped and started as `to`."""
        begin, gaps = time.monotonic(), []
        last = self.brokers.controller()
        for number in [n for n in self.brokers.kinds if n != last] + [last]:
            at = time.monotonic()
            self.replace(number, to)
            self.load.goes_on()
            self.load.balance()
            self.load.goes_on()
            gaps.append(self.load.gaps(at, time.monotonic()))
            self.load.check_alive()
            what = "the controller" if number == last else "not the controller"
            say(f"{name}: broker {number} ({what}) is back after {time.monotonic() - at:.1f} s; {describe(gaps[-1])}")
        say(f"the controller is broker {self.brokers.controller()}, {to}")
        self.table.append(f"  {name:15} {describe([max(gap) for gap in zip(*gaps)])}, in all {time.monotonic() - begin:.0f} s")

    def replace(self, number, to):
        self.brokers.stop(number)
        if self.brokers.kinds[number] != to:
            self.dump(number, by=to)
        self.brokers.kinds[number] = to
        self.brokers.start(number)
        until(f"broker {number} to be back in sync", 120, self.load.all_in_sync)
        # What ZooKeeper has, the brokers hear a little later; and who stops next may be the one that has to tell them.
        cluster_is_up(self.brokers.ports)

    def dump(self, number, by):
        """`by`'s kafka-dump-log finds nothing wrong in the files that the other kind has left."""
        folder = self.world.dir / f"kafka-{number}"
        files = sorted(str(file) for kind in ("log", "index", "timeindex", "txnindex", "snapshot") for file in folder.glob(f"*/*.{kind}"))
        assert len(files) > self.partitions, len(files)
        tool = [self.kafka, "dump-log"] if by == "java" else [self.world.tool("kafka-dump-log.sh")]
        for some in range(0, len(files), 500):
            told = self.world.run(*tool, "--files", ",".join(files[some:some + 500]), seconds=300)
            wrong = [line for line in told.splitlines() if is_fault(line)]
            assert not wrong, (number, by, wrong[:5])


def is_fault(line):
    """Of what kafka-dump-log prints. A follower's index names the last offset of a fetch of many batches at the first one's
    position, Java's as ours: `Mismatches` then has the index before the log, and lookups are right."""
    if pair := re.match(r"  Index offset: (\d+), log offset: (\d+)$", line):
        return int(pair[2]) > int(pair[1])
    return line.startswith(("Found", "Non-", "Exception")) or "corrupt" in line


if __name__ == "__main__":
    options = argparse.ArgumentParser(prog="scripts/broker-swap-demo", description=__doc__)
    options.add_argument("--partitions", type=int, default=300)
    options.add_argument("--rate", type=float, default=4, help="records a second in each partition")
    given = options.parse_args()

    def broker_swap_demo():
        """Java, restarted; Java to ours; and back."""
        broker_swap(given.partitions, given.rate)

    sys.argv[1:] = []
    main({"broker_swap_demo": broker_swap_demo}, {})
