"""Scripted diffs both ways: Java's tools say of our brokers what they say of Kafka, and ours say of Kafka what Java's say."""

import contextlib
import difflib
import json
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time

import kafka_tools
from harness import World, cluster_is_up, free_ports, metadata, mode, need_peer, say, until
from reassign_cases import reassign, reassign_options
from side_by_side import SideBySide
from tool_host import ALONE, Alone, Hosted, ToolHost, jars

# Who runs what where: "jj-" Java's tools on Kafka, "oo-" ours on Kafka, "kk-" Java's on our brokers.
JAVA, OURS, BACK = "jj-", "oo-", "kk-"


class BothWays(SideBySide):
    """As its parent, with a third party: Java's tools on our brokers. What differs is told with the direction."""

    def __init__(self, kafka, ours, hosts, tool, cwd, only=None, known=()):
        super().__init__(kafka, None, None, cwd, only)
        self.at = {JAVA: kafka, OURS: kafka, BACK: ours}
        self.commands = {JAVA: "java", OURS: "ours", BACK: "java"}
        self.hosts, self.tool, self.known = hosts, tool, known
        # Addresses of brokers become their places in the list; their directories, too: ours are 11 to 13.
        self.places = [(re.escape(address), f"BROKER-{number}") for servers in (kafka, ours)
                       for number, address in enumerate(servers.split(","), 1)]
        self.places += [(r"BROKER-\d( \(id: \d)", r"BROKER-N\1"), (re.escape(f"{cwd}/kafka-") + r"1?(\d)\b", r"DIRECTORY-\1"),
                        (r"127.0.0.1:\d+/(kafka|ours)\b", "ZOOKEEPER/PATH")]

    def words(self, words, prefix):
        words = words.replace("{p}", prefix).replace("{b}", self.at[prefix]).replace("{d}", str(self.cwd))
        return shlex.split(words.replace("{n}", "3" if prefix == OURS else "2"))

    def start(self, prefix, tool, words, input=b"", alone=False):
        words = self.words(words, prefix)
        if self.commands[prefix] == "ours":
            return Alone([self.tool(f"kafka-{tool}.sh"), *words], self.cwd, input)
        if alone or tool in ALONE:
            return Alone([*self.hosts[prefix].alone(tool), *words], self.cwd, input)
        return Hosted(self.hosts[prefix], tool, words, input)

    def __call__(self, tool, words, at=True, check=None, **how):
        """One case, as the parent's."""
        if at:
            words = f"--bootstrap-server {{b}} {words}"
        title = f"{tool} {words}"[:300]
        self.cases += 1
        if self.only and not re.search(self.only, title):
            return
        # What a change comes to is seen by and by, in Kafka as here: what only looks may look again.
        looks = tool == "get-offsets" or re.search(r"--(describe|list|dry-run)\b", words) and not re.search("--(alter|delete|execute)", words)
        for left in reversed(range(5 if looks and not how.get("interrupt") else 1)):
            java, found = self.once(title, tool, words, **how)
            if check and not check("\n".join(java)):
                found.append(f"{title}\n    the real tool did not do what this case is for:\n    " + "\n    ".join(java))
            if not found or not left:
                break
            time.sleep(1)
        self.differences += found
        if not looks:
            self.settle()

    def settle(self):
        """Until all brokers of a cluster tell the same of it: what comes next asks any of them."""
        for servers in {self.at[JAVA], self.at[BACK]}:
            ports = [int(address.rpartition(":")[2]) for address in servers.split(",")]
            with contextlib.suppress(AssertionError):
                until("one view", 5, lambda ports=ports: (told := [metadata(port, everything=True) for port in ports])[1:] == told[:-1])

    def once(self, title, tool, words, input="", seconds=300, interrupt=None, how=signal.SIGTERM, unordered=False, drop=None,
             loose=(), same=False, apart=False, back=None, alone=False):
        """What Java's tool said, and what differs. `interrupt`: what has to be on stdout (a regex) before the signal `how` comes;
        `back`: makes comparable what Java's tools say of two clusters (of lines, lines); `alone`: Java's in a process of its own."""
        # Without a broker there is nothing to compare brokers by; and what is the other side's alone, ours have not.
        no_back = "{b}" not in words or same and OURS in words and JAVA not in words
        asked = [prefix for prefix in self.commands if not (prefix == BACK and no_back)]
        begin = lambda prefix: self.start(prefix, tool, self.own(words, prefix, same), input.encode(), alone or interrupt)
        running = {} if apart else {prefix: begin(prefix) for prefix in asked}
        if interrupt:
            for process in running.values():
                process.interrupt(interrupt, how, seconds)
        # One after the other where both sides change the same thing.
        raw = {prefix: (running.get(prefix) or begin(prefix)).result(seconds) for prefix in asked}
        loose = [*loose, *self.places]
        java = self.seen("\0" if same else JAVA, *raw[JAVA], unordered, drop, loose)
        ours = self.seen("\0" if same else OURS, *raw[OURS], unordered, drop, loose)
        found = self.compare(f"our tool on Kafka: {title}", java, ours)
        if BACK in raw:
            # Of what both see on Kafka, our brokers have one side.
            mine = [line for line in self.seen(JAVA, *raw[JAVA], unordered, drop, loose) if not (same and OURS in line and "{" not in line)]
            theirs = self.seen(BACK, *raw[BACK], unordered, drop, loose)
            found += self.compare(f"Java's tool on our brokers: {title}", *map(back or list, (mine, theirs)))
        return java, found

    def own(self, words, prefix, same):
        return words.replace("(jj|oo)-", BACK).replace(JAVA, BACK).replace(OURS, BACK) if same and prefix == BACK else words

    def compare(self, title, java, other):
        if java == other or any(re.search(pattern, title) for pattern, _ in self.known):
            return []
        lines = [line for line in list(difflib.unified_diff(java, other, lineterm="", n=1))[2:] if not line.startswith("@@")]
        more = [f"... and {len(lines) - 40} lines more"] if len(lines) > 40 else []
        return ["\n    ".join([title, *lines[:40], *more])]

    @property
    def log_files(self):
        """The files of the partitions of one of Kafka's brokers, as they are now: copies, since the broker works on."""
        kinds = (".log", ".index", ".timeindex", ".snapshot", ".txnindex")
        # Indexes of logs without a batch are 10 MiB of zeros.
        is_used = lambda file: "index" not in file.suffix or file.with_suffix(".log").stat().st_size
        copies = []
        for file in (self.cwd / "kafka-1").glob("*-*/*"):
            if file.suffix in kinds and is_used(file):
                folder = self.cwd / "dumped" / file.parent.name
                folder.mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "--sparse=always", file, folder], check=True)
                copies.append(folder / file.name)
        return sorted(copies)

    @property
    def clusters(self):
        """A side of each."""
        return JAVA, BACK

    def both(self, tool, words, input=""):
        self.prepare(self.commands, tool, words, input)

    def prepare(self, prefixes, tool, words, input=""):
        """The real tool does it for each of these, and it has to work."""
        hosts = {JAVA: self.hosts[JAVA], OURS: self.hosts[JAVA], BACK: self.hosts[BACK]}
        begun = [Hosted(hosts[prefix], tool, self.words(f"--bootstrap-server {{b}} {words}", prefix), input.encode())
                 for prefix in prefixes]
        for run in begun:
            code, out, err = run.result(480)
            assert code == 0, out + err
        self.settle()


