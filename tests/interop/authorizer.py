"""ACLs: a broker of ours and one of Java's follow the same ones, as either's kafka-acls sets them, and refuse alike.

Everybody is anonymous on a PLAINTEXT listener, so addresses tell them apart: brokers and administrators come from
127.0.0.1, whoever has to ask for rights from 127.0.0.2."""

import re
import socket
import time

from harness import World, busy, cluster_is_up, free_ports, need_peer, need_python, say, topics_are_up, until
from mixed_ensemble import make_controller, with_client

BROKERS, STRANGER = "127.0.0.1", "127.0.0.2"
EVERYBODY = "User:ANONYMOUS"
AUTHORIZER = "kafka.security.authorizer.AclAuthorizer"
DENIED = 29


def authorizer():
    """One broker of ours and one of Java's with AclAuthorizer: what they refuse, and how, and what either's kafka-acls changes."""
    kafka = need_peer("kafka")
    need_python("kazoo", "kafka")
    with World("authorizer") as world:
        ensemble = world.ensemble(["ours"] * 3)
        ensemble.start_all()
        connect = ensemble.connect + "/test"
        ports = dict(zip((1, 2), free_ports(2 + 12)[12:]))
        cluster = Cluster(world, kafka, ensemble, ports)
        # Brokers have no rights but by ACLs, so these come first, past the brokers.
        straight = ["--authorizer-properties", f"zookeeper.connect={connect}"]
        who = ["--add", "--force", "--allow-principal", EVERYBODY, "--allow-host", BROKERS]
        for words in (["--cluster"], ["--topic", "*"], ["--group", "*"], ["--transactional-id", "*"]):
            world.run(world.tool("kafka-acls.sh"), *straight, *who, *words)
        settings = {"authorizer.class.name": AUTHORIZER, "offsets.topic.replication.factor": 1,
                    "offsets.topic.num.partitions": 2, "transaction.state.log.replication.factor": 1,
                    "transaction.state.log.min.isr": 1, "transaction.state.log.num.partitions": 2}
        settings = {key.replace(".", "_"): value for key, value in settings.items()}
        for number in ports:
            world.broker(number, ports[number], connect, kafka if number == 2 else None, **settings)
        cluster_is_up(ports)
        world.run(world.tool("kafka-topics.sh"), "--bootstrap-server", cluster.at(1), "--create", "--topic", "t",
                  "--replica-assignment", "1:2,1:2")
        topics_are_up(ports, "t", in_sync=2)
        # The coordinators' topics have to be there for both: whoever is first to ask makes them.
        for key_type, group in ((0, "g"), (1, "x")):
            until("a coordinator", 60, lambda: cluster.ask(1, "FindCoordinator", 1, {"key": group, "key_type": key_type}, BROKERS)["error_code"] == 0)

        cluster.compare("without any right")
        spreads(cluster)
        stored_alike(cluster)
        cluster.set_by(2, "--add", *cluster.stranger, "--topic", "t", "--operation", "Describe")
        cluster.set_by(1, "--add", *cluster.stranger, "--cluster", "--operation", "Describe")
        cluster.set_by(1, "--add", *cluster.stranger, "--group", "g", "--operation", "Describe")
        cluster.set_by(2, "--add", *cluster.stranger, "--topic", "new", "--operation", "Create", "--resource-pattern-type", "prefixed")
        cluster.set_by(1, "--add", *cluster.stranger, "--transactional-id", "x", "--operation", "Describe")
        until("both to know of all that", 5, lambda: all("new" in cluster.listed(number) and "TRANSACTIONAL_ID, name=x" in cluster.listed(number)
                                                         for number in ports))
        cluster.compare("with some rights")
        tools_alike(cluster)


