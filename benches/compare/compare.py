#!/usr/bin/env python3
"""Asks Quiver and other servers with Prometheus's API the same queries, checks that the answers agree, and prints what each took.

    compare.py --quiver=http://localhost:10902 --peer=prometheus=http://localhost:9090 --end=2026-11-20T12:00:00Z

For every query of the list and every server: the median latency with its minimum, and CPU time a run and peak of memory of the
server's process; then how many times as much each peer took. Ends with 1 where answers differ. Servers on other machines, or
without /proc, give latencies only. Needs Linux for the rest, Python 3.8 and nothing else.
"""

import argparse
import datetime
import json
import math
import os
import re
import statistics
import sys
import time

from answers import compare, size_of
from processes import Process, pid_of_port
from servers import Server, ServerError

HERE = os.path.dirname(os.path.abspath(__file__))
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
KINDS = ("instant", "range", "values", "series")


class Query:
    """A line of the list: name, kind, span and step in seconds, and what is asked."""

    def __init__(self, name, kind, span, step, text):
        self.name, self.kind, self.span, self.step, self.text = name, kind, span, step, text

    def request(self, end):
        """Path and parameters, for data that ends at `end`."""
        if self.kind == "instant":
            return "query", {"query": self.text, "time": number(end)}
        if self.kind == "range":
            times = {"start": number(end - self.span), "end": number(end), "step": number(self.step)}
            return "query_range", {"query": self.text, **times}
        times = {"start": number(end - self.span), "end": number(end)}
        if self.kind == "series":
            return "series", {"match[]": self.text, **times}
        label, _, matcher = self.text.partition(" ")
        return f"label/{label}/values", {**({"match[]": matcher.strip()} if matcher.strip() else {}), **times}


class Measured:
    """What one query took on one server."""

    def __init__(self):
        self.latencies_ms = []
        self.cpu_ms = None
        self.peak_bytes = None
        self.peak_is_exact = False
        self.answer_bytes = 0
        self.error = None
        self.answers = ""
        self.difference = None

    def median_ms(self):
        return statistics.median(self.latencies_ms) if self.latencies_ms else None


