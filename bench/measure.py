"""What a request costs the worker: instructions, processor time, system calls."""
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import time

import load
import servers
from scenario import Scenario

TICK = os.sysconf("SC_CLK_TCK")


def cpu_time(pid: int) -> tuple[float, float]:
    """User and system seconds of a process. The sum is exact to the nanosecond where the
    kernel tells (schedstat); the kernel divides it by sampling."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]) / TICK, int(fields[12]) / TICK
    with contextlib.suppress(OSError, ValueError):
        exact = int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
        if user + system > 0:
            return exact * user / (user + system), exact * system / (user + system)
    return user, system


class Perf:
    """`perf stat` on a running process."""

    METRICS = {"instructions:u": "instructions_user", "instructions:k": "instructions_kernel"}

    def __init__(self, events: list[str], pid: int, file: pathlib.Path):
        self.file = file
        self.process = subprocess.Popen(
            ["perf", "stat", "-x,", "-e", ",".join(events), "-o", str(file), "-p", str(pid)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.2)  # until it has attached

    def stop(self) -> dict[str, int]:
        servers.stop(self.process, signal.SIGINT)
        return self.parse(self.file.read_text())

    @classmethod
    def parse(cls, text: str) -> dict[str, int]:
        counts = re.findall(r"^(\d+),[^,]*,([^,]+)", text, re.M)
        return {cls.METRICS[event]: int(count) for count, event in counts if event in cls.METRICS}

    @classmethod
    def permitted(cls) -> list[str]:
        """The events that can be counted here: often not those of the kernel, or none."""
        for events in (list(cls.METRICS), ["instructions:u"]):
            try:
                result = subprocess.run(["perf", "stat", "-x,", "-e", ",".join(events), "true"],
                                        capture_output=True, text=True)
            except OSError:
                return []
            if len(cls.parse(result.stderr)) == len(events):
                return events
        return []


def under_load(scenario: Scenario, nginx: servers.Nginx, seconds: int,
               events: list[str]) -> dict[str, float]:
    """One run of wrk: its figures, and what a request cost the worker. `events`: of perf."""
    counter = Perf(events, nginx.worker, nginx.dir / "perf") if events else None
    before = cpu_time(nginx.worker)
    result = load.wrk(scenario, nginx.port, seconds, nginx.dir)
    after = cpu_time(nginx.worker)
    requests = result["requests"]
    result |= {"user_us": (after[0] - before[0]) / requests * 1e6,
               "system_us": (after[1] - before[1]) / requests * 1e6}
    result["cpu_us"] = result["user_us"] + result["system_us"]
    if counter:
        result |= {metric: count / requests for metric, count in counter.stop().items()}
    return result


def system_calls(scenario: Scenario, nginx: servers.Nginx) -> dict[str, float] | None:
    """Calls a request by name; None without the right to trace."""
    count = min(scenario.requests, 200)
    log = nginx.dir / "strace"
    with load.Client(scenario, nginx.port) as client:
        client.run(count)  # else LuaJIT's compiler asks for memory meanwhile
        process = subprocess.Popen(["strace", "-f", "-c", "-U", "name,calls", "-o", str(log), "-p", str(nginx.worker)],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if "attached" not in process.stderr.readline():
            process.wait()
            return None
        client.run(count)
        servers.stop(process, signal.SIGINT)
    calls = re.findall(r"^ *(\w+) +(\d+)$", log.read_text(), re.M)
    return {name: round(int(number) / count, 2) for name, number in calls if name != "total"}


class Callgrind:
    """nginx under valgrind, which counts instructions exactly: those in user space, of one
    process that is master and worker. Slow, but the same on every machine."""

    # `rep movsb` is one instruction for a processor, and one for each byte for valgrind. These
    # have the C library copy without it.
    NO_REP = "glibc.cpu.x86_rep_movsb_threshold=0x40000000:glibc.cpu.x86_rep_stosb_threshold=0x40000000"

    def __init__(self, module: str, scenario: Scenario, peers: servers.Peers, keep: pathlib.Path, stack):
        keep.mkdir(parents=True, exist_ok=True)
        self.scenario = scenario
        self.out = keep / f"{scenario.name}.{module}"
        for old in keep.glob(f"{self.out.name}*"):
            old.unlink()
        self.pipe = f"--vgdb-prefix={peers.dir}/vgdb"
        self.nginx = servers.Nginx(module, scenario, peers, stack, master=False, wrapper=(
            "env", f"GLIBC_TUNABLES={self.NO_REP}", "valgrind", "--tool=callgrind", "--instr-atstart=no",
            f"--callgrind-out-file={self.out}", "--quiet", f"--log-file={peers.dir}/valgrind.log", self.pipe))

    def order(self, command: str) -> None:
        subprocess.run(["vgdb", f"--pid={self.nginx.process.pid}", self.pipe, command],
                       check=True, capture_output=True, timeout=300)

    def instructions(self) -> float:
        """User instructions a request. LuaJIT's compiler has done its work before."""
        with load.Client(self.scenario, self.nginx.port) as client:
            client.run(self.scenario.requests)
            self.order("instrumentation on")
            client.run(self.scenario.requests)
            self.order("dump")
        dump = pathlib.Path(f"{self.out}.1")
        total = int(re.search(r"^(?:totals|summary): (\d+)", dump.read_text(), re.M).group(1))
        return total / self.scenario.requests