class Cluster:
    stranger = ["--allow-principal", EVERYBODY, "--allow-host", STRANGER]

    def __init__(self, world, kafka, ensemble, ports):
        self.world, self.kafka, self.ensemble, self.ports = world, kafka, ensemble, ports
        self.tools = {1: [world.tool("kafka-acls.sh")], 2: [kafka, "acls"]}

    def at(self, number):
        return f"{BROKERS}:{self.ports[number]}"

    def zk(self, act):
        return with_client(self.ensemble, 1, lambda c: (c.sync("/"), act(c))[1])

    def set_by(self, number, *words):
        """ACLs by the tool of this broker's kind, at this broker."""
        return self.world.run(*self.tools[number], "--bootstrap-server", self.at(number), "--force", *words)

    def listed(self, number):
        any_acl = {"resource_type_filter": 1, "resource_name_filter": None, "pattern_type_filter": 1, "principal_filter": None, "host_filter": None,
                   "operation": 1, "permission_type": 1}
        return self.ask(number, "DescribeAcls", 1, any_acl, BROKERS, text=True)

    def metadata(self, number, topic, host=STRANGER):
        topics = self.ask(number, "Metadata", 1, {"topics": [{"name": topic}]}, host)["topics"]
        return topics[0]["error_code"]

    def ask(self, number, name, version, fields, host=STRANGER, text=False):
        """A broker's answer to whoever comes from there, as plain data."""
        request, response = classes(name)
        message = build(request, version, fields)
        message.with_header(correlation_id=1, client_id="stranger")
        with socket.create_connection((BROKERS, self.ports[number]), timeout=120, source_address=(host, 0)) as s:
            s.sendall(message.encode(header=True, framed=True))
            size = receive(s, 4)
            answer = response.decode(size + receive(s, int.from_bytes(size, "big")), version=version, header=True, framed=True)
        plain = answer.to_dict()
        if text:
            return "\n".join(f"{describe(resource)}" for resource in plain["resources"])
        return plain

    def govern(self, number):
        """It becomes the controller, if it is not."""
        make_controller(self.world, self.zk, {number}, self.ports)
        cluster_is_up(self.ports)
        # It answers as the controller once it has read the cluster.
        until("the controller to be at work", 30, lambda: self.ask(number, "CreatePartitions", 0, {
            "topics": [{"name": "t", "count": 1, "assignments": None}], "timeout_ms": 1, "validate_only": True}, BROKERS)["results"][0]["error_code"] != 41)

    def compare(self, state):
        """Both brokers, each as the controller, answer the stranger alike."""
        answers = {}
        for number in self.ports:
            self.govern(number)
            for case, (name, version, fields) in enumerate(questions()):
                try:
                    answer = plain(self.ask(number, name, version, fields))
                    # What is on its way is asked for again.
                    for _ in range(50):
                        if not on_its_way(answer):
                            break
                        time.sleep(0.2)
                        answer = plain(self.ask(number, name, version, fields))
                except EOFError as error:
                    answer = str(error)
                answers.setdefault((case, name, version), {})[number] = answer
        # Whoever has rights is sent on by the broker that does not lead, or coordinate, what it was asked about.
        sent_on = [key for key, both in answers.items()
                   if both[1] != both[2] and any(elsewhere(answer) or lost(key, answer) for answer in both.values())]
        answers = {key: both for key, both in answers.items() if key not in sent_on}
        differ = [(key, both) for key, both in answers.items() if both[1] != both[2]]
        for (case, name, version), both in differ:
            say(f"{state}: {name} v{version} (question {case})\n  ours   {both[1]}\n  Java's {both[2]}")
        assert not differ, f"{len(differ)} of {len(answers)} answers differ {state}"
        assert len(answers) > 3 * len(sent_on), f"{len(sent_on)} questions were answered with another broker's name"
        say(f"{len(answers)} answers are the same {state}; {len(sent_on)} are another broker's to give")


def spreads(cluster):
    """Whoever sets an ACL, both brokers obey it within a second."""
    rights = [*cluster.stranger, "--topic", "t", "--producer"]
    prefix = [*cluster.stranger, "--topic", "t", "--operation", "Read", "--resource-pattern-type", "prefixed"]
    worst = 0
    for setter in cluster.ports:
        for words in (rights, prefix):
            for action, expected in (("--add", 0), ("--remove", DENIED)):
                cluster.set_by(setter, action, *words)
                since = time.monotonic()
                # The tool has listed the ACLs after it set them, and its JVM took its time to end: that counts for it.
                for number in cluster.ports:
                    # A second, of a machine at rest.
                    until(f"broker {number} to obey", busy(), lambda: cluster.metadata(number, "t") == expected, patience=1)
                worst = max(worst, time.monotonic() - since)
    say(f"changes by either tool at either broker were obeyed by both, {worst:.2f} s after it ended at the latest")


