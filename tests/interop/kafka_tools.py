"""The cases of Kafka's command-line tools; see both_ways for who runs them where."""

import json
import re
import signal

from harness import until


def spread(lines):
    """Where replicas go by themselves is another in every cluster."""
    return sorted(re.sub(r"\b(Leader|Replicas|Isr): [\d,]+", r"\1: N", line) for line in lines)


def assigned(lines):
    """As `spread`, without the coordinators' topics, which come when somebody needs them."""
    return [line for line in spread(lines) if not re.search("Topic: __", line)]


def all_groups(lines):
    """As `once`; who coordinates goes by a group's name, and so do the columns."""
    return once(re.sub(r"\s+", " ", re.sub(r"BROKER-\d +\(\d\)", "COORDINATOR", line)) for line in lines)


def once(lines):
    """Kafka has two sides' things and our brokers one's: equal lines count once."""
    return sorted(set(lines))


def topics_options(run):
    for words in ("", "--help", "--list", "--version"):
        run("topics", words, at=False)
    for words in (
        "", "--version", "--list --create", "--list --describe --topic x", "--zookeper x --list", "-x", "--topic", "--create",
        "--create --topic", "--create --topic a --topic b --partitions 1", "--describe --partitions 3", "--delete",
        "--delete --topic x --config a=b", "--alter --topic x", "--alter --topic x --config a=b",
        "--alter --topic x --partitions 2 --config a=b", "--alter --topic x --delete-config a --partitions 4",
        "--create --topic x --delete-config a", "--create --topic x --replica-assignment 1:2 --partitions 2",
        "--create --topic x --replica-assignment 1:2 --replication-factor 2", "--list --if-exists", "--list --if-not-exists",
        "--create --topic x --if-exists", "--create --topic x --exclude-internal", "--delete --topic x --exclude-internal",
        "--describe --under-replicated-partitions --unavailable-partitions", "--list --unavailable-partitions",
        "--describe --under-min-isr-partitions --topics-with-overrides", "--list --topics-with-overrides",
        "--describe --if-exists", "--describe --if-not-exists --topic x", "--create --topic x --partitions abc",
        "--create --topic x --partitions 99999999999", "--alter --topic x --replication-factor 2 --partitions 2",
        "--create --topic x --replication-factor abc", "--list --command-config /nonexistent", "--list surplus words",
        "--list --replica-assignment 1:2", "--delete --topic x --replica-assignment 1:2",
    ):
        run("topics", words)
    run("topics", "--list --bootstrap-server nonsense", at=False)
    run("topics", "--list --bootstrap-server 127.0.0.1:x", at=False)
    run("topics", "--list --bootstrap-server ''", at=False)
    run("topics", "--list --bootstrap-server no.such.host.invalid:9092", at=False)


# Where replicas go by themselves is another at every run.
SPREAD = [(r"\b(Leader|Replicas|Isr): [\d,]+", r"\1: N")]


def topics(run):
    run("topics", "--list", same=True)
    run("topics", "--describe", same=True, unordered=True, back=assigned)
    run("topics", "--list --topic nothing")
    made = "--create --topic {p}a --partitions 3 --replication-factor 2"
    run("topics", made, check=lambda said: "Created topic X-a." in said)
    run("topics", made)
    run("topics", made + " --if-not-exists")
    for words in (
        "{p}my.topic_a", "{p}my_topic.a", "'{p}bad name'", "''", ".", "..", "{p}" + "n" * 250,
        "{p}b --replication-factor 4", "{p}b --partitions 0", "{p}b --partitions -1", "{p}b --replication-factor 0",
        "{p}b --replication-factor 40000", "{p}b --config foo=bar", "{p}b --config retention.ms=abc", "{p}b --config x",
        "{p}b --config retention.ms=-5", "{p}b --config cleanup.policy=wrong", "{p}b --config min.insync.replicas=0",
        "{p}b --config compression.type=fast", "{p}b --config x=", "{p}b --config =x", "{p}b --config a=b=c",
        "{p}b --replica-assignment 1:2,3", "{p}b --replica-assignment 1:1", "{p}b --replica-assignment x",
        "{p}b --replica-assignment 1,,2", "{p}empty --replica-assignment ''", "{p}trailing --replica-assignment 1:2:,2:1,",
        "{p}defaults", "{p}assigned --replica-assignment 1:2,2:3", "{p}ghost --replica-assignment 1:9",
        "{p}configured --partitions 1 --replication-factor 3 --config cleanup.policy=compact,delete "
        "--config retention.ms=1000 --config min.insync.replicas=3",
        "{p}trimmed --config 'retention.bytes = 1000' --config retention.bytes=2000",
    ):
        run("topics", f"--create --topic {words}", loose=[(r"(has different replication factor: ).*", r"\1N")])
    run("topics", "--list", same=True, check=lambda said: "jj-assigned" in said)
    run("topics", "--list --topic '(jj|oo)-.*'", same=True)
    for words in ("{p}.*", "'{p}a,{p}assigned'", "'\"{p}a\"'", "'{p}a | {p}defaults'", "'('", "nope"):
        run("topics", f"--list --topic {words}")
    for words in ("{p}assigned", "{p}ghost", "{p}configured", "'{p}(assigned|ghost)'", "nope", "nope --if-exists",
                  "'('", "{p}trimmed"):
        run("topics", f"--describe --topic {words}", unordered=True, loose=SPREAD)
    run("topics", "--describe --topic '(jj|oo)-assigned'", same=True)
    run("topics", "--describe --topic-id AAAAAAAAAAAAAAAAAAAAAQ")
    run("topics", "--describe --topic-id AAAAAAAAAAAAAAAAAAAAAQ --if-exists")
    run("topics", "--describe --topic-id AAAAAAAAAAAAAAAAAAAAAA", unordered=True, same=True, back=spread)
    for wrong in ("wrong", "a!", "abcd", "AAAAAAAAAAAAAAAAAAAAAQAAAAA"):
        run("topics", f"--describe --topic-id {wrong}")
    for words in ("", "--topics-with-overrides", "--under-replicated-partitions", "--unavailable-partitions",
                  "--under-min-isr-partitions", "--at-min-isr-partitions", "--exclude-internal"):
        run("topics", f"--describe {words}", unordered=True, same=True, back=spread)
    for words in ("{p}a --partitions 5", "{p}a --partitions 4", "{p}a --partitions 5", "nope --partitions 5",
                  "nope --partitions 5 --if-exists", "{p}a --partitions 7 --replica-assignment 1:2,1:2,1:2,1:2,1:2,2:3,3:1",
                  "{p}a --partitions 8 --replica-assignment 1:2", "{p}a --partitions 8 --replica-assignment 1:2,1:2,1:2,1:2,1:2,1:2,1:2,9:8"):
        run("topics", f"--alter --topic {words}")
    run("topics", "--describe --topic {p}a", drop=r"Partition: [0-4]\t", check=lambda said: "PartitionCount: 7" in said)
    for words in ("nope", "nope --if-exists", "{p}a", "'{p}(defaults|assigned)'", "''"):
        run("topics", f"--delete --topic {words}")
    run("topics", "--delete --topic {p}a")


