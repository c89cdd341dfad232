"""Pods behave as on any cluster: kubelet is real, and the runtime below keeps its side."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from devcluster.cluster import ClusterError
from devcluster.images import python_image
from tests.devcluster.conftest import RESTRICTED_CONTAINER, RESTRICTED_POD, TOLERATE_GPU, Namespace, shell_pod

pytestmark = pytest.mark.cluster


def test_restricted_pod_runs_as_the_user_it_names(namespace: Namespace) -> None:
    enforce = "pod-security.kubernetes.io/enforce=restricted"
    namespace.cluster.kubectl("label", "namespace", namespace.name, enforce)
    script = "id -u; id -g; id -G; grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status"
    pod = shell_pod("restricted", script, {"securityContext": RESTRICTED_CONTAINER}, securityContext=RESTRICTED_POD)
    log = namespace.run_to_end(pod).split("\n")
    assert log[0] == "65532"
    assert "65532" in log[2].split(), "fsGroup is among the supplementary groups"
    assert log[3].split()[1] == "0" * 16
    assert log[4].split()[1] == "1"
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        namespace.apply(shell_pod("unrestricted", "true"))


def test_read_only_root_lets_only_volumes_be_written(namespace: Namespace) -> None:
    script = (
        "touch /file || echo root refused; touch /tmp/file || echo tmp refused; touch /data/file && echo data written"
    )
    container = {"securityContext": RESTRICTED_CONTAINER, "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    volumes = [{"name": "data", "emptyDir": {}}]
    pod = shell_pod("read-only", f"({script}) 2>/dev/null", container, securityContext=RESTRICTED_POD, volumes=volumes)
    assert namespace.run_to_end(pod).splitlines() == ["root refused", "tmp refused", "data written"]


def test_container_sees_neither_the_machine_nor_its_processes(namespace: Namespace) -> None:
    script = "ls -d /proc/[0-9]* | wc -l; ls /root /home; test -e /var/lib/dpkg || echo no machine"
    # The shell itself, ls and wc: three processes at most.
    log = namespace.run_to_end(shell_pod("isolated", script)).splitlines()
    assert int(log[0]) <= 3
    assert log[-1] == "no machine"


def test_container_reaches_the_api_server_but_nothing_outside(namespace: Namespace) -> None:
    script = """
import os, socket
socket.create_connection((os.environ["KUBERNETES_SERVICE_HOST"], 443), timeout=5)
socket.create_connection(("kubernetes.default.svc", 443), timeout=5)
try:
    socket.create_connection(("192.0.2.1", 80), timeout=2)
except OSError:
    print("outside refused")