# argparse4j spreads a message's words over the line, guesses what was meant, and its help has its own sentences.
ARGPARSE = [(r"(out|err)\| ?", r"\1|"), (r"\s*Did you mean:[^$]*", "\n"), (r" \[--json\]", ""), (r"\s+", " "), (r"-- (?=\w)", "--")]


def argparse_options(run):
    for tool, cases in {
        "cluster": ("", "foo", "cluster-id", "cluster-id --foo", "unregister -b localhost:1", "unregister -b localhost:1 -i x",
                    "cluster-id -b nonsense", "cluster-id -b localhost:1 -c /nonexistent", "cluster-id -b", "cluster-id x"),
        "features": ("", "describe", "--bootstrap-server {b}", "--bootstrap-server {b} foo", "--bootstrap-server {b} describe x",
                     "--bootstrap-server {b} upgrade", "--bootstrap-server {b} upgrade --metadata 9",
                     "--bootstrap-server {b} upgrade --feature x", "--bootstrap-server {b} upgrade --feature x=y",
                     "--bootstrap-server {b} upgrade --feature x=1 --feature x=2", "--bootstrap-server {b} upgrade --unsafe",
                     "--bootstrap-server {b} --command-config /nonexistent describe", "--bootstrap-server nonsense describe"),
        "metadata-quorum": ("", "describe", "--bootstrap-server {b} describe", "--bootstrap-server {b} x",
                            "--bootstrap-server {b} describe --status --replication",
                            "--bootstrap-server {b} --command-config /nonexistent describe --status"),
        "storage": ("", "bogus", "info", "info -c /nonexistent", "format -c {d}/1.properties", "format -c {d}/1.properties -t abc",
                    "format -c {d}/1.properties -t MkU3OEVBNTcwNTJENDM2Qg", "info -c {d}/1.properties", "info -c {d}/none.properties"),
        "e2e-latency": ("", "a b c", "localhost:1 t 10 0 10", "localhost:1 t x 1 10", "localhost:1 t 10 all 10 /nonexistent"),
    }.items():
        for words in cases:
            run(tool, words, at=False, loose=ARGPARSE)


