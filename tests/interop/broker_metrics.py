"""A broker's page for Prometheus beside the MBeans of Java's broker, after the same traffic."""

import os
import pathlib
import re
import subprocess
import urllib.error
import urllib.request

from harness import World, cluster_is_up, free_ports, mode, need_peer, say, until

JMX_TOOL = ["java", "-cp", "{cache}/peers/kafka/libs/*", "org.apache.kafka.tools.JmxTool"]
SERVER = "kafka.server:type=BrokerTopicMetrics,name="


def errors(request, error):
    return f"kafka.network:type=RequestMetrics,name=ErrorsPerSec,request={request},error={error}", "Count"


def controller(name):
    return f"kafka.controller:type=KafkaController,name={name}", "Value"


def session(name):
    return f"kafka.server:type=SessionExpireListener,name={name}", "Count"


# Family and labels of ours, and the MBean of Java's that says the same; the topic is "t" and the name of the kind.
ALIKE = {
    ("kafka_server_brokertopicmetrics_messagesin_total", "topic"): (SERVER + "MessagesInPerSec,topic={}", "Count"),
    ("kafka_server_brokertopicmetrics_bytesin_total", "topic"): (SERVER + "BytesInPerSec,topic={}", "Count"),
    ("kafka_server_brokertopicmetrics_bytesout_total", "topic"): (SERVER + "BytesOutPerSec,topic={}", "Count"),
    ("kafka_server_brokertopicmetrics_failedproducerequests_total", "whole"):
        (SERVER + "FailedProduceRequestsPerSec", "Count"),
    ("kafka_server_replicamanager_leadercount", ""): ("kafka.server:type=ReplicaManager,name=LeaderCount", "Value"),
    ("kafka_server_replicamanager_partitioncount", ""): ("kafka.server:type=ReplicaManager,name=PartitionCount", "Value"),
    ("kafka_server_replicamanager_underreplicatedpartitions", ""):
        ("kafka.server:type=ReplicaManager,name=UnderReplicatedPartitions", "Value"),
    ("kafka_server_replicamanager_atminisrpartitioncount", ""):
        ("kafka.server:type=ReplicaManager,name=AtMinIsrPartitionCount", "Value"),
    ("kafka_server_replicamanager_produceridcount", ""): ("kafka.server:type=ReplicaManager,name=ProducerIdCount", "Value"),
    ("kafka_coordinator_group_groupmetadatamanager_numgroups", ""):
        ("kafka.coordinator.group:type=GroupMetadataManager,name=NumGroups", "Value"),
    ("kafka_coordinator_group_groupmetadatamanager_numgroupsempty", ""):
        ("kafka.coordinator.group:type=GroupMetadataManager,name=NumGroupsEmpty", "Value"),
    ("kafka_coordinator_group_groupmetadatamanager_numoffsets", ""):
        ("kafka.coordinator.group:type=GroupMetadataManager,name=NumOffsets", "Value"),
    ("kafka_controller_kafkacontroller_activecontrollercount", ""):
        ("kafka.controller:type=KafkaController,name=ActiveControllerCount", "Value"),
    ("kafka_controller_kafkacontroller_activebrokercount", ""):
        ("kafka.controller:type=KafkaController,name=ActiveBrokerCount", "Value"),
    ("kafka_controller_kafkacontroller_globaltopiccount", ""):
        ("kafka.controller:type=KafkaController,name=GlobalTopicCount", "Value"),
    ("kafka_controller_kafkacontroller_globalpartitioncount", ""):
        ("kafka.controller:type=KafkaController,name=GlobalPartitionCount", "Value"),
    ("kafka_controller_kafkacontroller_offlinepartitionscount", ""):
        ("kafka.controller:type=KafkaController,name=OfflinePartitionsCount", "Value"),
    ("kafka_log_logmanager_offlinelogdirectorycount", ""): ("kafka.log:type=LogManager,name=OfflineLogDirectoryCount", "Value"),
    ("kafka_server_kafkaserver_brokerstate", ""): ("kafka.server:type=KafkaServer,name=BrokerState", "Value"),
    ("kafka_network_requestmetrics_requests_total", "request=CreateTopics"):
        ("kafka.network:type=RequestMetrics,name=RequestsPerSec,request=CreateTopics,version=7", "Count"),
    ("kafka_network_requestmetrics_requests_total", "request=OffsetCommit"):
        ("kafka.network:type=RequestMetrics,name=RequestsPerSec,request=OffsetCommit,version=8", "Count"),
    ("kafka_network_requestmetrics_errors_total", "error=NONE,request=CreateTopics"): errors("CreateTopics", "NONE"),
    ("kafka_network_requestmetrics_errors_total", "error=TOPIC_ALREADY_EXISTS,request=CreateTopics"):
        errors("CreateTopics", "TOPIC_ALREADY_EXISTS"),
    ("kafka_network_requestmetrics_errors_total", "error=INVALID_RECORD,request=Produce"): errors("Produce", "INVALID_RECORD"),
    ("kafka_network_requestmetrics_errors_total", "error=MESSAGE_TOO_LARGE,request=Produce"):
        errors("Produce", "MESSAGE_TOO_LARGE"),
    ("kafka_network_requestmetrics_errors_total", "error=NONE,request=OffsetCommit"): errors("OffsetCommit", "NONE"),
    ("kafka_network_requestmetrics_requestbytes_count", "request=CreateTopics"):
        ("kafka.network:type=RequestMetrics,name=RequestBytes,request=CreateTopics", "Count"),
    ("kafka_network_requestmetrics_throttletimems_count", "request=CreateTopics"):
        ("kafka.network:type=RequestMetrics,name=ThrottleTimeMs,request=CreateTopics", "Count"),
    ("kafka_server_brokertopicmetrics_bytesrejected_total", "whole"): (SERVER + "BytesRejectedPerSec", "Count"),
    ("kafka_server_brokertopicmetrics_producemessageconversions_total", "whole"):
        (SERVER + "ProduceMessageConversionsPerSec", "Count"),
    ("kafka_server_brokertopicmetrics_fetchmessageconversions_total", "whole"):
        (SERVER + "FetchMessageConversionsPerSec", "Count"),
    ("kafka_server_brokertopicmetrics_nokeycompactedtopicrecords_total", ""):
        (SERVER + "NoKeyCompactedTopicRecordsPerSec", "Count"),
    ("kafka_server_brokertopicmetrics_invalidmessagecrcrecords_total", ""):
        (SERVER + "InvalidMessageCrcRecordsPerSec", "Count"),
    ("kafka_server_brokertopicmetrics_invalidoffsetorsequencerecords_total", ""):
        (SERVER + "InvalidOffsetOrSequenceRecordsPerSec", "Count"),
    ("kafka_server_brokertopicmetrics_failedfetchrequests_total", "whole"): (SERVER + "FailedFetchRequestsPerSec", "Count"),
    ("kafka_server_brokertopicmetrics_reassignmentbytesin_total", ""): (SERVER + "ReassignmentBytesInPerSec", "Count"),
    ("kafka_server_brokertopicmetrics_reassignmentbytesout_total", ""): (SERVER + "ReassignmentBytesOutPerSec", "Count"),
    ("kafka_controller_kafkacontroller_topicstodeletecount", ""): controller("TopicsToDeleteCount"),
    ("kafka_controller_kafkacontroller_topicsineligibletodeletecount", ""): controller("TopicsIneligibleToDeleteCount"),
    ("kafka_controller_kafkacontroller_replicastodeletecount", ""): controller("ReplicasToDeleteCount"),
    ("kafka_controller_kafkacontroller_replicasineligibletodeletecount", ""):
        controller("ReplicasIneligibleToDeleteCount"),
    ("kafka_controller_kafkacontroller_fencedbrokercount", ""): controller("FencedBrokerCount"),
    ("kafka_controller_controllerstats_uncleanleaderelections_total", ""):
        ("kafka.controller:type=ControllerStats,name=UncleanLeaderElectionsPerSec", "Count"),
    ("kafka_log_logcleaner_max_clean_time_secs", ""): ("kafka.log:type=LogCleaner,name=max-clean-time-secs", "Value"),
    ("kafka_log_logcleaner_max_compaction_delay_secs", ""):
        ("kafka.log:type=LogCleaner,name=max-compaction-delay-secs", "Value"),
    ("kafka_log_logcleaner_cleaner_recopy_percent", ""): ("kafka.log:type=LogCleaner,name=cleaner-recopy-percent", "Value"),
    ("kafka_log_logcleaner_max_buffer_utilization_percent", ""):
        ("kafka.log:type=LogCleaner,name=max-buffer-utilization-percent", "Value"),
    ("kafka_log_logcleanermanager_max_dirty_percent", ""): ("kafka.log:type=LogCleanerManager,name=max-dirty-percent", "Value"),
    ("kafka_server_sessionexpirelistener_zookeeperexpires_total", ""): session("ZooKeeperExpiresPerSec"),
    ("kafka_server_sessionexpirelistener_zookeeperauthfailures_total", ""): session("ZooKeeperAuthFailuresPerSec"),
    ("kafka_log_log_logendoffset", "partition"): ("kafka.log:type=Log,name=LogEndOffset,topic={},partition=0", "Value"),
    ("kafka_log_log_size", "partition"): ("kafka.log:type=Log,name=Size,topic={},partition=0", "Value"),
    ("kafka_log_log_numlogsegments", "partition"): ("kafka.log:type=Log,name=NumLogSegments,topic={},partition=0", "Value"),
    ("kafka_cluster_partition_insyncreplicascount", "partition"):
        ("kafka.cluster:type=Partition,name=InSyncReplicasCount,topic={},partition=0", "Value"),
}
# What both have, though not the same of it: how long something took, what they did besides.
GREW = {
    ("kafka_controller_controllerstats_controllerchangerateandtimems_count", ""): "ControllerChangeRateAndTimeMs",
    ("kafka_controller_controllerstats_topicchangerateandtimems_count", ""): "TopicChangeRateAndTimeMs",
    ("kafka_controller_controllerstats_leaderandisrresponsereceivedrateandtimems_count", ""):
        "LeaderAndIsrResponseReceivedRateAndTimeMs",
}
GREW = {ours: (f"kafka.controller:type=ControllerStats,name={name}", "Count") for ours, name in GREW.items()} | {
    ("kafka_log_logflushstats_logflushrateandtimems_count", ""): ("kafka.log:type=LogFlushStats,name=LogFlushRateAndTimeMs", "Count"),
    ("kafka_network_requestmetrics_errors_total", "error=NONE,request=Fetch"): errors("Fetch", "NONE"),
    ("kafka_network_requestmetrics_errors_total", "error=NONE,request=Metadata"): errors("Metadata", "NONE"),
    ("kafka_network_requestmetrics_requestbytes_sum", "request=CreateTopics"):
        ("kafka.network:type=RequestMetrics,name=RequestBytes,request=CreateTopics", "Mean"),
    ("kafka_server_sessionexpirelistener_zookeepersyncconnects_total", ""): session("ZooKeeperSyncConnectsPerSec"),
}
# What stands at the head of a quota's figures, with nothing to compare: they are of the last seconds.
QUOTA = ("kafka.server:type=Produce,client-id=held", "byte-rate"), ("kafka.server:type=Produce,client-id=held", "throttle-time")