def stored_alike(cluster):
    """What is in ZooKeeper is the same, whoever put it there."""
    for number, name in cluster.ports.items():
        for pattern in ("literal", "prefixed"):
            cluster.set_by(number, "--add", *cluster.stranger, "--topic", f"by-{number}", "--operation", "AlterConfigs",
                           "--resource-pattern-type", pattern)
    roots = {"literal": ("/test/kafka-acl/Topic", "/test/kafka-acl-changes"),
             "prefixed": ("/test/kafka-acl-extended/prefixed/Topic", "/test/kafka-acl-extended-changes")}

    def read(c):
        found = {}
        for pattern, (root, changes) in roots.items():
            notes = [c.get(f"{changes}/{note}")[0] for note in sorted(c.get_children(changes))]
            for number in cluster.ports:
                path = f"{root}/by-{number}"
                data, stat = c.get(path)
                own = [note.replace(b"by-%d" % number, b"NAME") for note in notes if b"by-%d" % number in note]
                acls = [(acl.perms, acl.id.scheme, acl.id.id) for acl in c.get_acls(path)[0]]
                found[pattern, number] = (data, stat.version, own, acls)
        return found

    found = cluster.zk(read)
    for pattern in roots:
        assert found[pattern, 1] == found[pattern, 2], f"{pattern}: {found}"
    say(f"ZooKeeper has the same of both: {found['literal', 1][0].decode()}")
    for pattern in roots:
        for number in cluster.ports:
            cluster.set_by(3 - number, "--remove", "--topic", f"by-{number}", "--resource-pattern-type", pattern)
    gone = cluster.zk(lambda c: [name for root, _ in roots.values() for name in c.get_children(root) if name.startswith("by-")])
    assert not gone, gone


def tools_alike(cluster):
    """Either tool says the same of either broker."""
    cases = [["--list"], ["--list", "--topic", "t"], ["--list", "--topic", "newer", "--resource-pattern-type", "match"],
             ["--list", "--principal", EVERYBODY, "--group", "g"], ["--list", "--cluster"],
             ["--add", "--allow-principal", "User:a", "--deny-principal", "User:b", "--producer", "--consumer", "--topic", "p", "--group", "p"],
             ["--add", "--allow-principal", "User:a", "--producer", "--idempotent", "--consumer", "--topic", "p", "--group", "p"],
             ["--add", "--allow-principal", "User:a", "--deny-principal", "User:b", "--deny-host", "h", "--topic", "p"],
             ["--add", "--allow-principal", "User:a", "--topic", "p", "--resource-pattern-type", "any"],
             ["--add", "--allow-principal", "a", "--topic", "p"], ["--add", "--allow-principal", "User:a", "--topic", "p/q"],
             ["--add", "--topic", "p"], ["--remove", "--force", "--topic", "p"], ["--remove", "--force", "--group", "p"],
             ["--remove", "--force", "--cluster", "--allow-principal", "User:a", "--operation", "IdempotentWrite"],
             ["--list", "--producer"], ["--list", "--add"]]
    for case in cases:
        # What one has changed the other hears of.
        for left in reversed(range(5 if "--list" in case else 1)):
            said = {number: words_of(cluster.world.run(*cluster.tools[number], "--bootstrap-server", cluster.at(number), *case, check=False))
                    for number in cluster.ports}
            if said[1] == said[2]:
                break
            assert left, f"kafka-acls {' '.join(case)}:\nours   {said[1]}\nJava's {said[2]}"
    say(f"kafka-acls: {len(cases)} command lines, the same from ours and from Java's")


def words_of(text):
    """Lines in any order; without stack traces, the table of options, and blanks that come and go with a list's order."""
    lines = [line.strip() for line in text.splitlines()]
    table = next((i for i, line in enumerate(lines) if re.match(r"Option\s+Description", line)), len(lines))
    return sorted(line for line in lines[:table] if line and not line.startswith(("at ", "Caused by", "... ", "[")))


def describe(resource):
    kinds = {2: "TOPIC", 3: "GROUP", 4: "CLUSTER", 5: "TRANSACTIONAL_ID"}
    return f"{kinds.get(resource['resource_type'])}, name={resource['resource_name']}, {len(resource['acls'])} ACLs"


