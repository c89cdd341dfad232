"""What a tenancy holds beside node pools: compartments, policies, the cluster, and how pools are described."""
