#!/bin/sh
# The network loads. passt shows the host's own loopback as the gateway; $port is of the kernel's command line.
gateway=$(ip route | sed -n 's/^default via \([^ ]*\).*/\1/p')
for load in "receive 50000000" "send 50000000" "ask 3000"; do
    echo "begin ${load%% *}"
    net "$gateway" "$port" $load
    echo "end"
done
