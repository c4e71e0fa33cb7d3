"""Starts the agent."""

from .serving import serve

serve()
