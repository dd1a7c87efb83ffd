"""The table on the terminal."""
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
        (1e9, " G"), (1e6, " M"), (1e3, " k"), (1, unit and f" {unit}"))
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


# What is shown of each module, and its ratio.
COLUMNS = (("instructions", "instructions_user", ""), ("kernel instr.", "instructions_kernel", ""),
           ("processor time", "cpu_us", "us"), ("requests/s", "rps", ""),
           ("p50", "p50_us", "us"), ("p99", "p99_us", "us"), ("system calls", "system_calls_total", ""))


def head(results: dict) -> None:
    line(" ".join(f"{name} {version}," for name, version in results["versions"].items() if version).rstrip(","))
    machine = results["machine"]
    line(f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, "
         f"load {machine['load']}, {results['date']}")
    counted = {"no": "not counted (INSTRUCTIONS=callgrind counts them)", "perf": "by perf stat",
               "callgrind": "in user space, by callgrind"}[results["instructions"]]
    line(f"instructions: {counted}; {results['rounds']} rounds of {results['seconds']:g} s each")


def row(result: dict, names: list[str]) -> None:
    line()
    line(paint("1", f"{result['name']}: {result['title']}"))
    for key in ("skipped", "failed"):
        if key in result:
            line(f"  {paint('33' if key == 'skipped' else '31', key)}: {result[key]}")
            return
    for title, metric, unit in COLUMNS:
        values = [result[name].get(metric) for name in names]
        if all(value is None for value in values):
            continue
        bar = result["bar"] if metric == "instructions_user" else None
        text = "  ".join(f"{name} {short(value, unit):>9}" for name, value in zip(names, values))
        text = f"  {title:<14}  {text}  {ratio(result, metric, bar):<20}"
        line((text + (f"  bar {bar:.2f}" if bar else "")).rstrip())
    for name in names:
        for message in result[name].get("log", []):
            line(f"  {name}: {message}")


def foot(results: dict) -> None:
    bars = [(entry["ratio"]["instructions_user"]["median"], entry["bar"]) for entry in results["scenarios"]
            if entry.get("bar") and "instructions_user" in entry.get("ratio", {})]
    if bars:
        line()
        line(f"{sum(value <= bar for value, bar in bars)} of {len(bars)} scenarios within their bar "
             f"(user instructions, {modules.OURS} / {modules.C})")
