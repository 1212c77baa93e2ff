"""What may happen to brokers under load: restarts, kills, stalls that outlast the session, a ZooKeeper leader that dies."""

import signal
import time

from broker_load import Load, describe
from brokers import Brokers
from harness import World, need_peer, need_python, say, until


class Trouble:
    """Brokers under load; whatever is done to them, in the end what was acknowledged is there, once, in order."""

    def __init__(self, world, kinds, kafka=None, partitions=36, rate=8, session_ms=6000):
        self.world, self.brokers = world, Brokers(world, kinds, kafka, session_ms)
        self.load = Load(self.brokers, partitions, rate)
        self.load.create()

    def __enter__(self):
        self.load.start()
        self.settled("start")
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.load.finish()
        finally:
            self.load.abandon()

    def settled(self, what):
        until(f"all in sync after {what}", 90, self.load.all_in_sync)
        self.load.balance()
        self.load.check_alive()
        say(f"{what}: in sync, {self.load.count()} acknowledged")

    def kill(self, number, away=2):
        at = time.monotonic()
        self.world.stop(f"broker-{number}", signal.SIGKILL)
        time.sleep(away)
        self.brokers.start(number)
        self.load.goes_on()
        gaps = describe(self.load.gaps(at, time.monotonic()))
        self.settled(f"SIGKILL of broker {number} ({self.brokers.kinds[number]}), back after {away} s; {gaps}")

    def another(self):
        controller = self.brokers.controller()
        return next(n for n in self.brokers.kinds if n != controller)


def broker_faults():
    """Restarts, kills and stalls of brokers and of ZooKeeper's leader under an acks=all producer: nothing acknowledged is lost."""
    need_python("kazoo", "confluent_kafka")
    with World("broker-faults") as world, Trouble(world, ["ours"] * 3) as trouble:
        for number in trouble.brokers.kinds:
            trouble.brokers.stop(number)
            trouble.load.goes_on()
            trouble.brokers.start(number)
            trouble.settled(f"restart of broker {number}")
        trouble.kill(trouble.brokers.controller())
        trouble.kill(trouble.another())
        for number in (trouble.brokers.controller(), trouble.another()):
            stall(trouble, number)
        zookeeper_leader_dies(trouble)
        deletion_waits(trouble)


def lost_machine():
    """A broker comes back at once, from a machine that was started anew: it stays away until it is out of the ISRs, under
    Java's controller and as a controller itself; nothing acknowledged is lost."""
    kafka = need_peer("kafka")
    need_python("kazoo", "confluent_kafka")
    with World("lost-machine") as world, Trouble(world, ["java", "ours", "ours"], kafka, session_ms=20000) as trouble:
        # It stays away for two sessions at most.
        for controller, number in ((1, 2), (2, 2)):
            trouble.brokers.govern(controller)
            trouble.settled(f"broker {controller} governs")
            machine_restarts(trouble, number)


def broker_kills(minutes=10):
    """Each of our brokers in turn is killed and started, for ten minutes under load: nothing acknowledged is lost."""
    need_python("kazoo", "confluent_kafka")
    kill_all_the_time(["ours"] * 3, None, minutes)


def broker_kills_mixed(minutes=10):
    """Brokers of ours and of Java's in turn are killed and started, for ten minutes under load: nothing acknowledged is lost."""
    kafka = need_peer("kafka")
    need_python("kazoo", "confluent_kafka")
    kill_all_the_time(["ours", "java", "ours"], kafka, minutes)


def kill_all_the_time(kinds, kafka, minutes):
    with World("broker-kills") as world, Trouble(world, kinds, kafka) as trouble:
        end, turn = time.monotonic() + minutes * 60, 0
        while time.monotonic() < end:
            # Back at once, within the former session, and after its end.
            trouble.kill(turn % 3 + 1, away=(0, 2, 9)[turn // 3 % 3])
            turn += 1
        say(f"{turn} kills")


def stall(trouble, number):
    """A broker stands still for longer than its session."""
    process = trouble.world.processes[f"broker-{number}"]
    process.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    trouble.load.goes_on()
    pause = time.monotonic() - begin
    time.sleep(max(0, 15 - pause))
    until("others to lead", 30, lambda: number not in trouble.load.leaders())
    process.send_signal(signal.SIGCONT)
    trouble.settled(f"15 s of SIGSTOP of broker {number} (all partitions go on after {pause:.1f} s)")


def machine_restarts(trouble, number):
    """As the broker's note of the boot it ran in tells it; pages that were not flushed are still there."""
    controller, name = trouble.brokers.controller(), f"broker-{number}"
    trouble.world.stop(name, signal.SIGKILL)
    note = trouble.world.dir / f"kafka-{number}" / ".zookeeper-session"
    session = note.read_text().splitlines()[0]
    note.write_text(f"{session}\nanother boot\n")
    log = trouble.world.dir / f"{name}.log"
    before = log.stat().st_size
    trouble.brokers.start(number)

    def said():
        return log.read_bytes()[before:].decode(errors="replace")

    until("it to be registered", 30, lambda: "Registered broker" in said())
    waited = [line for line in said().splitlines() if "The machine went down" in line]
    assert "Registering, although" not in said(), "nobody took it out of the ISRs"
    trouble.load.goes_on()
    trouble.settled(f"machine of broker {number} lost under controller {controller}; "
                    + ("it waited to be missed" if waited else "it was missed already"))


def zookeeper_leader_dies(trouble):
    """While a broker restarts."""
    ensemble = trouble.brokers.ensemble
    leader, number = until("ZooKeeper's leader", 30, ensemble.leader), trouble.brokers.controller()
    trouble.brokers.stop(number)
    ensemble.kill(leader)
    trouble.brokers.start(number)
    trouble.load.goes_on()
    ensemble.start(leader)
    trouble.settled(f"SIGKILL of ZooKeeper {leader} during a restart of broker {number}")


def deletion_waits(trouble):
    """A topic is deleted while one of its brokers is away."""
    from confluent_kafka.admin import NewTopic

    brokers, admin = trouble.brokers, trouble.load.admin

    def asked(what):
        # librdkafka asks a former controller until metadata tells it of the current one.
        admin.list_topics(timeout=10)
        next(iter(what().values())).result(30)
        return True

    def is_there():
        return brokers.zk(lambda c: c.exists("/test/brokers/topics/gone"))

    def made():
        return is_there() or asked(lambda: admin.create_topics([NewTopic("gone", 3, 3)]))

    until("a topic", 60, made)
    number = trouble.another()
    folder = trouble.world.dir / f"kafka-{number}"
    until("its folders", 10, lambda: len(list(folder.glob("gone-?"))) == 3)
    trouble.world.stop(f"broker-{number}", signal.SIGKILL)
    until("its session to end", 40, lambda: number not in trouble.load.leaders())
    until("its deletion to begin", 60, lambda: asked(lambda: admin.delete_topics(["gone"])))

    assert is_there(), "a replica that is away holds the deletion up"
    brokers.start(number)
    until("the topic's node to go", 30, lambda: not is_there())
    until("its folders to go", 30, lambda: not list(folder.glob("gone-?")))
    trouble.settled("a deletion finished by a broker that came back")
    until("a topic of that name", 60, made)
