#!/usr/bin/env python3
"""Compares ngx-cosocket with the C module; see README.md. Started by tools/bench.sh."""
import argparse
import contextlib
import datetime
import json
import os
import pathlib
import statistics
import sys

import chart
import load
import measure
import memory
import modules
import report
import scenario
import servers

HERE = pathlib.Path(__file__).resolve().parent
RATIOS = ("instructions_user", "instructions_kernel", "user_us", "cpu_us", "rps", "p50_us", "p99_us",
          "system_calls_total", "bytes_each")
BUILD = modules.ROOT / "build/bench"  # profiles, and the results of a part of the scenarios


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", help="all, if none is named")
    parser.add_argument("--rounds", type=int, default=5, help="runs of wrk for each module")
    parser.add_argument("--seconds", type=int, default=3, help="of each run")
    parser.add_argument("--instructions", choices=["auto", "perf", "callgrind", "no"], default="auto",
                        help="auto: perf where permitted")
    parser.add_argument("--module", choices=[modules.OURS, modules.C], help="only this one")
    parser.add_argument("--output", type=pathlib.Path, help="directory of all that is written")
    options = parser.parse_args()
    options.events = []
    if options.instructions in ("auto", "perf"):
        options.events = measure.Perf.permitted()
        if options.events:
            options.instructions = "perf"
        elif options.instructions == "perf":
            raise SystemExit("error: perf cannot count instructions here; "
                             "INSTRUCTIONS=callgrind can, in user space")
        else:
            options.instructions = "no"
    return options


def compare_answers(item, instances) -> None:
    """Both must answer, and the same: else there is nothing to compare."""
    answers = {}
    for name, nginx in instances.items():
        with load.Client(item, nginx.port) as client:
            try:
                answers[name] = client.get()
            except (OSError, load.Failed) as reason:
                raise load.Failed("; ".join([f"{name}: {reason}", *nginx.complaints()[:3]])) from None
    if len(set(answers.values())) > 1:
        raise load.Failed(f"the answers differ: {answers}")


def measure_load(item, peers, options, names) -> dict:
    """Rounds of wrk on both in turn, who is first changing; then their system calls."""
    with contextlib.ExitStack() as stack:
        instances = {name: servers.Nginx(name, item, peers, stack) for name in names}
        compare_answers(item, instances)
        runs = {name: [] for name in names}
        for number in range(options.rounds):
            for name in (names, names[::-1])[number % 2]:
                report.progress(f"{item.name}: round {number + 1} of {options.rounds}, {name}")
                runs[name].append(measure.under_load(
                    item, instances[name], options.seconds, options.events))
        result = {}
        for name, nginx in instances.items():
            report.progress(f"{item.name}: system calls, {name}")
            result[name] = {"rounds": runs[name], "system_calls": measure.system_calls(item, nginx)}
            if nginx.complaints():
                result[name]["log"] = nginx.complaints()[:5]
    return result


def measure_callgrind(item, peers, name) -> dict:
    report.progress(f"{item.name}: callgrind, {name}")
    with contextlib.ExitStack() as stack:
        callgrind = measure.Callgrind(name, item, peers, BUILD / "callgrind", stack)
        return {"instructions_user": callgrind.instructions()}


def measure_memory(item, peers, options, names) -> dict:
    """Rounds of a fresh nginx each: memory once used does not tell much."""
    rounds = {name: [] for name in names}
    for number in range(max(1, options.rounds // 2)):
        for name in names:
            with contextlib.ExitStack() as stack:
                nginx = servers.Nginx(name, item, peers, stack)
                rounds[name].append(memory.MEASURES[item.hold](
                    item, nginx, lambda text, name=name: report.progress(f"{item.name}, {name}: {text}")))
    return {name: {"rounds": rounds[name]} for name in names}


def summarize(result: dict, names: list[str]) -> None:
    """Adds medians over the rounds, and of the ratios ours / C median and range."""
    for name in names:
        entry = result[name]
        for key in entry.get("rounds") or [{}]:
            for metric in key:
                entry[metric] = statistics.median(run[metric] for run in entry["rounds"])
        if entry.get("system_calls"):
            entry["system_calls_total"] = round(sum(entry["system_calls"].values()), 2)
    if len(names) < 2:
        return
    ours, theirs = result[modules.OURS], result[modules.C]
    result["ratio"] = {}
    for metric in RATIOS:
        pairs = [(a[metric], b[metric]) for a, b in zip(ours.get("rounds", []), theirs.get("rounds", []))
                 if metric in a] or ([(ours[metric], theirs[metric])] if metric in ours else [])
        ratios = [a / b for a, b in pairs if b]
        if ratios:
            result["ratio"][metric] = {"median": round(statistics.median(ratios), 3),
                                       "range": [round(min(ratios), 3), round(max(ratios), 3)]}


def run(item, peers, options, names) -> dict:
    result = {"name": item.name, "title": item.title, "bar": item.bar, "native": item.native}
    try:
        if item.memory:
            result |= measure_memory(item, peers, options, names)
        else:
            result |= measure_load(item, peers, options, names)
        if options.instructions == "callgrind" and not item.memory:
            for name in names:
                result[name] |= measure_callgrind(item, peers, name)
        summarize(result, names)
    except servers.Refused as reason:
        result["skipped"] = str(reason)
    except load.Failed as reason:
        result["failed"] = str(reason)
    return result


def write(results: dict, options: argparse.Namespace) -> None:
    """Only a complete run replaces what the documents show."""
    whole = not options.scenarios and not options.module and options.rounds > 0
    figures, images = (HERE, modules.ROOT / "docs/img") if whole else (BUILD, BUILD)
    if options.output:
        figures = images = options.output
    figures.mkdir(parents=True, exist_ok=True)
    written = [figures / "results.json", figures / "results.md"]
    written[0].write_text(json.dumps(results, indent=1) + "\n")
    written[1].write_text(report.markdown(results))
    written += chart.write(results, images)
    report.line("\nwritten: " + ", ".join(os.path.relpath(file, modules.ROOT) for file in written))


def main() -> None:
    options = arguments()
    chosen = scenario.select(options.scenarios)
    names = [options.module] if options.module else [modules.OURS, modules.C]
    for name in names:
        if modules.missing(name):
            raise SystemExit(f"error: no such file: {modules.missing(name)[0]}")
    results = {"date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
               "machine": modules.machine(), "versions": modules.versions(),
               "instructions": options.instructions, "rounds": options.rounds, "seconds": options.seconds,
               "scenarios": []}
    report.head(results)
    with contextlib.ExitStack() as stack:
        peers = servers.Peers(stack.enter_context(servers.directory()), stack)
        for item in chosen:
            results["scenarios"].append(run(item, peers, options, names))
            report.row(results["scenarios"][-1], names)
    report.foot(results, names)
    write(results, options)
    if any("failed" in result for result in results["scenarios"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
