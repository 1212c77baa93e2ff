"""Quotas of clients in a cluster of Java's brokers and ours: set by either side's tool, obeyed by both."""

import json
import socket
import threading
import time

import mixed_ensemble
from harness import World, busy, cluster_is_up, free_ports, need_peer, need_python, say, until
from mixed_ensemble import with_client

RATE = 50_000
# Three windows of a second: who was idle may send two seconds' worth at once.
BURST = 2 * RATE
BYTES = 300_000
RECORD = 5_000


def client_quotas():
    """Java's broker and ours hold the same producers and consumers back, as told by either's kafka-configs."""
    kafka = need_peer("kafka")
    need_python("kazoo", "confluent_kafka")
    import confluent_kafka as ck
    from confluent_kafka.admin import AdminClient, NewTopic

    with World("client-quotas") as world:
        ensemble = world.ensemble(["ours"] * 3)
        ensemble.start_all()
        ports = dict(enumerate(free_ports(2 + 12)[12:], 1))
        for number, java in ((1, None), (2, kafka)):
            world.broker(number, ports[number], ensemble.connect + "/test", java, quota_window_num=3,
                         controller_quota_window_num=3, offsets_topic_replication_factor=1)
        at = {number: f"127.0.0.1:{port}" for number, port in ports.items()}
        kinds = {1: "ours", 2: "Java's"}

        def zk(act):
            return with_client(ensemble, 1, act)

        cluster_is_up(ports)
        admin = AdminClient({"bootstrap.servers": at[1], "log_level": 0})
        for number in at:
            topic = NewTopic(f"t{number}", 1, replica_assignment=[[number]])
            until(f"t{number}", 60, lambda: f"t{number}" in admin.list_topics(timeout=10).topics
                  or admin.create_topics([topic])[f"t{number}"].result(30))

        def configs(tool, number, words):
            return world.run(*tool, "--bootstrap-server", at[number], *words.split())

        java, ours = (kafka, "configs"), (world.tool("kafka-configs"),)

        def produce(number, client_id, count):
            """How long it takes, and the waits that the broker told."""
            waits = []
            producer = ck.Producer({
                "bootstrap.servers": at[number], "client.id": client_id, "log_level": 0, "linger.ms": 0, "batch.size": RECORD,
                "throttle_cb": lambda event: waits.append(event.throttle_time)})
            began = time.monotonic()
            for _ in range(count // RECORD):
                producer.produce(f"t{number}", value=b"x" * RECORD)
                producer.poll(0)
            assert producer.flush(480) == 0
            return time.monotonic() - began, waits

        def consume(number, client_id, count):
            waits = []
            consumer = ck.Consumer({
                "bootstrap.servers": at[number], "client.id": client_id, "group.id": "g", "log_level": 0,
                "fetch.message.max.bytes": 20_000, "throttle_cb": lambda event: waits.append(event.throttle_time)})
            consumer.assign([ck.TopicPartition(f"t{number}", 0, 0)])
            began, got = time.monotonic(), 0
            while got < count:
                for message in consumer.consume(100, 1.0):
                    assert not message.error(), message.error()
                    got += len(message.value())
                assert time.monotonic() - began < 480
            took = time.monotonic() - began
            consumer.close()
            return took, waits

        def on_both(act, *args):
            found, threads = {}, []
            for number in at:
                threads.append(threading.Thread(target=lambda n=number: found.__setitem__(n, act(n, *args))))
                threads[-1].start()
            for thread in threads:
                thread.join(600)
            assert len(found) == 2, "a client failed"
            return found

        def held_back(what, found):
            # What goes above the burst goes at the rate; the last request's own wait is nobody's.
            least = (BYTES - BURST - 2 * 20_000) / RATE
            for number, (took, waits) in found.items():
                say(f"{kinds[number]} broker, {what}: {BYTES} bytes in {took:.1f} s, told to wait {len(waits)} times")
                assert took >= least, f"{kinds[number]} broker let {BYTES} bytes through in {took:.1f} s, not {least:.1f}"
                assert waits and max(waits) > 0

        def is_free(client_id):
            """Nobody is told to wait, and nobody has to."""
            free = on_both(produce, client_id, BYTES)
            assert all(took < 5 * busy() and not any(waits) for took, waits in free.values()), free
            return True

        # Brokers hear of a change when ZooKeeper tells them.
        def soon(what, check):
            until(what, 15, lambda: check() or True)

        # Java's tool asks Java's broker, and ours has to hear of it; then the other way round.
        said = configs(java, 2, f"--alter --entity-type clients --entity-name slow --add-config producer_byte_rate={RATE}")
        assert "Completed updating config for client slow." in said, said
        said = configs(ours, 1, f"--alter --entity-type users --entity-default --entity-type clients --entity-name "
                                f"reader --add-config consumer_byte_rate={RATE}")
        assert "Completed updating" in said, said
        soon("producers to be held back", lambda: held_back("producer", on_both(produce, "slow", BYTES)))
        soon("others to be free", lambda: is_free("quick"))
        soon("consumers to be held back", lambda: held_back("consumer", on_both(consume, "reader", BYTES)))

        for words in ("--describe --entity-type clients", "--describe --entity-type users --entity-type clients"):
            def same(words=words):
                shown = {configs(tool, number, words) for tool in (java, ours) for number in at}
                assert len(shown) == 1 and "byte_rate" in [*shown][0], f"{words}: {shown}"

            soon("the same of all", same)

        # What is taken away is gone everywhere, and leaves no node.
        configs(java, 1, "--alter --entity-type clients --entity-name slow --delete-config producer_byte_rate")
        configs(ours, 1, "--alter --entity-type users --entity-default --entity-type clients --entity-name reader "
                         "--delete-config consumer_byte_rate")
        until("no node to be left", 10, lambda: zk(lambda c: c.get_children("/test/config/clients") + c.get_children("/test/config/users")) == [])
        soon("the slow one to be free", lambda: is_free("slow"))

        mutations(world, kafka, at, kinds, zk, lambda words: configs(java, 2, words))
        addresses(world, ports, kinds, lambda words: configs(java, 2, words))


def mutations(world, kafka, at, kinds, zk, configs):
    """Who made too many partitions is refused until they are paid back."""
    configs("--alter --entity-type clients --entity-name maker --add-config controller_mutation_rate=0.1")
    file = world.dir / "maker.properties"
    file.write_text("client.id=maker\n")
    # Nothing but its effect tells that a broker has heard of it.
    time.sleep(2 * min(busy(), 8))
    seen = set()
    for _ in range(20):
        number = until("a controller", 60, lambda: zk(lambda c: json.loads(c.get("/test/controller")[0])["brokerid"]))
        if number not in seen:
            seen.add(number)

            def create(name, partitions):
                return world.run(kafka, "topics", "--bootstrap-server", at[number], "--command-config", file, "--create", "--topic",
                                 f"{name}-{number}", "--partitions", partitions, "--replication-factor", "1", check=False)

            # Three tenths of a partition are there, so one topic may be made; then it takes three minutes.
            said = create("first", 20)
            assert f"Created topic first-{number}." in said, said
            said = create("second", 1)
            assert "The throttling quota has been exceeded." in said and "Created" not in said, said
            say(f"{kinds[number]} controller made 20 partitions and refused another")
        if seen == set(at):
            break
        # What neither has made yet, by turns.
        mixed_ensemble.make_controller(world, zk, set(at) - seen, at)
    assert seen == set(at), f"of {sorted(at)} only {sorted(seen)} governed"
    configs("--alter --entity-type clients --entity-name maker --delete-config controller_mutation_rate")


def addresses(world, ports, kinds, configs):
    """Connections of an address that come too fast are closed, after a while."""
    configs("--alter --entity-type ips --entity-name 127.0.0.1 --add-config connection_creation_rate=5")
    time.sleep(4 * min(busy(), 4))
    for number, port in ports.items():
        sockets = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(30)]
        closed, begin = set(), time.monotonic()
        # Three seconds, and longer where the broker takes its time.
        while time.monotonic() - begin < 4 or len(closed) < 10 and time.monotonic() - begin < 60:
            for s in set(sockets) - closed:
                s.settimeout(0.01)
                try:
                    if s.recv(1) == b"":
                        closed.add(s)
                except TimeoutError:
                    pass
                except OSError:
                    closed.add(s)
        for s in sockets:
            s.close()
        closed = len(closed)
        say(f"{kinds[number]} broker closed {closed} of 30 connections")
        assert 10 <= closed <= 28, closed
