#!/bin/sh
# The compute loads, one after the other, each between two lines on the console.
dd if=/dev/zero of=/tmp/zeros bs=1M count=64 2>/dev/null
seq 800000 >/tmp/numbers
head -n 200000 /tmp/numbers >/tmp/lines

timed() {
    echo "begin $1"
    shift
    "$@" >/dev/null
    echo "end"
}

timed sha256sum sha256sum /tmp/zeros
timed gzip gzip -c /tmp/numbers
timed sort sort -r /tmp/lines
timed work work 80
