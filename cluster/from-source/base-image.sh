#!/bin/bash
# Makes debian:trixie-slim from Debian's packages, where no registry gives it: what debootstrap lays out, less the pages,
# manuals and translations that the slim images leave out too.
. "$(dirname "$0")/../lib.sh"
suite=trixie
image=debian:$suite-slim
! docker image inspect "$image" >/dev/null 2>&1 || exit 0

[ "$(id -u)" = 0 ] || refuse "making $image takes root (debootstrap)" "Run this as root, or pull the image"
have debootstrap || logged debootstrap-package env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap
say "making $image with debootstrap"
tree=$work/$suite
rm -rf "$tree"
logged debootstrap debootstrap --variant=minbase "$suite" "$tree"
cat >"$tree/etc/dpkg/dpkg.cfg.d/slim" <<'SLIM'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/info/*
path-exclude /usr/share/lintian/*
SLIM
find "$tree/usr/share/doc" -mindepth 2 ! -name copyright -delete 2>/dev/null || true
rm -rf "$tree"/usr/share/{man,locale,info,lintian}/* "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* "$tree"/var/log/*
tar -C "$tree" -c . | docker import --change 'CMD ["bash"]' - "$image" >/dev/null
rm -rf "$tree"