def unreachable(run):
    """Nobody listens there; times are shorter than the defaults."""
    port = run.closed_port
    (run.cwd / "short").write_text("default.api.timeout.ms=3000\nrequest.timeout.ms=2000\n")
    for words in ("--list", "--create --topic x", "--describe", "--delete --topic x"):
        run("topics", f"--bootstrap-server 127.0.0.1:{port} --command-config {{d}}/short {words}", at=False)
    for words in ("--list", "--describe --group g", "--describe --all-groups", "--delete --group g",
                  "--reset-offsets --group g --topic t --to-earliest --dry-run", "--delete-offsets --group g --topic t"):
        run("consumer-groups", f"--bootstrap-server 127.0.0.1:{port} --timeout 3000 {words}", at=False)
    run("console-producer", f"--bootstrap-server 127.0.0.1:{port} --topic x --max-block-ms 2000", at=False, input="a\nb\n")
    run("console-consumer", f"--bootstrap-server 127.0.0.1:{port} --topic x --timeout-ms 3000", at=False)


def producer_options(run):
    for words in ("", "--help", "--version", "--topic x", "--bootstrap-server x:1", "--broker-list x:1", "--zookeeper x",
                  "--topic x --bootstrap-server nonsense", "--topic x --bootstrap-server no.such.host.invalid:1",
                  "--topic x --bootstrap-server 127.0.0.1:x", "--topic x --bootstrap-server ''", "-x", "--topic",
                  "--topic x --topic y --bootstrap-server {b}", "--topic x --bootstrap-server {b} --timeout abc",
                  "--topic x --bootstrap-server {b} --batch-size 1.5", "--topic x --bootstrap-server {b} --request-required-acks 5",
                  "--topic x --bootstrap-server {b} --compression-codec fast",
                  "--topic x --bootstrap-server {b} --producer-property acks=many",
                  "--topic x --bootstrap-server {b} --producer-property linger",
                  "--topic x --bootstrap-server {b} --producer.config /nonexistent",
                  "--topic x --bootstrap-server {b} --reader-config /nonexistent",
                  "--topic x --bootstrap-server {b} --line-reader no.such.Class",
                  "--topic x --bootstrap-server {b} --property key.separator=",
                  "--topic x --bootstrap-server {b} --property parse.key",
                  "--topic x --bootstrap-server {b} --property parse.key=true --property null.marker=: --property key.separator=:",
                  "--topic x --bootstrap-server {b} --property parse.headers=true --property headers.delimiter=, ",
                  "--topic x --bootstrap-server {b} --producer-property retries=1 --producer-property retries=2"):
        run("console-producer", words, at=False)


SHOW_ALL = ("--property print.key=true --property print.headers=true --property print.partition=true "
            "--property print.offset=true --property print.timestamp=true")