def verifiable_options(run):
    for words in ("--topic", "--topic x", "--foo", "--topic x --bootstrap-server {b} --acks 5",
                  "--topic x --bootstrap-server {b} --max-messages a"):
        run("verifiable-producer", words, at=False, loose=ARGPARSE)
    for words in ("--topic x --group-id", "--topic x", "--topic x --group-id g --bootstrap-server {b} --consumer.config /nonexistent",
                  "--topic x --group-id g --bootstrap-server {b} --reset-policy odd"):
        run("verifiable-consumer", words, at=False, loose=ARGPARSE)


def cluster_tools(run):
    run("cluster", "cluster-id -b {b}", at=False, loose=[(r"(Cluster ID: )[\w-]{22}", r"\1ID")], check=lambda said: "Cluster ID: ID" in said)
    run("cluster", "unregister -b {b} -i 9", at=False)
    for words in ("describe", "upgrade --metadata 3.5", "upgrade --metadata 2.8", "downgrade --feature x=0 --unsafe",
                  "disable --feature x --feature y", "upgrade --feature x=1 --dry-run"):
        run("features", words)
    for words in ("--status", "--replication"):
        run("metadata-quorum", f"describe {words}")


# The many digits of a mean may have been taken for a time.
NUMBERS = [(r"\d+\.\d*(MS)?\d*(E-\d+)?", "N"), (r"(th = )\d+", r"\1N")]
EVENTS = [(r'"timestamp":(\d+|MS)', '"timestamp":MS'), (r'"avg_throughput":[\d.E-]+', '"avg_throughput":N')]


def measuring_tools(run):
    run("e2e-latency", "{b} {p}e2e 3 1 10", at=False, loose=NUMBERS, drop=" WARN ", check=lambda said: "does not exist. Will create" in said)
    run("e2e-latency", "{b} {p}e2e 2 all 100", at=False, loose=NUMBERS, drop=" WARN ")
    # One partition: whose turn is first is another at every run.
    run.both("topics", "--create --topic {p}v --partitions 1 --replication-factor 2")
    run("verifiable-producer", "--topic {p}v --max-messages 5 --value-prefix 7 --repeating-keys 2", loose=EVENTS, unordered=True)
    (run.cwd / "brief").write_text("max.block.ms=30000\n")
    run("verifiable-producer", "--topic 'bad name' --max-messages 1 --producer.config {d}/brief", loose=EVENTS)
    for words in ("--max-messages 5 --verbose --group-id {p}1", "--max-messages 3 --group-id {p}2", "--max-messages 0 --group-id {p}3",
                  "--max-messages 5 --enable-autocommit --group-id {p}4"):
        run("verifiable-consumer", f"--topic {{p}}v {words}", loose=EVENTS)
    run("verifiable-consumer", "--topic {p}v --group-id {p}5", interrupt="offsets_committed", loose=EVENTS, check=lambda said: "shutdown_complete" in said)
    run("replica-verification", "--broker-list {b} --topics-include {p}v --report-interval-ms 2000 --time -2", at=False, interrupt="max lag is",
        loose=[(r"\d{4}-\d\d-\d\d [\d:,]+: ", "TIME: "), (r"(TIME: max lag[^\n]*\n)+", r"\1")], check=lambda said: "max lag is 0" in said, seconds=40)


