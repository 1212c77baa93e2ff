"""Kafka's own Java clients of every age on our brokers."""

import re
from concurrent.futures import ThreadPoolExecutor

from harness import REPO, say
from kafka_clients import cluster
from streams import fetched, need_java

# (version, codec): what each of them can.
VERSIONS = (("0.10.2.2", "snappy"), ("0.11.0.3", "lz4"), ("1.1.1", "gzip"), ("2.0.1", "none"), ("2.8.2", "zstd"),
            ("3.0.2", "lz4"), ("3.9.1", "snappy"))


def old_clients():
    """Java clients from 0.10.2 to 3.9: topics, records of each codec, groups that go on where they committed, ends."""
    need_java()
    path = {version: f"{fetched('kafka-clients', version)}/*" for version, _ in VERSIONS}
    with cluster("old-clients") as (world, _, bootstrap, _):
        # What the oldest has all others have: compiled once, by it.
        world.run("javac", "-nowarn", "-cp", path[VERSIONS[0][0]], "-d", world.dir / "classes",
                  REPO / "tests" / "interop" / "OldClient.java")

        def used(client):
            version, codec = client
            said = world.run("java", "-XX:TieredStopAtLevel=1", "-cp", f"{world.dir / 'classes'}:{path[version]}",
                             "OldClient", bootstrap, "old-" + version.replace(".", "-"), codec)
            # The oldest has no admin client: the broker creates its topic.
            admin = "admin none" if version.startswith("0.10") else "admin 3 brokers"
            for wanted in (admin, "produced 500", "read 500", "went on", "ends 500"):
                assert wanted in said, f"{version} does not say {wanted!r}:\n{said[-3000:]}"
            parts = [int(count) for count in re.findall(r"read (\d+)", said)][1:]
            assert sum(parts) == 500, f"{version}: a group goes on where it committed, and it read {parts}"
            say(f"{version} with {codec}")

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(used, VERSIONS))
