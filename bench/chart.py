#!/usr/bin/env python3
"""Charts of a run as SVG, readable on light and dark pages. `chart.py results.json DIR`
draws them again."""
import html
import json
import pathlib
import sys

import modules

STYLE = """
  svg { background: #ffffff }
  text { font: 13px ui-sans-serif, system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #24292f }
  .title { font-size: 15px; font-weight: 600 }
  .note { font-size: 11px; fill: #57606a }
  .number { text-anchor: end }
  .axis { stroke: #d0d7de; stroke-width: 1 }
  .one { stroke: #57606a; stroke-width: 1.5 }
  .better { fill: #0969da } .worse { fill: #bf5a00 }
  .range { stroke: #24292f; stroke-width: 1.2 }
  .bar { stroke: #1a7f37; stroke-width: 2.5 }
  @media (prefers-color-scheme: dark) {
    svg { background: #0d1117 }
    text { fill: #e6edf3 } .note { fill: #9198a1 }
    .axis { stroke: #30363d } .one { stroke: #9198a1 } .range { stroke: #e6edf3 }
    .better { fill: #4493f8 } .worse { fill: #f0883e } .bar { stroke: #3fb950 }
  }
"""
WIDTH, LEFT, RIGHT, TOP, ROW = 880, 372, 800, 84, 24


def text(x: float, y: float, words: str, kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{attribute}>{html.escape(words)}</text>'


def vertical(x: float, top: float, bottom: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>'


def source(results: dict) -> list[str]:
    """Where, when and of what: two lines."""
    machine, versions = results["machine"], results["versions"]
    shown = {name: version for name, version in versions.items()
             if version and name not in ("redis", "memcached", "wrk")}
    return [f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, {results['date'][:16].replace('T', ' ')}",
            ", ".join(f"{name} {version}" for name, version in shown.items())]


def ratio_chart(title: str, subtitle: str, rows: list[tuple], results: dict, less_is_better: bool) -> str:
    """A bar a scenario. Rows are (words, median, range, most that is allowed or None)."""
    end = max([1.0] + [row[2][1] for row in rows]) * 1.02
    scale = (RIGHT - LEFT) / end
    bottom = TOP + ROW * len(rows)
    height = bottom + 64
    step = 0.25 if end <= 2.5 else 1.0 if end <= 10 else 5.0
    parts = [text(24, 30, title, "title"), text(24, 50, subtitle, "note")]
    for number in range(int(end / step) + 1):
        x = LEFT + number * step * scale
        parts += [vertical(x, TOP - 6, bottom, "axis"), text(x - 10, TOP - 12, f"{number * step:.2f}", "note")]
    for index, (words, median, (low, high), bar) in enumerate(rows):
        y = TOP + ROW * index
        better = round(median, 2) <= 1 if less_is_better else round(median, 2) >= 1
        parts += [text(24, y + 16, words),
                  f'<rect class="{"better" if better else "worse"}" x="{LEFT}" y="{y + 4}" '
                  f'width="{median * scale:.1f}" height="{ROW - 8}"/>']
        if high - low >= 0.01:
            parts.append(f'<line class="range" x1="{LEFT + low * scale:.1f}" x2="{LEFT + high * scale:.1f}" '
                         f'y1="{y + ROW / 2:.1f}" y2="{y + ROW / 2:.1f}"/>')
        if bar:
            parts.append(vertical(LEFT + bar * scale, y + 2, y + ROW - 2, "bar"))
        parts.append(text(WIDTH - 24, y + 16, f"{median:.2f}", "number"))
    parts.append(vertical(LEFT + scale, TOP - 6, bottom, "one"))
    parts += [text(24, bottom + 24 + 16 * number, words, "note") for number, words in enumerate(source(results))]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" role="img" aria-labelledby="t d">\n<title id="t">{html.escape(title)}</title>\n'
            f'<desc id="d">{html.escape(subtitle)}: '
            f'{html.escape("; ".join(f"{row[0]} {row[1]:.2f}" for row in rows))}</desc>\n'
            f"<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n")


def rows(results: dict, metric: str, with_bars: bool) -> list[tuple]:
    return [(entry["title"], entry["ratio"][metric]["median"], entry["ratio"][metric]["range"],
             entry["bar"] if with_bars else None)
            for entry in results["scenarios"] if metric in entry.get("ratio", {}) and not entry["native"]]


def write(results: dict, directory: pathlib.Path) -> list[pathlib.Path]:
    """The charts for which there are figures."""
    directory.mkdir(parents=True, exist_ok=True)
    charts = {}
    counted = rows(results, "instructions_user", True)
    cost = counted or rows(results, "cpu_us", False)
    if cost:
        what = "Instructions in user space" if counted else "Processor time"
        marks = "; green marks are the goals" if counted else ""
        charts["cost"] = ratio_chart(f"{what}, a request: {modules.OURS} / C module",
                                     f"Shorter is better, 1.00 (the line) is the C module{marks}", cost, results, True)
    for name, metric, title, less in (
            ("requests", "rps", "Requests a second: ours / C module", False),
            ("memory", "bytes_each", "Resident memory, each: ours / C module", True)):
        found = rows(results, metric, metric == "bytes_each")
        if found:
            charts[name] = ratio_chart(title, f"{'Shorter' if less else 'Longer'} is better, 1.00 (the line) is the C module",
                                       found, results, less)
    files = []
    for name, drawing in charts.items():
        files.append(directory / f"bench-{name}.svg")
        files[-1].write_text(drawing)
    return files


if __name__ == "__main__":
    write(json.loads(pathlib.Path(sys.argv[1]).read_text()), pathlib.Path(sys.argv[2]))