def canonical(bean):
    """An MBean's name with its keys in one order."""
    domain, _, keys = bean.partition(":")
    return domain + ":" + ",".join(sorted(keys.split(",")))


def page(port, path="/metrics"):
    """Every line of a page: what stands before the number, with the labels sorted, and the number."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=120) as answer:
        text = answer.read().decode()
    figures, types = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, family, kind = line.split()
            assert family not in types, family
            types[family] = kind
        elif not line.startswith("#"):
            shape = re.fullmatch(r'([a-z_]+)(\{(?:[a-zA-Z]+="(?:[^"\\]|\\.)*",)+\})? (\S+)', line)
            assert shape and shape[1] in types, line
            labels = ",".join(sorted(f"{name}={value}" for name, value in re.findall(r'(\w+)="([^"]*)"', shape[2] or "")))
            assert (shape[1], labels) not in figures, line
            figures[shape[1], labels] = float(shape[3])
    return figures, types


def of_java(port):
    """Every MBean of ALIKE, GREW and QUOTA, as JmxTool prints it."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    command = [word.format(cache=cache) for word in JMX_TOOL]
    names = sorted({name.format("t-java") for name, _ in (*ALIKE.values(), *GREW.values(), *QUOTA)})
    said = subprocess.run([*command, "--jmx-url", f"service:jmx:rmi:///jndi/rmi://127.0.0.1:{port}/jmxrmi", "--one-time",
                           "--report-format", "properties", *[word for name in names for word in ("--object-name", name)]],
                          capture_output=True, text=True, timeout=480)
    assert said.returncode == 0, said
    figures = {}
    for line in said.stdout.splitlines():
        name, equals, value = line.rpartition("=")
        bean, colon, attribute = name.rpartition(":")
        if equals and colon:
            figures[canonical(bean), attribute] = value
    return figures


