"""Adds up JUnit files for tests/run.sh: prints what was skipped and why that is or is not allowed, then
`N passed, N failed, N skipped`. Exit status 0 only when nothing failed.

  summary.py SKIPS.txt [--crashed NAME]... FILE.xml...

`--crashed`: a runner that failed without a failed test in its file (or without a file) counts as one failure.
"""
import pathlib
import sys
import xml.etree.ElementTree as ElementTree


def allowed_skips(path):
    rows = (line.strip() for line in pathlib.Path(path).read_text().splitlines())
    return {row.split()[0]: " ".join(row.split()[1:]) for row in rows if row and not row.startswith("#")}


def name_of(case):
    group = case.get("classname") or ""
    return f"{group}.{case.get('name')}" if group else case.get("name")


def outcome(case):
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    if case.find("skipped") is not None or case.get("status") == "notrun" or case.get("result") in ("skipped", "suppressed"):
        return "skipped"
    return "passed"


def main(arguments):
    skips, crashed, files = allowed_skips(arguments[0]), [], []
    rest = iter(arguments[1:])
    for argument in rest:
        if argument == "--crashed":
            crashed.append(next(rest))
        else:
            files.append(argument)
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for file in files:
        for case in ElementTree.parse(file).iter("testcase"):
            name, result = name_of(case), outcome(case)
            if result == "skipped" and name not in skips:
                print(f"skipped but not in tests/skips.txt, which counts as a failure: {name}")
                result = "failed"
            elif result == "skipped":
                print(f"skipped: {name}: {skips[name]}")
            elif result == "failed":
                print(f"failed: {name}")
            counts[result] += 1
    for name in crashed:
        print(f"failed: {name} ended badly without naming a failed test")
        counts["failed"] += 1
    if sum(counts.values()) == 0:
        print("no test ran, which counts as a failure")
        counts["failed"] = 1
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return counts["failed"] != 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
