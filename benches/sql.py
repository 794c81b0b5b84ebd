"""How fast SQL is: rows a second of a filtered scan over Flight SQL, and an average by label beside its PromQL twin.

    python3 -m venv venv && venv/bin/pip install -r tests/clients/requirements.txt
    quiver tools generate --out=/data/sql --series=20000 --duration=12h --external-label=cluster=bench
    quiver query --objstore.config-file=bucket.yml --http-address=127.0.0.1:10902 --grpc-address=127.0.0.1:10901 &
    venv/bin/python benches/sql.py

Each line is the best and the median of --runs runs, after one that does not count. The client runs on the same machine and only
takes batches in.
"""

import argparse
import json
import statistics
import time
import urllib.parse
import urllib.request

import adbc_driver_flightsql.dbapi as flight_sql


def timed(runs, work):
    """Best and median seconds, and what the last run returned."""
    result = work()
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - began)
    return min(seconds), statistics.median(seconds), result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grpc", default="127.0.0.1:10901")
    parser.add_argument("--http", default="127.0.0.1:10902")
    parser.add_argument("--metric", default="http_requests_total")
    parser.add_argument("--label", default="namespace")
    parser.add_argument("--end", default="2026-01-01T00:00:00Z", help="end of the data")
    parser.add_argument("--hours", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    since = f"timestamp > TIMESTAMP '{args.end}' - INTERVAL '{args.hours} hours' AND timestamp <= TIMESTAMP '{args.end}'"

    with flight_sql.connect(f"grpc://{args.grpc}") as connection, connection.cursor() as cursor:
        def rows(statement):
            cursor.execute(statement)
            return sum(batch.num_rows for batch in cursor.fetch_record_batch())

        def scan(name, columns, where):
            best, median, count = timed(
                args.runs, lambda: rows(f'SELECT {columns} FROM "{args.metric}" WHERE {where}'))
            print(f"{name:44} {count:>12,} rows {best:7.3f} s best {median:7.3f} s median "
                  f"{count / best / 1e6:7.2f} M rows/s")

        scan("timestamp and value of all series", "timestamp, value", since)
        scan("timestamp, value and a label", f'timestamp, value, "{args.label}"', since)
        scan("the same, filtered by the label", f'timestamp, value, "{args.label}"',
             f"{since} AND \"{args.label}\" IS NOT NULL")

        best, median, groups = timed(args.runs, lambda: rows(
            f'SELECT "{args.label}", avg(value) FROM "{args.metric}" WHERE {since} GROUP BY "{args.label}"'))
        print(f"{'avg by label, SQL':44} {groups:>12,} rows {best:7.3f} s best {median:7.3f} s median")

    matrix = f"{{__name__={json.dumps(args.metric)}}}[{args.hours}h]"
    twin = (f"sum by ({args.label}) (sum_over_time({matrix})) / "
            f"sum by ({args.label}) (count_over_time({matrix}))")
    form = urllib.parse.urlencode({"query": twin, "time": args.end}).encode()

    def promql():
        with urllib.request.urlopen(f"http://{args.http}/api/v1/query", form) as response:
            return len(json.load(response)["data"]["result"])

    best, median, groups = timed(args.runs, promql)
    print(f"{'the same in PromQL':44} {groups:>12,} rows {best:7.3f} s best {median:7.3f} s median")


if __name__ == "__main__":
    main()
