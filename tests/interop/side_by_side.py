"""Runs a real Java tool and ours with the same words, and tells where stdout, stderr or the exit code differ."""

import difflib
import os
import re
import shlex
import subprocess

# What is another at every run: in what both print, it becomes the name on the right.
VOLATILE = [
    (re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\]"), "[T]"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d:\d{3}"), "DATE"),
    (re.compile(r"correlation id \d+"), "correlation id N"),
    (re.compile(r"(CreateTime|LogAppendTime):\d{13}"), r"\1:MS"),
    (re.compile(r"(TopicId: )[\w-]{22}"), r"\1ID"),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"(console-consumer|perf-consumer)-\d+"), r"\1-N"),
    (re.compile(r"\d{13}\b"), "MS"),
    (re.compile(r"\badminclient-\d+"), "adminclient-N"),
]


def table_of_options(lines):
    """A help's table as one line: which options there are. What is said of them is everybody's own."""
    shown, names = [], None
    for line in lines:
        if re.match(r"^Option( \(.*\))? +Description", line):
            names = []
        elif names is None:
            shown.append(line)
        else:
            found = re.match(r"^(?:\* )?(--?[\w.-]+(?:, -+[\w.-]+)*)", line)
            # kafka-topics of ours still knows --zookeeper, as old tutorials do; kafka-reassign-partitions has more to offer.
            if found and found.group(1).strip("-") and found.group(1) not in ( "--zookeeper", "--balance", "--json"):
                names.append(found.group(1))
    return shown if names is None else shown + ["OPTIONS " + " ".join(sorted(names))]


def normal(text, prefix):
    text = text.replace(prefix, "X-")
    for pattern, name in VOLATILE:
        text = pattern.sub(name, text)
    lines = [line for line in text.split("\n") if not re.match(r"^\s+(at |\.\.\. \d+ (more|common))", line)]
    lines = table_of_options(lines)
    # Warnings are repeated until time is up: each counts once.
    return [line for at, line in enumerate(lines) if not (" WARN " in line and line in lines[:at])]


class SideBySide:
    """`java` and `ours` give a tool's command by its name; {p} in words is a prefix that each side has for itself."""

    def __init__(self, bootstrap, java, ours, cwd, only=None):
        self.bootstrap, self.commands, self.cwd, self.only = bootstrap, {"jj-": java, "oo-": ours}, cwd, only
        self.cases, self.differences = 0, []

    def words(self, words, prefix):
        words = words.replace("{p}", prefix).replace("{b}", self.bootstrap).replace("{d}", str(self.cwd))
        return shlex.split(words)

    def start(self, prefix, tool, words):
        # The JVM's second compiler does not pay for itself in so short a run.
        env = {**os.environ, "KAFKA_OPTS": "-XX:TieredStopAtLevel=1", "KAFKA_HEAP_OPTS": "-Xmx256M"}
        return subprocess.Popen([str(part) for part in self.commands[prefix](tool)] + self.words(words, prefix),
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=self.cwd)

    def __call__(self, tool, words, at=True, input="", seconds=300, unordered=False, drop=None, loose=(), check=None, same=False):
        """One case. `drop`: lines that may differ (a regex); `loose`: (regex, name) pairs for what is another at every run of this
        tool; `same`: both see the same things, so that prefixes tell more; `unordered`: lines (or those of "out" or "err") may come in any order."""
        if at:
            words = f"--bootstrap-server {{b}} {words}"
        title = f"{tool} {words}"[:300]
        self.cases += 1
        if self.only and not re.search(self.only, title):
            return None
        results = {}
        running = {prefix: self.start(prefix, tool, words) for prefix in self.commands}
        for prefix, process in running.items():
            try:
                out, err = process.communicate(input.encode(), seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                err += f"(did not end within {seconds} s)".encode()
            results[prefix] = self.seen("\0" if same else prefix, process.returncode, out, err, unordered, drop, loose)
        java, ours = results["jj-"], results["oo-"]
        if check and not check("\n".join(java)):
            self.differences.append(f"{title}\n    the real tool did not do what this case is for:\n    " + "\n    ".join(java))
        if java != ours:
            lines = list(difflib.unified_diff(java, ours, "java", "ours", lineterm="", n=2))[2:]
            lines = [line for line in lines if not line.startswith("@@")]
            more = [f"... and {len(lines) - 60} lines more"] if len(lines) > 60 else []
            self.differences.append("\n    ".join([title, *lines[:60], *more]))
        return java

    def seen(self, prefix, code, out, err, unordered, drop, loose):
        shown = [f"exit {code}"]
        for name, stream in (("out", out), ("err", err)):
            text = "\n".join(normal(stream.decode(errors="replace"), prefix))
            for pattern, to in loose:
                text = re.sub(pattern, to, text)
            lines = [line for line in text.split("\n") if not (drop and re.search(drop, line))]
            shown += [f"{name}| {line}" for line in (sorted(lines) if unordered in (True, name) else lines)]
        return shown

    def report(self):
        for difference in self.differences:
            print("  DIFFERS", difference, flush=True)
        assert not self.differences, f"{len(self.differences)} of {self.cases} cases differ"
