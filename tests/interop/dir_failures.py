"""Log directories that fail: pulled out under load, whoever the controller is; the last one; one that is full."""

import struct
import subprocess
import time

from broker_disk import lone
from dir_moves import Moves
from harness import Skipped, World, busy, need_peer, need_python, say, until
from old_formats import Raw, text

# Answers of a coordinator to who is unknown to it, and of a broker that is none.
UNKNOWN_MEMBER, UNKNOWN_PRODUCER, NOT_COORDINATOR = 25, 49, 16


def pull_out(folder):
    folder.rename(folder.with_name(folder.name + "-pulled-out"))
    folder.write_text("no directory")


def put_back(folder):
    folder.unlink()
    folder.with_name(folder.name + "-pulled-out").rename(folder)


def id_in(partition, count):
    """A group or transactional id whose coordinator is that partition's leader: by Java's hash of the text."""
    def place(name):
        code = 0
        for char in name:
            code = (31 * code + ord(char)) & 0xffffffff
        return (code & 0x7fffffff) % count

    return next(name for name in map("id-{}".format, range(10000)) if place(name) == partition)


class Failures(Moves):
    def make_controller(self, number):
        self.brokers.govern(number)
        until("all in sync", 60, self.load.all_in_sync)

    def one_fails(self, number, controller):
        """Its replicas leave the ISR, those of the other directory stay; it comes back with the next life."""
        self.make_controller(controller)
        places, _ = self.brokers.places(number)
        folder = self.brokers.dirs(number)[1]
        lost = {part for part, at in places.items() if at == folder}
        assert lost and len(lost) < len(places)
        pull_out(folder)

        def is_offline():
            states = self.brokers.states()
            return all(states[part][0] not in (number, -1) and states[part][1] == 2 for part in lost)

        until("its replicas to be offline", 60, is_offline)
        self.load.goes_on()
        states = self.brokers.states()
        kept = {part: state for part, state in states.items() if part not in lost}
        assert all(isr == replicas for _, isr, replicas in kept.values()), f"not in sync: {kept}"
        assert not self.brokers.zk(lambda c: c.get_children("/test/log_dir_event_notification")), "the controller leaves the note"
        said = self.tool("ours", "log-dirs", "--describe", "--broker-list", str(number))
        assert said.count("KafkaStorageException") == 1, said
        kinds = self.brokers.kinds
        say(f"a directory of broker {number} ({kinds[number]}) failed under controller {controller} ({kinds[controller]}): "
            f"{len(lost)} replicas left the ISR, {len(kept)} stayed")
        self.brokers.stop(number)
        put_back(folder)
        self.brokers.start(number)
        until("all in sync again", 90, self.load.all_in_sync)
        self.load.check_alive()

    def all_fail(self, number):
        folders = self.brokers.dirs(number)
        for folder in folders:
            pull_out(folder)
        process = self.world.processes.pop(f"broker-{number}")
        until("the broker to end", 60, lambda: process.poll() is not None)
        self.load.goes_on()
        for folder in folders:
            put_back(folder)
        self.brokers.start(number)
        until("all in sync again", 90, self.load.all_in_sync)
        say(f"without a directory broker {number} ({self.brokers.kinds[number]}) ended, and came back with them")


def dir_failures():
    """A log directory fails under load, of a broker of ours and of Java's, under controllers of both; then all of one broker's."""
    kafka = need_peer("kafka")
    need_python("kazoo", "confluent_kafka")
    with World("dir-failures") as world:
        it = Failures(world, ["ours", "java", "ours"], kafka)
        try:
            it.load.start()
            it.one_fails(1, controller=2)
            it.one_fails(3, controller=1)
            it.one_fails(2, controller=3)
            it.all_fail(1)
            it.load.finish()
        finally:
            it.load.abandon()


