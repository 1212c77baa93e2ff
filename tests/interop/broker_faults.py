"""What may happen to brokers under load: restarts, kills, stalls that outlast the session, a ZooKeeper leader that dies."""

import contextlib
import json
import signal
import threading
import time

from harness import need_python, say, until
from kafka_clients import cluster
from mixed_ensemble import with_client

PARTITIONS = 6


class Load:
    """An idempotent acks=all producer that goes on; what it was told is there must be there in the end, once, in order."""

    def __init__(self, bootstrap, zk):
        import confluent_kafka as ck
        from confluent_kafka.admin import AdminClient, NewTopic

        self.zk = zk
        self.ck, self.at = ck, {"bootstrap.servers": bootstrap, "log_level": 0}
        self.admin = AdminClient(self.at)
        topic = NewTopic("t", PARTITIONS, 3, config={"min.insync.replicas": "2"})
        next(iter(self.admin.create_topics([topic]).values())).result(60)
        self.producer = ck.Producer({**self.at, "enable.idempotence": True, "acks": "all", "linger.ms": 5,
                                     "message.timeout.ms": 120000})
        self.acknowledged, self.failures = [set() for _ in range(PARTITIONS)], []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        i = 0
        while not self.stopping.is_set():
            self.producer.produce("t", value=str(i), partition=i % PARTITIONS, on_delivery=self.delivered)
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

    def goes_on(self, seconds=40):
        before, begin = self.count(), time.monotonic()
        until("records to be taken on", seconds, lambda: self.count() > before + 300)
        return time.monotonic() - begin

    def states(self):
        """As ZooKeeper has them: librdkafka may ask the very broker that does not answer."""
        path = "/test/brokers/topics/t/partitions/{}/state"
        return self.zk(lambda c: [json.loads(c.get(path.format(p))[0]) for p in range(PARTITIONS)])

    def leaders(self):
        return {state["leader"] for state in self.states()}

    def all_in_sync(self):
        return all(len(state["isr"]) == 3 for state in self.states())

    def balance(self):
        def balanced():
            # librdkafka asks a former controller until metadata tells it of the current one.
            with contextlib.suppress(Exception):
                self.admin.list_topics("t", 5)
                self.admin.elect_leaders(self.ck.ElectionType.PREFERRED).result(30)
            return self.leaders() == {1, 2, 3}

        until("each broker to lead", 60, balanced)

    def stop(self):
        self.stopping.set()
        self.thread.join(30)

    def check(self):
        self.stop()
        assert self.producer.flush(120) == 0 and not self.failures, self.failures[:3]
        consumer = self.ck.Consumer({**self.at, "group.id": "g"})
        consumer.assign([self.ck.TopicPartition("t", p, 0) for p in range(PARTITIONS)])
        got = [[] for _ in range(PARTITIONS)]

        def drain():
            for message in consumer.consume(5000, 1.0):
                if not message.error():
                    got[message.partition()].append(int(message.value()))
            return sum(map(len, got)) >= self.count()

        until("all that was acknowledged", 60, drain)
        consumer.close()
        for partition in range(PARTITIONS):
            assert got[partition] == sorted(set(got[partition])), f"order and uniqueness in partition {partition}"
            missing = self.acknowledged[partition] - set(got[partition])
            assert not missing, f"{len(missing)} of partition {partition} are lost: {sorted(missing)[:5]}"
        say(f"{self.count()} acknowledged records are there once, in order")


def broker_faults():
    """Restarts, kills and stalls of brokers and of ZooKeeper's leader under an acks=all producer: nothing acknowledged is lost."""
    need_python("kazoo", "confluent_kafka")
    with cluster("broker-faults") as (world, ensemble, bootstrap, ports):
        def zk(act):
            return with_client(ensemble, next(i for i in ensemble.client if f"zk-{i}" in world.processes),
                               lambda c: (c.sync("/"), act(c))[1])

        load = Load(bootstrap, zk)

        def start(number):
            world.broker(number, ports[number], ensemble.connect + "/test")

        def controller():
            return zk(lambda c: json.loads(c.get("/test/controller")[0])["brokerid"])

        def settled(what):
            until(f"all in sync after {what}", 90, load.all_in_sync)
            say(f"{what}: in sync, {load.count()} acknowledged")
            load.balance()

        def restart(number, how):
            world.stop(f"broker-{number}", how)
            pause = load.goes_on()
            start(number)
            settled(f"{how.name} of broker {number} (goes on after {pause:.1f} s)")

        try:
            settled("start")
            for number in ports:
                restart(number, signal.SIGTERM)
            restart(controller(), signal.SIGKILL)
            restart(next(n for n in ports if n != controller()), signal.SIGKILL)

            say("a broker stalls for longer than its session")
            for number in (controller(), next(n for n in ports if n != controller())):
                process = world.processes[f"broker-{number}"]
                process.send_signal(signal.SIGSTOP)
                pause = load.goes_on()
                time.sleep(max(0, 30 - pause))
                until("others to lead", 30, lambda: number not in load.leaders())
                process.send_signal(signal.SIGCONT)
                settled(f"30 s of SIGSTOP of broker {number} (goes on after {pause:.1f} s)")

            say("a broker restarts while ZooKeeper's leader dies")
            leader, number = ensemble.leader(), controller()
            world.stop(f"broker-{number}")
            ensemble.kill(leader)
            start(number)
            load.goes_on()
            ensemble.start(leader)
            settled(f"SIGKILL of ZooKeeper {leader} during a restart of broker {number}")

            say("a topic is deleted while one of its brokers is down")
            from confluent_kafka.admin import NewTopic
            next(iter(load.admin.create_topics([NewTopic("gone", 3, 3)]).values())).result(30)
            number = next(n for n in ports if n != controller())
            folder = world.dir / f"kafka-{number}"
            until("its folders", 10, lambda: len(list(folder.glob("gone-?"))) == 3)
            world.stop(f"broker-{number}", signal.SIGKILL)
            until("its session to end", 40, lambda: number not in load.leaders())
            next(iter(load.admin.delete_topics(["gone"]).values())).result(30)
            assert zk(lambda c: c.exists("/test/brokers/topics/gone")), "a replica that is away holds the deletion up"
            start(number)
            until("the topic's node to go", 30, lambda: not zk(lambda c: c.exists("/test/brokers/topics/gone")))
            until("its folders to go", 30, lambda: not list(folder.glob("gone-?")))
            settled("a deletion finished by a broker that came back")
            next(iter(load.admin.create_topics([NewTopic("gone", 3, 3)]).values())).result(30)
        finally:
            load.stop()
        load.check()
