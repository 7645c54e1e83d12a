# The host, 192.0.2.2, in the namespaces that this is run in, and what it reaches:
# `far`, 192.0.2.1, with a netserver, and `third`, where nobody is yet.
set -e
ip link set lo up
ip netns add far; ip netns add third
ip link add near type veth peer name far netns far
ip addr add 192.0.2.2/24 dev near; ip link set near up
ip -n far addr add 192.0.2.1/24 dev far; ip -n far link set far up; ip -n far link set lo up
ip route add default via 192.0.2.1
sh -c "$UNPACE"
for name in far third; do ip netns exec $name sh -c "$UNPACE"; done
ip netns exec far sh -c "$SERVER" </dev/null &

# ssh on loopback, from `host` to `host`.
mkdir -p /run/sshd; mkdir -m 700 k
for key in host user; do ssh-keygen -q -t ed25519 -N '' -f k/$key; done
printf '%s\n' "HostKey $PWD/k/host" "AuthorizedKeysFile $PWD/k/user.pub" 'StrictModes no' \
    'UsePAM no' 'PidFile none' 'ListenAddress 127.0.0.1' 'PermitRootLogin yes' \
    "SetEnv PATH=$PATH SHMRING_RUNTIME_DIR=$SHMRING_RUNTIME_DIR" >k/sshd
printf '%s\n' 'Host host' 'HostName 127.0.0.1' 'User root' "IdentityFile $PWD/k/user" \
    "UserKnownHostsFile $PWD/k/known" 'StrictHostKeyChecking no' 'LogLevel ERROR' >k/ssh
"$(command -v sshd)" -f k/sshd </dev/null >/dev/null 2>&1
until ssh -F k/ssh host true </dev/null 2>/dev/null; do sleep 0.05; done

vde_switch -d -s "$PWD/switch" </dev/null >/dev/null 2>&1
