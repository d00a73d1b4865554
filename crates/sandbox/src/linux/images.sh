#!/bin/sh
# Makes the images that a cluster needs where no registry is: BusyBox, and with it the pause image, which waits until it is
# told to end.
set -eu
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/bin" "$root/tmp" "$root/etc"
cp /bin/busybox "$root/bin/busybox"
for name in $(/bin/busybox --list); do
  [ "$name" = busybox ] || ln -s busybox "$root/bin/$name"
done
known() { docker image inspect "$1" > /dev/null 2>&1; }
make() { tar -C "$root" -c . | docker import --change "$2" --change 'ENV PATH=/bin' - "$1" > /dev/null; }
known busybox:1 || make busybox:1 'CMD ["/bin/sh"]'
known registry.k8s.io/pause:3.2 || make registry.k8s.io/pause:3.2 \
  'ENTRYPOINT ["/bin/sh", "-c", "trap \"exit 0\" TERM INT; while :; do sleep 86400 & wait; done"]'