def reset_tool(run):
    for words in ("", "--version", "--application-id", "--foo", "--bootstrap-server {b}", "--application-id a --to-earliest --to-latest",
                  "--application-id a --config-file /nonexistent"):
        run("streams-application-reset", words, at=False)
    run.both("topics", "--create --topic {p}in --partitions 2 --replication-factor 1")
    run.both("topics", "--create --topic {p}app-store-changelog --partitions 1 --replication-factor 1")
    run.both("topics", "--create --topic {p}app-x-repartition --partitions 1 --replication-factor 1")
    run.both("console-producer", "--topic {p}in --property parse.key=true", input="".join(f"{i}\t{i}\n" for i in range(20)))
    app = "--application-id {p}app"
    for words in ("", "--input-topics {p}in --dry-run", "--input-topics {p}in,nope --to-offset 1", "--input-topics nope --dry-run",
                  "--input-topics {p}in --to-latest", "--input-topics {p}in --shift-by -3", "--input-topics {p}in --to-offset 999",
                  "--input-topics {p}in --to-datetime 2020-01-01T00:00:00.000", "--input-topics {p}in --to-datetime 2099-01-01T00:00:00.000",
                  "--input-topics {p}in --by-duration PT1H", "--input-topics {p}in --to-datetime soon", "--input-topics {p}in --by-duration soon",
                  "--internal-topics zz --dry-run", "--input-topics {p}in --from-file /nonexistent", "--intermediate-topics {p}in --dry-run"):
        # What resets deletes inferred topics, which go by and by; hashes of names decide on orders.
        run("streams-application-reset", f"{app} {words or '--dry-run'}", unordered=True,
            loose=[(r"topics \[(X-app-[\w-]+), (X-app-[\w-]+)\]", "topics [BOTH]"), (r"New offset \(\d+\)", "New offset (N)")])
    run("consumer-groups", "--describe --group {p}app", unordered=True)
    run("streams-application-reset", f"{app} --internal-topics {{p}}app-x-repartition")


def brief_topics(run):
    run("topics", "--create --topic {p}a --partitions 3 --replication-factor 2", check=lambda said: "Created topic X-a." in said)
    for words in ("{p}a", "{p}a --if-not-exists", "{p}my.topic_a", "'{p}bad name'", "{p}b --replication-factor 4", "{p}b --partitions 0",
                  "{p}b --config foo=bar", "{p}b --config retention.ms=abc", "{p}assigned --replica-assignment 1:2,2:3",
                  "{p}conf --partitions 1 --replication-factor 3 --config cleanup.policy=compact,delete --config retention.ms=1000"):
        run("topics", f"--create --topic {words}")
    for words in ("{p}assigned", "{p}conf", "nope", "nope --if-exists"):
        run("topics", f"--describe --topic {words}", loose=kafka_tools.SPREAD)
    for words in ("{p}a --partitions 5", "{p}a --partitions 4", "nope --partitions 5"):
        run("topics", f"--alter --topic {words}")
    run("topics", "--list --topic '{p}(a|assigned|conf)'")
    run("console-producer", "--topic {p}assigned --property parse.key=true", input="".join(f"{i}\tv{i}\n" for i in range(9)))
    run("console-consumer", f"--topic {{p}}assigned --group {{p}}g --from-beginning --max-messages 9 {kafka_tools.SHOW_ALL}", unordered=True)
    for words in ("", "--members", "--state", "--group nope"):
        run("consumer-groups", f"--describe --group {{p}}g {words}", unordered=True, loose=[(r"(BROKER|127.0.0.1:)\S+ \(\d\)", "COORDINATOR")])
    for words in ("--topic {p}assigned", "--topic {p}assigned --time -2", "--topic nothing"):
        run("get-offsets", words)
    run("configs", "--describe --topic {p}conf")
    run("configs", "--alter --topic {p}conf --add-config retention.ms=5000")
    run("configs", "--alter --topic {p}conf --delete-config retention.ms,foo")
    run("leader-election", "--election-type preferred --topic {p}assigned --partition 0")
    run("leader-election", "--election-type preferred --topic nope --partition 0")
    run("broker-api-versions", "", unordered=True)
    run("transactions", "list", drop=r"^out\|\w+ .*\t")
    run("transactions", "describe --transactional-id nope")
    run("transactions", "abort --topic {p}a --partition 0 --start-offset 0")
    run("consumer-groups", "--delete --group {p}g --group nope", unordered=True)
    run("topics", "--delete --topic {p}conf")
    run("topics", "--delete --topic nope")


