"""Schedules of what TVM generates, found by measurement and kept in a database."""
