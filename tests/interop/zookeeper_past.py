"""What only ours tells: who changed a node, and a subtree as it was, from the files that a real server writes."""

import signal
import subprocess

from harness import World, free_ports, mode, need_peer, until


def zookeeper_past():
    """zk-who and zk-restore on the files of a real server, while it runs."""
    zookeeper = need_peer("zookeeper")
    with World("past") as world:
        port, data = free_ports(1)[0], world.dir / "data"
        config = world.dir / "zoo.cfg"
        config.write_text(f"tickTime=2000\ndataDir={data}\nclientPort={port}\nadmin.enableServer=false\n")
        server = f"127.0.0.1:{port}"

        def start():
            world.start("java", zookeeper, "server", config)
            until("the server", 60, lambda: mode(port))

        def cli(lines):
            return world.run(zookeeper, "cli", "-server", server, input=lines)

        def tool(name, *words, fails=False):
            done = subprocess.run([world.tool("menagerie"), name, "--data-dir", data, *words], capture_output=True, text=True, timeout=480)
            assert (done.returncode != 0) == fails, done.stdout + done.stderr
            return done.stdout + done.stderr

        start()
        cli("create /x one\ncreate /x/a two\ncreate /x/b three\ncreate /x/b/c four\ncreate /other x\nset /x uno\n"
            "setAcl /x/a world:anyone:ra\ncreate -e /x/e gone\n")
        # Restarted, so that there are two snapshots and two logs.
        world.stop("java", signal.SIGKILL)
        start()
        cli("set /other marker\n")
        marker = tool("zk-who", "/other").split()[0]
        cli("set /x dos\ncreate /x/new n\ncreate /x/new/er m\ndeleteall /x/b\nsetAcl /x/a world:anyone:cdrwa\nset /other later\n")

        said = tool("zk-who", "-n", "0", "/x")
        lines = [line.split("\t")[2] for line in said.splitlines() if line.startswith("0x")]
        assert lines == ["create, 3 bytes", "setData, version 1, 3 bytes", "setData, version 2, 3 bytes"], said
        assert "session 0x" in said and "no addresses" in said
        assert "delete, in a multi" in tool("zk-who", "/x/b/c")
        assert "the session ended" in tool("zk-who", "/x/e") or "create ephemeral" in tool("zk-who", "/x/e")
        tool("zk-who", "/never", fails=True)

        dry = tool("zk-restore", "--at", marker, "--path", "/x", "--server", server)
        for line in ("create  /x/b (5 bytes)", "create  /x/b/c (4 bytes)", "set     /x (3 bytes, over version 2)",
                     "delete  /x/new/er (version 0)", "delete  /x/new (version 0)", "setAcl  /x/a world:anyone:ra (over ACL version 2)",
                     "2 to create, 1 to set, 2 to delete, 1 ACLs to set", "dry run: nothing was changed"):
            assert line in dry, f"{line}\n{dry}"
        assert "dos" in cli("get /x\n"), "the dry run changed something"
        assert "set     /x" in tool("zk-restore", "--at", marker, "--path", "/x"), "without a server, the files count"

        assert "done: 6 changes" in tool("zk-restore", "--at", marker, "--path", "/x", "--server", server, "--apply")
        after = cli("get /x\nls -R /x\nget /x/b/c\ngetAcl /x/a\nget /other\n")
        assert "uno" in after and "four" in after and "/x/new" not in after and "later" in after, after
        assert ": ra\n" in after, after
        assert "nothing to do" in tool("zk-restore", "--at", marker, "--path", "/x", "--server", server)
        # The root is everything but ZooKeeper's own.
        assert "set     /other" in tool("zk-restore", "--at", marker, "--path", "/", "--server", server)
        assert "newest point is zxid" in tool("zk-restore", "--at", "0xffff", "--path", "/x", fails=True)
        assert "are not brought back" in tool("zk-restore", "--at", "1", "--path", "/zookeeper/quota", fails=True)
        for snapshot in (data / "version-2").glob("snapshot.0"):
            snapshot.unlink()
        assert "oldest point is zxid" in tool("zk-restore", "--at", "0x2", "--path", "/x", fails=True)
