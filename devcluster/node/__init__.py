"""One node: the Container Runtime Interface for its kubelet, a GPU device plugin, and the kubelet itself."""
