#!/bin/busybox sh
# The guest's first process: mounts, drivers, network; then the command in `run=` on the kernel's command line, or a shell.
# When that is over, so is the machine.

/bin/busybox --install -s
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root ENV=/etc/profile
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
hostname debian

# The bus first, then whatever is on it.
for bus in platform virtio; do
    aliases=$(cat /sys/bus/$bus/devices/*/modalias 2>/dev/null | sort -u)
    [ -n "$aliases" ] && modprobe -a -b -q $aliases 2>/dev/null
done

# Whoever presses the power button is heard, if the kernel has a driver for it.
if [ -e /sys/class/input/input0 ]; then
    modprobe -q evdev && acpid
fi

# A console whose driver comes just now was not there when the kernel looked for one for us.
if [ ! -e /proc/self/fd/1 ]; then
    tries=0
    until (: >/dev/console) 2>/dev/null; do
        [ $((tries += 1)) -gt 500 ] && exec poweroff -f
        usleep 10000
    done
    exec </dev/console >/dev/console 2>&1
fi

ip link set lo up
if [ -e /sys/class/net/eth0 ]; then
    ip link set eth0 up
    udhcpc -i eth0 -n -q -t 4 -T 1 -s /etc/udhcpc.sh >/dev/null 2>&1 || echo "eth0: nobody answers with an address"
fi

if [ -n "$run" ]; then
    sh -c "$run"
    echo "run: exit status $?"
else
    cd "$HOME"
    cat /etc/motd
    # A terminal of its own gives the shell job control.
    setsid cttyhack sh -l
fi
exec poweroff -f
