"""Kernels for weights that are known beforehand and mostly zero."""
