"""Driving a system cheaply: gradients, protocols, bounds."""
