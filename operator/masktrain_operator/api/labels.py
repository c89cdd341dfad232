"""Every name that the operator writes into the cluster, so that no label or annotation is spelled twice."""

GROUP = "masktrain.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "MaskTrainingJob"
PLURAL = "masktrainingjobs"
SINGULAR = "masktrainingjob"
CRD_NAME = f"{PLURAL}.{GROUP}"

FIELD_MANAGER = "masktrain-operator"

JOB_LABEL = f"{GROUP}/job"
"""Name of the MaskTrainingJob, on everything made for it."""
JOB_UID_LABEL = f"{GROUP}/job-uid"
"""Its uid: what the operator selects by, because a name can be used again."""
ATTEMPT_LABEL = f"{GROUP}/attempt"
"""Number of the attempt, from 0, on its Job and pods."""

COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
"""Annotation and label that the Job controller sets on the pods of an Indexed Job: the node rank."""
