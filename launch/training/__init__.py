"""Training of any network: experiment, task, loop, update, optimizer, devices, cores, cost."""
