"""The programs of Kubernetes and its companions, as one Go module: go.mod beside this file says which versions."""
