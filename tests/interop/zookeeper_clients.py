"""Real ZooKeeper clients on our ensemble."""

import threading

from harness import World, need_peer, need_python, say, until


def real_zkcli():
    """The Java zkCli 3.9.3 on three of our servers."""
    zookeeper = need_peer("zookeeper")
    with World("zkcli") as world:
        ensemble = world.ensemble(["ours"] * 3)
        ensemble.start_all()

        def cli(*command):
            return world.run(zookeeper, "cli", "-server", ensemble.connect, *command)

        assert "[zookeeper]" in cli("ls", "/")
        assert "Created /a" in cli("create", "/a", "one")
        assert "Created /a/s0000000000" in cli("create", "-s", "/a/s", "x")
        assert "one" in cli("get", "-s", "/a") and "numChildren = 1" in cli("stat", "/a")
        cli("set", "/a", "two")
        assert "two" in cli("get", "/a")
        assert "'world,'anyone\n: cdrwa" in cli("getAcl", "/a")
        cli("create", "-c", "/container")
        cli("create", "-t", "60000", "/ttl", "data")
        assert "numChildren = 1" in cli("stat", "/a")
        assert "Sync is OK" in cli("sync", "/a")
        cli("deleteall", "/a")
        assert "[container, ttl, zookeeper]" in cli("ls", "/")


def kazoo_recipes():
    """Python's kazoo: lock, election, barrier, queue, watches, transactions; a session that outlives its server."""
    need_python("kazoo")
    from kazoo.client import KazooClient

    with World("kazoo") as world:
        ensemble = world.ensemble(["ours"] * 3)
        ensemble.start_all()
        clients = [KazooClient(hosts=ensemble.connect, timeout=20.0) for _ in range(3)]
        for client in clients:
            client.start(timeout=120)
        one, two, three = clients

        say("lock")
        counter, inside = [0], []

        def work(client):
            for _ in range(10):
                with client.Lock("/lock", client.client_id[0]):
                    inside.append(client)
                    counter[0] += 1
                    assert len(inside) == 1, "two hold the lock"
                    inside.pop()

        threads = [threading.Thread(target=work, args=(c,)) for c in clients]
        [t.start() for t in threads]
        [t.join(240) for t in threads]
        assert counter[0] == 30, counter

        say("election")
        led = []
        elections = [c.Election("/election", str(i)) for i, c in enumerate(clients)]
        threads = [threading.Thread(target=e.run, args=(lambda i=i: led.append(i),)) for i, e in enumerate(elections)]
        [t.start() for t in threads]
        [t.join(240) for t in threads]
        assert sorted(led) == [0, 1, 2], led

        say("barrier")
        barrier = one.Barrier("/barrier")
        barrier.create()
        passed = []
        waiter = threading.Thread(target=lambda: passed.append(two.Barrier("/barrier").wait(120)))
        waiter.start()
        waiter.join(0.5)
        assert waiter.is_alive() and not passed
        barrier.remove()
        waiter.join(120)
        assert passed == [True], passed

        say("queue")
        queue = one.Queue("/queue")
        for i in range(20):
            queue.put(b"%d" % i)
        taken = [two.Queue("/queue").get() for _ in range(20)]
        assert taken == [b"%d" % i for i in range(20)], taken

        say("watches and transactions")
        seen = []
        one.ensure_path("/watched")
        two.DataWatch("/watched", lambda data, stat, event: seen.append(data))
        until("the first call of the watch", 10, lambda: len(seen) == 1)
        for i in range(5):
            one.set("/watched", b"%d" % i)
            until(f"the watch for {i}", 10, lambda: seen[-1] == b"%d" % i)
        transaction = one.transaction()
        transaction.create("/t1", b"1")
        transaction.set_data("/watched", b"t")
        transaction.check("/t1", 0)
        assert all(not isinstance(r, Exception) for r in transaction.commit())
        assert three.get("/t1")[0] == b"1" or three.sync("/t1")

        say("a session outlives its server")
        three.create("/alive", ephemeral=True)
        session = three.client_id
        leader = ensemble.leader()
        ensemble.kill(leader)
        ensemble.wait([i for i in ensemble.client if i != leader])
        three.retry(three.set, "/watched", b"after")
        assert three.client_id == session and three.exists("/alive").ephemeralOwner == session[0]
        until("everyone to see the write", 20, lambda: one.retry(one.get, "/watched")[0] == b"after")
        three.stop()
        until("the closed session's node to go", 10, lambda: one.retry(one.exists, "/alive") is None)
        ensemble.start(leader)
        ensemble.wait(ensemble.client)
        one.stop()
        two.stop()
