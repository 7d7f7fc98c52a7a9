"""Compilers for devices that are not here: a test that needs one is skipped where it is not."""

import pytest

from launch.training import targets


def needed(platform):
    """Returns the mark of a test that compiles for 'gpu' or 'tpu'."""
    reason = f"the compiler is not installed: pip install '.[plan-{platform}]'"
    return pytest.mark.skipif(not targets.installed(platform), reason=reason)
