#!/bin/bash
# install.sh CONTEXT [CHART...]: installs or upgrades charts (crds, operator, world; without a name the first two) in the
# cluster of a kube context, which is always named. Further flags for helm stand in HELM_FLAGS.
. "$(dirname "$0")/lib.sh"
cd "$root"
target=${1:-}
shift || true
[ -n "$target" ] || refuse "no kube context is named" "make install CONTEXT=… ('kubectl config get-contexts' lists them)"
have helm || refuse "helm is not here" "Install helm 3 or 4, or let 'make up' compile it"
kubectl config get-contexts -o name 2>/dev/null | grep -qx "$target" ||
	refuse "there is no kube context '$target'" "'kubectl config get-contexts' lists them"
kubectl --context "$target" --request-timeout 10s get --raw /readyz >/dev/null 2>&1 ||
	refuse "the cluster of context '$target' does not answer" "See 'kubectl --context $target cluster-info'"

release() { # RELEASE CHART NAMESPACE [FLAG...]
	local name=$1 chart=$2 namespace=$3
	shift 3
	[ -f "charts/$chart/Chart.yaml" ] || { say "charts/$chart is not here: skipped"; return; }
	say "installing $chart as $name in namespace $namespace"
	# shellcheck disable=SC2086  # several flags in one value
	logged "helm-$name" helm upgrade --install "$name" "charts/$chart" --kube-context "$target" \
		--namespace "$namespace" --create-namespace "$@" ${HELM_FLAGS:-}
}

# In our own cluster the tag stays while sources change: the image's id on the pods makes another image another pod.
mark=()
[ "$target" != "$context" ] || ! id=$(docker image inspect -f '{{.Id}}' "$operator_image" 2>/dev/null) ||
	mark=(--set-string "podAnnotations.cellwall\\.dev/image=$id")

[ $# -gt 0 ] || set -- crds operator
for chart; do
	case $chart in
	crds) release cellwall-crds cellwall-crds cellwall-system ;;
	operator) release cellwall cellwall cellwall-system --wait --timeout 120s "${mark[@]}" ;;
	world) release world cellwall-testbed cellwall-world --values cluster/world.yaml ;;
	*) refuse "there is no chart '$chart'" "Name crds, operator or world" ;;
	esac
done