def number(seconds):
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def seconds(text):
    """A duration as Prometheus writes it."""
    parts = re.findall(r"(\d+)(ms|[smhdw])", text)
    if not parts or "".join(n + unit for n, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration")
    return sum(int(n) * UNITS[unit] for n, unit in parts)


def moment(text):
    """Unix seconds, or RFC 3339."""
    try:
        return float(text)
    except ValueError:
        parsed = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
        return parsed.replace(tzinfo=parsed.tzinfo or datetime.timezone.utc).timestamp()


def read_queries(path):
    """Reads a list; see queries.txt for its form."""
    queries = []
    with open(path, encoding="utf-8") as lines:
        for at, line in enumerate(lines, 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            fields = line.split(None, 4)
            if len(fields) < 5 or fields[1] not in KINDS:
                sys.exit(f"{path}:{at}: expected: name {'|'.join(KINDS)} span step query")
            name, kind, span, step, text = fields
            try:
                span, step = (None if field == "-" else seconds(field) for field in (span, step))
            except ValueError as error:
                sys.exit(f"{path}:{at}: {error}")
            if (span is None and kind != "instant") or (step is None and kind == "range"):
                sys.exit(f"{path}:{at}: {kind} needs a span" + (" and a step" if kind == "range" else ""))
            queries.append(Query(name, kind, span, step, text))
    return queries


def server_of(text, name=None, answers="exact"):
    """`name=URL[,pid][,exact|shape|none]`, where the name may be given."""
    if name is None:
        name, equals, text = text.partition("=")
        if not equals or "/" in name:
            sys.exit(f"--peer={name}: expected name=URL[,pid][,exact|shape|none]")
    url, *rest = text.split(",")
    pid = None
    for part in rest:
        if part.isdigit():
            pid = int(part)
        elif part in ("exact", "shape", "none"):
            answers = part
        else:
            sys.exit(f"{name}: {part!r} is neither a process id nor exact, shape or none")
    server = Server(name, url, answers)
    if pid is None and server.is_local():
        pid = pid_of_port(server.port)
    server.process = Process(pid) if pid else None
    return server


def measure(query, servers, options):
    """Runs one query on every server: once for the answer, then to warm up, then in batches, forth and back."""
    path, parameters = query.request(options.end)
    measured = {server.name: Measured() for server in servers}
    parsed = {}
    for server in servers:
        one = measured[server.name]
        try:
            started = time.perf_counter()
            body = server.ask(path, parameters)
            first = time.perf_counter() - started
            one.answer_bytes = len(body)
            parsed[server.name] = json.loads(body)["data"]
            for _ in range(options.warm):
                server.ask(path, parameters)
            if server.process:
                one.peak_is_exact = server.process.reset_peak()
            # enough runs for the clock of CPU time, which ticks a hundred times a second
            one.runs = max(options.runs, min(options.runs_max, math.ceil(options.seconds / max(first, 1e-4))))
        except (ServerError, OSError, ValueError, KeyError) as error:
            one.error = str(error)
    left = [server for server in servers if not measured[server.name].error]
    check(query, servers, parsed, measured, options)
    for batch in (left, list(reversed(left))):
        for server in batch:
            run_batch(server, path, parameters, measured[server.name])
    for server in left:
        if server.process:
            measured[server.name].peak_bytes = server.process.peak_bytes()
    return measured


def run_batch(server, path, parameters, one):
    """Half of the runs."""
    count = math.ceil(one.runs / 2)
    before = server.process.cpu_ms() if server.process else None
    try:
        for _ in range(count):
            started = time.perf_counter()
            server.ask(path, parameters)
            one.latencies_ms.append((time.perf_counter() - started) * 1000)
    except (ServerError, OSError) as error:
        one.error = str(error)
        return
    if before is not None:
        # two batches: each gives half of the mean
        one.cpu_ms = (one.cpu_ms or 0) + (server.process.cpu_ms() - before) / count / 2


def check(query, servers, parsed, measured, options):
    """Compares every peer's answer with the first server's."""
    first = servers[0]
    if first.name not in parsed:
        return
    for server in servers[1:]:
        if server.name not in parsed:
            continue
        one = measured[server.name]
        if server.answers == "none":
            one.answers = "not compared"
            continue
        difference = compare(parsed[first.name], parsed[server.name], server.answers, options.tolerance, options.ignore_labels)
        one.difference = difference
        one.answers = "DIFFER" if difference else "agree" if server.answers == "exact" else "same shape"
    if size_of(parsed[first.name]) == 0:
        measured[first.name].answers = "empty"


def ratio(of, to):
    return of / to if of and to else None


def text_of(value, digits=None):
    """Three digits that count."""
    if value is None:
        return "–"
    if digits is None:
        digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def rows_of(results, servers):
    """The table: a header, the queries, and the geometric means of the ratios."""
    first, peers = servers[0], servers[1:]
    header = ["query"]
    for server in servers:
        header += [f"{server.name} ms", "min", "CPU ms", "peak MB"]
    for peer in peers:
        header += [f"× {peer.name}: time", "CPU", "memory", "answers"]
    rows, ratios = [header], {peer.name: ([], [], []) for peer in peers}
    for query, measured in results:
        row = [query.name]
        for server in servers:
            one = measured[server.name]
            if one.error:
                row += ["error", "–", "–", "–"]
                continue
            peak = None if one.peak_bytes is None else one.peak_bytes / 1e6
            mark = "" if one.peak_is_exact or peak is None else "≤"
            row += [text_of(one.median_ms()), text_of(min(one.latencies_ms)), text_of(one.cpu_ms), mark + text_of(peak, 0)]
        ours = measured[first.name]
        for peer in peers:
            theirs = measured[peer.name]
            all_three = (
                ratio(theirs.median_ms(), ours.median_ms()),
                ratio(theirs.cpu_ms, ours.cpu_ms),
                ratio(theirs.peak_bytes, ours.peak_bytes),
            )
            # a faster wrong answer is not worth its time
            if not (ours.error or theirs.error or theirs.difference):
                for values, value in zip(ratios[peer.name], all_three):
                    values += [value] if value else []
            note = theirs.answers if ours.answers != "empty" else f"empty, {theirs.answers}"
            row += [text_of(value) for value in all_three] + ["–" if theirs.error or ours.error else note]
        rows.append(row)
    means = ["geometric mean"] + [""] * (4 * len(servers))
    for peer in peers:
        means += [text_of(statistics.geometric_mean(values)) if values else "–" for values in ratios[peer.name]] + [""]
    if peers:
        rows.append(means)
    return rows


def print_table(rows, markdown):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lefts = [i for i, name in enumerate(rows[0]) if name in ("query", "answers")]
    pad = lambda i, text: text.ljust(widths[i]) if i in lefts else text.rjust(widths[i])
    for at, row in enumerate(rows):
        cells = [pad(i, text) for i, text in enumerate(row)]
        print("| " + " | ".join(cells) + " |" if markdown else "  ".join(cells).rstrip())
        if at == 0:
            rule = [("-" * width if i in lefts else "-" * (width - 1) + ":") for i, width in enumerate(widths)]
            print("|-" + "-|-".join(rule) + "-|" if markdown else "  ".join("-" * width for width in widths))


def as_json(results, servers):
    """Everything that was measured."""
    of = lambda one: {**vars(one), "median_ms": one.median_ms()}
    return [
        {"name": query.name, "query": query.text, "servers": {s.name: of(measured[s.name]) for s in servers}}
        for query, measured in results
    ]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quiver", required=True, metavar="URL[,pid]", help="the server that the others are compared with")
    parser.add_argument("--peer", action="append", default=[], metavar="name=URL[,pid][,exact|shape|none]",
                        help="another server, may be repeated; how its answers are compared is --answers unless it says so")
    parser.add_argument("--answers", choices=("exact", "shape", "none"), default="exact",
                        help="what of a peer's answers must agree: values, just the series, or nothing")
    parser.add_argument("--end", required=True, type=moment, metavar="TIME", help="end of the data, in seconds or RFC 3339")
    parser.add_argument("--queries", default=os.path.join(HERE, "queries.txt"), metavar="FILE")
    parser.add_argument("--only", default="", metavar="REGEX", help="only queries whose name matches")
    parser.add_argument("--without", metavar="REGEX", help="no queries whose name matches")
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="timed runs of a query, at least (10)")
    parser.add_argument("--seconds", type=float, default=0.5, metavar="S",
                        help="go on for about so long, which CPU times of short queries need (0.5)")
    parser.add_argument("--runs-max", type=int, default=500, metavar="N", help="timed runs of a query, at most (500)")
    parser.add_argument("--warm", type=int, default=2, metavar="N", help="runs that are not timed, besides the first (2)")
    parser.add_argument("--tolerance", type=float, default=1e-9, metavar="X", help="relative difference of equal values (1e-9)")
    parser.add_argument("--ignore-labels", default="", metavar="A,B", type=lambda text: set(filter(None, text.split(","))),
                        help="labels that only some servers add")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument("--json", metavar="FILE", help="write everything that was measured")
    options = parser.parse_args()
    if options.runs < 1 or options.warm < 0:
        parser.error("--runs is at least 1, and --warm not negative")
    return options


def main():
    options = arguments()
    servers = [server_of(options.quiver, "quiver")] + [server_of(peer, None, options.answers) for peer in options.peer]
    if len({server.name for server in servers}) < len(servers):
        sys.exit("every server needs a name of its own")
    for server in servers:
        print(f"{server.name}: {server.url}, process {server.process.pid if server.process else 'unknown'}", file=sys.stderr)
    results, remarks, different = [], [], 0
    for query in read_queries(options.queries):
        if not re.search(options.only, query.name) or options.without and re.search(options.without, query.name):
            continue
        measured = measure(query, servers, options)
        results.append((query, measured))
        for server in servers:
            one = measured[server.name]
            median = "" if one.median_ms() is None else f"{one.median_ms():.2f} ms"
            print(f"{query.name}: {server.name}: {one.error or median} {one.answers}".rstrip(), file=sys.stderr)
            if one.difference or one.error:
                remarks.append(f"{query.name}, {server.name}: {one.error or one.difference}")
            different += bool(one.difference or one.error and server is servers[0])
    if not results:
        sys.exit("no query matches")
    print_table(rows_of(results, servers), options.markdown)
    if remarks:
        print("\n" + "\n".join(f"- {remark}" for remark in remarks))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as out:
            json.dump(as_json(results, servers), out, indent=1)
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
