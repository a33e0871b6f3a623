"""Image formation: CTF, projection, noise, masks and the simulator."""