def questions():
    """What the stranger asks: (API, version, fields)."""
    part = [{"name": "t", "partitions": [{"partition_index": 0}]}]
    group = {"group_id": "g"}
    txn = {"transactional_id": "x", "producer_id": 1, "producer_epoch": 0}
    acl = {"resource_type": 2, "resource_name": "a", "resource_pattern_type": 3, "principal": "User:a", "host": "*", "operation": 3,
           "permission_type": 3}
    acl_filter = {"resource_type_filter": 2, "resource_name_filter": "a", "pattern_type_filter": 3, "principal_filter": None,
                  "host_filter": None, "operation": 1, "permission_type": 1}
    for version in (0, 1, 4):
        yield "Metadata", version, {"topics": []}
    yield "Metadata", 1, {"topics": None}
    for version in (1, 7):
        yield "Metadata", version, {"topics": [{"name": "t"}, {"name": "nosuch"}], "allow_auto_topic_creation": False}
    # One to which the stranger may have a right to create it.
    yield "Metadata", 4, {"topics": [{"name": "other"}], "allow_auto_topic_creation": True}
    yield "Metadata", 8, {"topics": [{"name": "t"}], "allow_auto_topic_creation": False, "include_cluster_authorized_operations": True,
                          "include_topic_authorized_operations": True}
    yield "DescribeCluster", 0, {"include_cluster_authorized_operations": True}
    for version in (0, 1, 5):
        yield "ListOffsets", version, {"replica_id": -1, "topics": [{"name": "t", "partitions": [{"partition_index": 0, "timestamp": -7}]}]}
    yield "OffsetForLeaderEpoch", 1, {"topics": [{"topic": "t", "partitions": [{"partition": 7, "leader_epoch": 0}]}]}
    yield "Fetch", 4, {"replica_id": -1, "max_wait_ms": 1, "min_bytes": 0, "max_bytes": 1000, "isolation_level": 0, "topics": [
        {"topic": "t", "partitions": [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1000}]}]}
    yield "Produce", 3, {"transactional_id": None, "acks": 1, "timeout_ms": 1000, "topic_data": [
        {"name": "t", "partition_data": [{"index": 0, "records": None}]}]}
    for version in (0, 1, 3, 4):
        keys = {"coordinator_keys": ["h"]} if version == 4 else {"key": "h"}
        yield "FindCoordinator", version, {**keys, "key_type": 0}
        if version:
            keys = {"coordinator_keys": ["y"]} if version == 4 else {"key": "y"}
            yield "FindCoordinator", version, {**keys, "key_type": 1}
    for version in (0, 2, 7):
        yield "JoinGroup", version, {**group, "session_timeout_ms": 6000, "rebalance_timeout_ms": 1000, "member_id": "", "protocol_type": "c",
                                     "protocols": [{"name": "p", "metadata": b""}]}
    member = {**group, "generation_id": 1, "member_id": "m"}
    yield "SyncGroup", 1, {**member, "assignments": []}
    yield "Heartbeat", 1, member
    yield "LeaveGroup", 1, {**group, "member_id": "m"}
    yield "LeaveGroup", 3, {**group, "members": [{"member_id": "m", "group_instance_id": None}]}
    offset = [{"name": "t", "partitions": [{"partition_index": 0, "committed_offset": 1, "committed_metadata": ""}]}]
    yield "OffsetCommit", 2, {**group, "generation_id_or_member_epoch": -1, "member_id": "", "retention_time_ms": -1, "topics": offset}
    for version in (1, 2, 5):
        yield "OffsetFetch", version, {**group, "topics": [{"name": "t", "partition_indexes": [0]}]}
        if version > 1:
            yield "OffsetFetch", version, {**group, "topics": None}
    yield "OffsetFetch", 8, {"groups": [{"group_id": "g", "topics": [{"name": "t", "partition_indexes": [0]}]}, {"group_id": "h", "topics": None}],
                             "require_stable": False}
    yield "DescribeGroups", 3, {"groups": ["h", "g"], "include_authorized_operations": True}
    yield "ListGroups", 1, {}
    yield "DeleteGroups", 0, {"groups_names": ["g", "h"]}
    yield "OffsetDelete", 0, {**group, "topics": part}
    yield "InitProducerId", 0, {"transactional_id": None, "transaction_timeout_ms": 1000}
    yield "InitProducerId", 0, {"transactional_id": "x", "transaction_timeout_ms": 1000}
    yield "AddPartitionsToTxn", 0, {f"v3_and_below_{key}": value for key, value in {**txn, "topics": [{"name": "t", "partitions": [0]}]}.items()}
    yield "AddOffsetsToTxn", 0, {**txn, **group}
    yield "EndTxn", 0, {**txn, "committed": True}
    yield "TxnOffsetCommit", 0, {**txn, **group, "topics": offset}
    yield "CreateTopics", 1, {"topics": [{"name": name, "num_partitions": 1, "replication_factor": 1, "assignments": [], "configs": []}
                                         for name in ("newer", "other", "t")], "timeout_ms": 1000, "validate_only": True}
    yield "CreateTopics", 5, {"topics": [{"name": "newer", "num_partitions": 1, "replication_factor": 1, "assignments": [], "configs": []}],
                              "timeout_ms": 1000, "validate_only": True}
    yield "DeleteTopics", 1, {"topic_names": ["t", "nosuch"], "timeout_ms": 1000}
    yield "CreatePartitions", 0, {"topics": [{"name": "t", "count": 9, "assignments": None}], "timeout_ms": 1000, "validate_only": True}
    yield "DeleteRecords", 0, {"topics": [{"name": "t", "partitions": [{"partition_index": 0, "offset": 0}]}], "timeout_ms": 1000}
    resources = [{"resource_type": 2, "resource_name": "t"}, {"resource_type": 4, "resource_name": ""}]
    yield "DescribeConfigs", 1, {"resources": [{**one, "configuration_keys": None} for one in resources], "include_synonyms": False}
    yield "AlterConfigs", 0, {"resources": [{**one, "configs": []} for one in resources], "validate_only": True}
    yield "IncrementalAlterConfigs", 0, {"resources": [{**one, "configs": []} for one in resources], "validate_only": True}
    yield "AlterPartitionReassignments", 0, {"timeout_ms": 1000, "topics": [{"name": "t", "partitions": [{"partition_index": 0, "replicas": [1]}]}]}
    yield "ListPartitionReassignments", 0, {"timeout_ms": 1000, "topics": [{"name": "t", "partition_indexes": [0]}]}
    yield "ElectLeaders", 1, {"election_type": 0, "topic_partitions": [{"topic": "t", "partitions": [0]}], "timeout_ms": 1000}
    yield "DescribeAcls", 0, acl_filter
    yield "DescribeAcls", 1, acl_filter
    yield "CreateAcls", 1, {"creations": [acl, acl]}
    yield "DeleteAcls", 1, {"filters": [acl_filter]}
    yield "AlterReplicaLogDirs", 0, {"dirs": [{"path": "/d", "topics": [{"name": "t", "partitions": [0]}]}]}
    yield "DescribeClientQuotas", 0, {"components": [], "strict": False}
    yield "AlterClientQuotas", 0, {"entries": [{"entity": [{"entity_type": "user", "entity_name": "u"}],
                                                "ops": [{"key": "producer_byte_rate", "value": 1.0, "remove": False}]}], "validate_only": True}
    # Malformed: the connection is closed.
    yield "DescribeAcls", 1, {**acl_filter, "operation": 0}
    yield "DescribeProducers", 0, {"topics": [{"name": "t", "partition_indexes": [7]}]}
    yield "DescribeTransactions", 0, {"transactional_ids": ["y"]}
    yield "ListTransactions", 0, {"state_filters": [], "producer_id_filters": []}


