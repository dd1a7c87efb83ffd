"""The tables: on the terminal while it runs, and as Markdown."""
import os
import sys

import modules

TTY = sys.stdout.isatty()
COLOUR = TTY and not os.environ.get("NO_COLOR")


def paint(code: str, text: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if COLOUR else text


def progress(text: str) -> None:
    """A line that the next one replaces; nothing where nobody watches."""
    if TTY:
        print(f"\r\x1b[K{text}", end="", flush=True)


def line(text: str = "") -> None:
    print(("\r\x1b[K" if TTY else "") + text, flush=True)


def short(value: float | None, unit: str = "") -> str:
    """Three significant digits: 12.3 k, 8.10 ms (of microseconds)."""
    if value is None:
        return "-"
    steps = ((1e6, " s"), (1e3, " ms"), (1, " µs")) if unit == "us" else (
        (1e9, f" G{unit}"), (1e6, f" M{unit}"), (1e3, f" k{unit}"), (1, unit and f" {unit}"))
    for limit, suffix in steps:
        if abs(value) >= limit * 0.9995 or limit == 1:
            scaled = value / limit
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f}{suffix}"


def ratio(result: dict, metric: str, bar: float | None = None) -> str:
    entry = result.get("ratio", {}).get(metric)
    if not entry:
        return "-"
    low, high = entry["range"]
    text = f"{entry['median']:.2f}" + (f" ({low:.2f}-{high:.2f})" if high - low >= 0.005 else "")
    if bar is not None and not result.get("native"):
        text = paint("32" if entry["median"] <= bar else "31", text)
    return text


# What is shown of each module, and its ratio: title, metric, unit.
COST = (("instructions", "instructions_user", ""), ("kernel instr.", "instructions_kernel", ""),
        ("processor time", "cpu_us", "us"), ("system calls", "system_calls_total", ""))
LOAD = (("requests/s", "rps", ""), ("p50", "p50_us", "us"), ("p99", "p99_us", "us"))
MEMORY = (("resident", "bytes_each", "B"),)

# What bars are about. Of system calls, there may be none more (strace's own coming and going
# costs one now and then).
BAR_METRICS = ("instructions_user", "bytes_each")
SYSTEM_CALLS_BAR = 1.01


def head(results: dict) -> None:
    line(" ".join(f"{name} {version}," for name, version in results["versions"].items() if version).rstrip(","))
    machine = results["machine"]
    line(f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, "
         f"load {machine['load']}, {results['date']}")
    counted = {"no": "not counted (INSTRUCTIONS=callgrind counts them)", "perf": "by perf stat",
               "callgrind": "in user space, by callgrind"}[results["instructions"]]
    line(f"instructions: {counted}; {results['rounds']} rounds of {results['seconds']} s each")


def row(result: dict, names: list[str]) -> None:
    line()
    line(paint("1", f"{result['name']}: {result['title']}"))
    for key in ("skipped", "failed"):
        if key in result:
            line(f"  {paint('33' if key == 'skipped' else '31', key)}: {result[key]}")
            return
    for title, metric, unit in COST + LOAD + MEMORY:
        values = [result[name].get(metric) for name in names]
        if all(value is None for value in values):
            continue
        bar = result["bar"] if metric in BAR_METRICS else None
        limit = SYSTEM_CALLS_BAR if metric == "system_calls_total" else bar
        text = "  ".join(f"{name} {short(value, unit):>9}" for name, value in zip(names, values))
        text = f"  {title:<14}  {text}  {ratio(result, metric, limit):<20}"
        line((text + (f"  bar {bar:.2f}" if bar else "")).rstrip())
    for name in names:
        for message in result[name].get("log", []):
            line(f"  {name}: {message}")


def beside_native(results: dict, names: list[str]) -> None:
    """How a scenario compares with what nginx does itself."""
    entries = {entry["name"]: entry for entry in results["scenarios"]}
    for native in entries.values():
        lua = entries.get(native["native"])
        for metric in ("instructions_user", "cpu_us"):
            if lua and all(metric in entry.get(name, {}) for entry in (lua, native) for name in names):
                factors = ", ".join(f"{name} {lua[name][metric] / native[name][metric]:.2f}" for name in names)
                line(f"{lua['name']} / {native['name']}, {metric}: {factors}")
                break


def foot(results: dict, names: list[str]) -> None:
    """What was reached, and what was not."""
    bars = [(entry["name"], entry["ratio"][metric]["median"], entry["bar"])
            for entry in results["scenarios"] if entry["bar"] and not entry["native"]
            for metric in BAR_METRICS if metric in entry.get("ratio", {})]
    calls = [entry["name"] for entry in results["scenarios"]
             if entry.get("ratio", {}).get("system_calls_total", {"median": 0})["median"] > SYSTEM_CALLS_BAR]
    line()
    beside_native(results, names)
    if bars:
        above = [f"{name} {value:.2f} ({bar:.2f})" for name, value, bar in bars if value > bar]
        line(f"{len(bars) - len(above)} of {len(bars)} scenarios within their bar ({modules.OURS} / "
             f"{modules.C}: user instructions, or memory){'; not: ' if above else ''}{', '.join(above)}")
    if calls:
        line(f"more system calls than the C module: {', '.join(calls)}")


def markdown(results: dict) -> str:
    """All scenarios, a table of what their requests cost and one of what the load saw."""
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items() if version)
    text = ["# Figures of the last complete run", "",
            f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, {results['date']}.", "",
            f"{versions}.", "",
            "Written by `make bench`; [README.md](README.md) says what is measured, and how. Ratios are "
            "ours / C, the median over the rounds, with their range in brackets.", ""]
    for columns in (COST, LOAD, MEMORY):
        used = [column for column in columns
                if any(column[1] in entry.get("ratio", {}) for entry in results["scenarios"])]
        text += ["| scenario | " + " | ".join(f"{title}: ours | C | ratio" for title, _, _ in used) + " |",
                 "| --- |" + " ---: |" * 3 * len(used)]
        for entry in results["scenarios"]:
            if any(metric in entry.get("ratio", {}) for _, metric, _ in used):
                cells = [cell for column in used for cell in markdown_cells(entry, *column[1:])]
                text.append(f"| {entry['title']} | " + " | ".join(cells) + " |")
        text.append("")
    for entry in results["scenarios"]:
        for key in ("skipped", "failed"):
            if key in entry:
                text.append(f"- {entry['title']}: {key}: {entry[key]}")
    return "\n".join(text).rstrip() + "\n"


def markdown_cells(entry: dict, metric: str, unit: str) -> list[str]:
    if metric not in entry.get("ratio", {}):
        return [""] * 3
    found = entry["ratio"][metric]
    low, high = found["range"]
    spread = f" ({low:.2f}-{high:.2f})" if high - low >= 0.005 else ""
    bar = f", bar {entry['bar']:.2f}" if entry["bar"] and metric in BAR_METRICS else ""
    return [short(entry[name].get(metric), unit) for name in (modules.OURS, modules.C)] + [
        f"{found['median']:.2f}{spread}{bar}"]
