#!/usr/bin/env python3
"""Load that misbehaves, and a look at what it leaves behind.

Clients run every kind of handler of soak.conf and go away at random points, over
HTTP/1.1 with keepalive and pipelining, HTTP/1.0 and HTTP/2; in a second part nginx
is reloaded and its workers are killed meanwhile. Afterwards no worker may have
crashed, no request be stuck, no descriptor and no memory be lost.

    t/soak/soak.py --seconds 600 [--valgrind] [--gc-stress]
"""
import argparse
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODULE = os.environ.get("TEST_NGINX_LOAD_MODULES",
                        ROOT + "/target/release/libngx_http_cosocket_module.so")
PATHS = ["/hello", "/line", "/pool", "/backlog", "/unix", "/until", "/big", "/drip", "/sleep",
         "/error", "/exit", "/coroutines", "/refused", "/timeout", "/body", "/read_body",
         "/redirect", "/error_page", "/ssi", "/access", "/rewrite", "/fresh", "/leave", "/udp",
         "/flush", "/head", "/gc", "/precondition", "/yield", "/resolve", "/threads", "/kill", "/timer",
         "/tls", "/socket", "/raw"]
BENIGN = re.compile(r"\[(?:info|notice|warn)\]|signal 9 .SIGKILL.|exited on signal 9")
BAD = re.compile(r"\[alert\]|\[emerg\]|panicked|foreign exception|Sanitizer|"
                 r"open socket|zero size buf|Invalid (?:read|write)|uninitialised|definitely lost")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Nginx:
    def __init__(self, args):
        self.dir = tempfile.mkdtemp(prefix="cosocket-soak-")
        os.chmod(self.dir, 0o755)
        self.port, self.h2 = free_port(), free_port()
        self.log = self.dir + "/error.log"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x",
                        "-keyout", self.dir + "/key.pem", "-out", self.dir + "/cert.pem"],
                       check=True, stderr=subprocess.DEVNULL)
        text = open(ROOT + "/t/soak/soak.conf").read()
        for name, value in {"MODULE": MODULE, "DIR": self.dir, "PORT": self.port,
                            "H2PORT": self.h2, "CLOSED": free_port()}.items():
            text = text.replace("@%s@" % name, str(value))
        open(self.dir + "/nginx.conf", "w").write(text)
        command = ["nginx", "-p", self.dir, "-e", self.log, "-c", self.dir + "/nginx.conf"]
        command[0] = os.environ.get("TEST_NGINX_BINARY", "nginx")
        env = dict(os.environ)
        if args.gc_stress:
            env["NGX_COSOCKET_GC_STRESS"] = "1"
        if args.valgrind:
            command = ["valgrind", "-q", "--trace-children=yes", "--num-callers=40",
                       "--suppressions=" + ROOT + "/t/lib/valgrind.suppress",
                       "--log-file=" + self.dir + "/valgrind.%p"] + command
        self.process = subprocess.Popen(command, env=env, stderr=open(self.dir + "/stderr", "w"))
        for _ in range(600):
            try:
                self.get("/hello")
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit("nginx did not start: " + open(self.log).read())

    def connect(self, port=None):
        return socket.create_connection(("127.0.0.1", port or self.port), 20)

    def get(self, path):
        with self.connect() as s:
            s.sendall(b"GET %s HTTP/1.0\r\n\r\n" % path.encode())
            data = b""
            while True:
                piece = s.recv(65536)
                if not piece:
                    return data.split(b"\r\n\r\n", 1)[-1].decode()
                data += piece

    def workers(self):
        pid = self.process.pid
        try:
            return sorted(map(int, open("/proc/%d/task/%d/children" % (pid, pid)).read().split()))
        except OSError:
            return []

    def descriptors(self):
        count = 0
        for pid in self.workers():
            try:
                count += len(os.listdir("/proc/%d/fd" % pid))
            except OSError:
                pass
        return count

    def memory(self):
        """Resident KB of all workers."""
        total = 0
        for pid in self.workers():
            try:
                text = open("/proc/%d/status" % pid).read()
                total += int(re.search(r"VmRSS:\s+(\d+)", text).group(1))
            except (OSError, AttributeError):
                pass
        return total

    def active(self):
        return int(re.search(r"Active connections: (\d+)", self.get("/status")).group(1))

    def settle(self, seconds):
        """Waits until the asking connection is the only one."""
        deadline = time.time() + seconds
        while time.time() < deadline:
            if self.active() <= 1:
                return True
            time.sleep(0.2)
        return False

    def problems(self):
        found = []
        files = [f for f in os.listdir(self.dir)
                 if f in ("error.log", "stderr") or f.startswith("valgrind")]
        for name in files:
            for line in open(self.dir + "/" + name, errors="replace"):
                if BAD.search(line) and not BENIGN.search(line):
                    found.append(name + ": " + line.strip()[:300])
        return found


