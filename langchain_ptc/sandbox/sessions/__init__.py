"""The variables of a session: from the end of one execution to the start of the next, as bytes.

The bytes are a table of plain descriptions, not a pickle. Reading them can do nothing that code could
not have done itself: a function is compiled from its source by the policy, a class is built from
checked names, a name of a module is looked up as an import does, and everything else is data.
"""
