#!/bin/busybox sh
# What acpid does when the power button is pressed. There is no service to stop: off means off.
echo "The power button was pressed." >/dev/console
exec poweroff -f
