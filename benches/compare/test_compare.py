"""python3 -m unittest discover -s benches/compare"""

import json
import os
import socket
import unittest
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import compare
from answers import compare as difference
from processes import Process, pid_of_port
from servers import Server, ServerError


def matrix(*series):
    result = [{"metric": metric, "values": [[15 * i, value] for i, value in enumerate(values)]} for metric, values in series]
    return {"resultType": "matrix", "result": result}


class Answers(unittest.TestCase):
    def check(self, ours, theirs, part, how="exact", ignored=frozenset()):
        found = difference(ours, theirs, how, 1e-9, set(ignored))
        if part is None:
            self.assertIsNone(found)
        else:
            self.assertIn(part, found or "")

    def test_values(self):
        a = matrix(({"a": "1"}, ["1", "NaN", "+Inf"]), ({"a": "2"}, ["1e3"]))
        self.check(a, matrix(({"a": "2"}, ["1000.0000000001"]), ({"a": "1"}, ["1.0", "NaN", "+Inf"])), None)
        self.check(a, matrix(({"a": "2"}, ["1000.1"]), ({"a": "1"}, ["1", "NaN", "+Inf"])), "1e3, not 1000.1")
        self.check(a, matrix(({"a": "2"}, ["1e3"]), ({"a": "1"}, ["1", "2", "+Inf"])), "NaN, not 2")
        self.check(a, matrix(({"a": "2"}, ["1e3"]), ({"a": "1"}, ["1", "NaN"])), "3 points, not 2")
        self.check(a, matrix(({"a": "2"}, ["1e3"])), "2 series, not 1: has {a=1}")
        self.check(a, matrix(({"a": "2"}, ["7"]), ({"a": "1"}, ["7"])), None, "shape")

    def test_labels(self):
        named = matrix(({"a": "1", "__name__": "x", "replica": "r0"}, ["1"]))
        self.check(named, matrix(({"a": "1"}, ["1"])), "lacks {a=1}")
        self.check(named, matrix(({"a": "1", "__name__": "x"}, ["1"])), None, ignored={"replica"})
        self.check(named, matrix(({"a": "1", "replica": "r0"}, ["2"])), None, "shape")
        self.check(["a", "b"], ["b", "a"], None)
        self.check(["a"], ["b"], "1 entries")
        self.check([{"a": "1"}], [{"a": "2"}], "1 entries")

    def test_histograms(self):
        def vector(count, buckets):
            sample = {"metric": {}, "histogram": [1, {"count": count, "sum": "2", "buckets": buckets}]}
            return {"resultType": "vector", "result": [sample]}

        one = vector("3", [[0, "0.5", "1", "3"]])
        self.check(one, vector("3.0", [[0, "0.5", "1", "3"]]), None)
        self.check(one, vector("4", [[0, "0.5", "1", "3"]]), "a histogram")
        self.check(one, vector("3", []), "a histogram")
        self.check({"resultType": "scalar", "result": [1, "2"]}, {"resultType": "scalar", "result": [1, "3"]}, "2, not 3")
        self.check(one, {"resultType": "scalar", "result": [1, "3"]}, "vector, not scalar")


class Queries(unittest.TestCase):
    def test_the_list_is_read(self):
        queries = compare.read_queries(os.path.join(compare.HERE, "queries.txt"))
        self.assertGreaterEqual(len(queries), 30)
        self.assertEqual(len({query.name for query in queries}), len(queries))
        path, parameters = queries[0].request(1000000.0)
        self.assertEqual((path, parameters["start"], parameters["step"]), ("query_range", "992800", "30"))
        requests = {query.name: query.request(1000000.0) for query in queries}
        self.assertEqual(requests["label-values-matched"][0], "label/pod/values")
        self.assertEqual(requests["label-values-matched"][1]["match[]"], 'http_requests_total{code="500"}')

    def test_times(self):
        self.assertEqual(compare.seconds("1h30m"), 5400)
        self.assertEqual(compare.moment("2026-11-20T12:00:00Z"), 1795176000)
        self.assertEqual(compare.moment("12.5"), 12.5)
        for wrong in ("", "5", "h", "1x", "1h "):
            with self.assertRaises(ValueError):
                compare.seconds(wrong)


class Table(unittest.TestCase):
    def test_only_right_answers_count(self):
        def measured(ms, difference=None):
            one = compare.Measured()
            one.latencies_ms, one.difference = [ms], difference
            return one

        servers = [Server("quiver", "http://a", "exact"), Server("x", "http://b", "exact")]
        query = lambda name: compare.Query(name, "instant", None, None, "x")
        results = [
            (query("right"), {"quiver": measured(2.0), "x": measured(8.0)}),
            (query("wrong"), {"quiver": measured(2.0), "x": measured(0.1, "7, not 8")}),
        ]
        rows = compare.rows_of(results, servers)
        self.assertEqual({len(row) for row in rows}, {1 + 4 * 2 + 4})
        self.assertEqual([row[9] for row in rows], ["× x: time", "4.00", "0.05", "4.00"])


class Serving(unittest.TestCase):
    def test_a_server_is_asked_and_found(self):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                status = 400 if "bad" in form else 200
                body = json.dumps({"error": "no"} if status == 400 else {"data": form}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        with HTTPServer(("127.0.0.1", 0), Handler) as listening:
            Thread(target=listening.serve_forever, daemon=True).start()
            port = listening.server_address[1]
            server = Server("x", f"http://127.0.0.1:{port}", "exact")
            self.assertEqual(json.loads(server.ask("query", {"query": "a b"}))["data"], "query=a+b")
            with self.assertRaisesRegex(ServerError, "400: no"):
                server.ask("query", {"query": "bad"})
            if os.path.exists("/proc/net/tcp"):
                self.assertEqual(pid_of_port(port), os.getpid())
            server.close()
            listening.shutdown()

    def test_a_process_is_read(self):
        if not os.path.exists("/proc/self/stat"):
            self.skipTest("no /proc")
        process = Process(os.getpid())
        before = process.cpu_ms()
        while process.cpu_ms() == before:
            sum(range(10000))
        self.assertGreater(process.peak_bytes(), 1 << 20)
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            self.assertIsNone(pid_of_port(unused.getsockname()[1]))


if __name__ == "__main__":
    unittest.main()
