#!/bin/bash
# A kind cluster of one control plane and three workers in zones a, b and c; nothing where it already answers. Decides,
# and says, whether its node image is pulled or built from source; never asks.
. "$(dirname "$0")/lib.sh"
cd "$root" # kind.yaml names a file relative to here

api_answers() { have kubectl && kubectl --context "$context" --request-timeout 5s get --raw /readyz >/dev/null 2>&1; }

# Why the node image must be built here; empty where it can be pulled.
why_from_source() {
	local error
	if [ -n "${CELLWALL_FROM_SOURCE:-}" ]; then
		echo "CELLWALL_FROM_SOURCE is set"
	elif lacks_sys_resource; then
		echo "this machine lacks CAP_SYS_RESOURCE, which the standard image needs"
	elif ! docker image inspect "$NODE_IMAGE" >/dev/null 2>&1 &&
		! error=$(timeout 30 docker manifest inspect "$NODE_IMAGE" 2>&1 >/dev/null); then
		echo "the standard image cannot be pulled: ${error:-no answer within 30 s}"
	fi
}

# What kind makes of a node image it was not released with is undefined, so its version is fixed.
tools() {
	have kind && [ "$(kind version -q 2>/dev/null)" = "${KIND#v}" ] || cluster/from-source/binaries.sh kind
	have helm || cluster/from-source/binaries.sh helm
	have kubectl || { # the node image has one of its own version
		docker run --rm --entrypoint cat "$image" /usr/bin/kubectl >"$work/bin/kubectl" && chmod +x "$work/bin/kubectl"
	}
}

cluster/docker.sh
if cluster_exists; then
	if ! api_answers; then
		say "cluster $cluster does not answer: starting its nodes again"
		# shellcheck disable=SC2046  # one name a node
		docker start $(kind get nodes --name "$cluster" 2>/dev/null) >/dev/null
		for _ in $(seq 60); do
			! api_answers || break
			sleep 1
		done
		api_answers || refuse "cluster $cluster does not answer" "'make down' removes it, 'make up' makes a new one"
	fi
	say "cluster $cluster is there"
	exit 0
fi

config=(cluster/kind.yaml)
reason=$(why_from_source)
if [ -z "$reason" ]; then
	say "node image: $NODE_IMAGE, pulled"
	space 6000 "a cluster"
	image=$NODE_IMAGE
	docker image inspect "$image" >/dev/null 2>&1 || docker pull --quiet "$image" >&2
	mkdir -p "$work/bin"
else
	say "node image: built from source ($reason)"
	config+=(cluster/from-source/kubeadm.yaml)
	image=$BUILT_NODE_IMAGE
	cluster/from-source/build.sh
fi
tools

# Four kubelets watch more files than Linux lets one user by default.
if [ "$(cat /proc/sys/fs/inotify/max_user_instances)" -lt 1024 ]; then
	sysctl -qw fs.inotify.max_user_instances=1024 2>/dev/null ||
		say "fs.inotify.max_user_instances is below 1024 and cannot be set: pods may fail with 'too many open files'"
fi
say "creating cluster $cluster"
cat "${config[@]}" >"$work/kind-$cluster.yaml"
logged kind-create kind create cluster --name "$cluster" --config "$work/kind-$cluster.yaml" --image "$image" --wait 120s
say "cluster $cluster answers: kubectl --context $context get nodes"
