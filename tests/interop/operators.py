"""What operators see, Java's and ours side by side after the same requests: every admin command, four-letter words, metrics,
the audit trail."""

import json
import urllib.error
import urllib.request

from harness import World, free_ports, mode, need_peer, say, until, word

REQUESTS = """create /a x
create -e /e y
create -s /seq z
set /a yy
get -w /a
ls -w /
setAcl /a world:anyone:cdrwa
delete /nosuch
create -c /cont
setquota -n 5 -b 100 /a
set /e q
"""
COMMANDS = """configuration connection_stat_reset connections dirs dump environment get_trace_mask hash
initial_configuration is_read_only last_snapshot leader monitor observer_connection_stat_reset observers restore ruok
server_stats set_trace_mask snapshot stats voting_view watch_summary watches watches_by_path zabstate nosuch stat_reset
conf config crst cons env envi gtmk icfg isro lsnp lead mntr orst obsr rest srvr stmk snap stat wchs wchc wchp""".split()
# Method, path, headers; each is to get the same status.
OTHERS = [("GET", "/", {}), ("GET", "/commands", {}), ("GET", "/commands/", {}), ("GET", "/commandsx", {}),
          ("POST", "/commands/ruok", {}), ("PUT", "/commands/ruok", {}), ("DELETE", "/commands/ruok", {}),
          ("PATCH", "/commands/ruok", {}), ("TRACE", "/commands/ruok", {}), ("OPTIONS", "/commands/ruok", {}),
          ("GET", "/commands/ruok/x", {}), ("GET", "/commands/stmk?traceMask=12", {}),
          ("GET", "/commands/stmk?traceMask=x", {}), ("GET", "/commands/snap", {"Authorization": "nosuch x"}),
          ("GET", "/commands/restore", {"Authorization": "digest a:b"}),
          ("GET", "/commands/snap?streaming=false", {"Authorization": "digest a:b"}),
          ("GET", "/commands/snap?streaming=false", {"Authorization": "digest a:b"})]
# Figures that Java does not have. And commands whose keys are another on each side.
OWN = ("max_turn_time_ms", "max_turn_cpu_ms", "max_step_time_ms", "disk_full", "disk_free_bytes")
LOOSE = ("environment", "env", "envi", "initial_configuration", "icfg", "dump")


def operators():
    """admin server, words, metrics and audit: ours beside Java's, the same shapes"""
    java = need_peer("zookeeper")
    with World("operators") as world:
        sides = {side: serve(world, side, java) for side in ("java", "ours")}
        for ports in sides.values():
            # The end of input closes no session: it is to last until all is compared.
            world.run(java, "cli", "-timeout", 900000, "-server", f"127.0.0.1:{ports['client']}", input=REQUESTS, check=False)
        check_commands(*(ports["admin"] for ports in sides.values()))
        check_mntr(*(ports["client"] for ports in sides.values()))
        check_page(*(ports["metrics"] for ports in sides.values()))
        check_audit(world)


def serve(world, side, java):
    """A plain server, and one for Prometheus, whose ports these are."""
    ports = dict(zip(("client", "admin", "other", "metrics"), free_ports(4)))
    prometheus = "metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n" \
                 f"metricsProvider.httpPort={ports['metrics']}\nadmin.enableServer=false\n"
    for name, port, more in ((side, ports["client"], f"admin.serverPort={ports['admin']}\naudit.enable=true\n"),
                             (f"{side}-prometheus", ports["other"], prometheus)):
        config = world.dir / f"{name}.cfg"
        config.write_text(f"tickTime=2000\ndataDir={world.dir / name}\nclientPort={port}\n4lw.commands.whitelist=*\n"
                          f"maxSessionTimeout=900000\n{more}")
        command = [java, "server"] if side == "java" else [world.tool("zkServer.sh"), "start-foreground"]
        world.start(name, *command, config)
        until(f"{name} to serve", 60, lambda: mode(port))
    return ports


