"""A W&B server on loopback that says yes to what `wandb sync` asks, and keeps what it is sent."""

import gzip
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, refuse):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refuse = refuse
        self.runs = []  # what is asked for a run: id, group, config; in order
        self.streams = []  # (run id, body) of what is streamed to it; in order
        self.sent = b""

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        pass  # the client hangs up as it likes

    def history(self, run_id):
        """Lines of the history that a server would hold: what is sent for an offset replaces what is there."""
        lines = []
        for name, body in self.streams:
            part = body.get("files", {}).get("wandb-history.jsonl")
            if name == run_id and part:
                lines[part["offset"] :] = [json.loads(line) for line in part["content"]]
        return lines

    def summary(self, run_id):
        found = {}
        for name, body in self.streams:
            part = body.get("files", {}).get("wandb-summary.json")
            if name == run_id and part:
                found = json.loads(part["content"][-1])
        return found

    def exit_codes(self, run_id):
        return [body["exitcode"] for name, body in self.streams if name == run_id and body.get("complete")]


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self._reply({})

    def do_PUT(self):
        self._read()
        self._reply({})

    def do_POST(self):
        body = self._read()
        if self.server.refuse:
            self._reply({}, 401)
        elif self.path == "/graphql":
            self._reply({"data": self._answer(json.loads(body))})
        else:
            if self.path.endswith("/file_stream"):
                self.server.streams.append((self.path.split("/")[-2], json.loads(body)))
            self._reply({})

    def _answer(self, asked):
        query, given = asked["query"], asked.get("variables") or {}
        if "UpsertBucket" in query:
            self.server.runs.append(given)
            project = {"id": "p", "name": given.get("project"), "entity": {"id": "e", "name": "me"}}
            bucket = {
                "id": "b",
                "name": given["name"],
                "displayName": given["name"],
                "config": "{}",
                "project": project,
            }
            return {"upsertBucket": {"bucket": bucket | {"historyLineCount": 0}, "inserted": True}}
        if "CreateRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.server.address}/{name}"} for name in given["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        return {"viewer": {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}

    def _read(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        self.server.sent += body
        return body

    def _reply(self, body, code=200):
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(refuse=False):
    server = Server(refuse)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
