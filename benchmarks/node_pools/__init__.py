"""A month of GPU node pools, simulated: what idle nodes cost, and how long jobs wait, under one policy and the next.

    python -m benchmarks.node_pools [--seeds 3] [--processes N] [--plot docs/images/node-pool-waste.png]

The operator's planner runs unchanged on a virtual clock. Beside it, in the same worlds with the same jobs, boot times
and failures: the rules of the cluster-autoscaler and of Karpenter.
"""
