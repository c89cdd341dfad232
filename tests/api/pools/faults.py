"""The ways in which Oracle and its machines fail, switched on and off."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from devcluster.oracle.pools import NodeError
from masktrain_operator.shell.oci.access import OciErrorKind
from tests.api.pools.world import PoolWorld

Switch = Callable[[PoolWorld], None]
TWO_DOMAINS = ("Uocm:US-ASHBURN-AD-1", "Uocm:US-ASHBURN-AD-2")


def _nothing(_: PoolWorld) -> None: ...


@dataclass(frozen=True)
class Fault:
    """`begin` and `end` switch it on and off; `strike` happens to a pool that has both its nodes.

    `replaced`: instances that come and go on top of the two that are wanted, at most.
    Some faults matter in one direction only.
    """

    begin: Switch = _nothing
    end: Switch = _nothing
    strike: Switch = _nothing
    settings: Mapping[str, Any] = field(default_factory=dict)
    replaced: int = 0
    lacks_capacity: bool = False
    while_growing: bool = True
    while_shrinking: bool = True


def _lack(switch: Switch, **settings: Any) -> Fault:
    """One instance is still to be had at times: it must not be held for ever by a gang that needs two."""
    return Fault(switch, lambda world: world.fake.control.restore_capacity(), settings=settings, lacks_capacity=True)


def _calls_fail(switch: Switch) -> Fault:
    return Fault(switch, _calls_work)


def _calls_work(world: PoolWorld) -> None:
    world.fake.control.clear_call_failures()


def _pool_ails(switch: Switch, **settings: Any) -> Fault:
    return Fault(switch, _recover, **settings)


def _recover(world: PoolWorld) -> None:
    world.fake.control.restore_capacity()
    world.fake.control.recover()


def _stick(world: PoolWorld) -> None:
    world.fake.control.run_out_of_capacity()
    world.fake.control.stick(at_next_failure=True)


def _lose_answers(world: PoolWorld) -> None:
    """Of the SDK's own repetitions too."""
    for operation in ("update_node_pool", "delete_node"):
        world.fake.control.lose_answers(3, operation)


def _refuse_growth(world: PoolWorld) -> None:
    world.fake.control.refuse(400, "LimitExceeded", "Too many nodes.", None, "update_node_pool")


def _slow(world: PoolWorld) -> None:
    world.fake.control.slow_down(0.02, None)


def _first(world: PoolWorld) -> str:
    return str(world.instances()[0].instance_id)


def _call(world: PoolWorld, state: str) -> None:
    """The first instance gets another state in the pool's list, and runs on."""
    node = world.instances()[0]
    with world.fake.cloud.settled():
        node.state = state


def _time_out_at_registration(world: PoolWorld) -> None:
    """The next nodes have instances, which run and are billed, an error, and no Node; cluster-autoscaler #8840."""
    world.fake.control.never_join()

    def give_up() -> None:
        (pool,) = world.fake.cloud.pools.values()
        for node in pool.nodes:
            if node.state == "CREATING" and node.instance_state == "RUNNING":
                node.state, node.error = "FAILING", NodeError("InternalError", "Node registration timed out.", "r")

    world.fake.cloud.schedule.after(40, give_up)


def drop_from_list(world: PoolWorld) -> None:
    """It runs on, and neither list nor size has it."""
    pool, node = world.cloud_pool, world.instances()[0]
    with world.fake.cloud.settled():
        pool.nodes.remove(node)
        pool.size -= 1
        world.fake.cloud.life_cycle.gone.append(node)


def terminate_dropped(world: PoolWorld) -> None:
    """As a person does in the console."""
    with world.fake.cloud.settled():
        for node in world.fake.cloud.life_cycle.gone:
            if node.instance_state == "RUNNING":
                node.state, node.instance_state = "DELETED", "TERMINATED"
                world.fake.ledger.close(str(node.instance_id), world.now)
                world.machines.switch_off(node)


def _refuse_one(world: PoolWorld, kind: OciErrorKind) -> None:
    world.executioner.refused[_first(world)] = kind


