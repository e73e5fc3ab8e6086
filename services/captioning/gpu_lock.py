"""Held by whoever does what concerns all threads that use a GPU: recording a graph, waiting for all its work."""

import threading

# torch allows one recording at a time in a process, and while one goes on, to synchronise or to give memory back
# would break it
GPU_LOCK = threading.Lock()
