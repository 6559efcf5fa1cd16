#!/bin/bash
# Makes the kind node image from the compiled binaries and Debian's packages. The images that a node starts with are
# put into its containerd here, so that no node ever pulls.
. "$(dirname "$0")/../lib.sh"
here=cluster/from-source
mark=$(stamp $here/node $here/node-image.sh $here/go cluster/versions.sh)
! image_has_stamp "$BUILT_NODE_IMAGE" "$mark" || exit 0
say "making $BUILT_NODE_IMAGE"

files=$work/node
rm -rf "$files"
mkdir -p "$files"
cp -r "$root/$here/node/rootfs" "$files/"
echo -n "$KUBERNETES" >"$files/rootfs/kind/version"
for name in kubernetes etcd coredns pause local-path-provisioner runc-lean; do ln -f "$work/bin/$name" "$files/$name"; done

declare -A tags=(
	[etcd]=cellwall/etcd:$ETCD_TAG
	[coredns]=cellwall/coredns:$COREDNS_TAG
	[pause]=cellwall/pause:built
	[provisioner]=cellwall/provisioner:built
)
images=("${tags[@]}")
stage() { # STAGE TAG
	logged "image-$1" docker build --network host --target "$1" -t "$2" -f "$root/$here/node/Dockerfile" "$files"
}
stage kube cellwall/kube:built
for name in kube-apiserver kube-controller-manager kube-scheduler kube-proxy; do
	docker tag cellwall/kube:built "cellwall/$name:$KUBERNETES"
	images+=("cellwall/$name:$KUBERNETES")
done
for name in "${!tags[@]}"; do stage "$name" "${tags[$name]}"; done
stage node cellwall/node:empty

filling=cellwall-node-filling
docker rm -f "$filling" >/dev/null 2>&1 || true
docker run -d --privileged --name "$filling" --entrypoint sleep cellwall/node:empty infinity >/dev/null
trap 'docker rm -f "$filling" >/dev/null' EXIT
docker exec -d "$filling" containerd
for _ in $(seq 60); do
	! docker exec "$filling" ctr version >/dev/null 2>&1 || break
	sleep 0.5
done
docker save "${images[@]}" | logged node-import docker exec -i "$filling" ctr -n k8s.io images import --no-unpack -
docker exec "$filling" sh -c 'pkill -x containerd; while pgrep -x containerd >/dev/null; do sleep 0.2; done; rm -rf /run/containerd'
docker commit --change 'ENTRYPOINT ["/usr/local/bin/entrypoint"]' --change 'CMD []' --change "LABEL cellwall.stamp=$mark" \
	"$filling" "$BUILT_NODE_IMAGE" >/dev/null
