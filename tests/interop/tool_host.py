"""Java's tools in one JVM: what takes a process one or two seconds is done in a fraction."""

import base64
import pathlib
import re
import subprocess
import threading

# As the real scripts: tool, main class. Tools that work until they are killed, or from a shutdown hook, are left out.
CLASSES = {
    "acls": "kafka.admin.AclCommand", "broker-api-versions": "kafka.admin.BrokerApiVersionsCommand",
    "cluster": "org.apache.kafka.tools.ClusterTool", "configs": "kafka.admin.ConfigCommand",
    "console-consumer": "kafka.tools.ConsoleConsumer", "console-producer": "kafka.tools.ConsoleProducer",
    "consumer-groups": "kafka.admin.ConsumerGroupCommand", "consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "delete-records": "kafka.admin.DeleteRecordsCommand", "dump-log": "kafka.tools.DumpLogSegments",
    "e2e-latency": "org.apache.kafka.tools.EndToEndLatency", "features": "kafka.admin.FeatureCommand",
    "get-offsets": "kafka.tools.GetOffsetShell", "leader-election": "kafka.admin.LeaderElectionCommand",
    "log-dirs": "kafka.admin.LogDirsCommand", "metadata-quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "reassign-partitions": "kafka.admin.ReassignPartitionsCommand", "storage": "kafka.tools.StorageTool",
    "streams-application-reset": "org.apache.kafka.tools.StreamsResetter", "topics": "kafka.admin.TopicCommand",
    "transactions": "org.apache.kafka.tools.TransactionsCommand",
}
# These need a process of their own.
ALONE = {
    "replica-verification": "kafka.tools.ReplicaVerificationTool",
    "verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
    "verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
}


class ToolHost:
    """Runs Java tools by their names; one at a time."""

    def __init__(self, jars, folder):
        self.jars = jars
        log4j = folder / "host-log4j.properties"
        log4j.write_text("log4j.rootLogger=WARN, a\nlog4j.appender.a=org.apache.log4j.ConsoleAppender\n"
                         "log4j.appender.a.Target=System.err\nlog4j.appender.a.Follow=true\n"
                         "log4j.appender.a.layout=org.apache.log4j.PatternLayout\n"
                         "log4j.appender.a.layout.ConversionPattern=[%d] %p %m (%c)%n\n"
                         "log4j.logger.org.reflections=ERROR\n")
        policy = folder / "host.policy"
        policy.write_text("grant { permission java.security.AllPermission; };\n")
        self.java = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512M", "-cp", f"{jars}/*",
                     f"-Dlog4j.configuration=file:{log4j}"]
        source = pathlib.Path(__file__).parent / "ToolHost.java"
        self.errors = open(folder / "host.log", "wb")
        self.process = subprocess.Popen([*self.java, "-Djava.security.manager=allow", f"-Djava.security.policy=={policy}", source], cwd=folder,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
        self.lock = threading.Lock()

    def run(self, tool, words, input=b""):
        """Exit code, stdout, stderr."""
        name = CLASSES[tool]
        line = " ".join(base64.b64encode(part).decode() for part in (name.encode(), input, *(word.encode() for word in words)))
        with self.lock:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline().decode().rstrip("\n").split(" ")
        assert len(answer) == 3, f"the host of Java's tools has ended: {tool} {words}"
        code, out, err = answer
        # Where a tool was called from is no part of what it says.
        err = re.sub(rb"\n\tat (java\.base/jdk\.internal\.reflect|java\.base/java\.lang\.reflect|ToolHost)[^\n]*", b"",
                     base64.b64decode(err))
        return int(code), base64.b64decode(out), err

    def alone(self, tool):
        """The command of a tool with a JVM of its own."""
        return [*self.java, ALONE[tool]]

    def close(self):
        self.process.kill()
        self.process.wait()
        self.errors.close()