def traffic(world, kafka, at, kind):
    """The same for a broker of either kind: a topic, records of two producers, a group that reads them and goes."""
    server = ["--bootstrap-server", at]
    world.run(kafka, "topics", *server, "--create", "--topic", f"t-{kind}", "--partitions", 1)
    records = "".join(f"record-{i}\n" for i in range(100))
    for acks in (1, "all"):
        world.run(kafka, "console-producer", *server, "--topic", f"t-{kind}", "--producer-property", f"acks={acks}",
                  "--producer-property", f"enable.idempotence={'true' if acks == 'all' else 'false'}",
                  "--producer-property", "batch.size=1000000", "--producer-property", "linger.ms=500", input=records)
    world.run(kafka, "console-consumer", *server, "--topic", f"t-{kind}", "--from-beginning", "--max-messages", 200,
              "--group", "readers", "--consumer-property", "auto.commit.interval.ms=600000")
    # What is refused, written anew, flushed, and held to a quota: by our own tools, which take no time.
    topics, produce, configs = (world.tool(f"kafka-{name}.sh") for name in ("topics", "console-producer", "configs"))
    world.run(topics, *server, "--create", "--topic", f"t-{kind}", check=False)
    for name, config in (("keys", "cleanup.policy=compact"), ("small", "max.message.bytes=200"),
                         ("packed", "compression.type=gzip"), ("safe", "flush.messages=1")):
        world.run(topics, *server, "--create", "--topic", name, "--partitions", 1, "--config", config)
    single = ["--producer-property", "enable.idempotence=false", "--producer-property", "compression.type=none"]
    for name, record in (("keys", "no key"), ("small", "x" * 1000), ("packed", "one\ntwo"), ("safe", "here")):
        world.run(produce, *server, "--topic", name, *single, input=record + "\n", check=False)
    world.run(configs, *server, "--alter", "--add-config", "producer_byte_rate=1000000",
              "--entity-type", "clients", "--entity-name", "held")
    world.run(produce, *server, "--topic", "safe", "--producer-property", "client.id=held", input="held\n")