def producer(run):
    run.both("topics", "--create --topic {p}p --partitions 1 --replication-factor 3")
    run.both("topics", "--create --topic {p}compacted --partitions 1 --config cleanup.policy=compact")
    run.both("topics", "--create --topic {p}small --partitions 1 --config max.message.bytes=100")
    run.both("topics", "--create --topic {p}strict --partitions 1 --replication-factor 1 --config min.insync.replicas=2")
    sends = [
        ("", "one\ntwo\n\nlast without end"),
        ("", ""),
        ("--sync", "s1\ns2\n"),
        ("--property parse.key=true", "k1\tv1\nk2\tv2\tx\n\tempty key\nk3\t\n"),
        ("--property parse.key=true --property key.separator=:", "k:v\nnokey\nafter:that\n"),
        ("--property parse.key=true --property key.separator=: --property ignore.error=true", "k:v\nnokey\nafter:that\n"),
        ("--property parse.headers=true", "h1:a,h2:b\tvalue\nh3:\tv\n:x\tempty name\n"),
        ("--property parse.headers=true", "no delimiter\n"),
        ("--property parse.headers=true", "h1\tv\n"),
        ("--property parse.headers=true --property ignore.error=true", "h1\tv\nno delimiter\n"),
        ("--property parse.headers=true --property parse.key=true --property headers.delimiter=| "
         "--property headers.separator=; --property headers.key.separator== --property key.separator=:",
         "a=1;b=2|k:v\n"),
        ("--property parse.key=true --property key.separator=: --property null.marker=NULL", "k:NULL\nNULL:v\nNULL:NULL\n"),
        ("--property parse.headers=true --property null.marker=NULL", "NULL\tv\nh:NULL\tv\nNULL:x\tv\n"),
        ("--compression-codec", "gzipped 1\ngzipped 2\n"),
        ("--compression-codec zstd", "zstd 1\nzstd 2\n"),
        ("--compression-codec lz4 --sync", "lz4\n"),
        ("--compression-codec snappy --timeout 5", "snappy\n"),
        ("--request-required-acks 0", "acks 0\n"),
        ("--request-required-acks 1", "acks 1\n"),
        ("--producer-property acks=1 --producer-property linger.ms=0", "acks 1 by property\n"),
        ("--producer-property compression.type=gzip --producer-property client.id=mine", "property\n"),
        ("--request-required-acks all --batch-size 100 --max-partition-memory-bytes 200", "some\nbatches\n" * 20),
        ("--property parse.key=maybe", "x\n"),
        ("--broker-list ignored:1", "by bootstrap\n"),
    ]
    for words, input in sends:
        run("console-producer", f"--topic {{p}}p {words}", input=input, unordered="nokey" in input)
    run("console-producer", "--broker-list {b} --topic {p}p", at=False, input="by broker list\r\nwith return\r\n")
    run("console-producer", "--topic {p}auto", input="makes the topic\n")
    run("console-producer", "--topic {p}auto --sync", input="makes the topic\n")
    run("console-producer", "--topic 'bad name' --max-block-ms 3000", input="x\n")
    run("console-producer", "--topic {p}compacted", input="without key\nanother\n")
    run("console-producer", "--topic {p}compacted --sync", input="without key\nanother\n")
    run("console-producer", "--topic {p}small --sync", input="x" * 300 + "\nshort\n")
    run("console-producer", "--topic {p}small", input="x" * 2_000_000 + "\nshort\n")
    run("console-producer", "--topic {p}strict --message-send-max-retries 1", input="x\n")
    # What ours wrote reads as what the real one wrote.
    run("console-consumer", f"--topic {{p}}p --partition 0 --offset earliest --timeout-ms 6000 {SHOW_ALL}")


def consumer_options(run):
    for words in ("", "--help", "--version", "--topic x", "--bootstrap-server {b}", "--zookeeper x --topic x",
                  "--bootstrap-server {b} --topic x --include y", "--bootstrap-server {b} --topic x --max-messages 0",
                  "--bootstrap-server {b} --topic x --whitelist y", "--bootstrap-server {b} --whitelist x --include y --max-messages 0",
                  "--bootstrap-server {b} --topic x --offset 5", "--bootstrap-server {b} --include x --partition 0",
                  "--bootstrap-server {b} --topic x --partition 0 --offset -5",
                  "--bootstrap-server {b} --topic x --partition 0 --offset soon",
                  "--bootstrap-server {b} --topic x --partition 0 --offset 3 --from-beginning",
                  "--bootstrap-server {b} --topic x --partition a",
                  "--bootstrap-server {b} --topic x --group g --partition 0",
                  "--bootstrap-server {b} --topic x --group g --consumer-property group.id=h",
                  "--bootstrap-server {b} --topic x --from-beginning --consumer-property auto.offset.reset=latest",
                  "--bootstrap-server {b} --topic x --consumer-property auto.offset.reset=middle",
                  "--bootstrap-server {b} --topic x --consumer-property fetch.min.bytes=a",
                  "--bootstrap-server {b} --topic x --max-messages a", "--bootstrap-server {b} --topic x --timeout-ms a",
                  "--bootstrap-server {b} --topic x --isolation-level none", "--bootstrap-server {b} --topic x --formatter no.Such",
                  "--bootstrap-server {b} --topic x --consumer.config /nonexistent",
                  "--bootstrap-server {b} --topic x --key-deserializer no.Such",
                  "--bootstrap-server {b} --topic x --value-deserializer no.Such --max-messages 0",
                  "--bootstrap-server {b} --topic x --property print.key --max-messages 0",
                  "--bootstrap-server nonsense --topic x", "--bootstrap-server no.such.host.invalid:1 --topic x",
                  "--bootstrap-server {b} --topic x --topic y", "--bootstrap-server {b} --topic", "-x"):
        run("console-consumer", words, at=False)