def classes(name):
    from kafka.protocol import admin, consumer, metadata, producer

    for module in (metadata, consumer, producer, admin):
        if hasattr(module, f"{name}Request"):
            return getattr(module, f"{name}Request"), getattr(module, f"{name}Response")
    raise AssertionError(f"kafka-python has no {name}")


def build(kind, version, fields):
    """A message out of dictionaries and lists of them."""
    values = {}
    for key, value in fields.items():
        inner = kind.fields[key]
        if isinstance(value, list) and inner.is_struct_array():
            value = [build(inner.data_class, version, one) for one in value]
        values[key] = value
    return kind(version=version, **values)


def plain(answer, key=None):
    """Without what two brokers need not have in common: order, addresses, epochs, who leads."""
    if isinstance(answer, dict):
        skip = {"throttle_time_ms", "controller_id", "leader_epoch", "leader_id", "port", "node_id", "cluster_id", "producer_id"}
        return {k: plain(v, k) for k, v in answer.items() if k not in skip}
    if isinstance(answer, list):
        return sorted((plain(one, key) for one in answer), key=str)
    if isinstance(answer, str) and answer.startswith("Request Request("):
        answer = re.sub(r"processor=\d+|connectionId=[^,]*", "", answer)
    return answer


def on_its_way(answer):
    """Whether COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE or NOT_CONTROLLER is in a plain answer."""
    if isinstance(answer, dict):
        return any(key.endswith("error_code") and value in (14, 15, 41) or on_its_way(value) for key, value in answer.items())
    return isinstance(answer, list) and any(map(on_its_way, answer))


def elsewhere(answer):
    """Whether NOT_LEADER_OR_FOLLOWER or NOT_COORDINATOR is in a plain answer."""
    if isinstance(answer, dict):
        return any(key.endswith("error_code") and value in (6, 16) or elsewhere(value) for key, value in answer.items())
    return isinstance(answer, list) and any(map(elsewhere, answer))


def lost(key, answer):
    """Whether it is Java's answer to an old OffsetFetch from who does not coordinate the group: 3.5.1 names no topic there, and so no
    error."""
    return key[1:] == ("OffsetFetch", 1) and answer == {"topics": []}


def receive(s, size):
    data = b""
    while len(data) < size:
        part = s.recv(size - len(data))
        if not part:
            raise EOFError("the broker closed the connection")
        data += part
    return data
