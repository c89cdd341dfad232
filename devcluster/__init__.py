"""A real Kubernetes cluster on one Linux machine, without a container engine.

Real: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, one kubelet per node, CoreDNS, versitygw, kubectl
and helm. Ours: the container runtime under the kubelets, which starts local processes in namespaces of their own, and
a fake of Oracle's cloud whose instances are machines of the cluster. README.md beside this file has a map.
"""