def failed_coordinators():
    """A log directory with logs of coordinators fails: they say at once that they are none, those of the other directory go on."""
    count = 4
    with lone("failed-coordinators") as it:
        dirs = [it.world.dir / name for name in "ab"]
        settings = dict(log_dirs=",".join(map(str, dirs)), offsets_topic_num_partitions=count, transaction_state_log_num_partitions=count,
                        transaction_state_log_min_isr=1, replica_high_watermark_checkpoint_interval_ms=500)
        it.start(**settings)
        raw, ids = Raw(it.port), [id_in(partition, count) for partition in range(count)]

        def find(kind):
            return struct.unpack_from(">h", raw.call(10, 1, text(ids[0]) + bytes([kind])), 4)[0]

        def answers():
            """What the coordinators of each partition's groups and transactions say to strangers."""
            groups = [raw.call(12, 0, text(id) + struct.pack(">i", 1) + text("nobody")) for id in ids]
            ends = [raw.call(26, 0, text(id) + struct.pack(">qh?", 9, 0, True)) for id in ids]
            return ([struct.unpack(">h", answer)[0] for answer in groups], [struct.unpack_from(">h", answer, 4)[0] for answer in ends])

        def expected(lost):
            def each(topic, unknown):
                return [NOT_COORDINATOR if lost and (lost / f"{topic}-{partition}").is_dir() else unknown for partition in range(count)]

            return each("__consumer_offsets", UNKNOWN_MEMBER), each("__transaction_state", UNKNOWN_PRODUCER)

        until("coordinators", 60, lambda: find(0) == find(1) == 0)
        until("all coordinators", 60, lambda: answers() == expected(None))
        lost = dirs[1].with_name("b-pulled-out")
        pull_out(dirs[1])
        wanted = expected(lost)
        assert all(0 < partitions.count(NOT_COORDINATOR) < count for partitions in wanted), wanted
        until("those of the failed directory to resign", 60, lambda: answers() == wanted)
        say(f"{sum(partitions.count(NOT_COORDINATOR) for partitions in wanted)} of {2 * count} coordinators resigned")
        it.stop()
        put_back(dirs[1])
        it.start(**settings)
        raw.socket = None
        until("all coordinators again", 60, lambda: answers() == expected(None))
        it.stop()


def dir_full():
    """A log directory without room goes offline, the other goes on; with room again, all that was acknowledged is there."""
    with lone("dir-full") as it:
        import confluent_kafka as ck

        dirs = [it.world.dir / name for name in ("large", "small")]
        for folder in dirs:
            folder.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(dirs[1])], capture_output=True)
        if mounted.returncode:
            raise Skipped("nothing can be mounted here")
        try:
            it.start(log_dirs=",".join(map(str, dirs)))
            it.create("t", 2, segment_bytes=1000000, segment_index_bytes=1000)
            small = next(p for p in range(2) if (dirs[1] / f"t-{p}").is_dir())
            acknowledged, failures = {0: [], 1: []}, []

            def write(partition, count):
                producer = ck.Producer({"bootstrap.servers": it.bootstrap, "log_level": 0, "acks": "all", "message.timeout.ms": int(8000 * min(busy(), 5))})

                def delivered(error, message):
                    if error:
                        failures.append(error)
                    else:
                        acknowledged[partition].append((message.offset(), message.value()))

                for n in range(count):
                    producer.produce("t", partition=partition, value=b"%d" % n * 2000, on_delivery=delivered)
                    if n % 50 == 0:
                        producer.flush(200)
                producer.flush(200)

            write(small, 1000)
            assert failures and acknowledged[small], f"{len(acknowledged[small])} records fit"
            failures.clear()
            write(1 - small, 200)
            assert not failures, failures[:3]
            it.stop()
            subprocess.run(["mount", "-o", "remount,size=64m", str(dirs[1])], check=True)
            it.start(log_dirs=",".join(map(str, dirs)))
            write(small, 100)
            assert not failures, failures[:3]
            found = it.read("t", 2)
            for partition, said in acknowledged.items():
                lost = [offset for offset, value in said if found.get((partition, offset), (None, None))[1] != value]
                assert not lost, f"{len(lost)} of {len(said)} acknowledged records of partition {partition} are lost: {lost[:5]}"
            say(f"{[len(said) for said in acknowledged.values()]} acknowledged records are there")
            it.stop()
        finally:
            subprocess.run(["umount", "-l", str(dirs[1])])
