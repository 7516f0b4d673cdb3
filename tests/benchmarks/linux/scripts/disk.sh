#!/bin/sh
# One disk, past the guest's page cache: in sequence by the megabyte, at random by the page, by one and by four at a time.
four() {
    diskio /dev/vda "$1" 4096 2500 & diskio /dev/vda "$1" 4096 2500 & diskio /dev/vda "$1" 4096 2500 & diskio /dev/vda "$1" 4096 2500
    wait
}

diskio /dev/vda write 1048576 256  # the host's page cache knows all of it from now on
for load in read write; do
    echo "begin seq$load"; diskio /dev/vda $load 1048576 1024; echo end
    echo "begin rand$load"; diskio /dev/vda rand$load 4096 5000; echo end
    echo "begin four$load"; four rand$load; echo end
done
