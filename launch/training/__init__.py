"""The training of any network: task, loop, update, optimizer, devices, cores."""
