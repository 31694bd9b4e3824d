"""A W&B server on loopback that says yes to what `wandb sync` and wandb-workspaces ask, and keeps what it is sent."""

import base64
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
        self.runs = []  # the requests for a run: id, group, config; in order
        self.streams = []  # (run id, body) of what is streamed to it; in order
        self.views = {}  # by id: what was last saved as a workspace or a report
        self.artifacts = {}  # by id: what was asked for it, `committed`, and `files` by the names in its manifest
        self.uploads = {}  # by path: what was put there
        self.sweep = None  # the sweep that was made last, as YAML
        self.agent_runs = []  # (id, parameters) of runs that the next agents get
        self.unknown = []  # queries that it has no answer to
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
        self.server.uploads[self.path.removeprefix("/")] = self._read()
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
        if (answer := self._about_artifacts(query, given)) is not None:
            return answer
        if "serverInfo" in query:
            return {"serverInfo": {"features": []}}
        answer = self._about_views(query, given) or self._about_sweeps(query, given)
        if answer is None and "viewer" not in query:
            self.server.unknown.append(query)
        viewer = {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
        return answer or {"viewer": viewer}

    def _about_artifacts(self, query, given):
        """An artifact is made, its manifest and its files are asked for and put, and it is committed."""
        artifacts, address = self.server.artifacts, self.server.address
        if "query ArtifactType(" in query:
            return {"project": {"artifact": None}}  # no such artifact yet, so any type is right
        if "createArtifact(" in query:
            new = f"artifact{len(artifacts)}"
            artifacts[new] = given.get("input", given) | {"committed": False}
            artifact = {"id": new, "state": "PENDING", "artifactSequence": {"id": "q", "latestArtifact": None}}
            return {"createArtifact": {"artifact": artifact}}
        if "createArtifactManifest(" in query:
            place = f"manifest/{given['artifactID']}"
            file = {"id": "f", "name": given["name"], "displayName": given["name"], "uploadHeaders": []}
            manifest = {"id": f"m-{given['artifactID']}", "file": file | {"uploadUrl": f"{address}/{place}"}}
            return {"createArtifactManifest": {"artifactManifest": manifest}}
        if "updateArtifactManifest(" in query:
            place = f"manifest/{given['artifactManifestID'].removeprefix('m-')}"
            file = {"id": "f", "name": "m", "displayName": "m", "uploadHeaders": [], "uploadUrl": f"{address}/{place}"}
            manifest = {"id": given["artifactManifestID"], "file": file}
            return {"updateArtifactManifest": {"artifactManifest": manifest}}
        if "createArtifactFiles(" in query:
            edges = []
            for spec in given["artifactFiles"] if "artifactFiles" in given else given["input"]["artifactFiles"]:
                place = f"file/{spec['artifactID']}/{spec['name']}"
                node = {
                    "id": "f",
                    "name": spec["name"],
                    "displayName": spec["name"],
                    "uploadUrl": f"{address}/{place}",
                    "uploadHeaders": [],
                    "artifact": {"id": spec["artifactID"]},
                    "storagePath": None,
                    "uploadMultipartUrls": None,
                }
                edges.append({"node": node})
            return {"createArtifactFiles": {"files": {"edges": edges}}}
        if "commitArtifact(" in query:
            artifacts[given["artifactID"]]["committed"] = True
            return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": "d"}}}
        return None

    def _about_sweeps(self, query, given):
        """Sweeps and their agents: each heartbeat gives out the next run of `agent_runs`."""
        project = {"id": "p", "name": "afterkernel", "entity": {"id": "e", "name": "me"}}
        if "upsertSweep" in query:
            self.server.sweep = given["config"]
            sweep = {"id": "s", "name": "sweep1", "project": project}
            return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}
        if "SweepWithRuns" in query:
            sweep = {"id": "s", "name": "sweep1", "config": self.server.sweep, "runs": {"edges": []}}
            return {"project": {"sweep": sweep}}
        if "createAgent" in query:
            return {"createAgent": {"agent": {"id": "a"}}}
        if "agentHeartbeat" in query:
            commands = []
            if self.server.agent_runs:
                run_id, parameters = self.server.agent_runs.pop(0)
                args = {name: {"value": value} for name, value in parameters.items()}
                commands = [{"type": "run", "run_id": run_id, "program": "afterkernel", "args": args}]
            return {"agentHeartbeat": {"agent": {"id": "a"}, "commands": json.dumps(commands)}}
        return None

    def _about_views(self, query, given):
        views = self.server.views
        project = {
            "id": "p",
            "internalId": "7",
            "name": given.get("projectName"),
            "entityName": given.get("entityName"),
        }
        if "upsertView" in query:
            new = base64.b64encode(f"View:{len(views):06}".encode()).decode()
            view = {"id": given.get("id") or new, "name": given["name"], "project": project} | {
                name: given.get(name) for name in ("type", "displayName", "description", "spec")
            }
            views[view["id"]] = view
            return {"upsertView": {"view": view | {"updatedAt": None}, "inserted": not given.get("id")}}
        if "allViews" in query:
            found = [view for view in views.values() if view["name"] == given["viewName"]]
            return {"project": {"allViews": {"edges": [{"node": view} for view in found]}}}
        if "SpecificReport" in query:
            return {"view": views.get(given["reportId"])}
        if "internalId" in query:
            return {"project": project}
        if "GetProjects" in query:
            names = dict.fromkeys(asked["project"] for asked in self.server.runs if asked.get("project"))
            node = {"__typename": "Project", "id": "p", "entityName": "me", "createdAt": "2026-01-01T00:00:00"}
            edges = [{"node": node | {"name": name, "isBenchmark": False, "user": None}} for name in names]
            page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
            return {"models": {"pageInfo": page, "edges": edges}}
        return None

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
