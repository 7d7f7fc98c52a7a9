"""Training of any network: experiment, task, loop, update, optimizer, devices, cores, cost.

What it would cost on devices that are not here: targets, kernels.
"""
