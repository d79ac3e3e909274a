"""The trusted side: processes, their pool and their connections. It believes nothing that a worker sends."""