def consumer(run):
    """All read the topics that the real tool writes here."""
    run.both("topics", "--create --topic {p}c --partitions 1 --replication-factor 2")
    for keys in ("--property parse.key=true --property key.separator=:", "--property parse.headers=true"):
        run.both("console-producer", "--topic {p}c " + keys + " --property null.marker=NULL",
                 input="".join(f"k{i}:v{i}\n" for i in range(5)) + "NULL:x\nk:NULL\n" if "key=" in keys
                 else "a:1,b:2\tvalue\nNULL\tno headers\nn:NULL\tnull header\n")
    begin = "--topic {p}c --from-beginning"
    run("console-consumer", f"{begin} --max-messages 10", check=lambda said: "v4" in said)
    run("console-consumer", f"{begin} --max-messages 3")
    run("console-consumer", f"{begin} --max-messages 0")
    run("console-consumer", f"{begin} --timeout-ms 5000")
    run("console-consumer", f"{begin} --timeout-ms 30000 --max-messages 4 --enable-systest-events", alone=True)
    run("console-consumer", f"{begin} --timeout-ms 5000 --isolation-level read_committed")
    run("console-consumer", "--topic {p}c --timeout-ms 4000")
    run("console-consumer", "--include '{p}(c|nothing)' --from-beginning --max-messages 10")
    run("console-consumer", "--whitelist '{p}(c|nothing)' --from-beginning --max-messages 10")
    read = r"(.*\n){10}"
    run("console-consumer", begin, interrupt=read, how=signal.SIGINT, check=lambda said: "Processed a total of 10 messages" in said)
    run("console-consumer", begin + " --enable-systest-events", interrupt=read)
    for words in (
        "print.key=true", "print.key=true --property key.separator=' = '", "print.timestamp=true", "print.headers=true",
        "print.partition=true --property print.offset=true", "print.value=false", "print.value=false --property print.key=true",
        "line.separator='|'", "print.headers=true --property headers.separator=;", "print.key=true --property null.literal=(none)",
        "print.key=TRUE", "print.key=yes", "unknown=x", "key.deserializer=org.apache.kafka.common.serialization.BytesDeserializer",
        "print.key=true --property key.deserializer=org.apache.kafka.common.serialization.BytesDeserializer",
        "value.deserializer=org.apache.kafka.common.serialization.ShortDeserializer --skip-message-on-error",
        "value.deserializer=org.apache.kafka.common.serialization.LongDeserializer",
        "print.headers=true --property headers.deserializer=org.apache.kafka.common.serialization.BytesDeserializer",
        "key.separator=", SHOW_ALL[len("--property "):],
    ):
        run("console-consumer", f"{begin} --max-messages 10 --property {words}")
    for words in ("--offset earliest", "--offset latest", "--offset 4", "--offset 4 --max-messages 2", "--offset 999",
                  "--from-beginning", "", "--offset EARLIEST"):
        run("console-consumer", f"--topic {{p}}c --partition 0 --timeout-ms 4000 {words}")
    run("console-consumer", "--topic {p}c --partition 7 --timeout-ms 4000 --offset earliest")
    run("console-consumer", f"{begin} --group {{p}}g1 --max-messages 4")
    run("console-consumer", "--topic {p}c --group {p}g1 --timeout-ms 5000", check=lambda said: "total of 6" in said)
    run("console-consumer", "--topic {p}c --consumer-property group.id={p}g1 --timeout-ms 5000")
    run("console-consumer", f"{begin} --group {{p}}g2 --timeout-ms 5000 --consumer-property enable.auto.commit=false")
    run("console-consumer", "--topic {p}unborn --timeout-ms 5000 --from-beginning")
    run("console-consumer", "--topic 'bad name' --timeout-ms 5000")
    for formatter in ("kafka.tools.DefaultMessageFormatter", "kafka.tools.LoggingMessageFormatter", "kafka.tools.NoOpMessageFormatter",
                      "kafka.coordinator.group.GroupMetadataManager$OffsetsMessageFormatter"):
        run("console-consumer", f"{begin} --max-messages 10 --formatter '{formatter}'")
    for formatter in ("group.GroupMetadataManager$OffsetsMessageFormatter", "group.GroupMetadataManager$GroupMetadataMessageFormatter"):
        run("console-consumer", f"--topic __consumer_offsets --from-beginning --timeout-ms 12000 --formatter 'kafka.coordinator.{formatter}'",
            unordered=True, same=True, back=once,
            # Members come in the order of a hash map.
            drop=r"console-consumer-N|perf-consumer-N|Processed|->.*->")


def groups_options(run):
    for words in ("", "--help", "--list", "--version"):
        run("consumer-groups", words, at=False)
    for words in (
        "", "--help", "--version", "--list --describe", "--describe", "--describe --all-groups --group g", "--list --group g",
        "--describe --group g --topic t", "--list --topic t", "--describe --group g --members --state",
        "--describe --group g --state Empty", "--list --state Wrong", "--list --members", "--list --verbose", "--delete",
        "--delete --group g --topic t", "--delete-offsets --group g", "--delete-offsets --topic t", "--reset-offsets",
        "--reset-offsets --group g --dry-run --execute", "--reset-offsets --group g --dry-run",
        "--reset-offsets --group g --topic t --dry-run", "--reset-offsets --group g --to-earliest --dry-run",
        "--reset-offsets --group g --topic t --to-earliest --to-latest --dry-run",
        "--reset-offsets --group g --all-topics --topic t --to-earliest", "--reset-offsets --group g --to-offset x --topic t",
        "--reset-offsets --all-groups --group g --to-earliest", "--timeout x --list", "--command-config /nonexistent --list",
        "--describe --group g --offsets --verbose --group", "--zookeeper x", "--describe --group g --members --verbose --state",
        "--delete --all-groups --group x", "--execute --list", "--reset-offsets --group g --members",
    ):
        # The last but one lists what groups there are.
        run("consumer-groups", words, drop=r"^[\w.-]+$" if words == "--execute --list" else None)


