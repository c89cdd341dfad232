"""Commands of `masktrain` for whoever runs the operator. They need click and rich, not the operator's own libraries."""
