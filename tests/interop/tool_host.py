"""Java's tools in one JVM: what takes a process one or two seconds is done in a fraction."""

import base64
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

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

    def __init__(self, jars, folder, name):
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
        self.errors = open(folder / f"{name}host.log", "wb")
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
        # Where a tool was called from is no part of what it says; and what another run in this JVM has registered, no process of
        # its own would find.
        err = re.sub(rb"\n\tat (java\.base/jdk\.internal\.reflect|java\.base/java\.lang\.reflect|ToolHost)[^\n]*", b"",
                     base64.b64decode(err))
        err = re.sub(rb"\[[^\]\n]*\] WARN Error registering AppInfo mbean [^\n]*\n(javax\.management[^\n]*\n)?(\s+at [^\n]*\n)*", b"", err)
        return int(code), base64.b64decode(out), err

    def alone(self, tool):
        """The command of a tool with a JVM of its own."""
        return [*self.java, (ALONE | CLASSES)[tool]]

    def close(self):
        self.process.kill()
        self.process.wait()
        self.errors.close()


class Hosted:
    """A run in a host's JVM."""

    def __init__(self, host, tool, words, input):
        self.answer = []
        self.thread = threading.Thread(target=lambda: self.answer.append(host.run(tool, words, input)))
        self.thread.start()

    def result(self, _seconds):
        self.thread.join()
        assert self.answer, "the host of Java's tools has ended"
        return self.answer[0]


class Alone:
    """A process; what it says is read as it comes."""

    def __init__(self, command, cwd, input):
        # A shell that runs this in the background has SIGINT ignored, which children would inherit.
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, cwd=cwd, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        self.said = {"stdout": bytearray(), "stderr": bytearray()}
        self.threads = [threading.Thread(target=self.read, args=(name,)) for name in self.said]
        self.threads.append(threading.Thread(target=self.write, args=(input,)))
        for thread in self.threads:
            thread.start()

    def read(self, name):
        while some := getattr(self.process, name).read1():
            self.said[name] += some

    def write(self, input):
        try:
            with self.process.stdin as stdin:
                stdin.write(input)
        except BrokenPipeError:
            pass  # it has ended, which its exit code tells of

    def interrupt(self, pattern, how, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            if re.search(pattern, self.said["stdout"].decode(errors="replace")):
                break
            time.sleep(0.1)
        self.process.send_signal(how)

    def result(self, seconds):
        late = b""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            late = f"(did not end within {seconds} s)".encode()
        for thread in self.threads:
            thread.join()
        # A process that a signal has ended, as a shell tells it.
        code = self.process.returncode
        return (128 - code if code < 0 else code), bytes(self.said["stdout"]), bytes(self.said["stderr"]) + late


def jars():
    """Where the peer has fetched its jars to."""
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(cache) / "peers" / "kafka" / "libs"
