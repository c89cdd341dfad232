"""Whose an object is: what the operator may adopt, overwrite and delete."""

from masktrain_operator.api.labels import JOB_UID_LABEL
from masktrain_operator.core.types import Manifest


def controller_uid(body: Manifest) -> str | None:
    """The uid of the object's controller; at most one owner reference is one."""
    owners = body["metadata"].get("ownerReferences", ())
    return next((str(owner["uid"]) for owner in owners if owner.get("controller")), None)


def labelled_uid(body: Manifest) -> str | None:
    """The uid of the MaskTrainingJob that an object says it was made for."""
    uid = body["metadata"].get("labels", {}).get(JOB_UID_LABEL)
    return None if uid is None else str(uid)
