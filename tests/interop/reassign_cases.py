"""kafka-reassign-partitions, Java's and ours side by side; see kafka_tools."""

import json
import pathlib
import time

from harness import until


def reassign_options(run):
    for words in ("", "--help", "--version", "--list"):
        run("reassign-partitions", words, at=False)
    for words in (
        "", "--list --verify", "--execute", "--verify", "--cancel", "--generate", "--generate --broker-list 1,2",
        "--list --throttle 1", "--list --additional", "--execute --reassignment-json-file x --preserve-throttles",
        "--verify --reassignment-json-file x --timeout 1", "--cancel --reassignment-json-file x --additional",
        "--generate --topics-to-move-json-file x --broker-list 1 --throttle 3", "--execute --reassignment-json-file x --throttle abc",
        "--bogus", "--execute --reassignment-json-file", "--execute --reassignment-json-file /nonexistent/file",
        "--verify --reassignment-json-file /nonexistent/file", "--list --command-config /nonexistent",
        "--execute --reassignment-json-file a --reassignment-json-file b", "--list surplus",
    ):
        run("reassign-partitions", words)


def files(run):
    """A plan of each name for each side; {p} in a topic is the side's prefix."""
    def entry(topic, partition, replicas, **more):
        return {"topic": topic, "partition": partition, "replicas": replicas, **more}

    plans = {
        "there": [entry("{p}r", 0, [3, 1]), entry("{p}r", 1, [3])],
        "back": [entry("{p}r", 0, [1, 2]), entry("{p}r", 1, [2])],
        "unknown-broker": [entry("{p}r", 0, [99])], "twice": [entry("{p}r", 0, [1, 1])], "none": [entry("{p}r", 0, [])],
        "no-topic": [entry("{p}nothing", 0, [1])], "no-partition": [entry("{p}r", 9, [1])], "empty": [],
        "dirs": [entry("{p}r", 0, [1, 2], log_dirs=["any"])], "doubled": [entry("{p}r", 0, [1]), entry("{p}r", 0, [2])],
        "text": [entry("{p}r", "0", [1])], "missing": [{"partition": 0, "replicas": [1]}], "wide": [entry("{p}r", 0, [1, 2, 3])],
        "order": [entry("{p}r", 0, [2, 1])],
    }
    texts = {name: json.dumps({"version": 1, "partitions": plan}) for name, plan in plans.items()}
    texts |= {
        "nonsense": "nonsense", "version": '{"version":2,"partitions":[]}', "list": "[]",
        "topics": '{"topics":[{"topic":"{p}r"}],"version":1}', "topics-twice": '{"topics":[{"topic":"{p}r"},{"topic":"{p}r"}]}',
        "topics-unknown": '{"topics":[{"topic":"{p}nothing"}],"version":1}', "topics-version": '{"topics":[],"version":3}',
    }
    for prefix in run.commands:
        for name, text in texts.items():
            (pathlib.Path(run.cwd) / f"{prefix}{name}.json").write_text(text.replace("{p}", prefix))


def reassign(run):
    files(run)
    run.both("topics", "--create --topic {p}r --replica-assignment 1:2,2:1")
    plan = "--reassignment-json-file {d}/{p}"
    for name in ("unknown-broker", "twice", "none", "no-topic", "no-partition", "empty", "dirs", "doubled", "text", "missing",
                 "nonsense", "version"):
        run("reassign-partitions", f"--execute {plan}{name}.json")
    for name in ("no-topic", "no-partition", "nonsense", "version", "empty", "missing"):
        run("reassign-partitions", f"--verify {plan}{name}.json --preserve-throttles")
        run("reassign-partitions", f"--cancel {plan}{name}.json --preserve-throttles")
    topics = "--generate --topics-to-move-json-file {d}/{p}"
    proposed = [(r'(Proposed .*\n)(out\| )?.*', r"\1..."), (r'"replicas":\[[\d,]+\]', '"replicas":N')]
    run("reassign-partitions", f"{topics}topics.json --broker-list 1,2,3", loose=proposed)
    run("reassign-partitions", f"{topics}topics.json --broker-list 1,2,3 --disable-rack-aware", loose=proposed)
    for words in ("topics.json --broker-list 1,1", "topics.json --broker-list 1,x", "topics.json --broker-list 1",
                  "topics-twice.json --broker-list 1,2", "topics-unknown.json --broker-list 1,2", "topics-version.json --broker-list 1",
                  "nonsense.json --broker-list 1,2"):
        run("reassign-partitions", topics + words)

    def under_way_ends():
        for side in run.clusters:
            until("the moves to end", 60, lambda side=side: b"No partition reassignments found" in run.start(
                side, "reassign-partitions", "--bootstrap-server {b} --list").result(60)[1])
        time.sleep(1)
        run.settle()

    for words in ("--list", f"--verify {plan}there.json"):
        run("reassign-partitions", words)
    # One side sees the other's moves as its own hindrance, so they take turns; and each move is given its time.
    for name, more in (("there", ""), ("back", " --throttle 50000000"), ("wide", " --additional"), ("back", ""), ("order", ""),
                       ("there", " --throttle 10000000 --replica-alter-log-dirs-throttle 10000000")):
        run("reassign-partitions", f"--execute {plan}{name}.json{more} --additional".replace("--additional --additional", "--additional"))
        under_way_ends()
        run("reassign-partitions", f"--verify {plan}{name}.json --preserve-throttles")
        run("topics", "--describe --topic {p}r")
        run("reassign-partitions", f"--cancel {plan}{name}.json --preserve-throttles")
        run("reassign-partitions", f"--verify {plan}{name}.json")
        run("topics", "--describe --topic {p}r")
        run("reassign-partitions", "--list")
    run("reassign-partitions", f"--cancel {plan}back.json")
    run("reassign-partitions", f"--verify {plan}no-topic.json")
