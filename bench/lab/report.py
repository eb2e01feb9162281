"""What is left of a run: one JSON file, a Markdown table, an SVG chart a scenario."""
import datetime
import html
import json

from lab import goals, results, scenarios

_COLOURS = {"podwire": "#1f6f8b", "podwire-baseline": "#74b3c4", "testpmd": "#b8b8b8", "ovs-dpdk": "#d98e04"}
_BAR, _GAP, _PANEL, _LEFT, _TOP = 44, 28, 190, 64, 66
_FIGURES = {"cycles_per_packet": "TSC cycles a packet (less is better)", "mpps": "Mpps (more is better)"}


def write(directory, facts, cells, ratios, left_out):
    """The path of the JSON file; the others stand beside it."""
    directory.mkdir(parents=True, exist_ok=True)
    date = datetime.datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
    document = {"date": date, **facts, "cells": cells, "ratios": ratios, "goals": goals.judge(cells, ratios),
                "left_out": left_out}
    path = directory / f"{date}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    path.with_suffix(".md").write_text(markdown(document))
    for name in dict.fromkeys(cell["scenario"] for cell in cells):
        (directory / f"{date}-{name}.svg").write_text(chart(name, [c for c in cells if c["scenario"] == name]))
    return path


def _flows(number):
    for unit, letter in ((1_000_000, "M"), (1000, "k")):
        if number >= unit and number % unit == 0:
            return f"{number // unit}{letter}"
    return str(number)


def _size(size):
    return "IMIX" if size == "imix" else f"{size} B"


def table(cells, ratios):
    """One line a cell: every system's figures, and the ratios."""
    systems = [name for name in scenarios.SYSTEMS if any(cell["system"] == name for cell in cells)]
    others = [name for name in systems if not name.startswith("podwire")] if "podwire" in systems else []
    lines = ["| scenario | size | flows | " + " | ".join(systems + [f"× {name}" for name in others]) + " |",
             "|---|---|---|" + "---|" * (len(systems) + len(others))]
    of = lambda cell: (cell["scenario"], cell["size"], cell["flows"])
    for key in dict.fromkeys(of(cell) for cell in cells):
        row = {cell["system"]: cell for cell in cells if of(cell) == key}
        times = {r["ratio"].removeprefix("podwire to "): r for r in ratios if of(r) == key}
        figures = [_figure(row.get(name)) for name in systems]
        figures += [_ratio(times.get(name)) for name in others]
        lines.append(f"| {key[0]} | {_size(key[1])} | {_flows(key[2])} | " + " | ".join(figures) + " |")
    return lines


def _ratio(ratio):
    if ratio is None:
        return ""
    return f"{ratio['times']:.2f}{' ?' if ratio['noisy'] else ''}"


def _figure(cell):
    if cell is None:
        return ""
    return (f"{cell['cycles_per_packet']:.0f} c, {cell['mpps']:.2f} Mpps, ±{cell['spread']:.0%}"
            f"{' ?' if cell['spread'] > results.NOISY else ''}")


def goal_table(judged):
    """What the project wants, and what there is."""
    if not judged:
        return []
    lines = ["| goal | scenario | size | flows | wanted | measured | |", "|---|---|---|---|---|---|---|"]
    for one in judged:
        wanted = f"≤ {one['at_most']:g}" if "at_most" in one else f"≥ {one['at_least']:g}"
        wanted += f" ({one['named']:g}: {one['why']})" if "why" in one else ""
        verdict = ("met" if one["met"] else "missed") + (" ?" if one["noisy"] else "")
        lines.append(f"| {one['goal']} | {one['scenario']} | {_size(one['size'])} | {_flows(one['flows'])} | {wanted} | "
                     f"{one['measured']:g} | {verdict} |")
    return lines


