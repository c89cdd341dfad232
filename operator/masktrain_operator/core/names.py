"""How the objects of an attempt are called."""


def attempt_name(job: str, attempt: int) -> str:
    """Name of an attempt's Job, which is new for every attempt: no rank can join the rendezvous of a dead gang."""
    return f"{job}-{attempt}"


def master_address(job: str, attempt: int) -> str:
    """Host name of rank 0's pod: an Indexed Job calls its pods `<job name>-<index>`, the Service is the subdomain."""
    return f"{attempt_name(job, attempt)}-0.{job}"