class Client(threading.Thread):
    """Sends requests and leaves at random points."""

    def __init__(self, nginx, until, seed):
        super().__init__(daemon=True)
        self.nginx, self.until = nginx, until
        self.random = random.Random(seed)
        self.done = self.left = 0
        self.failure = None

    def run(self):
        while time.time() < self.until:
            try:
                self.exchange()
            except (ConnectionError, socket.timeout) as error:
                if isinstance(error, socket.timeout):
                    self.failure = "a request got no answer in 20 s: %s" % self.path
                    return

    def request(self, last):
        r = self.random
        self.path = r.choice(PATHS)
        method, body, extra = "GET", b"", ""
        if self.path in ("/body", "/read_body", "/socket", "/kill") or r.random() < 0.1:
            method = "POST"
            body = b"b" * r.choice([0, 1, 100, 5000, 40000])
            extra = "Content-Length: %d\r\n" % len(body)
        elif self.path == "/head":
            method = "HEAD"
        elif self.path == "/precondition":
            extra = 'If-Match: "no"\r\n'
        if last:
            extra += "Connection: close\r\n"
        head = "%s %s?%d HTTP/1.1\r\nHost: x\r\n%s\r\n" % (method, self.path, r.randrange(9), extra)
        return head.encode() + body

    def exchange(self):
        r = self.random
        with self.nginx.connect() as s:
            count = r.choice([1, 1, 2, 5])
            data = b"".join(self.request(i == count - 1) for i in range(count))
            if r.random() < 0.3:
                # Goes away in the middle of the request, or of the answer.
                if r.random() < 0.3:
                    s.sendall(data[:r.randrange(len(data))])
                else:
                    s.sendall(data)
                time.sleep(r.choice([0, 0, 0.001, 0.005, 0.02, 0.1]))
                if r.random() < 0.5:
                    s.recv(r.choice([1, 1000]))
                if r.random() < 0.5:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                self.left += 1
                return
            s.sendall(data)
            while s.recv(65536):
                if r.random() < 0.02:
                    time.sleep(0.05)
            self.done += count


class Curl(threading.Thread):
    """HTTP/2: several streams on a connection, cut at random times."""

    def __init__(self, nginx, until, seed):
        super().__init__(daemon=True)
        self.nginx, self.until = nginx, until
        self.random = random.Random(seed)

    def run(self):
        base = "http://127.0.0.1:%d" % self.nginx.h2
        while time.time() < self.until:
            paths = ["%s%s?%d" % (base, self.random.choice(PATHS), self.random.randrange(9))
                     for _ in range(8)]
            limit = self.random.choice(["0.01", "0.05", "0.2", "5"])
            subprocess.run(["curl", "-s", "--http2-prior-knowledge", "--parallel", "-m", limit,
                            "-o", "/dev/null"] + paths,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def load(nginx, seconds, clients, seed, disturb=None):
    until = time.time() + seconds
    threads = [Client(nginx, until, seed + i) for i in range(clients)]
    if shutil.which("curl"):
        threads.append(Curl(nginx, until, seed))
    for t in threads:
        t.start()
    while time.time() < until:
        time.sleep(0.1)
        if disturb:
            disturb()
    for t in threads:
        t.join(40)
    clients = [t for t in threads if isinstance(t, Client)]
    failures = [t.failure for t in clients if t.failure]
    return failures, sum(t.done for t in clients), sum(t.left for t in clients)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--valgrind", action="store_true")
    parser.add_argument("--gc-stress", action="store_true")
    parser.add_argument("--keep", action="store_true", help="keep the server's directory")
    args = parser.parse_args()
    print("seed %d" % args.seed)
    nginx, bad = Nginx(args), []

    def check(ok, text):
        print(("ok   " if ok else "FAIL ") + text)
        if not ok:
            bad.append(text)

    try:
        slow = 10 if args.valgrind else 1
        # What is allocated once is allocated now.
        load(nginx, args.seconds / 6, args.clients, args.seed)
        check(nginx.settle(20 * slow), "all requests end (%d connections)" % nginx.active())
        workers, descriptors, memory = nginx.workers(), nginx.descriptors(), nginx.memory()

        failures, done, left = load(nginx, args.seconds / 2, args.clients, args.seed + 1000)
        check(not failures, "all requests are answered %s" % failures[:3])
        check(done > 0, "%d requests, %d given up by their clients" % (done, left))
        check(nginx.settle(20 * slow), "all requests end (%d connections)" % nginx.active())
        check(nginx.workers() == workers, "the workers are those of the start")
        after = nginx.descriptors()
        check(after <= descriptors + 8, "descriptors: %d, then %d" % (descriptors, after))
        grown = nginx.memory() - memory
        check(args.valgrind or grown < 8000, "memory: %d KB, then %+d" % (memory, grown))

        def disturb():
            what = random.random()
            if what < 0.3:
                nginx.process.send_signal(signal.SIGHUP)
            elif what < 0.4 and nginx.workers():
                try:
                    os.kill(random.choice(nginx.workers()), signal.SIGKILL)
                except OSError:
                    pass
        load(nginx, args.seconds / 3, args.clients, args.seed + 2000, disturb)
        deadline = time.time() + 30 * slow
        while len(nginx.workers()) > 2 and time.time() < deadline:
            time.sleep(0.2)
        check(len(nginx.workers()) == 2, "old workers end (%d are there)" % len(nginx.workers()))
        check(nginx.get("/hello") == "hello\n", "it still answers")
        nginx.process.send_signal(signal.SIGQUIT)
        try:
            status = nginx.process.wait(30 * slow)
        except subprocess.TimeoutExpired:
            status = "none: it does not end"
        check(status == 0, "exit status %s" % status)
    finally:
        nginx.process.poll() is None and nginx.process.terminate()
    problems = nginx.problems()
    check(not problems, "nothing bad in the logs %s" % "\n    ".join(problems[:20]))
    if bad or args.keep:
        print("see " + nginx.dir)
    else:
        shutil.rmtree(nginx.dir)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
