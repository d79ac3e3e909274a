"""The variables of a session: from the end of one execution to the start of the next, as bytes.

Only a worker reads them. Where the kernel confines it they are pickles, in which a function is its source, a class
its attributes, and a module a name; elsewhere they are plain data, functions and imported names.
"""