def documents(tool, at, prefix):
    """--json of every tool that lists: one document, with the keys that docs/tools-json.md promises."""

    def said(name, *words, server=True, code=0):
        done = subprocess.run([tool(f"kafka-{name}.sh"), *(["--bootstrap-server", at] if server else []), *words],
                              capture_output=True, text=True, timeout=300)
        assert done.returncode == code, (name, words, done.stdout, done.stderr)
        assert done.stdout.count("\n") == 1, (name, done.stdout)
        return json.loads(done.stdout)

    def keys(one, *wanted):
        assert set(one) == set(wanted), (sorted(one), sorted(wanted))
        return one

    topic = f"{prefix}assigned"
    assert topic in keys(said("topics", "--list", "--json"), "topics")["topics"]
    described = keys(said("topics", "--describe", "--topic", topic, "--json"), "topics")["topics"][0]
    keys(described, "topic", "topic_id", "partition_count", "replication_factor", "configs", "partitions")
    assert keys(described["partitions"][0], "partition", "leader", "replicas", "isr", "adding_replicas", "removing_replicas")["replicas"] == [1, 2]
    group = f"{prefix}1"
    assert {"group": group, "state": "Empty"} in keys(said("consumer-groups", "--list", "--json"), "groups")["groups"]
    row = said("consumer-groups", "--describe", "--group", group, "--json")["groups"][0]["offsets"][0]
    keys(row, "topic", "partition", "current_offset", "log_end_offset", "lag", "consumer_id", "host", "client_id")
    assert row["consumer_id"] is None and row["lag"] == 0, row
    keys(said("consumer-groups", "--describe", "--group", group, "--state", "--json")["groups"][0],
         "group", "state", "coordinator", "assignment_strategy", "member_count")
    assert said("consumer-groups", "--describe", "--group", group, "--members", "--json")["groups"][0]["members"] == []
    entry = said("configs", "--describe", "--broker", "1", "--all", "--json")["configs"][0]["entries"][0]
    keys(entry, "name", "value", "source", "sensitive", "synonyms")
    keys(said("configs", "--describe", "--entity-type", "users", "--json"), "quotas", "scram_credentials")
    keys(said("transactions", "list", "--json"), "transactions")
    keys(said("transactions", "describe-producers", "--topic", topic, "--partition", "0", "--json"), "producers")
    offsets = keys(said("get-offsets", "--topic", topic, "--json"), "offsets")["offsets"]
    assert sum(keys(one, "topic", "partition", "offset")["offset"] for one in offsets) == 9, offsets
    broker = said("broker-api-versions", "--json")["brokers"][0]
    keys(broker, "id", "host", "port", "rack", "apis")
    keys(broker["apis"][0], "key", "name", "min_version", "max_version", "usable")
    election = said("leader-election", "--election-type", "preferred", "--topic", topic, "--partition", "0", "--json")
    keys(election, "election_type", "elected", "not_needed", "failed")
    keys(said("log-dirs", "--describe", "--json"), "version", "brokers")
    assert said("features", "describe", "--json") == {"features": []}
    keys(said("cluster", "cluster-id", "-b", at, "--json", server=False), "cluster_id")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json.dumps({"partitions": [{"topic": topic, "partition": 0, "offset": 0}], "version": 1}))
        file.flush()
        deleted = said("delete-records", "--offset-json-file", file.name, "--json")
    assert deleted == {"partitions": [{"topic": topic, "partition": 0, "low_watermark": 0}]}, deleted


def zookeeper_shell(world, kafka, ensemble):
    """Ours and Java's on the same server: the same words, the same answers."""
    for words in ("ls /", "get /nope", "ls /ours/brokers/ids", "nonsense"):
        said = []
        for command in ([kafka, "zookeeper-shell"], [world.tool("zookeeper-shell.sh")]):
            done = subprocess.run([*command, ensemble.connect, *words.split()], capture_output=True, text=True, timeout=300)
            # Kafka brings ZooKeeper 3.6.4's client, which does not tell the zxid of an event; ours is 3.9's.
            lines = [line.removesuffix(" zxid: -1") for line in done.stdout.splitlines() if not line.startswith("[")]
            said.append((done.returncode, lines, "nope" in done.stderr))
        assert said[0][1:] == said[1][1:] and said[0][0] == said[1][0] or words == "nonsense", (words, said)


