"""Flight SQL, SQL over HTTP, exports and the side-index as people's own programs use them.

Run by .ci/run in a virtual environment with requirements.txt: test_clients.py QUIVER, the program. It starts `quiver all
--sample` on free ports, whose golden blocks have 25,740 samples of `up`.
"""

import io
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.request

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi as flight_sql
import adbc_driver_manager
import duckdb
import pandas
import polars
import pyarrow
import pyarrow.parquet

QUIVER = sys.argv.pop() if len(sys.argv) > 1 else "target/debug/quiver"
HEADER = adbc_driver_flightsql.DatabaseOptions.RPC_CALL_HEADER_PREFIX.value


class Server:
    """The program over the golden blocks, stopped with its folder removed. It writes metrics of its own beside them, which have no cluster."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.data = pathlib.Path(self.folder.name)
        self.process = subprocess.Popen(
            [QUIVER, "all", "--sample", f"--data-dir={self.data}", "--http-address=127.0.0.1:0",
             "--grpc-address=127.0.0.1:0"],
            stderr=subprocess.PIPE, text=True)
        self.http = self.grpc = None
        for line in self.process.stderr:
            found = re.search(r'listening for (HTTP|gRPC)".* address=(\S+)', line)
            if found:
                setattr(self, found[1].lower(), found[2])
            if "msg=ready" in line:
                break
        else:
            raise RuntimeError("quiver ended early")
        # it must not block on a full pipe
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()

    def connect(self, **options):
        return flight_sql.connect(f"grpc://{self.grpc}", db_kwargs=options)


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server())

    def test_metadata(self):
        with self.server.connect() as connection:
            info = connection.adbc_get_info()
            self.assertEqual(info["vendor_name"], "Quiver")
            objects = connection.adbc_get_objects(depth="all", table_name_filter="up").read_all().to_pylist()
            schemas = {schema["db_schema_name"]: schema for schema in objects[0]["catalog_db_schemas"]}
            columns = [column["column_name"] for column in schemas["metrics"]["db_schema_tables"][0]["table_columns"]]
            self.assertEqual(columns[:3], ["timestamp", "value", "histogram"])
            self.assertIn("instance", columns)
            self.assertEqual(set(connection.adbc_get_table_types()), {"TABLE", "VIEW"})
            schema = connection.adbc_get_table_schema("up", db_schema_filter="metrics")
            self.assertEqual(schema.field("timestamp").type, pyarrow.timestamp("ms", tz="UTC"))

    def test_queries_with_parameters(self):
        with self.server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            self.assertEqual(cursor.fetchall(), [(1,)])
            for job, expected in [("api", 11_340), ("node", 14_400), ("nobody", 0)]:
                cursor.execute("SELECT count(*) FROM up WHERE job = ? AND value >= ?", [job, 0])
                self.assertEqual(cursor.fetchone(), (expected,))
            cursor.execute("SELECT timestamp, value, job, instance FROM up WHERE cluster = 'eu-1'")
            table = cursor.fetch_arrow_table()
            self.assertEqual(table.num_rows, 25_740)
            self.assertTrue(pyarrow.types.is_dictionary(table.schema.field("job").type))

    def test_a_scan_in_several_parts(self):
        with self.server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(value) FROM http_request_duration_seconds_bucket")
            (expected,) = cursor.fetchone()
            cursor.execute("SELECT value FROM http_request_duration_seconds_bucket")
            self.assertEqual(cursor.fetch_arrow_table().num_rows, expected)

    def test_errors_are_told(self):
        with self.server.connect() as connection, connection.cursor() as cursor:
            for statement in ["SELECT * FROM no_such_metric", "DROP TABLE up", "COPY up TO '/tmp/x.csv'"]:
                with self.assertRaises(adbc_driver_manager.Error):
                    cursor.execute(statement)

    def test_cancel(self):
        with self.server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT a.value FROM up a CROSS JOIN up b CROSS JOIN up c")
            reader = cursor.fetch_record_batch()
            reader.read_next_batch()
            cursor.adbc_cancel()
            with self.assertRaises((adbc_driver_manager.Error, pyarrow.ArrowException, OSError)):
                for _ in reader:
                    pass
        # and the server goes on
        with self.server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM up WHERE cluster = 'eu-1'")
            self.assertEqual(cursor.fetchone(), (25_740,))

    def test_metadata_of_a_call(self):
        with self.server.connect(**{HEADER + "quiver-replica-labels": "replica"}) as connection:
            with connection.cursor() as cursor:
                cursor.execute("SELECT * FROM up LIMIT 1")
                self.assertNotIn("replica", cursor.fetch_arrow_table().column_names)

    def test_pandas_and_polars(self):
        query = "SELECT job, avg(value) AS value FROM up WHERE cluster = 'eu-1' GROUP BY job ORDER BY job"
        with self.server.connect() as connection:
            frame = pandas.read_sql(query, connection)
            self.assertEqual(list(frame["job"]), ["api", "node"])
            frame = polars.read_database(query, connection)
            self.assertEqual(frame["job"].cast(polars.String).to_list(), ["api", "node"])

    def test_http(self):
        def post(accept):
            request = urllib.request.Request(
                f"http://{self.server.http}/api/v1/sql", data=b"SELECT timestamp, value, job FROM up WHERE cluster = 'eu-1'",
                headers={"Content-Type": "application/sql", "Accept": accept})
            with urllib.request.urlopen(request) as response:
                return response.read()

        arrow = pyarrow.ipc.open_stream(post("application/vnd.apache.arrow.stream")).read_all()
        parquet = pyarrow.parquet.read_table(io.BytesIO(post("application/vnd.apache.parquet")))
        csv = pandas.read_csv(io.BytesIO(post("text/csv")))
        self.assertEqual((arrow.num_rows, parquet.num_rows, len(csv)), (25_740,) * 3)

    def test_export_is_read_by_duckdb(self):
        bucket = self.server.data / "bucket"
        config = f"type: FILESYSTEM\nconfig:\n  directory: {bucket}\n"
        out = self.server.data / "up.parquet"

        def export(*flags):
            subprocess.run([QUIVER, "tools", "export", f"--objstore.config={config}", *flags], check=True)

        export(f"--out={out}", "--query=SELECT timestamp, job, value FROM up")
        rows = duckdb.sql(f"SELECT job, count(*) FROM '{out}' GROUP BY job ORDER BY job").fetchall()
        self.assertEqual(rows, [("api", 11_340), ("node", 14_400)])
        csv = self.server.data / "rate.csv"
        export(f"--out={csv}", "--format=csv", "--language=promql", "--query=sum by (job) (up)",
               "--start=2026-01-01T06:00:00Z", "--end=2026-01-01T07:00:00Z")
        self.assertEqual(duckdb.sql(f"SELECT count(*) FROM '{csv}'").fetchall(), [(122,)])
        target = self.server.data / "target"
        target.mkdir()
        to = f"type: FILESYSTEM\nconfig:\n  directory: {target}\n"
        export("--out=exports/up.arrow", "--format=arrow", f"--objstore-to.config={to}", "--query=SELECT * FROM up")
        with pyarrow.OSFile(str(target / "exports/up.arrow")) as file:
            self.assertEqual(pyarrow.ipc.open_stream(file).read_all().num_rows, 25_740)

    def test_the_side_index_is_read_by_duckdb(self):
        # made by a query, for blocks that came without
        with self.server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM system.series")
            cursor.fetchall()
        found = sorted(self.server.data.rglob("series.parquet"))
        self.assertTrue(found, "no side-index was written")
        ((rows,),) = duckdb.sql(f"SELECT count(*) FROM '{found[0]}'").fetchall()
        self.assertGreater(rows, 500)


if __name__ == "__main__":
    unittest.main(verbosity=2)