def groups(run):
    run.both("topics", "--create --topic {p}g --partitions 2 --replica-assignment 1:2,2:3".replace("--partitions 2 ", ""))
    run.both("topics", "--create --topic {p}a-topic-with-a-long-name-for-columns --replica-assignment 1:2")
    # With keys, both sides' records go to the same partitions.
    run.both("console-producer", "--topic {p}g --property parse.key=true", input="".join(f"{i}\t{i}\n" for i in range(20)))
    run.both("console-producer", "--topic {p}a-topic-with-a-long-name-for-columns", input="x\ny\n")
    run.both("console-consumer", "--topic {p}g --group {p}gone --from-beginning --max-messages 20 --timeout-ms 120000")
    run.both("console-consumer", "--include '{p}(g|a-topic-with.*)' --group {p}two --from-beginning --max-messages 22 --timeout-ms 120000")
    everything = dict(unordered=True, drop=r"console-consumer-N")
    everything |= dict(same=True, back=all_groups)
    run("consumer-groups", "--list", **everything)
    for words in ("--state", "--state Empty", "--state stable", "--state 'Empty, Stable'", "--state empty,dead"):
        run("consumer-groups", f"--list {words}", **everything)
    for words in ("", "--offsets", "--members", "--members --verbose", "--state", "--verbose", "--group nope", "--group nope --state",
                  "--group nope --members", "--group {p}two"):
        run("consumer-groups", f"--describe --group {{p}}gone {words}", unordered=True,
            loose=[(r"127.0.0.1:\d+ \(\d\)", "COORDINATOR")])
    run("consumer-groups", "--describe --all-groups", **everything)
    run("consumer-groups", "--describe --all-groups --state", **everything)
    run("consumer-groups", "--describe --group nope")
    reset = "--reset-offsets --group {p}gone"
    for words in ("--to-earliest", "--to-latest", "--to-current", "--to-offset 1", "--to-offset 99999", "--to-offset -3", "--shift-by -1",
                  "--shift-by -100", "--shift-by 5", "--by-duration PT1H", "--by-duration P1DT2H3M4.5S", "--by-duration PT0S", "--by-duration soon",
                  "--to-datetime 2020-01-01T00:00:00.000", "--to-datetime 2099-01-01T00:00:00.000+02:00",
                  "--to-datetime 2020-01-01T00:00:00.000Z", "--to-datetime 2020-01-01T00:00:00", "--to-datetime 2020-01-01",
                  "--to-datetime 2020-01-01T00:00:00.000+0200", "--to-datetime 2020-01-01T00:00:00.000+02"):
        run("consumer-groups", f"{reset} --topic {{p}}g --dry-run {words}", unordered=True)
        if words.split()[0] in ("--to-earliest", "--shift-by", "--to-offset"):
            run("consumer-groups", f"{reset} --all-topics --execute {words}", unordered=True)
    run("consumer-groups", "--describe --group {p}gone", unordered=True)
    for words in ("--topic {p}g:1 --to-earliest --execute", "--topic {p}g:0,1 --to-latest --dry-run", "--topic {p}g:x --to-latest --dry-run",
                  "--topic {p}g:0:1 --to-latest --dry-run", "--topic {p}g:9 --to-latest --dry-run", "--topic nope --to-earliest --dry-run",
                  "--topic {p}g --topic {p}a-topic-with-a-long-name-for-columns --to-earliest --dry-run",
                  "--topic {p}a-topic-with-a-long-name-for-columns --shift-by 1 --dry-run", "--all-topics --to-earliest",
                  "--topic {p}a-topic-with-a-long-name-for-columns --to-current --dry-run",
                  "--all-topics --to-current --export", "--all-topics --to-current --export --dry-run",
                  "--from-file {d}/{p}one.csv --dry-run", "--from-file {d}/wrong.csv --dry-run", "--from-file {d}/{p}groups.csv --dry-run",
                  "--from-file /nonexistent --dry-run", "--from-file {d}/{p}one.csv --execute", "--topic {p}g:0 --dry-run"):
        run("consumer-groups", f"{reset} {words}", unordered=True)
    for words in ("--reset-offsets --group {p}gone --group {p}two --all-topics --to-earliest --export --dry-run",
                  "--reset-offsets --group {p}gone --group {p}two --from-file {d}/{p}groups.csv --dry-run",
                  "--reset-offsets --group {p}gone --group {p}two --from-file {d}/{p}one.csv --dry-run",
                  "--reset-offsets --group {p}fresh --topic {p}g --to-earliest --execute",
                  "--reset-offsets --group {p}fresh2 --all-topics --to-earliest --execute",
                  "--reset-offsets --group {p}fresh2 --topic {p}g --to-current --execute",
                  "--reset-offsets --group {p}fresh3 --topic {p}g --shift-by 2 --execute",
                  "--describe --group {p}fresh",
                  "--delete-offsets --group {p}two --topic {p}g:0", "--delete-offsets --group {p}two --topic {p}g",
                  "--delete-offsets --group {p}two --topic nope", "--delete-offsets --group nope --topic {p}g",
                  "--delete-offsets --group {p}two --topic nope:0 --topic {p}g:1", "--delete-offsets --group {p}two --topic {p}g:9",
                  "--delete --group nope", "--delete --group {p}gone --group nope", "--delete --group {p}gone", "--delete --group {p}two",
                  "--delete --group {p}fresh3 --group {p}fresh", "--delete --group {p}fresh2", "--describe --group {p}gone", "--delete --group ''"):
        run("consumer-groups", words, unordered=True)


