"""The two modules that are compared: files, versions, and how nginx loads them."""
import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
C_MODULE = ROOT / "build/c-module"  # unpacked by tools/deps.sh bench
NGINX = os.environ.get("TEST_NGINX_BINARY", "nginx")

OURS = "ours"
C = "C"

FILES = {
    OURS: [os.environ.get("TEST_NGINX_LOAD_MODULES",
                          str(ROOT / "target/release/libngx_http_cosocket_module.so"))],
    C: [str(C_MODULE / "usr/lib/nginx/modules" / name)
        for name in ("ndk_http_module.so", "ngx_http_lua_module.so")],
}

# The same for both: Debian's Lua clients, and for the C module its resty.core.
LUA_PATH = ";".join(f"{directory}/?.lua" for directory in (
    ROOT / "build/lua", C_MODULE / "usr/share/lua/5.1")) + ";;"


def load_lines(module: str) -> str:
    return "\n".join(f"load_module {file};" for file in FILES[module])


def missing(module: str) -> list[str]:
    return [file for file in FILES[module] if not os.path.exists(file)]


def _output(*command: str) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return ""
    return result.stdout + result.stderr


def _search(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found.group(1) if found else None


def versions() -> dict[str, str | None]:
    """Of what is measured and of what it talks to; None where it cannot be told."""
    cargo = (ROOT / "Cargo.toml").read_text()
    luajit = _search(r"libluajit\S* => (\S+)", _output("ldd", FILES[OURS][0]))
    package = _output("dpkg", "-S", os.path.realpath(luajit)).split(":")[0] if luajit else None
    return {
        "ngx-cosocket": _search(r'(?m)^version = "(.*?)"', cargo),
        "commit": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty").strip() or None,
        "C module": _search(r"(?m)^Version: (\S+)", _output(
            "apt-cache", "show", "--no-all-versions", "libnginx-mod-http-lua")),
        "nginx": _search(r"nginx/(\S+)", _output(NGINX, "-v")),
        "LuaJIT": _search(r"Version: (\S+)", _output("dpkg", "-s", package)) if package else luajit,
        "redis": _search(r"v=(\S+)", _output("redis-server", "--version")),
        "memcached": _search(r"memcached (\S+)", _output("memcached", "-V")),
        "wrk": _search(r"wrk (?:debian/)?(\S+)", _output("wrk", "-v")),
    }


def machine() -> dict[str, object]:
    cpu = _search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return {"cpu": cpu or os.uname().machine, "cores": os.cpu_count(),
            "kernel": os.uname().release, "load": round(os.getloadavg()[0], 1)}
