# Run inside scripts/vm-test by wireguard.mjs: two network namespaces on one wire, a VXLAN tunnel between them in the clear and one
# inside WireGuard of the kernel, as covey lays them; rounds of iperf3 that alternate. Prints a line "::round PLAIN SECURE" each, in Mbit/s.
set -e
umask 077
dir=$(mktemp -d)
for i in 1 2; do
  ip netns add n$i; ip -n n$i link set lo up
  wg genkey >"$dir/$i"; wg pubkey <"$dir/$i" >"$dir/$i.pub"
done
ip link add w1 netns n1 type veth peer name w2 netns n2
for i in 1 2; do
  j=$((3 - i))
  ip -n n$i addr add 10.9.0.$i/24 dev w$i; ip -n n$i link set w$i up
  ip -n n$i link add wg0 mtu 1420 type wireguard
  ip netns exec n$i wg set wg0 private-key "$dir/$i" listen-port 7379 peer "$(cat "$dir/$j.pub")" endpoint 10.9.0.$j:7379 allowed-ips 169.254.192.$j/32
  ip -n n$i addr add 169.254.192.$i/24 dev wg0; ip -n n$i link set wg0 up
  ip -n n$i link add plain mtu 1450 type vxlan id 1 dstport 7378 local 10.9.0.$i remote 10.9.0.$j nolearning
  ip -n n$i link add secure mtu 1370 type vxlan id 2 dstport 7380 local 169.254.192.$i remote 169.254.192.$j nolearning
  ip -n n$i addr add 10.1.0.$i/24 dev plain; ip -n n$i addr add 10.2.0.$i/24 dev secure
  ip -n n$i link set plain up; ip -n n$i link set secure up
done
rate() { # rate ADDRESS: megabits a second of one stream
  ip netns exec n2 iperf3 -s -1 -D >/dev/null
  for _ in $(seq 100); do ip netns exec n2 ss -Hltn sport = :5201 | grep -q . && break; sleep 0.1; done
  ip netns exec n1 iperf3 -c "$1" -t 3 -O 1 -f m | sed -nE 's/.* ([0-9.]+) Mbits.*receiver.*/\1/p'
}
ip netns exec n1 ping -c1 -W20 10.2.0.2 >/dev/null
for _ in $(seq "${rounds:-3}"); do echo "::round $(rate 10.1.0.2) $(rate 10.2.0.2)"; done