def active_groups(run):
    """One consumer of each side; what is asked of a group is asked by both tools."""
    run.both("topics", "--create --topic {p}live --replica-assignment 1:2,2:3")
    run.both("console-producer", "--topic {p}live --property parse.key=true", input="a\ta\nb\tb\nc\tc\n")
    (run.cwd / "static").write_text("group.instance.id=fixed-1\n")
    consumers = [run.start(prefix, "console-consumer", f"--bootstrap-server {{b}} --topic {{p}}live --group {{p}}live --from-beginning {more}",
                           alone=True) for prefix in run.commands for more in ("", "--consumer.config {d}/static")]
    try:
        settled = lambda side: f"{side}live " in (said := said_by(run, side, "consumer-groups", f"--describe --group {side}live --state")) \
            and "Stable" in said and said.split()[-1] == "2"
        for side in run.commands:
            until(f"{side}live to be stable", 60, lambda: settled(side))
        for group in ("jj-live", "oo-live"):
            for words in ("", "--members", "--members --verbose", "--state"):
                run("consumer-groups", f"--describe --group {group} {words}", unordered=True, same=True,
                    back=all_groups if words == "--state" else None)
        for words in ("--reset-offsets --group jj-live --all-topics --to-earliest --execute", "--delete --group jj-live",
                      "--reset-offsets --group jj-live --all-topics --to-earliest --dry-run --export",
                      "--delete-offsets --group jj-live --topic jj-live", "--list --state Stable"):
            run("consumer-groups", words, unordered=True, same=True)
    finally:
        for consumer in consumers:
            consumer.process.kill()
            consumer.result(10)


def said_by(run, side, tool, words):
    """What Java's tool says, or ours on our side."""
    return run.start(side, tool, "--bootstrap-server {b} " + words).result(60)[1].decode()


def csv_files(run):
    for p in run.commands:
        (run.cwd / f"{p}one.csv").write_text(f"{p}g,0,1\n{p}g,1,2\n")
        (run.cwd / f"{p}groups.csv").write_text(f'{p}gone,{p}g,0,1\n"{p}two",{p}g,1,0\n')
    (run.cwd / "wrong.csv").write_text("a,b\n")
    (run.cwd / "topic.properties").write_text("retention.ms=7000\nflush.messages=5\n")


def configs(run):
    for words in ("", "--help", "--version", "--describe --topic x", "-x"):
        run("configs", words, at=False)
    for words in (
        "", "--describe", "--alter", "--describe --alter", "--describe --entity-type nothing", "--describe --topic a --broker 1",
        "--describe --topic a --entity-type topics", "--describe --broker x", "--alter --broker-defaults", "--alter --entity-type topics",
        "--alter --entity-type brokers --add-config a=b", "--alter --topic x --add-config a=b --add-config-file y",
        "--describe --topic x --add-config a=b", "--describe --entity-type users --entity-type users", "--describe --broker-logger x",
        "--describe --entity-type broker-loggers", "--zookeeper x --describe --topic x", "--describe --user a --topic b",
        "--alter --topic x --add-config a", "--alter --topic x --add-config a=b=c", "--describe --topic x --zk-tls-config-file y",
        "--alter --topic x --delete-config", "--command-config /nonexistent --describe --topic x", "--alter --client c --add-config foo=1",
        "--alter --user u --add-config foo=1", "--alter --user u --delete-config foo", "--alter --ip 127.0.0.1 --add-config foo=1",
        "--alter --user u --add-config producer_byte_rate=x", "--alter --ip-defaults --delete-config connection_creation_rate",
        "--alter --topic x --add-config-file /nonexistent",
    ):
        run("configs", words)
    run("configs", "--zookeeper x --describe --topic x", at=False)
    run.both("topics", "--create --topic {p}conf --replica-assignment 1:2 --config retention.ms=1000000 --config cleanup.policy=compact,delete")
    run.both("topics", "--create --topic {p}plain --replica-assignment 1:2")
    topic = "--entity-type topics --entity-name {p}conf"
    for words in (f"--describe {topic}", "--describe --topic {p}plain", "--describe --topic {p}plain --all", f"--describe {topic} --all",
                  "--describe --topic nope", "--describe --topic 'bad name'", f"--alter {topic} --add-config retention.ms=5000",
                  f"--alter {topic} --add-config 'cleanup.policy=[compact,delete],min.insync.replicas=2'",
                  f"--alter {topic} --add-config foo=bar", f"--alter {topic} --add-config retention.ms=-5", f"--alter {topic} --add-config retention.ms=x",
                  f"--alter {topic} --add-config retention.ms=", f"--alter {topic} --delete-config retention.ms",
                  f"--alter {topic} --delete-config retention.ms", f"--alter {topic} --delete-config segment.ms,foo",
                  f"--alter {topic} --add-config segment.bytes=2000000 --delete-config min.insync.replicas",
                  "--alter --topic nope --add-config retention.ms=1", f"--alter {topic} --add-config-file {{d}}/topic.properties",
                  f"--alter {topic} --add-config message.format.version=2.8", f"--describe {topic}"):
        run("configs", words)
    run("configs", "--describe --entity-type topics", unordered=True, same=True, back=once)
    # Which loggers there are besides the root is each broker's own.
    loggers = lambda lines: [line for line in lines if "=" not in line or "|   root=" in line]
    for words in ("--broker 1", "--broker 1 --all", "--broker-defaults", "--entity-type brokers", "--entity-type brokers --all",
                  "--broker-defaults --all", "--broker-logger 1", "--entity-type users", "--entity-type clients", "--entity-type ips",
                  "--user nobody", "--client nobody", "--entity-type users --entity-default"):
        run("configs", f"--describe {words}", unordered=True, back=loggers if "logger" in words else None)
    for words in ("--alter --broker {n} --add-config log.cleaner.threads=2", "--alter --broker {n} --add-config log.cleaner.threads=x",
                  "--alter --broker {n} --add-config log.dirs=/x", "--alter --broker {n} --add-config unknown.key=1", "--describe --broker {n}",
                  "--alter --broker {n} --delete-config log.cleaner.threads,nothing", "--alter --broker {n} --delete-config log.cleaner.threads",
                  "--alter --broker {n} --delete-config unknown.key", "--describe --broker {n}"):
        run("configs", words, loose=[(r"broker [23]\b", "broker N")])
    # What is the whole cluster's changes with one side at a time.
    for words in ("--alter --broker-defaults --add-config log.retention.ms=100000000", "--describe --broker-defaults",
                  "--alter --broker-logger 1 --add-config no.such.Logger=INFO", "--alter --broker-logger 1 --add-config kafka=SOMETIMES"):
        run("configs", words, apart=True)
    run.prepare(run.clusters, "configs", "--alter --broker-defaults --delete-config log.retention.ms")
    run("configs", "--alter --broker-defaults --delete-config log.retention.ms")
    run("configs", "--describe --broker-defaults")
    for words in ("--alter --user {p}u --add-config producer_byte_rate=1024,consumer_byte_rate=2048", "--describe --user {p}u",
                  "--alter --user {p}u --client {p}c --add-config request_percentage=50", "--describe --user {p}u --client {p}c",
                  "--describe --entity-type users --entity-name {p}u --entity-type clients",
                  "--alter --entity-type clients --entity-name {p}c --add-config producer_byte_rate=1.5", "--describe --client {p}c",
                  "--alter --user {p}u --delete-config producer_byte_rate", "--describe --user {p}u", "--alter --user {p}u --delete-config producer_byte_rate",
                  "--alter --user {p}u --delete-config consumer_byte_rate", "--alter --ip 127.0.0.9 --add-config connection_creation_rate=100",
                  "--describe --ip 127.0.0.9", "--alter --user {p}u --add-config producer_byte_rate=-1"):
        run("configs", words, unordered=True)


