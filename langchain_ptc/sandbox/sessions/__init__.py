"""The variables of a session: from the end of one execution to the start of the next, as bytes.

Only a worker reads them. They are pickles, in which a function is its source, a class its checked names,
and a module a name; what else they may hold depends on the level of isolation (see `reading`).
"""
