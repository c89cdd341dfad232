"""The progress of work requests, from ACCEPTED to their end."""

from tests.fakes.oci.pool_state import Node, NodeError, Pool, WorkRequest


def open_work_request(pool: Pool, operation: str, ocid: str, now: float) -> WorkRequest:
    """A new one, accepted now."""
    request = WorkRequest(ocid, operation, pool.settings, now)
    pool.work_requests.append(request)
    return request


def arrive(request: WorkRequest, node: Node | None, error: NodeError | None, now: float) -> bool:
    """Note that `node` needs no more of this request. True when that has ended it."""
    if node in request.pending:
        request.pending.remove(node)
    elif node is not None:
        return False
    if error:
        request.errors.append((now, error))
    if request.pending or request.status != "IN_PROGRESS":
        return False
    request.status = "FAILED" if request.errors else "SUCCEEDED"
    request.time_finished = now
    return True
