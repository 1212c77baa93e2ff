"""Kafka Streams on our brokers: words counted exactly once, while its processes are killed and brokers go and come."""

import collections
import os
import pathlib
import shutil
import signal
import subprocess
import time

from harness import REPO, Skipped, need_python, say, until
from kafka_clients import cluster, registered

WORDS = [f"word{i}" for i in range(20)]


def fetched(artifact, version):
    """A Java client's jars with all that they need, fetched once."""
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "peers" / f"{artifact}-{version}"
    if not (home / "lib").exists():
        home.mkdir(parents=True, exist_ok=True)
        (home / "pom.xml").write_text(
            '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
            f"<groupId>peers</groupId><artifactId>{artifact}-peer</artifactId><version>1</version><dependencies><dependency>"
            f"<groupId>org.apache.kafka</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"
            "</dependency></dependencies></project>")
        got = subprocess.run(["mvn", "-q", "-B", "-f", home / "pom.xml", "dependency:copy-dependencies",
                              "-DincludeScope=runtime", f"-DoutputDirectory={home / 'lib.new'}"],
                             capture_output=True, text=True, timeout=600)
        if got.returncode:
            raise Skipped(f"{artifact} {version} cannot be fetched: {got.stdout.strip()[-200:]}")
        (home / "lib.new").rename(home / "lib")
    return home / "lib"


def need_java():
    for tool in ("javac", "java", "mvn"):
        if not shutil.which(tool):
            raise Skipped(f"{tool} is not installed")


def streams():
    """Kafka Streams' word count with exactly_once_v2: kill -9 of its processes, brokers stopped and killed; nothing twice."""
    need_python("confluent_kafka")
    need_java()
    counted(f"{fetched('kafka-streams', '3.5.1')}/*")


def counted(path, lines=3000):
    import confluent_kafka as ck
    from confluent_kafka.admin import AdminClient, NewTopic

    with cluster("streams") as (world, ensemble, bootstrap, ports):
        classes = world.dir / "classes"
        world.run("javac", "-cp", path, "-d", classes, REPO / "tests" / "interop" / "WordCount.java")
        admin = AdminClient({"bootstrap.servers": bootstrap})
        wanted = [NewTopic(name, 4, 3, config={"min.insync.replicas": "2"}) for name in ("lines", "counts")]
        for created in admin.create_topics(wanted).values():
            created.result(30)

        def instance(name):
            world.start(name, "java", "-Xmx256M", "-XX:TieredStopAtLevel=1", "-cp", f"{classes}:{path}", "WordCount",
                        bootstrap, "words", world.dir / f"state-{name}")

        producer = ck.Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5, "log_level": 0})
        consumer = ck.Consumer({"bootstrap.servers": bootstrap, "group.id": "check", "auto.offset.reset": "earliest",
                                "isolation.level": "read_committed", "log_level": 0})
        consumer.subscribe(["counts"])
        counts, sent = collections.defaultdict(list), collections.Counter()

        def drain(seconds=0.2):
            for message in consumer.consume(2000, seconds):
                if not message.error():
                    counts[message.key().decode()].append(int(message.value()))
            return sum(map(len, counts.values()))

        def feed(number):
            for i in range(number):
                words = [WORDS[(len(sent) + i * step) % len(WORDS)] for step in (1, 3, 7)]
                producer.produce("lines", key=str(i), value=" ".join(words))
                sent.update(words)
                producer.poll(0)
                time.sleep(0.004)
            assert producer.flush(60) == 0

        instance("one")
        instance("two")
        feed(lines // 4)
        until("the first counts", 120, drain)
        say(f"kill -9 of a process, {drain()} of {sum(sent.values())} counted")
        world.stop("one", signal.SIGKILL)
        feed(lines // 4)
        instance("three")
        say(f"a broker stops in good order, {drain()} of {sum(sent.values())} counted")
        assert world.stop("broker-1", seconds=60) == 0
        feed(lines // 4)
        world.broker(1, ports[1], ensemble.connect + "/test")
        until("the broker to be back", 60, lambda: "1" in registered(world, ensemble))
        say(f"kill -9 of a broker, {drain()} of {sum(sent.values())} counted")
        world.stop("broker-2", signal.SIGKILL)
        feed(lines // 4)
        total = sum(sent.values())
        until(f"all {total} counts", 180, lambda: drain(1.0) >= total)
        drain(3.0)
        consumer.close()
        for word, number in sent.items():
            assert counts[word] == list(range(1, number + 1)), f"{word}: {number} sent, counted {counts[word][-5:]}"
        say(f"{total} words, each counted once")
