"""Agents: acting, learning and playing whole episodes."""