def own_processes(run):
    """Java's tools in JVMs of their own: exit codes, stdin, files and signals as a shell has them."""
    run.both("topics", "--create --topic {p}alone --partitions 1 --replication-factor 2")
    run("console-producer", "--topic {p}alone --property parse.key=true", input="".join(f"{i}\tv{i}\n" for i in range(4)), alone=True)
    run("console-producer", "--topic {p}alone --property parse.key=true", input="no key\n", alone=True)
    run("console-consumer", f"--topic {{p}}alone --from-beginning --max-messages 4 {kafka_tools.SHOW_ALL}", alone=True)
    run("console-consumer", "--topic {p}alone --from-beginning", interrupt=r"(.*\n){4}", how=signal.SIGINT)
    run("topics", "--create --topic {p}alone --partitions 1 --replication-factor 2", alone=True)
    run("get-offsets", "--topic {p}alone", alone=True)


BRIEF = (argparse_options, verifiable_options, cluster_tools, measuring_tools, reset_tool, own_processes, kafka_tools.topics,
         kafka_tools.groups, reassign, brief_topics)
WHOLE = (kafka_tools.topics_options, kafka_tools.producer_options, kafka_tools.producer, kafka_tools.consumer_options,
         kafka_tools.consumer, kafka_tools.groups_options, kafka_tools.active_groups, kafka_tools.configs, kafka_tools.perf,
         kafka_tools.dump_log, kafka_tools.small_tools, reassign_options, kafka_tools.unreachable)

# What differs, and why. Each pattern is of a case's title, with its direction.
KNOWN = (
    ("our tool on Kafka: features .*--dry-run", "Java's takes --dry-run for nothing, and would upgrade"),
)


def kafka_tools_brief():
    """The tools' main cases: ours on Kafka, and Java's on our brokers, say what Java's say on Kafka; and --json."""
    both_ways("kafka-tools-brief", BRIEF, True)


def kafka_tools_whole():
    """All cases of the tools: ours on Kafka, and Java's on our brokers, say what Java's say on Kafka."""
    both_ways("kafka-tools-whole", WHOLE, False)


def both_ways(name, parts, documents_too):
    kafka = need_peer("kafka")
    with World(name) as world:
        ensemble = world.ensemble(["ours"])
        ensemble.start(1)
        until("ZooKeeper", 60, lambda: mode(ensemble.client[1]))
        ports = free_ports(4 + 7)[4:]
        for number, port in enumerate(ports[:3], 1):
            world.broker(number, port, ensemble.connect + "/kafka", kafka)
        for number, port in enumerate(ports[3:6], 1):
            world.broker(number + 10, port, ensemble.connect + "/ours", broker_id=number)
        at = [",".join(f"127.0.0.1:{port}" for port in some) for some in (ports[:3], ports[3:6])]
        hosts = {prefix: ToolHost(jars(), world.dir, prefix) for prefix in (JAVA, BACK)}
        try:
            run = BothWays(*at, hosts, world.tool, world.dir, os.environ.get("CASES"), KNOWN)
            for some in (ports[:3], ports[3:6]):
                cluster_is_up(dict(enumerate(some, 1)))
            (world.dir / "1.properties").write_text(f"zookeeper.connect=z:1\nlog.dirs={world.dir}/kafka-1\n")
            (world.dir / "none.properties").write_text(f"zookeeper.connect=z:1\nlog.dirs={world.dir}/nothing\n")
            run.closed_port = ports[6]
            kafka_tools.csv_files(run)
            for part in parts:
                begin = time.monotonic()
                part(run)
                say(f"{part.__name__}: {time.monotonic() - begin:.0f} s")
            say(f"{run.cases} cases")
            run.report()
            if documents_too and not run.only:
                say("documents")
                documents(world.tool, at[1], BACK)
                documents(world.tool, at[0], JAVA)
                say("zookeeper-shell")
                zookeeper_shell(world, kafka, ensemble)
        finally:
            for host in hosts.values():
                host.close()
