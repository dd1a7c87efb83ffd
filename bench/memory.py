"""Resident memory of the worker, for each of many things that it holds.

A memory scenario answers /hold?N: a request that stays, or (`hold: idle`) one that ends
and leaves `each` things behind; and /collect, which collects Lua's garbage.
"""
import pathlib
import re
import socket
import time

import load
import servers
from scenario import Scenario

# Of the descriptors that a process may have, nginx uses no more than 15/16 before it begins
# to close idle connections.
USABLE = servers.FILES * 15 // 16 - 200


def resident(pid: int) -> int:
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024


def descriptors(pid: int) -> int:
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


def wait_for_descriptors(nginx: servers.Nginx, count: int) -> None:
    deadline = time.monotonic() + 60
    while descriptors(nginx.worker) < count:
        if time.monotonic() > deadline:
            raise load.Failed(f"{descriptors(nginx.worker)} descriptors instead of {count} in the worker: "
                              f"{nginx.complaints()[:1]}")
        time.sleep(0.02)


def suspended(scenario: Scenario, nginx: servers.Nginx, report) -> dict[str, float]:
    """Requests that wait with an open cosocket: two descriptors each."""
    count = min(scenario.memory, USABLE // 2)
    with load.Client(scenario, nginx.port) as client:
        client.run(20)
        base_descriptors = descriptors(nginx.worker)
        before = resident(nginx.worker)
        clients = []
        try:
            for number in range(1, count + 1):
                s = socket.create_connection(("127.0.0.1", nginx.port), 20)
                s.sendall(b"GET /hold HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                clients.append(s)
                if number % 250 == 0 or number == count:
                    report(f"{number} of {count}")
                    wait_for_descriptors(nginx, base_descriptors + 2 * number)
            time.sleep(0.5)
            after = resident(nginx.worker)
        finally:
            for s in clients:
                s.close()
    return {"held": count, "bytes_each": (after - before) / count}


def idle(scenario: Scenario, nginx: servers.Nginx, report) -> dict[str, float]:
    """Connections left in pools, 100 by each request; the first thousand are not counted,
    since Lua's heap still grows with them."""
    per_request, first = 100, 1000
    count = min(scenario.memory, USABLE - first)
    with load.Client(scenario, nginx.port) as client:
        base_descriptors = descriptors(nginx.worker)

        def leave(start: int, end: int) -> int:
            for number in range(start, end, per_request):
                client.get(f"/hold?{number}")
            for _ in range(3):
                client.get("/collect")
            wait_for_descriptors(nginx, base_descriptors + end)
            return resident(nginx.worker)

        before = leave(0, first)
        report(f"{count} connections")
        after = leave(first, first + count)
    return {"held": count, "bytes_each": (after - before) / count}


MEASURES = {"suspended": suspended, "idle": idle}
