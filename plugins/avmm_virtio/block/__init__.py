"""The block device, and the disks that are files of the host's."""
