# What the cluster is made of. kind supports a node image only with the release that it was built for, and Kubernetes
# 1.35 dropped cgroup v1: so all of these move together.
KIND=v0.31.0
NODE_IMAGE=kindest/node:v1.34.3@sha256:08497ee19eace7b4b5348db5c6a1591d7752b164530a36f855cb0f2bdcbadd48
HELM=v3.22.0

# Of the node image that is built from source. The two tags are those that kubeadm of this release asks for.
KUBERNETES=v1.34.4 # as in from-source/go/kubernetes/go.mod
ETCD_TAG=3.6.5-0
COREDNS_TAG=v1.12.1
COREDNS=v1.12.4
PROVISIONER=v0.0.30
BUILT_NODE_IMAGE=cellwall/node:$KUBERNETES

# Of the tools that the charts' tests want beside helm (`make tools`).
HELM4=v4.3.1
KUBE_SCORE=v1.20.0
