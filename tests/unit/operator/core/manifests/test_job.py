"""The pods of a gang, before there is one."""

from masktrain_operator.core.manifests.job import first_pod


def test_the_first_pod_is_the_jobs_template_under_its_name() -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}
    made = first_pod({"metadata": {"name": "masks-0", "namespace": "vision"}, "spec": {"template": template}})
    assert made["metadata"] == {"labels": {"a": "b"}, "generateName": "masks-0-0-", "namespace": "vision"}
    assert made["spec"] == {"containers": []}
