#!/bin/sh
# root.sh PROGRAM [LIBRARY ...]: makes /image, the root of an image that runs PROGRAM and nothing else:
# it, the shared libraries that it and LIBRARY need, their licences, and the few files of /etc that the
# C library asks for. What is below /opt comes by another way.
set -eu

mkdir -p /image/etc /image/tmp
chmod 1777 /image/tmp
echo 'node:x:1000:1000::/app:' >/image/etc/passwd
echo 'node:x:1000:' >/image/etc/group
echo 'hosts: files dns' >/image/etc/nsswitch.conf

{
  echo "$1"
  for file in "$@"; do ldd "$file"; done | grep -o '/[^ ]*'
} | grep -v '^/opt/' | sort -u | xargs -r cp -L --parents -t /image

for licence in /usr/share/doc/gcc-*-base/copyright /usr/share/doc/libc6/copyright /usr/local/LICENSE; do
  if [ -e "$licence" ]; then cp -L --parents "$licence" /image; fi
done
