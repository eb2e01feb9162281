"""From windows to figures: medians, spread, ratios, and what is too noisy to conclude from."""
import statistics

NOISY = 0.10
KEYS = ("scenario", "system", "size", "flows", "cycles_per_packet", "mpps", "spread")
# What only some scenarios have.
MORE_KEYS = ("switch_busy", "traffic_busy", "new_mflows", "quiet_mpps", "lost", "updates_per_second", "reply_ms_p50", "reply_ms_p99")


def spread(values):
    """How far the middle half of the windows lies apart, as a part of the median. With few windows: all of them."""
    if len(values) < 4:
        return (max(values) - min(values)) / statistics.median(values)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / median


def summary(cell, by, system, march, windows):
    """`by`: the figure that counts, whose spread it is."""
    figures = {"cycles_per_packet": [window.cycles for window in windows], "mpps": [window.mpps for window in windows]}
    # What is told beside the figures is that of the window in the middle.
    middle = sorted(range(len(windows)), key=figures[by].__getitem__)[len(windows) // 2]
    return {"scenario": cell.scenario, "system": system, "size": cell.size if cell.size == "imix" else int(cell.size),
            "flows": cell.flows, "cycles_per_packet": round(statistics.median(figures["cycles_per_packet"]), 1),
            "mpps": round(statistics.median(figures["mpps"]), 3), "spread": round(spread(figures[by]), 3),
            "by": by, "march": march, "windows": [round(value, 3) for value in figures[by]], **windows[middle].more}


def _times(ours, theirs):
    """Round by round, so that what slowed down both of a round counts for neither."""
    pairs = zip(ours["windows"], theirs["windows"])
    return [a / b if ours["by"] == "mpps" else b / a for a, b in pairs]


def ratios(cells):
    """Podwire beside each other system on the same frames: how many times as fast it is."""
    out = []
    same = ("scenario", "size", "flows")
    for ours in (cell for cell in cells if cell["system"].startswith("podwire")):
        for theirs in cells:
            if theirs["system"].startswith("podwire") or any(ours[key] != theirs[key] for key in same):
                continue
            times = _times(ours, theirs)
            out.append({"ratio": f"{ours['system']} to {theirs['system']}", **{key: ours[key] for key in same},
                        "times": round(statistics.median(times), 3), "spread": round(spread(times), 3),
                        "podwire_march": ours["march"], "other_march": theirs["march"],
                        "noisy": spread(times) > NOISY})
    return out
