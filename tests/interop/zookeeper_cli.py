"""zkCli, Java's and ours side by side: same words on twin servers, same output, same exit code."""

import os

from harness import World, free_ports, mode, need_peer, say, until
from side_by_side import SideBySide

# One command each, in an order in which each finds what it needs. What follows `#` is not sent.
ONE_SHOT = r"""
version
ls /
ls
ls -R /
ls -s /
ls -s -R /
ls -w /
ls -? /
ls -q /
ls nope
ls /nope
ls /nope/
ls //
ls /a/../b
create /a one
create /a one
create /a/b
create /a/c two
create /nope/x y
create
create a
create /a/
create -s /a/s- x
create -e -s /a/es- x
create -e /e x
create /e/x y
create -c /cont
create -c -e /no
create -c -s /no
create -t 5000 /ttl x
create -t x /no
create -t 0 /no
create -t -1 /no
create -t 99999999999999 /no
create -e -t 5 /no
create -c -t 5 /no
create -t
create -x /no
create /acl data world:anyone:r
create /acl2 data world:anyone
create /acl3 data nonsense
create /acl4 data world:anyone:xyz
create /acl5 data digest:u:hash:cdrwa
create /acl6 data auth::cdrwa
create /acl7 data ip:127.0.0.1:r,world:anyone:cdrwa
create /quoted "two words"
create '/single quoted' 'x y'
create /empty ""
create /zw\u00f6lf \u00e4
get /a
get -s /a
get -b /a
get -x /a
get -x /quoted
get -x /empty
get -s -b /quoted
get -w /a
get /a/b
get -x /a/b
get -b /a/b
get /empty
get /nope
get
get -q /a
get a
get /a watch
get /acl5
get /zw\u00f6lf
set /a two
set -s /a three
set /a four -v 2
set /a four -v 99
set -v x /a y
set /a
set
set /nope x
set -b /a aGVsbG8=
set -b /a !!!
set /acl x
set -s -v 3 /a five
set /a six -1
stat /a
stat -w /a
stat /nope
stat
stat a
stat /a watch
stat -s /a
delete /a
delete -v 99 /a/c
delete -v 0 /a/c
delete /nope
delete
delete a
delete /a/b 5
delete -v x /a/b
delete /zookeeper
delete /
deleteall
deleteall /nope
deleteall /a -b x
deleteall /a -b 0
deleteall /a -b 1
create /a
create /a/1
create /a/1/2
create /a/3
deleteall /a
deleteall a
create /q x
create /q/a xyz
setquota -n 5 /q
setquota -b 100 /q
setquota -N 1 /q
setquota -B 1 /q
listquota /q
listquota /nope
listquota
listquota q
setquota -n 0 /q
setquota -b -1 /q
setquota -b -5 /q
setquota -n x /q
setquota -n 1
setquota /q
setquota -n 5 -b 5 /q
setquota -n 1 /nope
setquota -n 1 /zookeeper/quota
setquota -n 1 /q/a
setquota -n 1 /
listquota /
delquota /
delquota -n /
delquota -B -n /q
setquota -B 5 -n 5 /q
set -b /q aGVsbG8
set -b /q aGVs=
set -b /q a
set -b /q aGVsbG8==
create /r
create /r/s
setquota -n 9 /r/s
setquota -n 9 /r
delquota -n /q
delquota -b /q
listquota /q
delquota /q
delquota /q
delquota /nope
delquota
delquota -N -B /q
delquota -x /q
getAcl /q
getAcl -s /q
getAcl /nope
getAcl
getAcl /acl5
getAcl /acl7
setAcl /q world:anyone:cdrw
setAcl -s /q world:anyone:cdrwa
setAcl -v 2 /q world:anyone:cdrwa
setAcl -v 99 /q world:anyone:cdrwa
setAcl -v x /q world:anyone:cdrwa
setAcl /q nonsense
setAcl /q world:anyone:z
setAcl /q digest:nope
setAcl /q sasl:me:r
setAcl /q x509:me:r
setAcl /q auth::r
setAcl /q super:x:r
setAcl
setAcl /q
setAcl /nope world:anyone:r
setAcl -R /r world:anyone:cdrwa
setAcl -R /nope world:anyone:r
addauth
addauth digest
addauth digest u:p
getAllChildrenNumber /
getAllChildrenNumber /nope
getAllChildrenNumber
getEphemerals
getEphemerals /
getEphemerals /nope
sync /
sync /nope
sync
sync x
whoami
history
redo
redo 1
redo x
printwatches
printwatches on
printwatches off
printwatches x
quit
close
connect
config
config -c
config -s
config -w
config -x
reconfig
reconfig -remove 1
reconfig -add 1=x
reconfig -add
reconfig -members x -add y
reconfig -file /nope
reconfig -file /nope -members x
reconfig -v x -remove 1
removewatches
removewatches /q
removewatches /q -c
removewatches /q -d
removewatches /q -a
removewatches /q -a -l
removewatches /nope -x
addWatch
addWatch /q
addWatch -m PERSISTENT /q
addWatch -m NONSENSE /q
addWatch -m
addWatch nope
nonsense
nonsense with words
help
LS /
"""