def markdown(document):
    marches = {cell["system"]: cell["march"] for cell in document["cells"]}
    lines = [f"# Podwire's laboratory, {document['date']}", "",
             f"{document['cpu']}, {document['cpus']} CPUs, Linux {document['kernel']}, DPDK {document['dpdk']}.",
             "Compiled for: " + ", ".join(f"{name} {march}" for name, march in marches.items()) + ".", "",
             "TSC cycles a packet on one core, receive and transmit included, Mpps, and the windows' spread. "
             "× is how many times as fast Podwire is, window by window. "
             f"? marks a spread above {results.NOISY:.0%}: do not conclude.", "",
             *table(document["cells"], document["ratios"]), ""]
    if document["goals"]:
        lines += ["The project's goals, one worker:", "", *goal_table(document["goals"]), ""]
    churn = [cell for cell in document["cells"] if "reply_ms_p99" in cell]
    for cell in churn:
        lines += [f"Churn: {cell['updates_per_second']} updates/s cost {cell['lost']:.1%} of {cell['quiet_mpps']:.2f} "
                  f"Mpps; a reply takes {cell['reply_ms_p50']} ms, at the 99th percentile {cell['reply_ms_p99']} ms.",
                  ""]
    busy = [cell for cell in document["cells"] if "switch_busy" in cell]
    for cell in busy:
        lines += [f"{cell['scenario']}, {_size(cell['size'])}: {cell['system']} had packets in hand for "
                  f"{cell['switch_busy']:.0%} of the time, its traffic machine for {cell['traffic_busy']:.0%}.", ""]
    if document["left_out"]:
        lines += ["Left out:", ""] + [f"- {one['cell']}: {one['why']}" for one in document["left_out"]] + [""]
    return "\n".join(lines)


def _text(x, y, words, size=12, anchor="middle", weight="normal"):
    return (f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}">'
            f'{html.escape(str(words))}</text>')


def _panel(cells, systems, top, figure):
    """Bars for systems over flow counts, of one frame size."""
    flows = sorted({cell["flows"] for cell in cells})
    most = max(cell[figure] for cell in cells)
    width = len(systems) * _BAR + _GAP
    base = top + _PANEL
    out = [_text(8, top + 4, _size(cells[0]["size"]), 13, "start", "bold")]
    for part in (0, 0.5, 1):
        y = base - part * (_PANEL - 30)
        out.append(f'<line x1="{_LEFT}" x2="{_LEFT + width * len(flows)}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>')
        out.append(_text(_LEFT - 6, y + 4, f"{most * part:.3g}", 11, "end"))
    for group, number in enumerate(flows):
        left = _LEFT + group * width + _GAP / 2
        out.append(_text(left + (width - _GAP) / 2, base + 17, f"{_flows(number)} flow{'s' * (number != 1)}"))
        for cell in (c for c in cells if c["flows"] == number):
            x = left + systems.index(cell["system"]) * _BAR
            height = cell[figure] / most * (_PANEL - 30)
            faint = ' fill-opacity="0.45"' if cell["spread"] > results.NOISY else ""
            out.append(f'<rect x="{x:.0f}" y="{base - height:.1f}" width="{_BAR - 6}" height="{height:.1f}" '
                       f'fill="{_COLOURS[cell["system"]]}"{faint}/>')
            label = f"{cell[figure]:.0f}" if figure == "cycles_per_packet" else f"{cell[figure]:.1f}"
            out.append(_text(x + (_BAR - 6) / 2, base - height - 4, label, 11))
    return out


def chart(name, cells):
    """One panel a frame size."""
    figure = cells[0]["by"]
    systems = [system for system in scenarios.SYSTEMS if any(cell["system"] == system for cell in cells)]
    sizes = list(dict.fromkeys(cell["size"] for cell in cells))
    flows = len({cell["flows"] for cell in cells})
    width = max(_LEFT + flows * (len(systems) * _BAR + _GAP) + 20, 560)
    height = _TOP + len(sizes) * (_PANEL + 44) + 10
    marches = {cell["system"]: cell["march"] for cell in cells}
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
           f'fill="#222">', f'<rect width="{width}" height="{height}" fill="#fff"/>',
           _text(8, 20, f"{name}: {scenarios.SCENARIOS[name].title}", 15, "start", "bold"),
           _text(8, 38, f"{_FIGURES[figure]}; pale: too noisy to conclude", 11, "start")]
    x = 8
    for system in systems:
        label = f"{system}, {marches[system]}"
        out.append(f'<rect x="{x}" y="46" width="11" height="11" fill="{_COLOURS[system]}"/>')
        out.append(_text(x + 16, 56, label, 11, "start"))
        x += 34 + 7 * len(label)
    for number, size in enumerate(sizes):
        out += _panel([cell for cell in cells if cell["size"] == size], systems, _TOP + 16 + number * (_PANEL + 44),
                      figure)
    return "\n".join(out + ["</svg>"]) + "\n"