def broker_metrics():
    """One broker of ours, one of Java's, each in a cluster of its own: what they count of the same traffic."""
    kafka = need_peer("kafka")
    with World("broker-metrics") as world:
        ensemble = world.ensemble(["ours"])
        ensemble.start(1)
        until("a server", 60, lambda: mode(ensemble.client[1]))
        ports = dict(zip(("ours", "java", "metrics", "jmx"), free_ports(4)))
        settings = {"offsets_topic_replication_factor": 1, "offsets_topic_num_partitions": 3}
        world.broker(1, ports["ours"], f"{ensemble.connect}/ours",
                     **settings, **{"menagerie.metrics.address": f"127.0.0.1:{ports['metrics']}"})
        os.environ["KAFKA_OPTS"] = " ".join(f"-Dcom.sun.management.jmxremote{word}" for word in (
            "", f".port={ports['jmx']}", f".rmi.port={ports['jmx']}", ".authenticate=false", ".ssl=false",
            ".host=127.0.0.1")) + " -Djava.rmi.server.hostname=127.0.0.1"
        try:
            # Java's passes over a key that is ours.
            world.broker(2, ports["java"], f"{ensemble.connect}/java", kafka, **settings,
                         **{"menagerie.metrics.address": "127.0.0.1:1"})
        finally:
            del os.environ["KAFKA_OPTS"]
        for number, kind in ((1, "ours"), (2, "java")):
            at = f"127.0.0.1:{ports[kind]}"
            cluster_is_up({number: ports[kind]})
            say(f"traffic through {kind}")
            traffic(world, kafka, at, kind)

        say("both count the same")
        shown, types = page(ports["metrics"])
        each, _ = page(ports["metrics"], "/metrics/partitions")
        java = of_java(ports["jmx"])
        for (family, labels), (bean, attribute) in ALIKE.items():
            name = bean.format("t-java")
            told = float(java[canonical(name), attribute])
            if labels == "partition":
                ours = each[family, "partition=0,topic=t-ours"]
            elif labels == "topic":
                ours = shown[family, "topic=t-ours"]
            elif labels == "whole":
                ours = shown[family, ""]
            else:
                ours = sum(number for (of, its), number in shown.items() if of == family and its.startswith(labels))
            assert ours == told, (family, labels, ours, told)
        assert shown["kafka_server_brokertopicmetrics_messagesin_total", "topic=t-ours"] == 200
        assert types["kafka_server_brokertopicmetrics_messagesin_total"] == "counter"
        assert types["kafka_server_replicamanager_leadercount"] == "gauge"

        for (family, labels), (bean, attribute) in GREW.items():
            told = float(java[canonical(bean), attribute])
            assert shown[family, labels] > 0 and told > 0, (family, labels, shown[family, labels], told)
        assert all((canonical(bean), attribute) in java for bean, attribute in QUOTA), java
        held = "clientId=held,resource=Produce"
        assert shown["kafka_server_quota_byte_rate", held] >= 0 and ("kafka_server_quota_throttle_time", held) in shown

        say("times are ms, and counters grow")
        middle = shown["kafka_network_requestmetrics_totaltimems", "quantile=0.50,request=Produce"]
        assert 0 < middle < 5_000, middle
        count, total = (shown[f"kafka_network_requestmetrics_totaltimems_{part}", "request=FetchConsumer"] for part in ("count", "sum"))
        # A consumer at the end waits for 500 ms.
        assert count and 0 < total / count < 1_000, (count, total)
        again, _ = page(ports["metrics"])
        for (family, labels), number in shown.items():
            if types[family] == "counter":
                assert again[family, labels] >= number, (family, labels)
        listener = "listener=PLAINTEXT"
        assert again["kafka_server_socketservermetrics_connection_creation_total", listener] \
            == again["kafka_server_socketservermetrics_connection_close_total", listener] \
            + again["kafka_server_socketservermetrics_connection_count", listener]

        say("nothing else is answered")
        for path, method, status in (("/", "GET", 404), ("/metrics", "POST", 405), ("/metrics", "DELETE", 405)):
            request = urllib.request.Request(f"http://127.0.0.1:{ports['metrics']}{path}", method=method)
            try:
                urllib.request.urlopen(request, timeout=120)
                raise AssertionError((path, method))
            except urllib.error.HTTPError as error:
                assert error.code == status, (path, method, error)
