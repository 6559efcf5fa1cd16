#!/bin/bash
# All that a kind cluster needs where no image registry answers, from Debian packages and Go modules alone. Needs a
# Docker daemon (../docker.sh starts one). Finished steps are skipped: with everything there it takes a second.
. "$(dirname "$0")/../lib.sh"
here=$(dirname "$0")
docker image inspect "$BUILT_NODE_IMAGE" >/dev/null 2>&1 || space 16000 "building a cluster from source"
"$here/base-image.sh"
"$here/binaries.sh" kind helm pause runc-lean etcd coredns local-path-provisioner kubernetes
ln -sf kubernetes "$work/bin/kubectl"
"$here/node-image.sh"
