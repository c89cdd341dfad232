"""The cache must never show less than was seen, nor bring back what is gone."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from masktrain_operator.core.manifests.metadata import labelled_uid
from masktrain_operator.shell.caches import ObjectCache


def body(uid: str, version: int, owner: str = "job", namespace: str = "default") -> dict[str, Any]:
    labels = {"masktrain.dev/job-uid": owner}
    metadata = {"uid": uid, "name": uid, "namespace": namespace, "resourceVersion": str(version), "labels": labels}
    return {"metadata": {**metadata, "managedFields": [{"manager": "kubectl"}]}}


def cache() -> ObjectCache:
    return ObjectCache(labelled_uid)


def versions(cache: ObjectCache) -> dict[str, int]:
    return {item["metadata"]["uid"]: int(item["metadata"]["resourceVersion"]) for item in cache}


def test_only_news_is_kept_and_reported() -> None:
    pods = cache()

    assert [pods.put(body("a", version)) for version in (5, 5, 4, 9)] == [True, False, False, True]
    assert versions(pods) == {"a": 9}
    assert "managedFields" not in pods.owned_by("job")[0]["metadata"]


def test_resource_versions_are_numbers() -> None:
    pods = cache()
    pods.put(body("a", 9))

    assert pods.put(body("a", 10))


def test_a_deleted_object_does_not_come_back_by_a_late_event_or_an_old_list() -> None:
    pods = cache()
    pods.put(body("a", 5))
    pods.remove("a")

    assert not pods.put(body("a", 6))
    assert pods.replace([body("a", 5)], version=5) == set()
    assert len(pods) == 0


def test_a_list_removes_what_was_deleted_unseen_but_not_what_is_newer_than_the_list() -> None:
    pods = cache()
    pods.put(body("gone", 3, owner="x"))
    pods.put(body("created-after-the-list", 12, owner="y"))
    pods.put(body("elsewhere", 3, owner="z", namespace="other"))

    assert pods.replace([body("new", 8, owner="n")], version=10, namespace="default") == {"x", "n"}
    assert set(versions(pods)) == {"new", "created-after-the-list", "elsewhere"}


def test_objects_are_found_by_their_owner_in_the_order_of_their_names() -> None:
    pods = cache()
    for uid, owner in (("b", "one"), ("a", "one"), ("c", "two")):
        pods.put(body(uid, 1, owner))

    assert [pod["metadata"]["name"] for pod in pods.owned_by("one")] == ["a", "b"]
    assert pods.owned_by("three") == ()


HISTORY = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12)


@given(HISTORY, st.randoms(use_true_random=False))
def test_events_in_any_order_end_in_the_same_state(history: list[tuple[str, bool]], random: Any) -> None:
    """A uid lives, changes, and may be deleted once; late and repeated events change nothing."""
    events, deleted = [], set()
    for version, (uid, deletes) in enumerate(history, start=1):
        if uid not in deleted:
            events.append((uid, version, deletes))
            deleted |= {uid} if deletes else set()
    expected = {uid: version for uid, version, _ in events if uid not in deleted}
    shuffled = events + events
    random.shuffle(shuffled)

    pods = cache()
    for uid, version, deletes in shuffled:
        if deletes:
            pods.remove(uid)
        else:
            pods.put(body(uid, version))

    assert versions(pods) == expected
