"""A small Hub in memory: what `huggingface_hub` asks for when it pushes and loads, over HTTP.

Private repositories, tokens, Git LFS, commits and tags work as on the Hub; nothing else does.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_stub"
USER = "me"


@dataclass
class Repository:
    """A repository: each commit is the whole of its files."""

    private: bool
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    gated: str | bool = False

    def commit_of(self, revision: str) -> str | None:
        """Hash of a branch, tag or commit; None where there is none."""
        oids = [oid for oid, _ in self.commits]
        if revision == "main":
            return oids[-1] if oids else None
        return self.tags.get(revision) or (revision if revision in oids else None)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """Files of a revision."""
        return dict(self.commits).get(self.commit_of(revision) or "", {})


class StubHub:
    """The server; use as a context manager.

    Attributes:
        url: for HF_ENDPOINT.
        repositories: by id.
        requests: "METHOD path" of each request, in order.
        refuse: "METHOD part-of-path" -> status that such requests are answered with.
    """

    def __init__(self):
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}  # of Git LFS, by SHA-256
        self.requests: list[str] = []
        self.refuse: dict[str, int] = {}
        hub = self

        class Handler(StubHandler):
            pass

        Handler.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()


ROUTES = (
    ("GET", r"/api/whoami-v2", "who_am_i"),
    ("POST", r"/api/validate-yaml", "validate_yaml"),
    ("POST", r"/api/repos/create", "create"),
    ("POST", r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)", "preupload"),
    ("POST", r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", "commit"),
    ("POST", r"/api/models/([^/]+/[^/]+)/tag/([^/]+)", "tag"),
    ("GET", r"/api/models/([^/]+/[^/]+)/revision/([^/]+)", "info"),
    ("GET", r"/api/models/([^/]+/[^/]+)/tree/([^/]+)(?:/.*)?", "tree"),
    ("GET", r"/api/models/([^/]+/[^/]+)", "info"),
    ("PUT", r"/api/models/([^/]+/[^/]+)/settings", "settings"),
    ("POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", "lfs_batch"),
    ("PUT", r"/lfs/(\w+)", "lfs_put"),
    ("HEAD", r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", "resolve"),
    ("GET", r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", "resolve"),
)


class StubHandler(BaseHTTPRequestHandler):
    """Answers one request."""

    hub: StubHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        """Say nothing."""

    def handle_any(self):
        """Find the route and answer, or 404."""
        path = unquote(urlsplit(self.path).path)
        size = int(self.headers.get("Content-Length") or 0)
        self.body = self.read_chunks() if self.chunked else self.rfile.read(size)
        self.hub.requests.append(f"{self.command} {path}")
        for pattern, status in self.hub.refuse.items():
            method, part = pattern.split(" ")
            if method == self.command and part in path:
                return self.answer({"error": "refused by the stub"}, status)
        for method, pattern, name in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method == self.command:
                return getattr(self, name)(*match.groups())
        return self.answer({"error": f"no route {path}"}, 404)

    do_GET = do_POST = do_PUT = do_HEAD = handle_any  # noqa: N815

    @property
    def chunked(self) -> bool:
        return self.headers.get("Transfer-Encoding") == "chunked"

    def read_chunks(self) -> bytes:
        """Body that is sent in chunks."""
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    @property
    def trusted(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def answer(self, content, status=200, **headers):
        """Send JSON or bytes."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def missing(self, code="RepoNotFound"):
        """Say that something does not exist, or is not for this caller."""
        self.answer({"error": code}, 404, X_Error_Code=code)

    def find(self, repo_id: str) -> Repository | None:
        """A repository that the caller may see."""
        found = self.hub.repositories.get(repo_id)
        return found if found is not None and (self.trusted or not found.private) else None

    # --- the routes ---

    def who_am_i(self):
        if self.trusted:
            return self.answer({"name": USER, "type": "user", "auth": {}})
        return self.answer({"error": "Invalid credentials"}, 401)

    def validate_yaml(self):
        self.answer({"errors": [], "warnings": []})

    def create(self):
        if not self.trusted:
            return self.answer({"error": "Invalid credentials in Authorization header"}, 401)
        wanted = json.loads(self.body)
        owner = wanted.get("organization") or USER
        repo_id = f"{owner}/{wanted['name']}"
        if owner != USER:
            return self.answer({"error": f"you have no rights in {owner}"}, 403)
        if repo_id in self.hub.repositories:
            return self.answer({"error": "exists"}, 409)
        # `visibility` where the library sends it, as newer versions do
        private = wanted.get("private") or wanted.get("visibility") == "private"
        self.hub.repositories[repo_id] = Repository(bool(private))
        return self.answer({"url": f"{self.hub.url}/{repo_id}", "id": repo_id})

    def info(self, repo_id, revision="main"):
        repository = self.find(repo_id)
        if repository is None:
            return self.missing()
        oid = repository.commit_of(revision)
        if oid is None and repository.commits:
            return self.missing("RevisionNotFound")
        return self.answer(
            {
                "id": repo_id,
                "modelId": repo_id,
                "private": repository.private,
                "sha": oid,
                "tags": [],
                "siblings": [{"rfilename": name} for name in repository.files(revision)],
            }
        )

    def settings(self, repo_id):
        repository = self.find(repo_id)
        if repository is None or not self.trusted:
            return self.missing()
        repository.gated = json.loads(self.body)["gated"]
        return self.answer({})

    def tree(self, repo_id, revision):
        repository = self.find(repo_id)
        if repository is None:
            return self.missing()
        files = repository.files(revision)
        return self.answer(
            [
                {"type": "file", "path": name, "size": len(data), "oid": git_hash(data)}
                for name, data in files.items()
            ]
        )

    def preupload(self, repo_id, revision):
        repository = self.find(repo_id)
        if repository is None or not self.trusted:
            return self.missing()
        present = repository.files(revision)
        files = []
        for file in json.loads(self.body)["files"]:
            lfs = file["path"].endswith(".safetensors")
            entry = {
                "path": file["path"],
                "uploadMode": "lfs" if lfs else "regular",
                "shouldIgnore": False,
            }
            if file["path"] in present:
                data = present[file["path"]]
                entry["oid"] = hashlib.sha256(data).hexdigest() if lfs else git_hash(data)
            files.append(entry)
        return self.answer({"files": files})

    def lfs_batch(self, repo_id):
        if self.find(repo_id) is None or not self.trusted:
            return self.missing()
        objects = []
        for item in json.loads(self.body)["objects"]:
            entry = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.hub.objects:
                entry["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}"}}
            objects.append(entry)
        return self.answer({"transfer": "basic", "objects": objects})

    def lfs_put(self, oid):
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self.answer({"error": "other content"}, 400)
        self.hub.objects[oid] = self.body
        return self.answer({})

    def commit(self, repo_id, revision):
        repository = self.find(repo_id)
        if repository is None or not self.trusted:
            return self.missing()
        files = dict(repository.files())
        for line in self.body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        oid = hashlib.sha1(f"{repo_id} {len(repository.commits)}".encode()).hexdigest()
        repository.commits.append((oid, files))
        url = f"{self.hub.url}/{repo_id}/commit/{oid}"
        return self.answer({"success": True, "commitOid": oid, "commitUrl": url})

    def tag(self, repo_id, revision):
        repository = self.find(repo_id)
        if repository is None or not self.trusted:
            return self.missing()
        name = json.loads(self.body)["tag"]
        if name in repository.tags:
            return self.answer({"error": "tag exists"}, 409)
        repository.tags[name] = repository.commit_of(revision)
        return self.answer({})

    def resolve(self, repo_id, revision, path):
        repository = self.find(repo_id)
        if repository is None:
            return self.missing()
        oid = repository.commit_of(revision)
        if oid is None:
            return self.missing("RevisionNotFound")
        data = repository.files(revision).get(path)
        if data is None:
            return self.answer({}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=oid)
        return self.answer(data, X_Repo_Commit=oid, ETag=f'"{hashlib.sha256(data).hexdigest()}"')


def git_hash(data: bytes) -> str:
    """Name of a file in Git."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
