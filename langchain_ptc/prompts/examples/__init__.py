"""Question-and-code pairs, made from the types of a catalog and from nothing else.

Small models write such code only after they have seen some of it over the same tools. The pairs show
the shapes that most tasks have: the largest total, those with a total, totals of groups, counts by key,
a join, and something done for those with a total. What they look for in a catalog is a *root*, a tool that lists
records, and a *child*, a tool that takes the id of such a record and gives more of them. Pure and
deterministic: nothing is called.
"""