def _refuse_none(world: PoolWorld) -> None:
    world.executioner.refused.clear()


def _refuse_changes(world: PoolWorld) -> None:
    for operation in ("update_node_pool", "delete_node"):
        world.fake.control.refuse(409, "IncorrectState", "The node pool image does not fit.", None, operation)


def _refuse_shape(world: PoolWorld) -> None:
    message = "Shape is not available in the availability domain of the subnet."
    world.fake.control.refuse(400, "InvalidParameter", message, None, "update_node_pool")


FAULTS = {
    "nothing": Fault(),
    "out of host capacity": _lack(lambda world: world.fake.control.run_out_of_capacity()),
    "out of host capacity in one domain": _lack(
        lambda world: world.fake.control.run_out_of_capacity(TWO_DOMAINS[1]), availability_domains=TWO_DOMAINS
    ),
    "out of host capacity after one": _lack(lambda world: world.fake.control.run_out_of_capacity(spared=1)),
    "service limit": _lack(lambda world: world.fake.control.exceed_limit()),
    "quota": _lack(lambda world: world.fake.control.exceed_quota()),
    "stuck updating": _pool_ails(_stick, lacks_capacity=True),
    "needs attention": _pool_ails(lambda world: world.fake.control.need_attention()),
    "pool not found": _pool_ails(lambda world: world.fake.control.hide_pool()),
    "rights withheld": _calls_fail(lambda world: world.fake.control.withhold_rights()),
    "throttled": _calls_fail(lambda world: world.fake.control.throttle(None)),
    "500": _calls_fail(lambda world: world.fake.control.break_service(None, 500)),
    "503": _calls_fail(lambda world: world.fake.control.break_service(None, 503)),
    "growth refused": Fault(_refuse_growth, _calls_work, while_shrinking=False),
    "incorrect state": _calls_fail(lambda world: world.fake.control.conflict(None)),
    "changed meanwhile": Fault(lambda world: world.fake.control.change_before_next_call()),
    "slow": _calls_fail(_slow),
    "answers lost": _calls_fail(_lose_answers),
    "removal fails": Fault(lambda world: world.fake.control.fail_next_delete(), while_growing=False),
    "removals fail": Fault(lambda world: world.fake.control.fail_next_delete(4), while_growing=False),
    "node fails": Fault(strike=lambda world: _call(world, "FAILING")),
    "node turns inactive": Fault(strike=lambda world: _call(world, "INACTIVE")),
    "registration times out": Fault(_time_out_at_registration, replaced=2, while_shrinking=False),
    "instance leaves the list": Fault(end=terminate_dropped, strike=drop_from_list, while_growing=False),
    "one removal is denied": Fault(
        end=_refuse_none, strike=lambda world: _refuse_one(world, OciErrorKind.DENIED), while_growing=False
    ),
    "one removal gets no answer": Fault(
        end=_refuse_none, strike=lambda world: _refuse_one(world, OciErrorKind.UNAVAILABLE), while_growing=False
    ),
    "shape refused": Fault(_refuse_shape, _calls_work, while_shrinking=False),
    "all changes refused": Fault(_refuse_changes, _calls_work),
    "work requests hidden": _calls_fail(lambda world: world.fake.control.withhold_rights("list_work_requests")),
    "work requests fail": _calls_fail(lambda world: world.fake.control.break_service(None, 500, "list_work_requests")),
    "instances hidden": _calls_fail(lambda world: world.fake.control.withhold_rights("get_instance")),
    "instances fail": _calls_fail(lambda world: world.fake.control.break_service(None, 500, "get_instance")),
    "changes refused while updating": Fault(settings={"refuse_changes_while_updating": True}),
    "node never joins": Fault(lambda world: world.fake.control.never_join(), replaced=2, while_shrinking=False),
    "instance dies": Fault(strike=lambda world: world.fake.control.kill_instance(_first(world)), replaced=1),
    "instance reclaimed": Fault(
        strike=lambda world: world.fake.control.reclaim(_first(world)), settings={"preemptible": True}, replaced=1
    ),
}
