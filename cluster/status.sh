#!/bin/bash
# What runs: the cluster's nodes and zones, our workloads, and the worlds in it. Reads only.
. "$(dirname "$0")/lib.sh"
target=${1:-$context}
have kubectl || refuse "kubectl is not here" "'make up' brings it"
kubectl config get-contexts -o name 2>/dev/null | grep -qx "$target" || refuse "there is no cluster $cluster" "'make up' makes it"
kubectl=(kubectl --context "$target" --request-timeout 10s)
"${kubectl[@]}" get --raw /readyz >/dev/null 2>&1 || refuse "cluster $cluster does not answer" "'make up' starts its nodes again"

"${kubectl[@]}" get nodes --label-columns topology.kubernetes.io/zone
echo
"${kubectl[@]}" get deployments,statefulsets,jobs --all-namespaces --selector app.kubernetes.io/part-of=cellwall
echo
"${kubectl[@]}" get metadataservices,metadatacells,storagefleets --all-namespaces 2>/dev/null || echo "Cellwall is not installed: make up"
