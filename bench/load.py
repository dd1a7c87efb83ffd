"""Load: wrk where time counts, a client of our own where every request is counted."""
import http.client
import pathlib
import re
import ssl
import subprocess

from scenario import Scenario

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}


class Failed(Exception):
    """Requests were not answered as they should be."""


def wrk(scenario: Scenario, port: int, seconds: int, dir: pathlib.Path) -> dict[str, float]:
    """Requests/s, number of requests, p50 and p99 in microseconds."""
    command = ["wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "--latency", "--timeout", "30s"]
    for header in scenario.headers:
        command += ["-H", header]
    if scenario.post:
        script = dir / "post.lua"
        script.write_text('wrk.method = "POST"\n'
                          f'wrk.body = string.rep("0123456789abcdef", {scenario.post // 16})\n')
        command += ["-s", str(script)]
    scheme = "https" if scenario.tls else "http"
    out = subprocess.run([*command, f"{scheme}://127.0.0.1:{port}{scenario.path}"],
                         capture_output=True, text=True).stdout
    bad = re.search(r"Socket errors: (.*)|Non-2xx.*: (.*)", out)
    count = re.search(r"(\d+) requests in ", out)
    # wrk counts as a read error what a server that closes after each answer does.
    if not count or int(count.group(1)) == 0 or (bad and scenario.keepalive):
        raise Failed(f"wrk: {bad.group() if bad else out.strip() or 'no answer'}")
    return {"requests": int(count.group(1)),
            "rps": float(re.search(r"Requests/sec: +([\d.]+)", out).group(1)),
            "p50_us": percentile(out, 50), "p99_us": percentile(out, 99)}


def percentile(out: str, which: int) -> float:
    number, unit = re.search(rf"{which}% +([\d.]+)(us|ms|s|m)\b", out).groups()
    return float(number) * UNITS[unit] * 1e6


class Client:
    """One connection, one request at a time."""

    def __init__(self, scenario: Scenario, port: int):
        self.scenario = scenario
        if scenario.tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.http = http.client.HTTPSConnection("127.0.0.1", port, timeout=600, context=context)
        else:
            self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        self.body = b"0123456789abcdef" * (scenario.post // 16)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.close()

    def get(self, path: str | None = None) -> bytes:
        method = "POST" if self.scenario.post else "GET"
        path = path or self.scenario.path
        self.http.putrequest(method, path, skip_accept_encoding=True)
        for header in self.scenario.headers:
            self.http.putheader(*re.split(": *", header, maxsplit=1))
        if self.body:
            self.http.putheader("Content-Length", str(len(self.body)))
        self.http.endheaders(self.body or None)
        response = self.http.getresponse()
        body = response.read()
        if response.status != 200:
            raise Failed(f"{method} {path}: {response.status}")
        return body

    def run(self, count: int) -> None:
        for _ in range(count):
            self.get()
