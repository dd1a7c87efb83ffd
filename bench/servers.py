"""nginx under test, and the servers that it talks to. All listen on loopback and stop
with the context that started them."""
import contextlib
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import modules

CONF = pathlib.Path(__file__).parent / "conf"


def raise_file_limit() -> int:
    """As many descriptors as this user may have, at most 65,536 a process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


FILES = raise_file_limit()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


def substitute(text: str, values: dict[str, object]) -> str:
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def wait_for_port(port: int, process: subprocess.Popen, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{process.args[0]} does not listen on port {port}") from None
            time.sleep(0.02)


def stop(process: subprocess.Popen, how: int = signal.SIGTERM) -> None:
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def directory():
    path = pathlib.Path(tempfile.mkdtemp(prefix="cosocket-bench-"))
    path.chmod(0o755)  # nginx's worker may be another user
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Peers:
    """redis-server, memcached, dnsmasq and a stock nginx; `values` has their ports."""

    def __init__(self, dir: pathlib.Path, stack: contextlib.ExitStack):
        self.dir = dir
        self.stack = stack
        names = ["REDIS_PORT", "MEMCACHED_PORT", "DNS_PORT", "PEER_PORT", "PEER_TLS_PORT"]
        self.values: dict[str, object] = dict(zip(names, free_ports(len(names))))
        self.values |= {"REDIS_SOCKET": dir / "redis.sock", "CERTIFICATES": dir,
                        "FILES_DIR": dir / "files", "FILES": FILES}
        self.certificate()
        self.files()
        self.redis()
        self.memcached()
        self.run(["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                  "--bind-interfaces", "--listen-address=127.0.0.1", "--pid-file=", "--user=",
                  f"--port={self.values['DNS_PORT']}", "--address=/peer.test/127.0.0.1",
                  "--local-ttl=3600"], self.values["DNS_PORT"])
        self.nginx()

    def run(self, command: list[str], port: int) -> None:
        with open(self.dir / f"{os.path.basename(command[0])}.log", "w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.dir)
        self.stack.callback(stop, process)
        wait_for_port(port, process)

    def certificate(self) -> None:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj", "/CN=peer.test",
                        "-addext", "subjectAltName=DNS:peer.test,DNS:server.test",
                        "-keyout", self.dir / "peer.key", "-out", self.dir / "peer.pem"],
                       check=True, stderr=subprocess.DEVNULL)

    def files(self) -> None:
        files = self.dir / "files"
        files.mkdir()
        # Lines that begin like a boundary do, as text often does.
        text = b"--a line of eighty bytes, which is what one often finds in a message, or a log\r\n"
        megabyte = (text * 13110)[:1 << 20]
        parts = b"".join(megabyte[:65536] + b"\r\n--boundary\r\n" for _ in range(16))
        for name, data in (("lines.txt", b"nineteen bytes long\n" * 10000), ("text.txt", megabyte),
                           ("part.txt", megabyte[:100_000] + b"\r\n--boundary--\r\n"),
                           ("multipart.txt", parts), ("large.bin", megabyte * 64)):
            (files / name).write_bytes(data)

    def redis(self) -> None:
        port = self.values["REDIS_PORT"]
        self.run(["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "",
                  "--appendonly", "no", "--unixsocket", str(self.values["REDIS_SOCKET"]),
                  "--unixsocketperm", "777"], port)
        ask(port, b"SET key value-of-the-key\r\n")

    def memcached(self) -> None:
        port = self.values["MEMCACHED_PORT"]
        user = ["-u", "root"] if os.geteuid() == 0 else []
        self.run(["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", *user], port)
        ask(port, b"set key 0 0 16\r\nvalue-of-the-key\r\n")

    def nginx(self) -> None:
        dir = self.dir / "peer"
        dir.mkdir()
        conf = dir / "nginx.conf"
        conf.write_text(substitute((CONF / "peer.conf").read_text(), self.values | {"DIR": dir}))
        self.run([modules.NGINX, "-p", str(dir), "-e", str(dir / "error.log"), "-c", str(conf)],
                 self.values["PEER_PORT"])


def ask(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.sendall(request)
        return s.recv(4096)


class Refused(Exception):
    """nginx does not accept the configuration; the text is the reason."""


class Nginx:
    """nginx with one of the modules and one scenario."""

    def __init__(self, module, scenario, peers: Peers, stack, master=True, wrapper=()):
        self.dir = peers.dir / f"{scenario.name}-{module}{'' if master else '-single'}"
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir()
        self.module = module
        self.port, second = free_ports(2)
        self.values = peers.values | {
            "DIR": self.dir, "PORT": self.port, "SECOND_PORT": second,
            "MASTER": "on" if master else "off", "LOAD_MODULES": modules.load_lines(module),
            "LUA_PATH": modules.LUA_PATH}
        conf = self.dir / "nginx.conf"
        conf.write_text(substitute((CONF / "nginx.conf").read_text(), self.values))
        (self.dir / "scenario.conf").write_text(substitute(scenario.text, self.values))
        self.error_log = self.dir / "error.log"
        command = [modules.NGINX, "-p", str(self.dir), "-e", str(self.error_log), "-c", str(conf)]
        test = subprocess.run([*command, "-t"], capture_output=True, text=True)
        if test.returncode != 0:
            lines = [line for line in test.stderr.splitlines() if "[emerg]" in line]
            raise Refused(lines[0].partition("[emerg] ")[2] if lines else test.stderr.strip())
        self.process = subprocess.Popen([*wrapper, *command], stderr=open(self.dir / "stderr", "w"))
        stack.callback(stop, self.process)
        wait_for_port(self.port, self.process)
        self.worker = self.find_worker() if master else self.process.pid

    def find_worker(self) -> int:
        pid = self.process.pid
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            if children:
                return int(children[0])
            time.sleep(0.02)
        raise SystemExit("nginx has no worker")

    def complaints(self) -> list[str]:
        """What nginx logged, from warnings on."""
        return self.error_log.read_text().splitlines() if self.error_log.exists() else []
