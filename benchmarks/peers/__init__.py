"""Us against others, in one run: each in an environment and a process of its own, by the same probe.

`install` makes the environments, `run` starts `probe` in each and collects what it says, `tables`
renders it. `probe` and `adapters` run in the environments of the others and import nothing of ours.
"""