# Sessions of several commands, by pipe.
SESSIONS = {
    "watches": "create /w x\nget -w /w\nset /w y\nls -w /w\ncreate /w/c\nstat -w /w/c\ndelete /w/c\nls -w /\ndelete /w\n",
    "persistent watches": "create /p x\naddWatch /p\nset /p 1\ncreate /p/a\ncreate /p/a/b\ndeleteall /p\nremovewatches /p\n",
    "one persistent watch": "create /p1 x\naddWatch -m PERSISTENT /p1\nset /p1 1\ncreate /p1/a\nremovewatches /p1 -p\nset /p1 2\ndeleteall /p1\n",
    "watches removed": "create /x y\nget -w /x\nls -w /x\nremovewatches /x -d\nremovewatches /x -c\nremovewatches /x -a\nset /x z\n",
    "history and redo": "ls /\n\n  \nversion\nhistory\nredo 0\nredo 1\nredo 2\nredo 99\nredo -1\nredo redo\nnonsense\nhistory\n",
    "no watches printed": "printwatches\nprintwatches off\nprintwatches\ncreate /o\nget -w /o\nset /o 1\nprintwatches on\nprintwatches\ndelete /o\n",
    "quotes": "create /qu \"a b\" \nget /qu\nset /qu 'c  d'\nget /qu\nset /qu \"it's\"\nget /qu\nset /qu a\"b\nget /qu\nset /qu \"open\nget /qu\ndelete /qu\n",
    "auth": "addauth digest u:p\nwhoami\ncreate /sec x auth::cdrwa\ngetAcl /sec\nget /sec\nsetAcl /sec digest:other:hash:r\nget /sec\ngetAcl /sec\n",
    "close": "close\nls /\nversion\nhistory\nquit\n",
    "ephemerals": "create -e /one\ncreate -e /two x\ngetEphemerals\ngetEphemerals /o\ngetEphemerals /nope\ncreate /one/x\nstat /one\n",
    "an error at the end": "ls /\nls /nope\n",
    "nothing": "",
    "quit": "quit\nls /\n",
    "exit code of quit": "ls /nope\nquit\n",
    "sequences": "create /sq\ncreate -s /sq/n-\ncreate -s /sq/n- x\ncreate -s /sq/\nls /sq\nls -s /sq\ndeleteall /sq\n",
    "a multi of deletes": "create /m\n" + "".join(f"create /m/{i}\n" for i in range(12)) + "deleteall /m -b 5\nls /\n",
}

LOOSE = (
    (r"(\w)time = .*", r"\1time = T"),
    (r"([cmp]Zxid) = 0x[0-9a-f]+", r"\1 = Z"),
    (r"zxid: -?\d+", "zxid: Z"),
    (r"ephemeralOwner = 0x[1-9a-f][0-9a-f]*", "ephemeralOwner = SESSION"),
    (r"\[zk: (\S+)\((CONNECTING|CONNECTED)\) ", r"[zk: \1(S) "),
    (r"127\.0\.0\.1:\d+", "SERVER"),
    (r"WATCHER::\n+WatchedEvent state:SyncConnected type:None path:null zxid: \S+\n?", ""),
    # Ours tells which words are wrong.
    (r"NumberFormatException: For input string: \"x\"|IllegalArgumentException: `127.*", "NO PORT"),
)


# Lines of Java's log, and the first of a stack trace in it.
DROP = (r"^\d{4}-\d\d-\d\d |^$|^java\.net\.ConnectException|^java\.lang\.IllegalArgumentException: /nope")
# Events come when they come: also between a prompt and its line.
PIPED = ((r"\[zk: [^\]]*\] ", ""),)


class Twins(SideBySide):
    """Each side has a server for itself."""

    def __init__(self, java, ours, cwd, ports):
        super().__init__("", java, ours, cwd)
        self.ports = ports

    def words(self, words, prefix):
        return super().words(words.replace("{s}", f"-server 127.0.0.1:{self.ports[prefix]}"), prefix)

    def cli(self, words, **how):
        return self("cli", f"{{s}} {words}", at=False, **{"loose": LOOSE, "drop": DROP, **how})


def zookeeper_cli():
    """zkCli's commands, options, outputs and exit codes."""
    zookeeper = need_peer("zookeeper")
    # The JVM's second compiler does not pay for itself in so short a run.
    os.environ["JVMFLAGS"] = "-XX:TieredStopAtLevel=1"
    with World("zookeeper-cli") as world:
        ports = {}
        for prefix in ("jj-", "oo-"):
            ports[prefix] = free_ports(1)[0]
            config = world.dir / f"{prefix}zoo.cfg"
            config.write_text(f"tickTime=2000\ndataDir={world.dir / f'{prefix}data'}\nclientPort={ports[prefix]}\n"
                              "admin.enableServer=false\nextendedTypesEnabled=true\n")
            world.start(f"{prefix}server", world.tool("zkServer.sh"), "start-foreground", config)
            until("a server", 30, lambda: mode(ports[prefix]))
        run = Twins(lambda _: [zookeeper, "cli"], lambda _: [world.tool("zkCli.sh")], world.dir, ports)
        for line in ONE_SHOT.encode().decode("unicode_escape").strip().splitlines():
            # A shell takes one level of quotes off; the tool sees what it would see there.
            run.cli(line, seconds=60)
        say("sessions by pipe")
        for name, typed in SESSIONS.items():
            run.cases += 1
            run.cli(f"-timeout 30{len(name):03}", input=typed, seconds=60, unordered="out", loose=LOOSE + PIPED)
        say("options of the tool")
        for words in ("-nope ls /", "-timeout 5000 ls /", "-timeout x ls /", "-r ls /", "-waitforconnection ls /", "-server",
                      "-client-configuration /nope ls /", "-client-configuration"):
            run.cli(words, seconds=60)
        for words in ("-server 127.0.0.1:1 ls /", "-server 127.0.0.1:1 -timeout 3000 -waitforconnection ls /", "-server '' ls /",
                      "-server 127.0.0.1:x ls /", "-server /chroot ls /"):
            run("cli", words, at=False, loose=LOOSE, drop=DROP, seconds=60)
        say(f"{run.cases} cases")
        run.report()
