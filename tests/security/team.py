"""A second team: an account that may only create pods, or what else is said, in a namespace of its own."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from masktrain_operator.api import labels
from masktrain_trainer.config import PROGRESS_PORT
from tests.api.gang import moment
from tests.api.namespace import ApiNamespace

ACCOUNT = "attacker"
RIGHTS = {"": ("pods",)}
VERBS = ["create", "get", "list", "watch", "patch", "update", "delete"]


class Team(ApiNamespace):
    """Whatever is asked for here is asked for with the team's own rights."""

    def __init__(self, namespace: ApiNamespace, rights: dict[str, tuple[str, ...]] | None = None) -> None:
        """`rights`: resources by API group, all of which it may write."""
        super().__init__(namespace.cluster, namespace.name)
        self.kubelet = namespace
        """The same namespace with all rights, as the cluster itself has them."""
        rules = [
            {"apiGroups": [group], "resources": list(resources), "verbs": VERBS}
            for group, resources in (rights or RIGHTS).items()
        ]
        api = "rbac.authorization.k8s.io"
        meta = {"metadata": {"name": ACCOUNT}}
        subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": self.name}
        role = {"apiGroup": api, "kind": "Role", "name": ACCOUNT}
        namespace.create({"apiVersion": "v1", "kind": "ServiceAccount", **meta})
        namespace.create({"apiVersion": f"{api}/v1", "kind": "Role", **meta, "rules": rules})
        binding = {"kind": "RoleBinding", **meta, "subjects": [subject], "roleRef": role}
        namespace.create({"apiVersion": f"{api}/v1", **binding})

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        account = f"--as=system:serviceaccount:{self.name}:{ACCOUNT}"
        return super().kubectl(account, *arguments, text=text)

    def create_pod(self, name: str, job_uid: str, *, rank: str = "0", attempt: str = "0", **metadata: Any) -> None:
        """A pod that claims to be of that job, and that a node then runs."""
        claims = {labels.JOB_UID_LABEL: job_uid, labels.ATTEMPT_LABEL: attempt, labels.COMPLETION_INDEX: rank}
        meta = {"name": name, "labels": claims, **metadata}
        spec = {"nodeName": "n", "containers": [{"name": "trainer", "image": "theirs"}]}
        self.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})

    def run_pod(self, name: str, address: str, *conditions: dict[str, str]) -> None:
        """As its kubelet would say."""
        said = conditions or ({"type": "Ready", "status": "True", "lastTransitionTime": moment()},)
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": list(said)}
        self.kubelet.merge_status(f"pod/{name}", status)


class TrainerAt:
    """Answers `/progress` at an address of this machine with whatever it is told to."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked = 0
        self.says()

    def says(self, **fields: Any) -> None:
        self.says_each_time(lambda _: fields)

    def says_each_time(self, fields: Callable[[int], dict[str, Any]]) -> None:
        """`fields` of an answer, by how often it was asked."""
        self._fields = fields

    def answer(self) -> bytes:
        self.asked += 1
        document = {"attempt": 0, "phase": "Training", "epochs": 10, "updatedAt": moment(), **self._fields(self.asked)}
        return json.dumps(document).encode()


@contextmanager
def trainer_at(address: str) -> Iterator[TrainerAt]:
    """A process that listens where pods of that address would."""
    trainer = TrainerAt(address)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = trainer.answer()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer((address, PROGRESS_PORT), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield trainer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
