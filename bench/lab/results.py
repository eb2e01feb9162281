"""From windows to figures: medians, spread, ratios, and what is too noisy to conclude from."""
import statistics

NOISY = 0.10
# The figure that a cell's spread is of: what the windows of one system differ by, of their median.


def spread(values):
    return (max(values) - min(values)) / statistics.median(values) if values else None


def summary(cell, system, march, windows):
    cycles = [window.cycles for window in windows]
    out = {"scenario": cell.scenario, "system": system, "size": cell.size if cell.size == "imix" else int(cell.size),
           "flows": cell.flows, "cycles_per_packet": round(statistics.median(cycles), 1),
           "mpps": round(statistics.median(window.mpps for window in windows), 3), "spread": round(spread(cycles), 3),
           "march": march, "windows": [round(c, 1) for c in cycles]}
    middle = sorted(windows, key=lambda window: window.cycles)[len(windows) // 2]
    return out | middle.more


def ratios(cells):
    """Podwire beside each other system on the same frames: how many times as fast it is."""
    out = []
    for ours in cells:
        if ours["system"] != "podwire":
            continue
        for theirs in cells:
            same = all(ours[key] == theirs[key] for key in ("scenario", "size", "flows"))
            if not same or theirs["system"] == "podwire":
                continue
            out.append({"ratio": f"podwire to {theirs['system']}", **{key: ours[key] for key in
                                                                      ("scenario", "size", "flows")},
                        "times": round(theirs["cycles_per_packet"] / ours["cycles_per_packet"], 2),
                        "podwire_march": ours["march"], "other_march": theirs["march"],
                        "noisy": max(ours["spread"], theirs["spread"]) > NOISY})
    return out
