"""Scenarios: one file each in bench/scenarios.

A scenario is a piece of nginx configuration for the `http` level. Its first lines are
comments `# name: value`; see README.md for what they mean.
"""
import dataclasses
import pathlib
import re

DIRECTORY = pathlib.Path(__file__).parent / "scenarios"


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    text: str
    bar: float | None = None  # ours / C, in user instructions a request, at most
    path: str = "/"
    connections: int = 8  # of the load generator
    requests: int = 1000  # where every request is counted: callgrind, strace
    post: int = 0  # bytes of request body; 0: a GET request
    headers: tuple[str, ...] = ()
    tls: bool = False
    native: str = ""  # has nothing of the modules in it: to compare the scenario of this name with
    memory: int = 0  # a memory scenario: how many things are held
    hold: str = ""  # and of what kind; see memory.py

    @property
    def keepalive(self) -> bool:
        return not any(line.lower() == "connection: close" for line in self.headers)


def read(file: pathlib.Path) -> Scenario:
    text = file.read_text()
    head = re.match(r"(?:#.*\n)*", text).group()
    values = dict(re.findall(r"^# ([a-z]+): *(.*?) *$", head, re.M))
    kinds = {field.name: field.type for field in dataclasses.fields(Scenario)}
    settings = {}
    for key, value in values.items():
        if key == "header":
            settings["headers"] = tuple(re.findall(r"^# header: *(.*?) *$", head, re.M))
        elif key not in kinds or key in ("name", "text"):
            raise SystemExit(f"{file}: no such setting: {key}")
        elif kinds[key] is bool:
            settings[key] = value == "yes"
        elif kinds[key] is str:
            settings[key] = value
        else:
            settings[key] = float(value) if "." in value else int(value)
    if "title" not in settings:
        raise SystemExit(f"{file}: no line '# title: ...'")
    return Scenario(name=file.stem, text=text, **settings)


def select(names: list[str]) -> list[Scenario]:
    """Those named (all, if none are), in the order of the file ORDER."""
    order = (DIRECTORY / "ORDER").read_text().split()
    files = {file.stem: file for file in DIRECTORY.glob("*.conf")}
    unknown = [name for name in names if name not in files]
    if unknown:
        raise SystemExit(f"no scenario {', '.join(unknown)}; there are: {', '.join(sorted(files))}")
    known = sorted(files, key=lambda name: (order.index(name) if name in order else len(order), name))
    return [read(files[name]) for name in known if not names or name in names]
