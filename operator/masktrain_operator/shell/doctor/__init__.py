"""`masktrain doctor`, looking: at the cluster and the tenancy, without changing anything."""
