# The first process of a machine for Wine, in namespaces of its own: PREFIX FOLDER. All that it makes beside FOLDER goes with
# it, and it goes when its standard input ends.
set -eu
prefix=$1 folder=$2
# What programs of Linux and of Wine look up by name is answered at once.
printf '127.0.0.1 localhost win01\n' > "$folder/hosts"
mount --bind "$folder/hosts" /etc/hosts
mount --bind /dev/null /etc/resolv.conf
mount -t tmpfs tmpfs /run
mount -t overlay -o "lowerdir=$prefix,upperdir=$folder/upper,workdir=$folder/work" overlay "$folder/prefix"
hostname win01
# The other machines of the network are a namespace of their own.
ip netns add lan
for number in 0 1; do
  ip link add "eth$number" type veth peer name "far$number" netns lan
  ip netns exec lan ip link set "far$number" up
  ip link set "eth$number" up
done
ip link set lo up
ip netns exec lan ip address add 10.5.6.217/24 dev far0
ip netns exec lan ip route add 192.168.1.0/24 via 10.5.6.216
readlink /proc/self/ns/net
exec cat > /dev/null