"""
    namespace.cluster.add_image(python_image("project:test", Path(sys.prefix), ()))
    container = {"image": "project:test", "command": ["python", "-c", script]}
    assert namespace.run_to_end(shell_pod("network", "", container)).strip() == "outside refused"


def test_unknown_image_fails_like_a_pull(namespace: Namespace) -> None:
    namespace.apply(shell_pod("unknown", "", {"image": "registry.example/no-such-image:1"}))
    reason = "jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImagePullBackOff"
    namespace.wait("pod/unknown", reason)
    assert "no-such-image:1" in namespace.state("unknown")["waiting"]["message"]


def test_missing_program_is_a_start_error(namespace: Namespace) -> None:
    namespace.apply(shell_pod("missing", "", {"command": ["/no/such/program"]}))
    namespace.wait_for_phase("missing", "Failed")
    terminated = namespace.state("missing")["terminated"]
    assert terminated["reason"] == "StartError"
    assert "No such file or directory" in terminated["message"]


@pytest.mark.parametrize("code", [0, 64])
def test_exit_code_and_termination_message(namespace: Namespace, code: int) -> None:
    namespace.apply(shell_pod("ends", f'echo "told at the end" >/dev/termination-log; exit {code}'))
    namespace.wait_for_phase("ends", "Failed" if code else "Succeeded")
    terminated = namespace.state("ends")["terminated"]
    assert terminated["exitCode"] == code
    assert terminated["message"].strip() == "told at the end"


def test_indexed_job_finds_its_pods_by_name_on_two_nodes(namespace: Namespace) -> None:
    other = "gang-$((1 - JOB_COMPLETION_INDEX)).gang"
    script = f"until getent hosts {other}; do sleep 0.2; done; sleep 1"
    pod = shell_pod(
        "gang", script, {"resources": {"limits": {"nvidia.com/gpu": 2}}}, subdomain="gang", tolerations=TOLERATE_GPU
    )
    job = {"completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimit": 0}
    service = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"job-name": "gang"}}
    namespace.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "gang"}, "spec": service},
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "gang"},
            "spec": {**job, "template": {"spec": pod["spec"]}},
        },
    )
    namespace.wait("job/gang", "condition=Complete")
    pods = json.loads(namespace.kubectl("get", "pods", "--selector=job-name=gang", "--output=json"))["items"]
    assert {pod["spec"]["nodeName"] for pod in pods} == {"gpu-0", "gpu-1"}


def test_sigterm_reaches_a_handler_within_the_grace_period(namespace: Namespace) -> None:
    script = "trap 'echo stopping; exit 75' TERM; echo ready; while :; do sleep 0.1; done"
    namespace.apply(shell_pod("polite", script, terminationGracePeriodSeconds=30))
    namespace.wait_for_phase("polite", "Running")
    log = _Follower(namespace, "polite")
    assert log.first_line() == "ready"
    namespace.kubectl("delete", "pod", "polite", "--timeout=20s")
    assert log.rest() == "stopping"


def test_first_process_without_handler_is_killed_after_the_grace_period(namespace: Namespace) -> None:
    pod = shell_pod("stubborn", "sleep 600")
    pod["metadata"]["finalizers"] = ["masktrain.dev/test"]  # keeps the ended pod to be looked at
    namespace.apply(pod)
    namespace.wait_for_phase("stubborn", "Running")
    namespace.kubectl("delete", "pod", "stubborn", "--wait=false")
    namespace.wait_for_phase("stubborn", "Failed")
    assert namespace.state("stubborn")["terminated"]["exitCode"] == 137
    namespace.kubectl("patch", "pod", "stubborn", "--type=merge", "--patch", '{"metadata": {"finalizers": null}}')


def test_volumes_of_every_kind_used(namespace: Namespace) -> None:
    namespace.kubectl("create", "secret", "generic", "keys", "--from-literal=key=hidden")
    namespace.kubectl("create", "configmap", "settings", "--from-literal=mode=fast")
    token = {"serviceAccountToken": {"path": "token", "audience": "store", "expirationSeconds": 600}}
    volumes: dict[str, dict[str, Any]] = {
        "keys": {"secret": {"secretName": "keys"}},
        "settings": {"configMap": {"name": "settings"}},
        "memory": {"emptyDir": {"medium": "Memory"}},
        "token": {"projected": {"sources": [token]}},
    }
    script = (
        "cat /volumes/keys/key /volumes/settings/mode; echo; stat -f -c %T /volumes/memory;"
        "touch /volumes/memory/file && echo written; cut -d. -f1 /volumes/token/token | wc -c;"
        "touch /volumes/keys/other 2>/dev/null || echo read-only"
    )
    mounts = [{"name": name, "mountPath": f"/volumes/{name}"} for name in volumes]
    container = {"volumeMounts": mounts, "securityContext": RESTRICTED_CONTAINER}
    items = [{"name": name, **volume} for name, volume in volumes.items()]
    pod = shell_pod("volumes", script, container, volumes=items, securityContext=RESTRICTED_POD)
    log = namespace.run_to_end(pod).splitlines()
    assert log[:3] == ["hiddenfast", "tmpfs", "written"]
    assert int(log[3]) > 20
    assert log[4] == "read-only"


def test_pod_without_token_mounts_none(namespace: Namespace) -> None:
    with_token = namespace.run_to_end(shell_pod("with", "cat /var/run/secrets/*/*/token | wc -c"))
    script = "ls -A /run /var/run 2>/dev/null | grep -c secrets; true"
    without = namespace.run_to_end(shell_pod("without", script, automountServiceAccountToken=False))
    assert int(with_token) > 100
    assert int(without) == 0


def test_exec_and_probes_run_inside_the_container(namespace: Namespace) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
    namespace.apply(shell_pod("inside", "sleep 1; touch /tmp/ready; sleep 600", {"readinessProbe": probe}))
    namespace.wait("pod/inside", "condition=Ready")
    assert namespace.kubectl("exec", "inside", "--", "cat", "/proc/1/comm").strip() == "sh"
    assert namespace.kubectl("exec", "--stdin", "inside", "--", "cat", text="over there") == "over there"
    with pytest.raises(ClusterError, match="exit code 3"):
        namespace.kubectl("exec", "inside", "--", "sh", "-c", "exit 3")


def test_image_environment_brings_its_programs_and_user(namespace: Namespace) -> None:
    namespace.cluster.add_image(python_image("project:test", Path(sys.prefix), ()))
    command = ["python", "-c", "import grpc, os, sys; print(sys.prefix, os.getuid(), os.environ['HOME'])"]
    log = namespace.run_to_end(shell_pod("image", "", {"image": "project:test", "command": command}))
    assert log.split() == [sys.prefix, "65532", "/tmp"]


def test_port_forward_reaches_a_pod(namespace: Namespace) -> None:
    server = "import http.server as h; h.HTTPServer(('', 8080), h.SimpleHTTPRequestHandler).serve_forever()"
    namespace.cluster.add_image(python_image("project:test", Path(sys.prefix), ()))
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    container = {"image": "project:test", "command": ["python", "-c", server], "readinessProbe": probe}
    namespace.apply(shell_pod("web", "", {**container, "workingDir": "/etc/ssl"}))
    namespace.wait("pod/web", "condition=Ready")
    command = namespace.cluster.command("kubectl", "--namespace", namespace.name, "port-forward", "pod/web", ":8080")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forwarding:
        assert forwarding.stdout is not None
        port = forwarding.stdout.readline().split(" -> ")[0].rpartition(":")[2]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
            assert b"certs" in page.read()
        forwarding.kill()


class _Follower:
    """`kubectl logs --follow` in the background."""

    def __init__(self, namespace: Namespace, pod: str) -> None:
        command = namespace.cluster.command("kubectl", "--namespace", namespace.name, "logs", "--follow", pod)
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def first_line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def rest(self) -> str:
        return self._process.communicate(timeout=30)[0].strip()