def ask(port, path, method="GET", headers=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.headers.get("Content-Type"), answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers.get("Content-Type"), answer.read().decode()


def shape(value, ordered=True):
    """Keys in their order, and types; of a list, its first item. What is nested in Java's answers is written by
    reflection, in an order that differs from one JVM to the next, so only the outermost keys keep theirs."""
    if isinstance(value, dict):
        items = value.items() if ordered else sorted(value.items())
        return [(key, shape(item, False)) for key, item in items]
    return [shape(item, False) for item in value[:1]] if isinstance(value, list) else type(value).__name__


def check_commands(java, ours):
    for command in COMMANDS:
        path = f"/commands/{command}"
        (status, kind, theirs), (own_status, own_kind, own) = ask(java, path), ask(ours, path)
        assert (own_status, own_kind) == (status, kind), (command, own_status, own_kind, status, kind)
        theirs, own = json.loads(theirs), json.loads(own)
        if command in ("monitor", "mntr"):
            check_figures(theirs, own, {key: type(value) for key, value in theirs.items()}, type)
        elif command in LOOSE:
            assert list(own)[-2:] == list(theirs)[-2:], command
        else:
            assert shape(own) == shape(theirs), (command, shape(own), shape(theirs))
    for method, path, headers in OTHERS:
        theirs, own = ask(java, path, method, headers)[0], ask(ours, path, method, headers)[0]
        assert own == theirs, (method, path, own, theirs)
    say(f"{len(COMMANDS)} commands and {len(OTHERS)} other requests are answered alike")


def check_figures(theirs, own, kinds, kind):
    """Whatever ours has, Java has, in the same form."""
    own = {key: value for key, value in own.items() if key.removeprefix("zk_") not in OWN}
    strange = [key for key, value in own.items() if key not in theirs or kinds[key] != kind(value)]
    assert not strange, strange


def check_mntr(java, ours):
    def read(port):
        return dict(line.split("\t", 1) for line in word(port, "mntr").splitlines())

    def form(value):
        return "double" if "." in value and value.replace(".", "").replace("-", "").isdigit() else "other"

    theirs, own = read(java), read(ours)
    check_figures(theirs, own, {key: form(value) for key, value in theirs.items()}, form)
    for key in ("znode_count", "ephemerals_count", "connection_request_count", "cnt_updatelatency", "cnt_readlatency"):
        say(f"zk_{key}: {theirs[f'zk_{key}']} in Java, {own[f'zk_{key}']} here")
    assert own["zk_znode_count"] == theirs["zk_znode_count"]


def check_page(java, ours):
    def families(port):
        status, kind, page = ask(port, "/metrics")
        assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8"), (status, kind)
        types = [line.split()[2:] for line in page.splitlines() if line.startswith("# TYPE ")]
        series = {line.rsplit(" ", 1)[0] for line in page.splitlines() if not line.startswith("#") and "key=" not in line}
        return dict(types), series

    (theirs, their_series), (own, own_series) = families(java), families(ours)
    strange = {name: kind for name, kind in own.items() if name not in OWN and theirs.get(name) != kind}
    assert not strange, strange
    assert own_series <= their_series | set(OWN), own_series - their_series
    say(f"{len(own)} of Java's {len(theirs)} families, with its types and quantiles")


def check_audit(world):
    def trail(side):
        lines = (world.dir / f"{side}.log").read_text().splitlines()
        lines = [line.split("Slf4jAuditLogger", 1)[1] for line in lines if "Slf4jAuditLogger" in line]
        told = [dict(pair.split("=", 1) for pair in line.split("] - ", 1)[1].split("\t")) for line in lines]
        return [{key: value for key, value in pairs.items() if key != "session"} for pairs in told]

    assert trail("ours") == trail("java"), (trail("ours"), trail("java"))
    say(f"{len(trail('java'))} lines of the audit trail are the same")
