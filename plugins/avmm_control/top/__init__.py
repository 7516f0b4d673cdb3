"""`avmm top`: running VMs and their vCPUs in a terminal, as they change."""
