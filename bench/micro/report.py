"""Tables, or lines of JSON, of what podwire-micro has written: report.py DIRECTORY [FILE|-]. See bench/micro.sh."""
import json
import pathlib
import re
import statistics
import sys

STAGE_COLUMNS = ([("burst", b, dict(burst=b, flows=10000, cold=0)) for b in (4, 16, 32, 64)] +
                 [("flows", f, dict(burst=64, flows=f, cold=0)) for f in (1, 1000, 10000, 100000)] +
                 [("cold", f, dict(burst=64, flows=f, cold=1)) for f in (1, 1000, 10000, 100000)])
TABLE_COLUMNS = [(kind, n, dict(entries=n, hot=hot)) for kind, hot in (("hot", 1), ("all", 0))
                 for n in (1000, 10000, 100000, 1000000)]


def read(path):
    """{(name, parameters): {"cycles":..., ...}}; the median of repetitions."""
    found = {}
    for one in json.loads(path.read_text())["benchmarks"]:
        if one.get("run_type") == "aggregate" or one.get("error_occurred"):
            continue
        parts = one["run_name"].split("/")
        parameters = {k: int(v) for k, v in (p.split(":") for p in parts if re.fullmatch(r"\w+:\d+", p))}
        name = "/".join(p for p in parts if ":" not in p and p != "manual_time")
        figures = found.setdefault((name, tuple(sorted(parameters.items()))), {})
        for key, value in one.items():
            if key.startswith("cycles_per_"):
                figures.setdefault("cycles", []).append(value)
            elif key == "driver_cycles_per_packet":
                figures.setdefault("driver_cycles", []).append(value)
            elif key == "bytes_per_entry":
                figures.setdefault(key, []).append(value)
    return {key: {k: round(statistics.median(v), 2) for k, v in figures.items()} for key, figures in found.items()}


def short(number):
    return f"{number // 1000000}M" if number >= 1000000 else f"{number // 1000}k" if number >= 1000 else str(number)


def table(title, figures, wanted, columns, legend):
    names = list(dict.fromkeys(name for name, _ in figures if wanted(name)))
    if not names:
        return
    print(f"\n{title}\n{legend}")
    width = max(map(len, names))
    print(" " * width, *(f"{kind if i == 0 or columns[i - 1][0] != kind else '':>8}" for i, (kind, _, _) in enumerate(columns)))
    print(" " * width, *(f"{short(value):>8}" for _, value, _ in columns))
    for name in names:
        cells = []
        for _, _, parameters in columns:
            at = figures.get((name, tuple(sorted(parameters.items()))))
            cells.append(f"{at['cycles']:>8.1f}" if at and "cycles" in at else f"{'-':>8}")
        print(f"{name:<{width}}", *cells)


def main(directory, out):
    directory = pathlib.Path(directory)
    figures = read(directory / "figures.json")
    lines = [json.dumps({"name": name, **dict(parameters), **values}) for (name, parameters), values in figures.items()]
    lines += (directory / "cross.json").read_text().splitlines()
    if out == "-":
        print("\n".join(lines))
        return
    if out:
        pathlib.Path(out).write_text("\n".join(lines) + "\n")
    stage = lambda name: name.startswith(("stage/", "pipeline/"))
    table("Stages and pipeline, cycles per packet", figures, stage, STAGE_COLUMNS,
          "burst: by burst size, 10k flows, warm. flows, cold: by number of flows, bursts of 64.")
    table("Tables, cycles per look-up", figures, lambda name: name.startswith(("table/", "fib/")), TABLE_COLUMNS,
          "by number of entries; hot: 1,000 keys take turns, all: every key in random order.")
    rest = {key: values for key, values in figures.items() if not stage(key[0]) and not key[0].startswith(("table/", "fib/"))}
    if rest:
        print("\nThe rest, cycles each")
    for (name, parameters), values in rest.items():
        label = name + "".join(f" {short(v)}" for _, v in parameters)
        print(f"{label:<40}{values.get('cycles', 0):>12.1f}")
    cross = (directory / "cross").read_text()
    if cross:
        print("\nCross-check: the stage driver's counters inside the pipeline beside the stage alone\n" + cross.rstrip())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "")