SIZES = [(r"\d+\.\d+|\d{4}-\d\d-\d\d [\d:]+|\d+ ms", "N")]


def perf(run):
    """Numbers are another at every run; the words around them are not."""
    words_only = [(r"\s*Did you mean:[^$]*", "\n"), (r"\s+", " "), (r"payload- file", "payload-file"), *SIZES,
                  # What is told on the way, on a slow machine.
                  (r"\d+ records sent, [^.]*? max latency\. (?=\d+ records)", ""),
                  (r"\b(N|DATE|2026), (N|DATE|2026), N, N, \d+, N, \d+, \d+, N, N", "A LINE OF NUMBERS")]
    some = "--producer-props bootstrap.servers={b}"
    for words in ("--topic {p}perf", "--foo", "--topic", f"--topic t --num-records a --throughput -1 --record-size 10 {some}",
                  "--topic t --num-records 1 --throughput -1 --record-size 10", f"--topic t --num-records 1 --throughput -1 {some}",
                  f"--topic t --num-records 1 --throughput -1 --record-size 10 --payload-file x {some}",
                  f"--topic t --num-records 1 --throughput -1 --payload-file /nonexistent {some}",
                  f"--topic t --num-records 1 --throughput -1 --record-size 10 {some} wrong",
                  "--topic t --num-records 1 --throughput -1 --record-size 10 --producer-props bootstrap.servers=nonsense",
                  f"--topic t --num-records 1 --throughput -1 --record-size 10 {some} acks=many"):
        run("producer-perf-test", words, at=False, loose=words_only)
    run.both("topics", "--create --topic {p}perf --partitions 3 --replication-factor 2")
    (run.cwd / "payloads").write_text("one\ntwo\nthree\n")
    for words in ("--num-records 20000 --record-size 100 --throughput -1", "--num-records 100 --throughput 50 --payload-file {d}/payloads",
                  "--num-records 3 --throughput -1 --record-size 2000000"):
        run("producer-perf-test", f"--topic {{p}}perf {words} {some} acks=1", at=False, loose=words_only)
    for words in ("", "--help", "--version"):
        run("consumer-perf-test", words, at=False)
    for words in ("", "--topic x", "--messages 1", "--topic x --messages a", "--topic x --messages 1 --reporting-interval 0", "-x",
                  "--topic {p}perf --messages 1 --threads 4 --broker-list z:1 --timeout 5000", "--topic x --messages 1 --consumer.config /nonexistent"):
        run("consumer-perf-test", words, loose=words_only)
    for words in ("--messages 20000", "--messages 20000 --hide-header --fetch-size 10000", "--messages 99999999 --timeout 3000",
                  "--messages 20000 --group {p}perf", "--messages 20000 --date-format yyyy"):
        run("consumer-perf-test", f"--topic {{p}}perf {words}", loose=words_only)


def dump_log(run):
    """Both read the files of one directory: segments, indexes and snapshots that real brokers wrote."""
    files = run.log_files
    assert files, "no files of brokers"
    for words in ("", "--help", "--version", "--print-data-log", "--files /nonexistent/00000000000000000000.log", "--files x.foo", "-x",
                  "--files"):
        run("dump-log", words, at=False)
    # Java and Rust count what is no UTF-8 differently.
    mojibake = [("\ufffd+", "\ufffd")]
    everything = ",".join(str(file) for file in files if file.stat().st_size)
    for words in ("", "--deep-iteration", "--print-data-log", "--print-data-log --skip-record-metadata", "--max-bytes 300"):
        run("dump-log", f"--files {everything} {words}", at=False, same=True, unordered="err", loose=mojibake)
    indexes = ",".join(str(file) for file in files if file.suffix in (".index", ".timeindex"))
    for words in ("--verify-index-only", "--index-sanity-check"):
        run("dump-log", f"--files {indexes} {words}", at=False, same=True, unordered="err")
    for topic, decoder in (("__consumer_offsets", "--offsets-decoder"), ("__transaction_state", "--transaction-log-decoder")):
        of_topic = ",".join(str(file) for file in files if file.suffix == ".log" and topic in str(file) and file.stat().st_size)
        if of_topic:
            run("dump-log", f"--files {of_topic} {decoder}", at=False, same=True)


