#!/bin/sh
# Two tasks of a kind, one after the other and at once.
dd if=/dev/zero of=/tmp/zeros bs=1M count=64 2>/dev/null

sha256sum_() { sha256sum /tmp/zeros >/dev/null; }
work_() { work 60 >/dev/null; }
shell_() {
    n=0
    while [ $n -lt 100 ]; do
        /bin/true
        n=$((n + 1))
    done
}

for load in sha256sum work shell; do
    echo "begin $load-serial"
    ${load}_
    ${load}_
    echo end
    echo "begin $load-together"
    ${load}_ &
    ${load}_
    wait
    echo end
done
