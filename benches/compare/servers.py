"""A server with Prometheus's HTTP API, over one connection that is kept."""

import http.client
import json
import urllib.parse


class ServerError(Exception):
    """The server answered with an error."""


class Server:
    def __init__(self, name, url, answers):
        self.name, self.url, self.answers = name, url, answers
        self.process = None
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SystemExit(f"{name}: {url!r} is not a URL, as http://localhost:10902")
        self.host, self.port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        self.prefix = parts.path.rstrip("/") + "/api/v1/"
        self.secure = parts.scheme == "https"
        self.connection = None

    def is_local(self):
        return self.host in ("localhost", "127.0.0.1", "::1")

    def ask(self, path, parameters):
        """The body of the answer, read to its end. Metadata is asked with GET, which VictoriaMetrics wants."""
        form = urllib.parse.urlencode(parameters, doseq=True)
        headers = {"Accept-Encoding": "identity"}
        if path.startswith("query"):
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            send = ("POST", self.prefix + path, form, headers)
        else:
            send = ("GET", f"{self.prefix}{path}?{form}", None, headers)
        try:
            status, body = self._exchange(*send)
        except (http.client.HTTPException, ConnectionError):
            # the server may close a connection that was idle
            self.close()
            status, body = self._exchange(*send)
        if status != 200:
            raise ServerError(f"{status}: {error_of(body)}")
        return body

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def _exchange(self, method, path, body, headers):
        if not self.connection:
            kind = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
            self.connection = kind(self.host, self.port, timeout=600)
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        return response.status, response.read()


def error_of(body):
    """The message of an error's body."""
    try:
        return json.loads(body).get("error", "no message")
    except (ValueError, AttributeError):
        return body[:200].decode("utf-8", "replace")
