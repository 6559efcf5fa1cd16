#!/bin/bash
# Builds the two images; one whose sources have not changed is skipped. Python packages are fetched here, by the lock
# file, as wheels for Debian's Python 3.13: no build inside a container reaches a package index.
. "$(dirname "$0")/lib.sh"
cd "$root"
bin=.venv/bin
[ -x $bin/uv ] || refuse "the build tools are not here" "'make setup' installs them"
python_version=3.13 # of debian:trixie

# wheels NAME EXTRA...: build/images/NAME holds the locked packages of these extras, and the list that pip checks them by.
wheels() {
	local folder=build/images/$1 options=() extra tag
	shift
	for extra; do options+=(--extra "$extra"); done
	mkdir -p build/images
	$bin/uv export --quiet --frozen --no-dev --no-emit-project --no-header --no-annotate "${options[@]}" \
		--output-file "$folder.txt" >/dev/null
	! cmp --silent "$folder.txt" "$folder/requirements.txt" || return 0
	options=()
	for tag in $(seq -f 'manylinux_2_%g' 41 -1 5) manylinux2014; do # 2.41: trixie's glibc
		options+=(--platform "${tag}_$(uname -m)")
	done
	rm -rf "$folder"
	logged "wheels-${folder##*/}" $bin/python -m pip download --quiet --require-hashes --no-deps --only-binary :all: \
		--python-version $python_version --implementation cp "${options[@]}" \
		--requirement "$folder.txt" --dest "$folder"
	cp "$folder.txt" "$folder/requirements.txt" # last: it says that the folder is complete
}

# image NAME TAG EXTRA...
image() {
	local name=$1 tag=$2 mark
	shift 2
	mark=$(stamp core/src services/src operator/src experiments/src loadtests pyproject.toml uv.lock README.md LICENSE \
		"images/$name.Dockerfile" cluster/images.sh)
	if image_has_stamp "$tag" "$mark"; then
		say "image $tag is there"
		return
	fi
	say "building image $tag"
	wheel
	wheels "$name" "$@"
	logged "image-$name" docker build --network host --label "cellwall.stamp=$mark" -t "$tag" -f "images/$name.Dockerfile" .
	docker image prune --force --filter label=cellwall.stamp >/dev/null # the one that had this name until now
	say "image $tag: $(mebibytes "$tag") MiB, of which $(mebibytes debian:trixie-slim) are the base"
}

# The project's own wheel. setuptools leaves modules in build/lib, and would put those that are gone from the sources
# into the next wheel.
wheel() {
	rm -rf build/lib build/bdist.* build/images/cellwall-*.whl
	logged wheel $bin/uv build --quiet --wheel --out-dir build/images
}

mebibytes() { echo $(($(docker image inspect -f '{{.Size}}' "$1") / 1048576)); }

cluster/docker.sh
docker image inspect debian:trixie-slim >/dev/null 2>&1 || timeout 120 docker pull --quiet debian:trixie-slim >/dev/null 2>&1 ||
	cluster/from-source/base-image.sh
image services "$services_image" services load smoke
image operator "$operator_image" operator