def small_tools(run):
    # Ours lists these two as every tool of ours does.
    names = (r" --help| --version", "")
    for words in ("", "--help", "--bootstrap-server nonsense", "--broker-list {b} --topic nothing", "-x",
                  "--bootstrap-server {b} --time noon", "--bootstrap-server {b} --topic x --topic-partitions y",
                  "--bootstrap-server {b} --partitions a", "--bootstrap-server {b} --topic '('",
                  "--bootstrap-server {b} --topic-partitions 'a:b'"):
        run("get-offsets", words, at=False, loose=[names])
    run.both("topics", "--create --topic {p}o --replica-assignment 1:2,2:3,3:1")
    run.both("console-producer", "--topic {p}o --property parse.key=true", input="".join(f"{i}\t{i}\n" for i in range(30)))
    for words in ("--topic {p}o", "--topic {p}o --time -2", "--topic {p}o --time earliest", "--topic {p}o --time 0", "--topic {p}o --time 99999999999999",
                  "--topic {p}o --partitions 0,2", "--topic-partitions '{p}o:1-'",
                  "--topic-partitions '{p}o:0-2,{p}o:2'", "--topic '{p}o|nothing' --exclude-internal-topics", "--topic {p}o --partitions 9"):
        run("get-offsets", words)
    # How many commits there were, and which records went to a partition, is another in every cluster.
    counted = lambda lines: [re.sub(r"((__consumer_offsets|X-perf):\d+:)\d+", r"\1N", line) for line in lines]
    run("get-offsets", "--topic-partitions ':-1'", same=True, back=counted)
    # Which record of a batch is the latest is another at every run.
    run("get-offsets", "--topic {p}o --time max-timestamp", loose=[(r"(o:\d:)\d+", r"\1N")])
    for words in ("", "--help", "--version", "-x", "--command-config /nonexistent"):
        run("broker-api-versions", words, at=False)
    run("broker-api-versions", "", unordered=True)
    for p in run.commands:
        for name, partitions in (("some", [(0, 2), (1, -1)]), ("beyond", [(2, 999)]), ("twice", [(0, 1), (0, 1)])):
            entries = [{"topic": f"{p}o", "partition": index, "offset": offset} for index, offset in partitions]
            (run.cwd / f"{p}{name}.json").write_text(json.dumps({"partitions": entries, "version": 1}))
    (run.cwd / "v2.json").write_text('{"partitions":[],"version":2}')
    for words in ("", "--offset-json-file /nonexistent", "--offset-json-file {d}/wrong.csv", "--offset-json-file {d}/v2.json",
                  "--offset-json-file {d}/{p}twice.json", "--offset-json-file {d}/{p}some.json", "--offset-json-file {d}/{p}beyond.json"):
        run("delete-records", words, unordered=True)
    run("delete-records", "--help", at=False)
    run("get-offsets", "--topic {p}o --time earliest")
    election = "--election-type preferred"
    for words in ("", election, f"{election} --topic x", f"{election} --partition 0 --all-topic-partitions", f"{election} --topic x --all-topic-partitions",
                  "--election-type odd --topic x --partition 0", "--election-type UNCLEAN --topic {p}o --partition 0", f"{election} --topic {{p}}o --partition 0",
                  f"{election} --topic nope --partition 0", f"{election} --all-topic-partitions", f"{election} --path-to-json-file {{d}}/{{p}}some.json",
                  f"{election} --path-to-json-file {{d}}/{{p}}twice.json", f"{election} --path-to-json-file /nonexistent"):
        run("leader-election", words, loose=[(r"for partitions .*", "for partitions ...")])
    run("leader-election", "--help", at=False)
    run("leader-election", "", at=False)
    run("log-dirs", "", at=False)
    run("log-dirs", "--help", at=False)
    for words in ("", "--version", "--describe --broker-list 9", "--describe --broker-list x", "--describe --broker-list 3,1,9,8",
                  "--describe --topic-list nothing", "--describe --broker-list 2 --topic-list nothing", "--describe extra",
                  "--describe --command-config /nonexistent", "--broker-list 1"):
        run("log-dirs", words, back=directories, same="extra" in words)
    for words in ("--describe", "--describe --broker-list 3,1", "--describe --topic-list X-o,Y-o", "--describe --topic-list '' --broker-list ''"):
        run("log-dirs", words, same=True, back=directories)


def directories(lines):
    """Of the partitions in log-dirs' document those that were put where they are; the order is by hash of names that differ."""
    def shown(line):
        if not line.startswith('out| {"version"'):
            return line
        document = json.loads(line.removeprefix("out| "))
        for broker in document["brokers"]:
            for folder in broker["logDirs"]:
                own = [(one["partition"].split("-", 1)[1], one["offsetLag"], one["isFuture"], min(one["size"], 1))
                       for one in folder["partitions"] if re.match(r"(jj|kk|X)-o-\d", one["partition"])]
                folder["partitions"] = sorted(own)
        return "out| " + json.dumps(document)

    return [shown(line) for line in lines]
